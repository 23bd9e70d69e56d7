"""What `import emergence as em` offers, used as the README does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import emergence as em


def test_a_finished_study_is_opened(finished: Path) -> None:
    result = em.open_study(finished)
    frame = result.verdicts.to_frame()
    assert len(frame) == len(result.verdicts)
    assert {"task", "verdict", "gain", "gain_low", "threshold_high", "surprise_z", "bimodal_p"} <= set(frame.columns)
    assert {v.axis for v in result.verdicts.on("loss")} == {"loss"}
    assert not any(kind.is_nested() for kind in frame.dtypes)  # it can be written as CSV
    assert result.verdicts.to_json()["schema_version"] == 1
    assert result.scores.height == 144
    assert {c.axis for c in result.calibration} <= {"params", "loss"}
    assert {c.task for c in result.collapses} == {"copy", "text"}
    assert result.carry_overs == ()  # one family
    assert result.forecasts is not None
    document = result.to_json()
    assert list(document) == [
        "schema_version",
        "verdicts",
        "calibration",
        "collapses",
        "carry_overs",
        "onset_shifts",
        "forecasts",
    ]
    assert document["forecasts"] == json.loads((finished / "forecasts.json").read_text())


def test_figures_are_found_by_task_and_saved(finished: Path, tmp_path: Path) -> None:
    result = em.open_study(finished)
    result.plot("copy").save(tmp_path / "copy.svg")
    assert "<svg" in (tmp_path / "copy.svg").read_text()
    with pytest.raises(em.UserError, match="unknown figure"):
        result.plot("cheese")


def test_a_report_goes_where_it_is_wanted(finished: Path, tmp_path: Path) -> None:
    page = em.open_study(finished).report(tmp_path / "mine")
    assert page == tmp_path / "mine" / "report.html"
    assert (tmp_path / "mine" / "report.md").exists()


def test_a_model_generates_and_scores(finished: Path) -> None:
    model = em.load(finished / "models" / "R02-s1")
    assert model.step == 125
    likelihood = model.loglikelihood("abcd|", "abcd")
    assert likelihood.total == pytest.approx(sum(likelihood.logprobs))
    assert likelihood.total < 0
    assert model.generate("abcd|", max_tokens=4) == model.generate("abcd|", max_tokens=4)
    first, again = (model.generate("the ", max_tokens=20, temperature=1.0, seed=3) for _ in range(2))
    assert first == again
    early = em.load(finished / "models" / "R02-s1", step=1)
    assert early.loglikelihood("abcd|", "abcd").total < likelihood.total


def test_the_records_hold_what_the_loaded_model_says(finished: Path) -> None:
    model = em.load(finished / "models" / "R02-s1")
    records = pl.read_parquet(finished / "records" / "R02-s1-000125.parquet").filter(pl.col("task") == "copy")
    for row in records.head(20).iter_rows(named=True):
        assert model.loglikelihood(row["prompt"], row["target"]).logprobs == pytest.approx(row["logprobs"], abs=1e-5)
        assert model.generate(row["prompt"], max_tokens=len(row["target"])) == row["output"]


def test_an_exported_model_is_loaded_by_transformers(finished: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = em.load(finished / "models" / "R02-s0")
    folder = model.export(tmp_path / "llama")
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([[model.tokenizer.end_id, *tokenizer.encode("abcd|abcd")]])
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, model.network(ids), atol=1e-5, rtol=1e-5)


def test_an_outside_table_is_judged() -> None:
    rows = [
        {"model": f"m{k}", "params": 10.0**k, "task": "t", "metric": "acc", "score": 0.1 * k, "n": 1000, "floor": 0.0}
        for k in range(1, 9)
    ]
    result = em.analyze(pl.DataFrame(rows))  # axes without values are left out
    assert [(v.task, v.verdict) for v in result.verdicts] == [("t", "gradual")]
    with pytest.raises(em.UserError, match="where the report should go"):
        result.report()
    with pytest.raises(em.UserError, match="did you mean 'm3'"):
        em.analyze(pl.DataFrame(rows), models=["n3"])


def level_table(rungs: int) -> pl.DataFrame:
    """A task that no size changes: quick to judge, and to forecast."""
    scores = np.random.default_rng(2).binomial(400, 0.5, size=9) / 400
    return pl.DataFrame(
        [
            {"model": f"m{k}", "params": 10.0**k, "task": "t", "metric": "acc", "score": scores[k], "n": 400}
            for k in range(1, rungs + 1)
        ]
    )


def test_outside_results_leave_what_a_study_leaves(tmp_path: Path) -> None:
    told: list[str] = []
    result = em.analyze(level_table(5), axes="params", resamples=60, progress=told.append)
    result.report(tmp_path / "page")
    left = {path.name for path in (tmp_path / "page").iterdir()}
    assert left == {"report.html", "report.md", "figures", "scores.parquet", "verdicts.json", "forecasts.json"}
    document = result.to_json()
    assert document["forecasts"] == json.loads((tmp_path / "page" / "forecasts.json").read_text())
    del document["forecasts"]
    assert document == json.loads((tmp_path / "page" / "verdicts.json").read_text())
    again = em.analyze(tmp_path / "page" / "scores.parquet", axes="params", resamples=60)
    assert again.verdicts.to_json() == result.verdicts.to_json()
    assert told[0] == "reading"
    assert any("judging 1 curve" in words for words in told)


def test_a_forecast_is_compared_once_a_larger_model_is_there(tmp_path: Path) -> None:
    em.analyze(level_table(5), axes="params", resamples=60).report(tmp_path)
    content = (tmp_path / "forecasts.json").read_text()
    (first,) = json.loads(content)["next"]
    em.analyze(level_table(5), axes="params", resamples=60).report(tmp_path)
    assert (tmp_path / "forecasts.json").read_text() == content  # the dates too
    larger = em.analyze(level_table(6), axes="params", resamples=60)
    assert larger.forecasts is not None
    assert larger.forecasts.kept == ()
    larger.report(tmp_path)
    (kept,) = json.loads((tmp_path / "forecasts.json").read_text())["kept"]
    assert kept["made"] == first["made"]
    assert kept["truth"] == level_table(6)["score"][5]
    for before, after in zip(first["predictions"], kept["predictions"], strict=True):
        assert after["score"] == before["score"]
        if after["score"]["estimate"] is not None:
            assert after["error"] == pytest.approx(after["score"]["estimate"] - kept["truth"])
    quiet = em.analyze(level_table(7), axes="params", resamples=60, forecast=False).with_earlier(tmp_path)
    assert quiet.forecasts is not None  # none were made, and none is lost
    assert [f.truth is not None for f in quiet.forecasts.kept] == [True, True]


def test_a_folder_with_something_else_in_it_is_left_alone(finished: Path, tmp_path: Path) -> None:
    result = em.analyze(level_table(3), axes="params", resamples=60, forecast=False)
    assert result.forecasts is None
    before = (finished / "verdicts.json").read_bytes()
    with pytest.raises(em.UserError, match="holds a study"):
        result.report(finished)
    assert (finished / "verdicts.json").read_bytes() == before
    (tmp_path / "forecasts.json").write_text("[1, 2")
    with pytest.raises(em.UserError, match="move it away"):
        result.report(tmp_path)
    assert (tmp_path / "forecasts.json").read_text() == "[1, 2"


def test_what_is_asked_of_an_analysis_is_checked(tmp_path: Path) -> None:
    table = level_table(4)
    for wrong, says in [
        ({"axes": ["parms"]}, "did you mean 'params'"),
        ({"axes": ["loss", "flops"]}, "there are values on params"),
        ({"above": 1e2}, "name that axis alone"),
        ({"above": 1e9, "axes": "params"}, "inside the ladder"),
        ({"hold_out": 0}, "hold_out is 0"),
        ({"resamples": 3}, "20 or more"),
        ({"mapping": {"modl": "M"}}, "did you mean 'model'"),
        ({"mapping": tmp_path / "none.yaml"}, "cannot read"),
    ]:
        with pytest.raises(em.UserError, match=says):
            em.analyze(table, **wrong)
    held = em.analyze(table, axes="params", above=1.5e2, resamples=60).forecasts
    assert held is not None
    assert {f.at for f in held.held_out} == {1e3, 1e4}


def test_a_study_object_is_planned() -> None:
    study = em.Study.model_validate(
        {
            "name": "mine",
            "model": {"ladder": {"smallest": 3e3, "largest": 1e5, "rungs": 4}, "context": 16},
            "training": {"tokens": 1e5},
            "tasks": [{"name": "copy", "length": 4}],
        }
    )
    plan = em.plan(study)
    assert [rung.name for rung in plan.rungs] == ["R00", "R01", "R02", "R03"]
    assert len(plan.jobs) == 12
    assert [job.rung.name for job in plan.jobs][:3] == ["R03"] * 3  # the most expensive first
    assert 0 < plan.flops == sum(job.rung.flops for job in plan.jobs)


@pytest.mark.parametrize(("path", "says"), [("nowhere", "not a folder"), (".", "no config.json")])
def test_what_is_no_model_says_so(tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(em.UserError, match=says):
        em.load(tmp_path / path)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="cheese"):
        em.cheese  # noqa: B018
    assert "run" in dir(em)
