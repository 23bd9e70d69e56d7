"""What holds across families and sizes: scores on one curve of the loss, thresholds that carry over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emergence.core.carry_over import CarryOver
from emergence.core.collapse import Collapse
from emergence.report.data import Ability, ReportData
from emergence.report.numbers import decimal, percent
from emergence.report.texts import Texts

__all__ = [
    "CarryTable",
    "CollapseTable",
    "carry_counts",
    "carry_table",
    "collapse_counts",
    "collapse_table",
    "sorted_collapses",
    "worded",
]

_UNDECIDED = 60  # pairs listed of those that nothing decides


@dataclass(frozen=True)
class CollapseTable:
    """The readings as rows of text: score, answer, onset, largest offset, share explained, sentence."""

    count: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class CarryTable:
    """The pairs as rows of text: task, along, between, answer, difference, sentence."""

    count: str
    header: list[str]
    decided: list[list[str]]
    undecided: list[list[str]]  # the first few of them
    undecided_title: str


def sorted_collapses(data: ReportData, abilities: Sequence[Ability]) -> list[Collapse]:
    """Return the readings: headline metrics before smooth ones, decided before open ones, in the abilities' order."""
    order = {(a.task, a.metric, a.shots): index for index, a in reversed(list(enumerate(abilities)))}

    def rank(one: Collapse) -> tuple[bool, bool, int, str]:
        place = order.get((one.task, one.metric, one.shots))
        return (place is None, one.collapses is None, len(order) if place is None else place, one.task)

    return sorted(data.collapses, key=rank)


def collapse_counts(collapses: Sequence[Collapse]) -> dict[str, int]:
    """Return how many scores fall on one curve, do not, and stay open."""
    yes, no = (sum(one.collapses is answer for one in collapses) for answer in (True, False))
    return {"n": len(collapses), "yes": yes, "no": no, "open": len(collapses) - yes - no}


def carry_counts(carry_overs: Sequence[CarryOver]) -> dict[str, int]:
    """Return how many thresholds carry over, do not, and stay open."""
    yes, no = (sum(one.carries is answer for one in carry_overs) for answer in (True, False))
    return {"n": len(carry_overs), "yes": yes, "no": no, "open": len(carry_overs) - yes - no}


def worded(counts: dict[str, int], texts: Texts) -> dict[str, str]:
    """Return counts as they stand in a sentence: nought is a word."""
    return {key: f"{n:,}" if n else texts("count.none") for key, n in counts.items()}


def collapse_table(collapses: Sequence[Collapse], texts: Texts) -> CollapseTable | None:
    """Return the readings as a table; None where there are none."""
    if not collapses:
        return None
    keys = ("column.task", "collapse.column", "collapse.column.onset", "collapse.column.offset")
    header = [texts(key) for key in (*keys, "collapse.column.explained", "column.reason")]
    shots = len({one.shots for one in collapses}) > 1
    rows = [
        [
            f"{one.task} · {texts.metric(one.metric)}" + (f" · {one.shots}-shot" if shots else ""),
            texts(f"collapse.{str(one.collapses).lower()}"),
            texts.amount(one.onset_loss) if one.onset_loss.estimate is not None else decimal(None),
            texts.amount(one.largest_offset) if one.largest_offset.estimate is not None else decimal(None),
            percent(one.explained),
            one.reason,
        ]
        for one in collapses
    ]
    return CollapseTable(texts("collapse.count", **worded(collapse_counts(collapses), texts)), header, rows)


def carry_table(carry_overs: Sequence[CarryOver], texts: Texts) -> CarryTable | None:
    """Return the decided pairs, those that differ most first, and the undecided ones beside them."""
    if not carry_overs:
        return None
    decided = [one for one in carry_overs if one.carries is not None]
    # Undecided pairs of two known thresholds tell more than pairs of which one is missing.
    undecided = sorted(
        (one for one in carry_overs if one.carries is None), key=lambda one: (one.p is None, one.p or 0.0)
    )
    decided.sort(key=lambda one: (one.carries is True, -abs(one.difference_decades.estimate or 0.0)))
    values = carry_counts(carry_overs)
    keys = ("column.task", "column.axis", "carry.column.between", "carry.column.answer", "carry.column.difference")
    listed = undecided[:_UNDECIDED]
    part = "carry.undecided" if len(listed) == len(undecided) else "carry.undecided.part"
    return CarryTable(
        texts("carry.count" if decided else "carry.none", **worded(values, texts)),
        [texts(key) for key in (*keys, "column.reason")],
        [_carry_row(one, texts) for one in decided],
        [_carry_row(one, texts) for one in listed],
        texts(part, shown=len(listed), n=len(undecided)),
    )


def _carry_row(one: CarryOver, texts: Texts) -> list[str]:
    answer = {True: "carry.true", False: "carry.false", None: "carry.open"}[one.carries]
    shots = f" · {one.shots}-shot" if one.shots else ""
    known = one.difference_decades.estimate is not None
    return [
        f"{one.task} · {texts.metric(one.metric)}{shots}",
        texts(f"axis.{one.axis}.short"),
        texts("carry.pair", first=one.first, second=one.second) + (f" ({one.model})" if one.model else ""),
        texts(answer),
        texts.amount(one.difference_decades) if known else decimal(None),
        one.reason,
    ]
