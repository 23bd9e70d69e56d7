"""Fine-tuned models in words and tables: what each way of tuning scores beside baselines, and which one was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emergence.analysis.adapted import VALIDATION, Place, Tuned, best_tuned, tuned_models
from emergence.core.adaptation import TunedRecord
from emergence.core.schema import Interval
from emergence.report.data import ReportData
from emergence.report.numbers import MISSING, decimal, percent, power, quantity
from emergence.report.texts import Texts

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "MARK",
    "Chosen",
    "TaskTable",
    "adaptation_table",
    "chosen_models",
    "interval_text",
    "measure_name",
    "task_tables",
    "way_name",
]

MARK = "✓"
LONG = 12  # rows from which smaller models are folded
_WRITTEN = ("exact_match", "f1", "bleu", "chrf", "rouge_l", "rouge_1", "rouge_2", "token_accuracy")


@dataclass(frozen=True)
class TaskTable:
    """The rows of one task: those of the largest models and the baselines, then those of smaller models.

    ``marked`` says of every row whether validation chose it.
    """

    title: str
    lead: str
    header: list[str]
    rows: list[list[str]]
    marked: list[bool]
    smaller: list[list[str]] = field(default_factory=list)
    smaller_marked: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Chosen:
    """The chosen variant of the largest model of a family, with its confusion on a test set where it has classes.

    ``confusion`` [C][C] counts over all seeds: rows are what it is, columns what it was called.
    """

    way: Tuned
    name: str
    test: str
    labels: list[str]
    confusion: list[list[int]]

    @property
    def classes(self) -> list[tuple[str, float | None, float | None, float | None, int]]:
        """Label, precision, recall, F1 and number of examples of every class; None where it is not defined."""
        found = []
        for place, label in enumerate(self.labels):
            right, true = self.confusion[place][place], sum(self.confusion[place])
            called = sum(row[place] for row in self.confusion)
            found.append(
                (
                    label,
                    right / called if called else None,
                    right / true if true else None,
                    2 * right / (called + true) if called + true else None,
                    true // max(1, self.way.seeds),
                )
            )
        return found

    @property
    def pairs(self) -> list[tuple[str, str, int, float]]:
        """What it is, what it was called, how often, and in which share of the class; the most frequent first."""
        cells = [
            (self.labels[i], self.labels[j], count, count / sum(row))
            for i, row in enumerate(self.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        return sorted(cells, key=lambda cell: -cell[2])


def task_tables(data: ReportData, texts: Texts) -> list[TaskTable]:
    """Return a table for every task that models were tuned for, on the largest number of examples."""
    if data.adaptations is None:
        return []
    ways = tuned_models(data.adaptations, largest=True)
    tasks = dict.fromkeys(way.task for way in ways)
    return [_task_table([way for way in ways if way.task == task], texts) for task in tasks]


def chosen_models(data: ReportData) -> dict[str, list[Chosen]]:
    """Return by task the chosen variant of the largest model of each family, on the largest number of examples."""
    found: dict[str, list[Chosen]] = {}
    if data.adaptations is None:
        return found
    ways = [way for way in tuned_models(data.adaptations, largest=True) if way.chosen]
    for way in ways:
        largest = next(other for other in ways if (other.task, other.family) == (way.task, way.family))
        if way is largest:
            found.setdefault(way.task, []).append(_chosen(way))
    return found


def adaptation_table(data: ReportData, *, language: str = "en") -> Table | None:
    """Return for the terminal, per task, what validation chose among all models beside the best baseline; None where
    nothing was tuned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if data.adaptations is None or not data.adaptations.tuned:
        return None
    texts = Texts(language)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    table.caption, table.caption_justify = texts("adaptation.line"), "left"
    for key in ("task", "model", "score", "best.baseline"):
        table.add_column(texts("column.task" if key == "task" else f"adaptation.{key}"), overflow="fold")
    ways = tuned_models(data.adaptations, largest=True)
    for task in dict.fromkeys(way.task for way in ways):
        own = [way for way in ways if way.task == task]
        place = _places(own)[0] if _places(own) else None
        best = best_tuned(own)
        baselines = [way for way in own if way.baseline and place in way.scores]
        strongest = max(baselines, key=lambda way: _estimate(way, place), default=None)
        name = texts("adaptation.best.none")
        if best is not None:
            name = texts("adaptation.chosen", model=best.model, variant=way_name(best, texts))
        shown = MISSING if strongest is None else f"{_baseline(strongest)} {_cell(strongest, place)}"
        score = MISSING if best is None or place is None else f"{texts.metric(place[2])} {_cell(best, place)}"
        table.add_row(*(Text(cell) for cell in (_title(own, texts), name, score, shown)))
    return table


def way_name(way: Tuned, texts: Texts) -> str:
    """Return a variant in words, with how many tasks were learnt first."""
    if way.before is None:
        return way.variant
    return texts("adaptation.after.one" if way.before == 1 else "adaptation.after", variant=way.variant, n=way.before)


def measure_name(way: Tuned, texts: Texts) -> str:
    """Return in words what validation measures."""
    name = VALIDATION[way.kind][0]
    return texts("adaptation.loss") if name == "loss" else texts.metric(name)


