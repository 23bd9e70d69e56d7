"""Adapted models in the report: a curve each, where compression breaks, and how fine-tuning moves the onset."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import visit
from rich.console import Console
from sample import study, verdict

from emergence.core.onset_shift import AmountOnset, OnsetShift
from emergence.core.schema import Axis, Interval, VerdictName
from emergence.report import ReportData, figures, render_html, render_markdown, verdict_table
from emergence.report.data import complete
from emergence.report.terminal import breaking_lines

PLACES: dict[Axis, tuple[float, ...]] = {
    "examples": (0, 10, 100, 1000, 10000),
    "bits": (2, 3, 4.5, 8, 32),
    "training_tasks": (1, 2, 4, 8),
}


def rows(axis: Axis, family: str, *models: str, sized: bool = False) -> list[dict[str, Any]]:
    """Return three seeds of every model, whose score rises along the axis."""
    found = []
    for index, model in enumerate(models):
        for step, place in enumerate(PLACES[axis]):
            for seed in range(3):
                score = min(1.0, max(0.0, 0.3 * (step + index) - 0.3)) * (0.97 + 0.01 * seed)
                row = {"model": model, "family": family, "seed": seed, "task": "addition", "metric": "exact_match"}
                row |= {"score": score, "n": 200, "floor": 0.0, "ceiling": 1.0, "role": "headline", "stderr": 0.01}
                found.append(row | {axis: float(place)} | ({"params": 1e4 * 4**index} if sized else {}))
    return found


def report() -> ReportData:
    """Return a report that holds a ladder, models tuned, compressed and trained on several tasks."""
    whole = study()
    adapted = pl.DataFrame(
        [
            *rows("examples", "gpt tuned", "R02", "R07", "R08", sized=True),
            *rows("bits", "gpt wanda", "R02", "R07"),
            *rows("training_tasks", "gpt tasks", "R07"),
        ],
        infer_schema_length=None,
    )
    reach = Interval(estimate=3.7, low=3.2, high=4.3)
    said = "Exact match survives down to 4.5 bits per weight, breaks at about 3.7 (3.2 to 4.3) and is gone at 3. "
    verdicts = [
        verdict(
            "addition", VerdictName.SUDDEN, "bits", family="gpt wanda", model=model, threshold=reach, reason=said
        ).model_copy(update={"onset": Interval(estimate=3.1, low=3.0, high=3.2)})
        for model in ("R02", "R07")
    ]
    verdicts += [verdict("addition", VerdictName.EMERGENT, "examples", family="gpt tuned", model="R07")]
    verdicts += [verdict("addition", VerdictName.GRADUAL, "training_tasks", family="gpt tasks", model="R07")]
    place = Interval(estimate=3e5, low=2e5, high=5e5)
    shift = OnsetShift(
        family="gpt tuned",
        task="addition",
        metric="exact_match",
        shots=0,
        axis="params",
        fitted_to=1.6e5,
        limit=0.0,
        amounts=(AmountOnset(examples=100, models=3, seen=True, onset=Interval(estimate=3e4), law=place),),
        shift=Interval(estimate=-0.4, low=-0.5, high=-0.3),
        predicted=place,
        predicted_by_line=place,
        measured=Interval(reason="not measured"),
        reason="Ten times the examples move it by a factor of 2.5.",
    )
    values = {**vars(whole)}
    values |= {
        "scores": pl.concat([complete(whole.scores), complete(adapted)]),
        "verdicts": [*whole.verdicts, *verdicts],
        "onset_shifts": (shift,),
    }
    return ReportData(**values)


def _words(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", re.sub(r"<script\b.*?</script>|<style\b.*?</style>", "", html, flags=re.DOTALL))


def test_the_page_says_where_compression_breaks_and_what_fine_tuning_moves() -> None:
    text = " ".join(_words(render_html(report())).split())
    for wanted in (
        "Exact match survives down to 4.5 bits per weight",
        "Breaks at",
        "Gone below",
        "Judged over the compression of R0",
        "Judged over the fine-tuning examples of R07",
        "Judged over the number of tasks that R07 was trained on",
        "A short line at the left edge is the score at 0",
        "read from right to left",
        "How fine-tuning moves the onset",
        "Ten times the examples move it",
        "R07, 4.5 bits per weight",
        "R07, 0 examples",
    ):
        assert wanted in text


def test_a_ladder_is_drawn_as_if_no_model_had_been_adapted() -> None:
    with_adapted, alone = figures(report()), figures(study())
    ladders = {name for name in alone if name.endswith("-params") and not name.startswith(("families", "scaling"))}
    renamed = {name: name.replace("addition", "addition-gpt").replace("recall", "recall-gpt") for name in ladders}
    assert ladders
    for name in ladders:
        before, after = alone[name].spec, with_adapted[renamed[name]].spec
        points = [
            sorted(map(str, rows)) for key, rows in before["datasets"].items() if key.startswith(("mean", "final"))
        ]
        now = [sorted(map(str, rows)) for key, rows in after["datasets"].items() if key.startswith(("mean", "final"))]
        assert sorted(points) == sorted(now)


@pytest.mark.parametrize("axis", ["examples", "bits", "training_tasks"])
def test_every_model_has_its_curve(axis: Axis) -> None:
    family = {"examples": "gpt-tuned", "bits": "gpt-wanda", "training_tasks": "gpt-tasks"}[axis]
    spec = figures(report())[f"addition-{family}-{axis}"].spec
    tables = spec["datasets"]
    (curve,) = [found for name, found in tables.items() if re.fullmatch(rf"{axis}\d+", name)]
    assert {row[axis] for row in curve} == {place for place in PLACES[axis] if place > 0}
    assert all(row["replicas"] == 3 for row in curve)
    starts = [row for name, found in tables.items() if "-start" in name for row in found]
    assert ({row[axis] for row in starts} == {0}) == (axis == "examples")


def test_the_figure_of_onsets_has_a_line_for_every_amount(tmp_path: Path) -> None:
    figure = figures(report())["onsets-1"]
    means = figure.spec["datasets"]["onsets0"]
    assert {row["amount"] for row in means} == {"nothing", "10 examples", "100 examples", "1k examples", "10k examples"}
    (predicted,) = figure.spec["datasets"]["onsets0-predicted"]
    assert (predicted["at"], predicted["level"]) == (3e5, 0.05)
    assert "<svg" in figure.save(tmp_path / "onsets.svg").read_text(encoding="utf-8")


def test_markdown_and_terminal_say_it_too() -> None:
    data = report()
    markdown = render_markdown(data)
    assert "### How fine-tuning moves the onset" in markdown
    assert "survives down to 4.5 bits per weight" in markdown
    assert breaking_lines(data.verdicts) == [
        f"addition · gpt wanda, {model}: survives down to about 3.7 bits per weight (3.2–4.3); gone below 3.1."
        for model in ("R02", "R07")
    ]
    console = Console(width=100, file=io.StringIO())
    console.print(verdict_table(data.verdicts))
    table = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(word in table for word in ("examples", "bits", "tasks", "gpt wanda"))


def test_the_page_is_drawn_whole_in_a_browser(tmp_path: Path) -> None:
    told = visit(render_html(report()), tmp_path, width=1400)
    assert told["faults"] == []
    assert told["drawn"] == told["charts"]
    assert json.dumps(told["requests"]) == "[]"
