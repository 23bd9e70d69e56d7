"""The section on adaptation, as page and Markdown show it: by task its table, and what the chosen models confuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emergence.report.adaptation import MARK, Chosen, TaskTable, chosen_models, task_tables, way_name
from emergence.report.adaptation_charts import MOST_CLASSES, adaptation_charts
from emergence.report.compressed import CompressedTable, compressed_table
from emergence.report.data import ReportData
from emergence.report.gallery import Chart, Gallery
from emergence.report.numbers import decimal, percent
from emergence.report.texts import Texts

__all__ = ["AdaptationSection", "ChosenPart", "TaskPart", "adaptation_section"]

_PAIRS = 15


@dataclass(frozen=True)
class ChosenPart:
    """What is shown of a chosen model: charts; the most confused pairs where a matrix would be too large; and
    precision, recall and F1 of every class, the worst first where there are many."""

    name: str
    charts: Sequence[Chart]
    pairs_title: str
    pair_header: list[str]
    pairs: list[list[str]]
    class_header: list[str]
    classes: list[list[str]]


@dataclass(frozen=True)
class TaskPart:
    """One task."""

    table: TaskTable
    chosen: list[ChosenPart] = field(default_factory=list)


@dataclass(frozen=True)
class AdaptationSection:
    """The whole section; ``lead`` and ``choice`` say how to read the tables of tasks."""

    lead: str
    choice: str
    tasks: list[TaskPart]
    compressed: CompressedTable | None


def adaptation_section(data: ReportData, texts: Texts, gallery: Gallery | None = None) -> AdaptationSection | None:
    """Return the section, with charts where there is a ``gallery`` to draw them in; None where nothing was adapted."""
    if data.adaptations is None:
        return None
    charts = adaptation_charts(gallery) if gallery is not None else {}
    chosen = chosen_models(data)
    parts = []
    for table, task in zip(
        task_tables(data, texts), dict.fromkeys(r.task for r in data.adaptations.tuned), strict=True
    ):
        own = chosen.get(task, [])
        drawn = [found for _, found in charts.get(task, [])] or [{} for _ in own]
        shown = [_part(one, found, texts) for one, found in zip(own, drawn, strict=True)]
        parts.append(TaskPart(table, shown))
    compressed = compressed_table(data, texts)
    lead, choice = texts("adaptation.lead"), texts("adaptation.choice", mark=MARK)
    return AdaptationSection(lead, choice, parts, compressed) if parts or compressed is not None else None


def _part(one: Chosen, charts: Mapping[str, Chart], texts: Texts) -> ChosenPart:
    name = texts("adaptation.chosen", model=one.name, variant=way_name(one.way, texts))
    title, pairs = "", []
    if len(one.labels) > MOST_CLASSES:
        pairs = [[truth, called, f"{count:,}", percent(share)] for truth, called, count, share in one.pairs[:_PAIRS]]
        words = {"n": len(one.labels), "model": one.name, "variant": way_name(one.way, texts)}
        title = texts("adaptation.pairs" if pairs else "adaptation.pairs.none", **words)
    classes = one.classes
    if len(classes) > MOST_CLASSES:
        classes = sorted(classes, key=lambda row: row[3] if row[3] is not None else -1.0)
    return ChosenPart(
        name,
        list(charts.values()),
        title,
        [texts(f"adaptation.{key}").capitalize() for key in ("is", "called", "count", "of_class")],
        pairs,
        [texts(f"adaptation.{key}") for key in ("class", "precision", "recall", "f1", "support")],
        [[label, decimal(p), decimal(r), decimal(f1), f"{support:,}"] for label, p, r, f1, support in classes],
    )
