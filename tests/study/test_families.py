"""Several families in one study: each has the ladder, and the report lays their curves over one another."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import validate_study
from emergence.report.study import read_study
from emergence.study.plan import make_plan
from tests.tiny import TINY, emergence, write_study

TWO = TINY.replace("family: gpt", "family: [gpt, lstm]").replace("rungs: 3", "rungs: 2")


def test_each_family_has_the_whole_ladder() -> None:
    study = validate_study(
        {
            "name": "two",
            "model": {"family": ["gpt", "lstm"], "ladder": {"smallest": 5e3, "largest": 2e4, "rungs": 2}},
            "training": {"tokens": 1e5},
            "tasks": [{"name": "copy"}],
        },
        source="here",
    )
    rungs = make_plan(study).rungs
    assert [rung.name for rung in rungs] == ["gpt-R00", "gpt-R01", "lstm-R00", "lstm-R01"]
    for small, large in zip(rungs[:2], rungs[2:], strict=True):
        assert large.config.non_embedding_parameters == pytest.approx(small.config.non_embedding_parameters, rel=0.1)
    assert study.model_dump(mode="json")["model"]["family"] == ["gpt", "lstm"]


@pytest.mark.parametrize(
    ("family", "said"), [(["gpt", "gpt"], "listed twice"), (["gpt", "ltsm"], "lstm"), ([], "family")]
)
def test_wrong_families_are_refused(family: list[str], said: str) -> None:
    document = {
        "name": "two",
        "model": {"family": family, "ladder": {"smallest": 5e3, "largest": 2e4, "rungs": 2}},
        "training": {"tokens": 1e5},
        "tasks": [{"name": "copy"}],
    }
    with pytest.raises(UserError, match=said):
        make_plan(validate_study(document, source="here"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two families that ran to its end."""
    folder = write_study(tmp_path_factory.mktemp("two"), TWO)
    done = emergence("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 rungs of each of gpt, lstm" in done.stderr + done.stdout
    return folder / "runs" / "tiny"


def test_every_run_has_scores_under_its_family(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    runs = scores.select("family", "model", "seed").unique()
    assert sorted(runs.rows()) == [(f, f"{f}-R0{r}", s) for f in ("gpt", "lstm") for r in (0, 1) for s in (0, 1)]
    verdicts = json.loads((finished / "verdicts.json").read_text())["verdicts"]
    assert {verdict["family"] for verdict in verdicts} == {"gpt", "lstm"}


def test_a_family_without_a_counterpart_is_not_exported(finished: Path, tmp_path: Path) -> None:
    model = em.load(finished / "models" / "lstm-R01-s0")
    assert (model.name, model.family) == ("lstm-R01", "lstm")
    assert len(model.generate("abcd|", max_tokens=5)) <= 5
    with pytest.raises(UserError, match="no counterpart of the family lstm; .* can be exported"):
        model.export(tmp_path / "out")


def test_the_report_lays_the_families_over_one_another(finished: Path) -> None:
    data = read_study(finished)
    assert {fit.family for fit in data.scaling} <= {"gpt", "lstm"}
    page = (finished / "report.html").read_text()
    assert "Families over one another" in page
    drawn = {path.name for path in (finished / "figures").glob("families-*.svg")}
    assert {"families-1-params.svg", "families-1-flops.svg", "families-1-loss.svg", "families-1-tokens.svg"} <= drawn
    assert "lstm" in (finished / "figures" / "families-1-params.svg").read_text()


def test_a_third_family_joins_the_same_folder(finished: Path) -> None:
    folder = finished.parent.parent
    before = pl.read_parquet(finished / "scores.parquet")
    done = emergence("run", "tiny.yaml", "--set", "model.family=[gpt,lstm,mamba]", cwd=folder)
    assert done.returncode == 0, done.stderr
    after = pl.read_parquet(finished / "scores.parquet")
    assert set(after["family"]) == {"gpt", "lstm", "mamba"}
    kept = after.filter(pl.col("family") != "mamba").sort(before.columns)
    assert kept.select("model", "seed", "task", "metric", "score").equals(
        before.sort(before.columns).select("model", "seed", "task", "metric", "score")
    )
    refused = emergence("run", "tiny.yaml", "--set", "model.family=lstm", cwd=folder)
    assert refused.returncode == 2
    assert "has no place in this ladder" in refused.stderr
