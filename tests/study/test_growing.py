"""A study grows: forecasts made before the larger rung was run are compared with it, and nothing is trained twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from emergence.core.errors import UserError
from emergence.core.forecasts import ForecastFile
from emergence.core.settings import validate_study
from emergence.core.store import write_sealed
from emergence.study.folder import open_folder
from tests.tiny import GROWN, TINY, emergence, write_study


@pytest.fixture(scope="module")
def begun(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny study, finished with three rungs."""
    home = write_study(tmp_path_factory.mktemp("growing"))
    shutil.copytree(finished, home / "runs" / "tiny")
    return home


def forecasts(home: Path) -> ForecastFile:
    return ForecastFile.model_validate_json((home / "runs" / "tiny" / "forecasts.json").read_bytes())


def test_a_forecast_is_compared_with_the_rung_that_is_run_after_it(begun: Path) -> None:
    before = forecasts(begun)
    weights = {p: p.stat().st_mtime_ns for p in (begun / "runs").rglob("*.safetensors")}
    (begun / "tiny.yaml").write_text(GROWN)
    done = emergence("run", "tiny.yaml", cwd=begun)
    assert done.returncode == 0, done.stderr
    assert "6 of 8 runs are finished already" in done.stderr
    assert weights == {path: path.stat().st_mtime_ns for path in weights}
    after = forecasts(begun)
    scores = pl.read_parquet(begun / "runs" / "tiny" / "scores.parquet")
    top = scores.filter((pl.col("model") == "R03") & (pl.col("step") == pl.col("step").max()))
    for old, kept in zip(before.next, after.kept, strict=True):
        assert (kept.made, kept.place) == (old.made, old.place)
        assert [p.score for p in kept.predictions] == [p.score for p in old.predictions]
        if kept.axis == "params":
            measured = top.filter((pl.col("task") == kept.task) & (pl.col("metric") == kept.metric))
            assert kept.truth == pytest.approx(measured["score"].mean())
            assert kept.truth_at == pytest.approx(measured["params"].mean())
            for prediction in kept.predictions:
                assert (prediction.error is None) == (prediction.score.estimate is None)
    assert {f.at_model for f in after.held_out if f.axis == "params"} == {"R03"}
    assert all(f.fitted_rungs == 4 for f in after.next if f.axis == "params")
    report = (begun / "runs" / "tiny" / "report.md").read_text()
    assert "R03" in report


@pytest.mark.parametrize(
    ("largest", "rungs", "says"),
    [("3e4", 4, "has no place in this ladder"), ("5.4772e3", 2, "has no place in this ladder")],
)
def test_a_ladder_that_moved_is_another_study(
    finished: Path, tmp_path: Path, largest: str, rungs: int, says: str
) -> None:
    home = write_study(tmp_path, TINY.replace("largest: 1e4, rungs: 3", f"largest: {largest}, rungs: {rungs}"))
    done = emergence("run", "tiny.yaml", "--out", finished, cwd=home)
    assert done.returncode == 2
    assert says in done.stderr
    assert "next to rungs: 4, largest: 18257.4" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_ladder_of_equal_steps_is_told_its_next_step(tmp_path: Path) -> None:
    ladder = {"smallest": 2048, "largest": 6144, "rungs": 3, "vary": "depth", "spacing": "linear"}
    document = {
        "name": "steps",
        "model": {"family": "gnn", "ladder": ladder},
        "training": {"tokens": 1e5},
        "tasks": [{"name": "reachability"}],
    }
    study = validate_study(document, source="here")
    with open_folder(tmp_path, study, {}):
        (tmp_path / "models" / "R02-s0").mkdir(parents=True)
        write_sealed(tmp_path / "models" / "R02-s0" / "config.json", {"config": {"depth": 3}})
    smaller = validate_study(
        document | {"model": {"family": "gnn", "ladder": ladder | {"largest": 4096, "rungs": 2}}}, source="here"
    )
    with pytest.raises(UserError, match="next to rungs: 4, largest: 8192"), open_folder(tmp_path, smaller, {}):
        pass
