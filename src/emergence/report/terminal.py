"""Verdicts for the terminal, and a few lines on what else was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from emergence.core.carry_over import CarryOver
from emergence.core.collapse import Collapse
from emergence.core.forecasts import ForecastFile
from emergence.core.schema import PER_MODEL, Calibration, Verdict, VerdictName
from emergence.report.across import carry_counts, collapse_counts, worded
from emergence.report.data import Ability, ReportData, find_abilities
from emergence.report.forecasts import best_method, kept_outcome
from emergence.report.markdown_marks import visible
from emergence.report.numbers import axis_value, decimal, percent
from emergence.report.texts import Texts

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["assessment_lines", "breaking_lines", "telling", "verdict_table"]

MANY = 60  # verdicts that a terminal still shows whole

_STYLES: dict[VerdictName, str] = {
    VerdictName.EMERGENT: "bold magenta",
    VerdictName.SUDDEN: "bold bright_red",
    VerdictName.MIRAGE: "bold yellow",
    VerdictName.INVERSE: "red",
    VerdictName.UNDERPOWERED: "dim",
    VerdictName.GRADUAL: "cyan",
    VerdictName.FLAT: "dim",
}


def telling(verdicts: Sequence[Verdict], *, language: str = "en") -> tuple[list[Verdict], str | None]:
    """Return the verdicts to show in a terminal, and a line that counts the others where there are too many for it.

    Of more than `MANY` only those that found something are shown: neither flat nor underpowered.
    """
    if len(verdicts) <= MANY:
        return list(verdicts), None
    untold = (VerdictName.FLAT, VerdictName.UNDERPOWERED)
    shown = [verdict for verdict in verdicts if verdict.verdict not in untold]
    texts = Texts(language)
    counts = [(name, sum(verdict.verdict is name for verdict in verdicts)) for name in untold]
    others = ", ".join(f"{number} {texts.verdict(name)}" for name, number in counts if number)
    return shown, texts("terminal.others", count=len(verdicts), others=others) if others else None


def verdict_table(
    verdicts: Sequence[Verdict], *, every_model: bool = False, reasons: bool = False, language: str = "en"
) -> Table:
    """Return the verdicts as a table for the terminal, the most telling first, coloured by verdict.

    It fits 80 columns. On the axes of `PER_MODEL`, where every model has a verdict of its own, only the last one given
    per ability is shown unless ``every_model`` asks for all of them. ``reasons`` adds the sentence behind each verdict.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    texts = Texts(language)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(texts("column.task"), overflow="fold", ratio=None, min_width=8)
    table.add_column(texts("column.verdict"), no_wrap=True)
    table.add_column(texts("column.axis"), no_wrap=True)
    table.add_column(texts("column.onset"), no_wrap=True, justify="right")
    table.add_column(texts("column.threshold"), justify="right")
    table.add_column(texts("column.gain"), no_wrap=True, justify="right")
    if reasons:
        table.add_column(texts("column.reason"), overflow="fold", ratio=1)
    previous = ""
    for ability, verdict in _rows(verdicts, every_model):
        title = visible(ability.title)
        name = Text(title if title != previous else "")
        if verdict.model is not None:
            name.append(f"  {visible(verdict.model)}", style="dim")
        if title != previous and previous and len(ability.verdicts) > 1:
            table.add_section()
        previous = title
        threshold = Text(axis_value(verdict.threshold.estimate, verdict.axis))
        if verdict.threshold.estimate is not None and (
            verdict.threshold.low is not None or verdict.threshold.high is not None
        ):
            threshold.append(f" ({texts.reach(verdict.threshold, verdict.axis)})", style="dim")
        cells = [
            name,
            Text(texts.verdict(verdict.verdict), style=_STYLES[verdict.verdict]),
            Text(texts(f"axis.{verdict.axis}.short"), style="dim"),
            Text(axis_value(verdict.onset.estimate, verdict.axis)),
            threshold,
            Text(decimal(verdict.gain.estimate, 2)),
        ]
        table.add_row(*cells, *([Text(visible(verdict.reason))] if reasons else []))
    return table


def breaking_lines(verdicts: Sequence[Verdict], *, language: str = "en") -> list[str]:
    """Return a line for every model and ability that compression breaks: down to how many bits it survives."""
    texts = Texts(language)
    nothing = ReportData(title="", description="", verdicts=verdicts, scores=pl.DataFrame())
    lines = []
    for ability in find_abilities(nothing):
        for verdict in ability.along("bits"):
            if verdict.threshold.estimate is None:
                continue
            lines.append(
                texts(
                    "terminal.breaks" if verdict.onset.estimate is not None else "terminal.breaks.only",
                    name=f"{visible(ability.title)}, {visible(verdict.model or '')}:",
                    threshold=texts.place(verdict.threshold, "bits"),
                    onset=axis_value(verdict.onset.estimate, "bits"),
                )
            )
    return lines


def assessment_lines(
    calibration: Sequence[Calibration],
    collapses: Sequence[Collapse],
    carry_overs: Sequence[CarryOver],
    forecasts: ForecastFile | None,
    *,
    language: str = "en",
) -> list[str]:
    """Return up to five plain lines to stand under the verdicts: false alarms, forecasts, loss collapse, carry-over.

    What was not asked, or has no data, has no line.
    """
    texts = Texts(language)
    lines = []
    for null, key in (("no trend", "alarms"), ("steady law", "steady")):
        simulated = [one for one in calibration if one.null == null]
        if simulated:
            counts = {"wrong": sum(c.false_alarms for c in simulated), "n": sum(c.simulated for c in simulated)}
            lines.append(texts(f"terminal.{key}", **worded(counts, texts)))
    best = best_method(forecasts) if forecasts is not None else None
    told = ""
    if best is not None:
        told = texts(
            f"terminal.{'followed' if best.method == 'recommended' else 'forecasts'}",
            method=texts.method(best.method),
            error=decimal(best.absolute_error_median),
            n=f"{best.forecasts:,}",
            coverage=percent(best.coverage),
        )
    known, inside = kept_outcome(forecasts.kept) if forecasts is not None else (0, 0)
    if known:
        told += " " * bool(told) + texts("terminal.kept", **worded({"inside": inside, "known": known}, texts))
    lines += [told] if told else []
    if collapses:
        lines.append(texts("terminal.collapse", **worded(collapse_counts(collapses), texts)))
    if carry_overs:
        lines.append(texts("terminal.carry", **worded(carry_counts(carry_overs), texts)))
    return [line[:1].upper() + line[1:] for line in lines]


def _rows(verdicts: Sequence[Verdict], every_model: bool) -> list[tuple[Ability, Verdict]]:
    nothing = ReportData(title="", description="", verdicts=verdicts, scores=pl.DataFrame())
    rows = []
    for ability in find_abilities(nothing):
        last = [ability.along(axis)[-1] for axis in PER_MODEL if ability.along(axis)]
        rows += [
            (ability, verdict)
            for verdict in ability.verdicts
            if every_model or verdict.model is None or verdict in last
        ]
    return rows
