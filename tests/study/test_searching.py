"""The search core on objectives that are formulas: planted optima, pruning, and a journal cut off anywhere."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.search import SearchTrial
from emergence.core.search_settings import SearchSettings
from emergence.study.searching import Outcome, Watch, run_trials

SPACE = {
    "rate": {"low": 1e-5, "high": 1e1, "log": True},
    "width": {"low": 8, "high": 64, "step": 8},
    "kind": {"choices": ["good", "bad"]},
}
CHECKPOINTS = 6


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy disk takes 10 ms for each of the thousands of lines that are written here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def asked(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"settings": SPACE, "trials": 40, "startup": 8, **changes})


def loss(values: Mapping[str, Any]) -> float:
    """The bottom is at rate 1e-2, width 40 and the good kind."""
    return (math.log10(values["rate"]) + 2) ** 2 + abs(values["width"] - 40) / 32 + 0.5 * (values["kind"] == "bad")


class Formula:
    """Comes down to `loss` from above, checkpoint by checkpoint; diverges at large rates."""

    def __init__(self, sign: int = 1) -> None:
        self.sign = sign
        self.tried: list[int] = []

    def __call__(self, number: int, values: Mapping[str, Any], watch: Watch) -> Outcome:
        self.tried.append(number)
        if values["rate"] > 3:
            return Outcome("diverged", flops=1.0, note="loss inf at step 3")
        for checkpoint in range(1, CHECKPOINTS + 1):
            value = self.sign * (loss(values) + 2.0 ** (1 - checkpoint))
            if not watch.goes_on(checkpoint, value):
                return Outcome("pruned", flops=float(checkpoint))
        return Outcome("complete", value, float(CHECKPOINTS))


def search(journal: Path, search: SearchSettings, objective: Any = None, **changes: Any) -> tuple[SearchTrial, ...]:
    common: dict[str, Any] = {"direction": "minimize", "seed": 3, "checkpoints": CHECKPOINTS, "unpruned": 1}
    return run_trials(search, objective or Formula(), journal=journal / "journal.log", **{**common, **changes})


def seen(trials: tuple[SearchTrial, ...]) -> list[Any]:
    """All that is determined by the seed."""
    return [trial.model_dump(exclude={"seconds"}) for trial in trials]


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "none"])
def test_a_planted_optimum_is_found(tmp_path: Path, pruner: str) -> None:
    trials = search(tmp_path, asked(pruner=pruner))
    complete = [trial for trial in trials if trial.status == "complete"]
    best = min(complete, key=lambda trial: trial.value or 0.0)
    assert best.values["rate"] == pytest.approx(1e-2, rel=1.5)
    assert best.values["kind"] == "good"
    assert abs(best.values["width"] - 40) <= 8
    random = min(t.value for t in trials[:8] if t.status == "complete" and t.value is not None)
    assert best.value is not None
    assert best.value < 0.5 * random  # what the random trials alone had found
    pruned = [trial for trial in trials if trial.status == "pruned"]
    assert bool(pruned) == (pruner != "none")
    for trial in pruned:
        assert trial.number >= 8
        assert 1 < len(trial.curve) < CHECKPOINTS
        assert trial.flops == len(trial.curve)
    kept = sum(loss(trial.values) for trial in complete) / len(complete)
    assert not pruned or sum(loss(trial.values) for trial in pruned) / len(pruned) > kept


def test_more_is_better_the_other_way_round(tmp_path: Path) -> None:
    down = search(tmp_path / "down", asked(trials=15))
    up = search(tmp_path / "up", asked(trials=15), Formula(-1), direction="maximize")
    assert [trial.values for trial in down] == [trial.values for trial in up]
    assert [trial.status for trial in down] == [trial.status for trial in up]


def test_what_diverges_is_no_error_and_is_learnt_from(tmp_path: Path) -> None:
    trials = search(
        tmp_path,
        asked(
            trials=60,
            settings={"rate": {"low": 1e-5, "high": 1e5, "log": True}}
            | {name: SPACE[name] for name in ("width", "kind")},
        ),
    )
    lost = [trial.number for trial in trials if trial.status == "diverged"]
    assert lost
    assert sum(number >= 30 for number in lost) < sum(number < 30 for number in lost)
    assert all(trial.value is None and trial.note for trial in trials if trial.status == "diverged")


def test_the_seed_decides(tmp_path: Path) -> None:
    first, again, other = (
        search(tmp_path / name, asked(trials=12), seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert seen(first) == seen(again)
    assert [t.values for t in first] != [t.values for t in other]


def test_the_same_values_are_not_tried_twice(tmp_path: Path) -> None:
    space = {"kind": {"choices": ["good", "bad"]}}
    objective = Formula()
    trials = search(
        tmp_path,
        asked(settings=space, trials=7, startup=2),
        lambda number, values, watch: objective(number, {"rate": 1e-2, "width": 40, **values}, watch),
    )
    assert len(objective.tried) == 2
    repeated = [trial for trial in trials if trial.number not in objective.tried]
    assert len(repeated) == 5
    for trial in repeated:
        twin = next(t for t in trials if t.values == trial.values)
        assert (trial.value, trial.status, trial.curve) == (twin.value, twin.status, twin.curve)
        assert trial.flops == 0
        assert trial.note == f"the same values as trial {twin.number}"


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", asked(trials=14))
    search(tmp_path / "parts", asked(trials=9))
    objective = Formula()
    parts = search(tmp_path / "parts", asked(trials=14), objective)
    assert objective.tried == [9, 10, 11, 12, 13]
    assert seen(parts) == seen(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    """The journal of an uninterrupted search, and its trials."""
    folder = tmp_path_factory.mktemp("whole")
    trials = search(folder, asked(trials=14, startup=4))
    return (folder / "journal.log").read_bytes(), seen(trials)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_search_that_was_killed_at_any_byte_ends_the_same(
    whole: tuple[bytes, list[Any]], tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    content, trials = whole
    folder = tmp_path_factory.mktemp("cut")
    cut = content[: int(share * len(content))]
    (folder / "journal.log").write_bytes(cut)
    (folder / "journal.log.lock").touch()  # of the killed process
    objective = Formula()
    before: list[int] = []
    found = search(
        folder,
        asked(trials=14, startup=4),
        objective,
        on_trial=lambda trial, earlier: before.append(trial.number) if earlier else None,
    )
    assert seen(found) == trials
    assert before == list(range(len(before)))
    assert objective.tried == list(range(len(before), 14))  # finished trials are not repeated


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    search(tmp_path, asked(trials=3))
    journal = tmp_path / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:4], b"{nonsense\n", *lines[5:]]))
    with pytest.raises(UserError, match=r"journal\.log is damaged.*delete the folder"):
        search(tmp_path, asked(trials=5))


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search(tmp_path, asked(trials=4))
    assert capfd.readouterr() == ("", "")


def test_without_optuna_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else real(name, *rest)
    )
    with pytest.raises(UserError, match=r"pip install 'emergence\[search\]'"):
        search(tmp_path, asked())
