"""From a table to verdicts and forecasts: in one process or two, with the forecasts made before, on too little."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergence.analysis import Assessment, normalise
from emergence.analysis.assessment import judge_axes
from emergence.core.errors import UserError
from emergence.core.forecasts import ForecastFile
from emergence.study.aside import Aside
from emergence.study.findings import (
    ask_forecasts,
    check_above,
    find,
    read_forecasts,
    with_earlier,
    write_findings,
)
from emergence.study.judging import ForecastRequest, JudgeRequest

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def table(rungs: int) -> pl.DataFrame:
    """Two tasks that do not change with size but for their noise."""
    rng = np.random.default_rng(5)
    return normalise(
        pl.DataFrame(
            [
                {"model": f"m{k}", "params": 10.0 ** (3 + k), "task": task, "metric": "acc", "n": 500, "floor": 0.0,
                 "score": rng.binomial(500, 0.4) / 500}
                for task in ("a", "b") for k in range(rungs)
            ]
        )
    )  # fmt: skip


def request(now: datetime = NOON, hold_out: int = 1, above: float | None = None) -> ForecastRequest:
    return ask_forecasts(("params",), hold_out=hold_out, above=above, resamples=40, seed=0, now=now)


def made(scores: pl.DataFrame, now: datetime) -> ForecastFile:
    found = ForecastFile.model_validate(request(now).answer(scores))
    assert found.next
    return found


def test_a_process_of_its_own_forecasts_the_same() -> None:
    scores = table(5)
    with Aside(scores, request(), beside=False) as here:
        expected = ForecastFile.model_validate(here.result())
    with Aside(scores, request(), beside=True) as beside:
        found = ForecastFile.model_validate(beside.result())
    assert [f.place for f in found.next] == [f.place for f in expected.next]
    for one, other in zip([*found.next, *found.held_out], [*expected.next, *expected.held_out], strict=True):
        for p, q in zip(one.predictions, other.predictions, strict=True):
            assert p.score.estimate == (None if q.score.estimate is None else pytest.approx(q.score.estimate, rel=1e-6))


def test_axes_judged_beside_are_judged_the_same() -> None:
    scores = pl.concat([table(4).with_columns(tokens=10.0 ** (5 + k), step=10 * k) for k in range(4)])
    with Aside(scores, JudgeRequest(["tokens"], 40, 0), beside=True) as beside:
        found = Assessment.from_json(beside.result())
    here = judge_axes(scores, axes=["tokens"], resamples=40, seed=0)
    assert found.verdicts == here.verdicts != ()
    assert found.calibration == here.calibration
    both = find(scores, axes=("params", "tokens"), resamples=40, seed=0, request=None).assessment
    assert [v.axis for v in both.verdicts] == ["params"] * 2 + ["tokens"] * 8
    assert both.verdicts[2:] == here.verdicts


def test_what_goes_wrong_in_the_other_process_is_told() -> None:
    with Aside(table(1), request(), beside=True) as beside, pytest.raises(UserError, match="nothing can be forecast"):
        beside.result()
    broken = ForecastRequest(("params",), 1, None, 40, 0, "2026-03-01")  # no time zone
    with (
        Aside(table(3), broken, beside=True) as beside,
        pytest.raises(RuntimeError, match="ValueError: now needs a time zone"),
    ):
        beside.result()
    with Aside(table(3), request(), beside=True) as beside:
        assert beside._child is not None
        beside._child.kill()
        with pytest.raises(RuntimeError, match="ended with status -9"):
            beside.result()


def test_the_other_process_ends_with_its_parent(tmp_path: Path) -> None:
    scores = tmp_path / "scores.parquet"
    pl.concat([table(30).with_columns(pl.lit(f"t{i}").alias("task")).unique("model") for i in range(40)]).write_parquet(
        scores
    )
    values = {"axes": ["params"], "hold_out": 1, "above": None, "resamples": 500, "seed": 0, "now": NOON.isoformat()}
    job = {"scores": str(scores), "module": "emergence.study.judging", "kind": "ForecastRequest", "values": values}
    command = [sys.executable, "-m", "emergence.study.aside"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.close()  # the parent is gone while the forecasts are made
        assert child.wait(timeout=30) == 1


def test_too_little_leaves_a_note_and_no_error() -> None:
    found = find(table(1), axes=("params",), resamples=40, seed=0, request=request())
    assert found.forecasts is None
    assert "nothing can be forecast" in found.notes[0]
    found = find(table(3), axes=("params",), resamples=40, seed=0, request=request(hold_out=9))
    assert found.forecasts is not None
    assert "were not tried" in found.notes[0]
    assert find(table(3), axes=("params",), resamples=40, seed=0, request=None).forecasts is None


def test_what_is_asked_for_is_checked_before_any_work() -> None:
    every = ("params", "tokens", "flops", "loss")
    common = {"resamples": 40, "seed": 0, "now": NOON}
    assert ask_forecasts(every, hold_out=1, above=None, **common).axes == ("params", "flops", "loss")
    assert ask_forecasts(("tokens",), hold_out=2, above=None, **common).axes == ("tokens",)
    limited = ask_forecasts(every, hold_out=1, above={"flops": 1e9}, **common)
    assert (limited.axes, limited.above) == (("flops",), 1e9)
    for axes, hold_out, above, says in [
        (("params", "loss"), 1, 1e9, "name that axis alone"),
        (("params",), 0, None, "hold_out is 0"),
        (("parms",), 1, None, "did you mean 'params'"),
    ]:
        with pytest.raises(UserError, match=says):
            ask_forecasts(axes, hold_out=hold_out, above=above, **common)
    check_above(table(4), request(above=5e4))
    for value in (1e9, 1e3, float("nan"), -1.0):
        with pytest.raises(UserError, match="choose a value inside the ladder"):
            check_above(table(4), request(above=value))
    with pytest.raises(UserError, match="resamples is 5"):
        find(table(3), axes=("params",), resamples=5, seed=0, request=None)


def test_dates_are_those_of_the_first_time_and_nothing_is_lost() -> None:
    scores = table(5)
    first = made(scores, NOON)
    assert with_earlier(None, first, scores) == first
    again = with_earlier(first, made(scores, NOON + timedelta(days=3)), scores)
    assert again == first
    without = with_earlier(first, None, scores)
    assert without is not None
    assert without.kept == first.next
    larger = table(6).filter(~((pl.col("task") == "b") & (pl.col("model") == "m5")))
    grown = with_earlier(first, made(larger, NOON + timedelta(days=9)), larger)
    assert grown is not None
    truths = {f.task: f.truth for f in grown.kept}
    assert truths["a"] == pytest.approx(table(6).filter(pl.col("model") == "m5")["score"][0])
    assert {f.made for f in grown.kept} == {NOON.isoformat()}
    assert {f.made for f in grown.next if f.task == "a"} == {(NOON + timedelta(days=9)).isoformat()}
    assert with_earlier(grown, made(larger, NOON + timedelta(days=20)), larger) == grown  # whole, dates and all


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    scores = table(4)
    forecasts = made(scores, NOON)
    write_findings(tmp_path, scores, Assessment(()), forecasts)
    assert read_forecasts(tmp_path / "forecasts.json") == forecasts
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(scores)
    assert json.loads((tmp_path / "verdicts.json").read_text())["verdicts"] == []
    assert read_forecasts(tmp_path / "none.json") is None
    content = (tmp_path / "forecasts.json").read_bytes()
    for damage in (content[:100], b"[]", b'{"held_out": 3}', b"\xff"):
        (tmp_path / "forecasts.json").write_bytes(damage)
        with pytest.raises(UserError, match=r"forecasts\.json holds no forecasts") as caught:
            read_forecasts(tmp_path / "forecasts.json")
        assert "\n" not in str(caught.value)