def interval_text(interval: Interval | None) -> str:
    """Return ``0.731 (0.702–0.760)``."""
    if interval is None or interval.estimate is None:
        return MISSING
    shown = decimal(interval.estimate)
    if interval.low is None or interval.high is None:
        return shown
    return f"{shown} ({decimal(interval.low)}–{decimal(interval.high)})"


def _task_table(ways: Sequence[Tuned], texts: Texts) -> TaskTable:
    places, measure = _places(ways), measure_name(ways[0], texts)
    learnt = any(way.share is not None and way.share < 1 for way in ways)
    trained = any(way.validation is not None for way in ways)
    uneven = len({(way.seeds, way.diverged) for way in ways}) > 1
    header = [texts("adaptation.model"), texts("adaptation.way"), *(_heading(place, places, texts) for place in places)]
    header += [texts("adaptation.validation", metric=measure)] if trained else []
    header += [texts("adaptation.share")] if learnt else []
    header += [texts("adaptation.flops")] if trained else []
    header += [texts("adaptation.seeds")] if uneven else []

    def row(way: Tuned) -> list[str]:
        model = f"{way.model} ({quantity(way.params, 3)})" if way.params else way.model
        first = [texts("adaptation.baseline"), _baseline(way)] if way.baseline else [model, way_name(way, texts)]
        first[1] += f" {MARK}" if way.chosen else ""
        cells = [_cell(way, place) for place in places]
        cells += [decimal(way.validation)] if trained else []
        cells += [percent(way.share)] if learnt else []
        cells += [MISSING if way.baseline or not way.seeds else power(way.flops)] if trained else []
        gone = f" ({texts('adaptation.diverged', n=way.diverged)})" if way.diverged else ""
        return first + cells + ([f"{way.seeds}{gone}"] if uneven else [])

    largest: dict[str, str] = {}
    for way in ways:
        if not way.baseline:
            largest.setdefault(way.family, way.model)
    small = [way for way in ways if not way.baseline and largest[way.family] != way.model]
    small = small if len(ways) > LONG else []
    shown = [way for way in ways if way not in small]
    return TaskTable(
        _title(ways, texts),
        _lead(ways, places, texts),
        header,
        [row(way) for way in shown],
        [way.chosen for way in shown],
        [row(way) for way in small],
        [way.chosen for way in small],
    )


def _lead(ways: Sequence[Tuned], places: Sequence[Place], texts: Texts) -> str:
    report = next((r.reports[places[0][0]] for way in ways for r in way.records if places and r.reports), None)
    if report is None or "majority" not in report:
        return ""
    return texts("adaptation.majority", share=decimal(report["majority"]))


def _title(ways: Sequence[Tuned], texts: Texts) -> str:
    known = next((way.examples for way in ways if way.examples is not None), None)
    return texts(
        "adaptation.task.unknown" if known is None else "adaptation.task", task=ways[0].task, n=f"{known or 0:,}"
    )


def _places(ways: Sequence[Tuned]) -> list[Place]:
    """Return what a task is judged by: all its metrics on the first test set, the headline on any other."""
    have = list(dict.fromkeys(place for way in ways for place in way.scores))
    tests = list(dict.fromkeys(test for test, _, _ in have))
    tests.sort(key=lambda test: test != "test")
    kind = ways[0].kind
    if kind == "classification":
        wanted: tuple[str, ...] = ("accuracy", "macro_f1", "roc_auc")
    elif kind == "regression":
        wanted = ("rmse", "spearman")
    else:
        headlines = dict.fromkeys(s.metric for way in ways for r in way.records for s in r.scores if s.headline)
        wanted = tuple(dict.fromkeys((*headlines, *_WRITTEN)))
    found = []
    for number, test in enumerate(tests):
        for metric in wanted if number == 0 or kind != "classification" else wanted[:1]:
            found += [place for place in have if place[0] == test and place[2] == metric]
    return found


def _heading(place: Place, places: Sequence[Place], texts: Texts) -> str:
    name = texts.metric(place[2])
    name = name[:1].upper() + name[1:]
    return name if len({test for test, _, _ in places}) == 1 else texts("adaptation.on", metric=name, test=place[0])


def _cell(way: Tuned, place: Place | None) -> str:
    found = way.scores.get(place) if place is not None else None
    if found is None:
        return MISSING
    # Macro-F1 and the area stand beside an accuracy that has its interval; to_json has theirs.
    return (
        decimal(found.estimate) if place is not None and place[2] in ("macro_f1", "roc_auc") else interval_text(found)
    )


def _baseline(way: Tuned) -> str:
    return way.variant.replace("_", " ")


def _estimate(way: Tuned, place: Place | None) -> float:
    found = way.scores.get(place) if place is not None else None
    return float("-inf") if found is None or found.estimate is None else found.estimate


def _chosen(way: Tuned) -> Chosen:
    reports: list[TunedRecord] = [one for one in way.records if one.reports]
    test = "test" if any("test" in one.reports for one in reports) else next(iter(reports[0].reports))
    own = [one.reports[test] for one in reports if "confusion" in one.reports.get(test, {})]
    name = way.model if not way.params else f"{way.model} ({quantity(way.params, 3)})"
    if not own:
        return Chosen(way, name, test, [], [])
    labels = [str(one["label"]) for one in own[0]["classes"]]
    matrices = [one["confusion"] for one in own]
    confusion = [[sum(m[i][j] for m in matrices) for j in range(len(labels))] for i in range(len(labels))]
    return Chosen(way, name, test, labels, confusion)
