"""How runs are packed onto the machine: what is stacked, what fits, and that nothing of it changes a result."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from emergence.core.settings import StudySettings, validate_study
from emergence.study.packing import group_jobs, lay_out, most_stacked, set_stacks
from emergence.study.plan import Plan, make_plan


def plan(replicas: int, *, largest: float = 1e4, rungs: int = 3, batch_tokens: int = 480, **execution: Any) -> Plan:
    ladder = {"smallest": 3e3, "largest": largest, "rungs": rungs}
    study: StudySettings = validate_study(
        {
            "name": "packing",
            "model": {"ladder": ladder, "context": 24},
            "replicas": replicas,
            "training": {"tokens": 1e6, "batch_tokens": batch_tokens},
            "tasks": [{"name": "copy", "length": 4}],
            "execution": {"workers": 2, **execution},
        },
        source="here",
    )
    return make_plan(study)


def machine(gain: float) -> Any:
    """A machine on which a stacked replica costs ``gain`` of one alone, and a step goes by rows and size."""

    def measure(request: dict[str, Any]) -> float:
        width = request["config"]["width"]
        return float(1e-6 * request["batch_rows"] * width * (gain if request["replicas"] > 1 else 1.0))

    return measure


@pytest.mark.parametrize(("replicas", "sizes"), [(1, {1}), (3, {3}), (8, {8}), (9, {5}), (30, {8})])
def test_stacks_are_of_equal_size_where_that_pays(replicas: int, sizes: set[int]) -> None:
    many = plan(replicas, workers=1)
    assert set(lay_out(many, machine(0.5)).stacks.values()) == sizes
    assert set(lay_out(many, machine(1.1)).stacks.values()) == {1}
    assert set(lay_out(many, machine(0.99)).stacks.values()) == {1}  # no more than a measurement's error


def test_a_stack_is_split_where_a_core_would_be_idle() -> None:
    one_rung = plan(4, rungs=1)
    alone, together = lay_out(one_rung, machine(0.9)), lay_out(plan(4, rungs=1, workers=1), machine(0.9))
    assert (alone.stacks, together.stacks) == ({"R00": 2}, {"R00": 4})
    assert alone.seconds < together.seconds


def test_large_rungs_are_not_stacked_and_nothing_is_timed_for_them() -> None:
    large = plan(4, largest=2e6, rungs=2)
    assert most_stacked(large, large.rungs[-1]) == 1
    assert set_stacks(plan(1)) == {"R00": 1, "R01": 1, "R02": 1}
    assert set_stacks(plan(3, stack=2)) == {"R00": 2, "R01": 2, "R02": 2}
    assert set_stacks(plan(3)) is None


def test_a_stack_fits_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = plan(8, batch_tokens=24_000, workers=1)
    whole = group_jobs(wide.jobs, dict.fromkeys((rung.name for rung in wide.rungs), 8))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": whole[0].memory})())
    chosen = lay_out(wide, machine(0.5)).stacks
    assert 1 <= chosen["R02"] < 8
    assert all(group.memory <= 0.8 * whole[0].memory for group in group_jobs(wide.jobs, chosen))


def test_a_probe_is_short_whatever_the_batch() -> None:
    asked: list[dict[str, Any]] = []

    def measure(request: dict[str, Any]) -> float:
        asked.append(request)
        return 1e-3

    huge = plan(3, batch_tokens=240_000)
    lay_out(huge, measure)
    rungs = {rung.config.width: rung for rung in huge.rungs}
    for request in asked:
        rung = rungs[request["config"]["width"]]
        rows = request["batch_rows"] / huge.batch_rows
        assert rung.flops / huge.steps * rows * request["replicas"] <= 1e10
        assert 1 <= request["batch_rows"] <= huge.batch_rows


def test_only_runs_that_stand_at_the_same_step_share_a_stack() -> None:
    some = plan(4)
    stacks = dict.fromkeys(("R00", "R01", "R02"), 2)
    assert {group.name for group in group_jobs(some.jobs, stacks)} == {
        f"R0{k}-{seeds}" for k in range(3) for seeds in ("s0+s1", "s2+s3")
    }
    begun = {"R00-s0": 40, "R00-s1": 40, "R01-s2": 7}
    names = {group.name for group in group_jobs(some.jobs, stacks, begun)}
    assert {"R00-s0+s1", "R01-s2", "R01-s3"} <= names
    order = [group.rung.name for group in group_jobs(some.jobs, stacks)]
    assert order == sorted(order, reverse=True)  # the longest first
