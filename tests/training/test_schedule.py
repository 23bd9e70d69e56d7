"""The schedule, its transfer along the width, and when checkpoints are taken."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from emergence.training.schedule import BASE_WIDTH, Schedule, checkpoint_steps, width_scale


@given(steps=st.integers(1, 5000), warmup=st.floats(0, 0.5), decay=st.floats(0, 0.5))
@example(steps=3, warmup=0.5, decay=0.5)  # rounded, the two phases meet in one step
def test_the_rate_rises_stays_and_falls(steps: int, warmup: float, decay: float) -> None:
    schedule = Schedule(steps=steps, warmup=warmup, decay=decay, checkpoints=(steps,))
    factors = [schedule.factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    falling = round(decay * steps)
    rise, fall = factors[: max(1, round(warmup * steps))], factors[steps - falling :]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert all(factor == 1 for factor in factors[len(rise) : steps - falling])


def test_known_points_of_the_schedule() -> None:
    schedule = Schedule(steps=100, warmup=0.1, decay=0.2, checkpoints=(50, 100))
    assert schedule.factor(0, 100) == 0.1
    assert schedule.factor(9, 100) == 1.0
    assert schedule.factor(79, 100) == 1.0
    assert abs(schedule.factor(99, 100) - (1 - (20 / 21) ** 0.5)) < 1e-12
    assert schedule.factor(99, None) == 1.0
    assert schedule.fork(50) == 40
    assert schedule.computed_steps == 100


@given(steps=st.integers(1, 10**6), checkpoints=st.integers(1, 50))
def test_checkpoints_end_with_the_run_and_never_repeat(steps: int, checkpoints: int) -> None:
    found = checkpoint_steps(steps, checkpoints)
    assert found[-1] == steps
    assert found == sorted(set(found))
    assert 1 <= len(found) <= checkpoints
    assert found[0] >= 1


def test_checkpoints_are_evenly_spaced_on_a_log_scale() -> None:
    assert checkpoint_steps(10_000, 5) == [100, 316, 1000, 3162, 10_000]


def test_twice_the_width_has_half_the_rate() -> None:
    assert width_scale(BASE_WIDTH) == 1
    assert width_scale(2 * BASE_WIDTH) == 0.5
