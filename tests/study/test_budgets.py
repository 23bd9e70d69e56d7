"""A study whose checkpoints are budgets: one trunk, a branch for each, and what is lost is made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings, validate_study
from tests.tiny import TINY, emergence, write_study

BUDGETS = TINY.replace("checkpoints: 4", "budgets: [2.4e4, 1.2e4]").replace("rungs: 3", "rungs: 2")


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = write_study(tmp_path_factory.mktemp("budgets"), BUDGETS)
    done = emergence("run", "tiny.yaml", "--set", "analysis.axes=[params, tokens]", cwd=home)
    assert done.returncode == 0, done.stderr
    return home


def scores(home: Path) -> pl.DataFrame:
    return pl.read_parquet(home / "runs" / "tiny" / "scores.parquet")


def test_every_budget_is_a_point_of_its_own(budgeted: Path) -> None:
    table = scores(budgeted)
    assert sorted(table["tokens"].unique()) == [12_000, 24_000, 60_000]
    assert table["loss"].null_count() == 0
    assert sorted(table["step"].unique()) == [25, 50, 125]
    plan = emergence("plan", "tiny.yaml", cwd=budgeted).stdout
    assert "12,000, 24,000, 60,000" in " ".join(plan.split())
    report = (budgeted / "runs" / "tiny" / "report.md").read_text()
    assert "R01" in report


def test_it_goes_on_from_its_own_study_file(budgeted: Path) -> None:
    done = emergence("run", "runs/tiny/study.yaml", "--out", "runs/tiny", cwd=budgeted)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs are finished already" in done.stderr


@pytest.mark.parametrize("lost", ["history.parquet", "checkpoints/000025", "trunk", "checkpoints/000125"])
def test_what_is_lost_is_made_again(budgeted: Path, tmp_path: Path, lost: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(budgeted, home)
    run = home / "runs" / "tiny" / "models" / "R00-s0"
    before = scores(home)
    if lost.endswith("parquet"):
        content = bytearray((run / lost).read_bytes())
        content[len(content) // 2] ^= 4
        (run / lost).write_bytes(content)
    else:
        shutil.rmtree(run / lost)
    for record in (home / "runs" / "tiny" / "records").glob("R00-s0-*"):
        record.unlink()
    done = emergence("run", "tiny.yaml", "--set", "analysis.axes=[params, tokens]", cwd=home)
    assert done.returncode == 0, done.stderr
    assert scores(home).equals(before)


def settings(training: dict[str, object]) -> StudySettings:
    ladder = {"smallest": 3e3, "largest": 1e4, "rungs": 2}
    document = {
        "name": "b",
        "model": {"ladder": ladder},
        "training": {"tokens": 1e5, **training},
        "tasks": [{"name": "copy"}],
    }
    return validate_study(document, source="here")


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"budgets": [2e5]}, "exceeds tokens"),
        ({"budgets": [1e3]}, "before the warmup"),
        ({"budgets": [5e4], "checkpoints": 3}, "take the place of checkpoints"),
        ({"budgets": [5e4], "decay": 0}, "set decay above 0"),
        ({"budgets": [-1]}, "greater than or equal"),
        ({"budgets": "many"}, "number"),
    ],
)
def test_budgets_that_cannot_be_are_refused(training: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        settings(training)


def test_one_budget_needs_no_list() -> None:
    assert settings({"budgets": 5e4}).training.budgets == (5e4,)
