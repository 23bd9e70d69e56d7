"""How axes, scores and models are drawn: the parts that the charts' specifications are put together from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from emergence.core.schema import Axis
from emergence.report.numbers import power, quantity
from emergence.report.texts import Texts
from emergence.report.theme import HEADLINE, MUTED, SMOOTH

__all__ = [
    "Extent",
    "Rungs",
    "Score",
    "Spec",
    "floor_rule",
    "height",
    "log_ticks",
    "place",
    "rung_colour",
    "score_tips",
    "tip",
    "valid",
]

Spec = dict[str, Any]
Extent = tuple[float, float]  # the smallest and the largest place on an axis


@dataclass(frozen=True)
class Rungs:
    """The models of a family, smallest first, and their colours."""

    names: tuple[str, ...]
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """How the vertical axis of a metric is drawn."""

    metric: str
    role: str  # "headline" or "smooth"
    floor: float | None
    ceiling: float | None
    higher_is_better: bool

    @property
    def colour(self) -> str:
        """The colour that this role has everywhere."""
        return HEADLINE if self.role == "headline" else SMOOTH


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return round places on a logarithmic axis, few enough to label each: powers of ten, and 2 and 5 on short axes."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = math.log10(high / low)
    mantissas = (1, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.2 else (1,)
    stride = 1 + int(decades // 8)
    places = (mantissa * 10.0**power for power in range(first, last + 1, stride) for mantissa in mantissas)
    return tuple(place for place in places if low * 0.94 <= place <= high * 1.06)


def place(axis: Axis, extent: Extent, texts: Texts) -> Spec:
    """Return the horizontal encoding of an axis: logarithmic with round, labelled ticks; the loss runs downwards."""
    encoding: Spec = {"field": axis, "type": "quantitative"}
    title = texts(f"axis.{axis}.long")
    if axis == "loss":
        scale = {"type": "linear", "reverse": True, "zero": False, "nice": False, "padding": 14}
        return {**encoding, "scale": scale, "axis": {"title": title, "tickCount": 6, "format": "~g"}}
    ticks = _bit_ticks(*extent) if axis == "bits" else log_ticks(*extent)
    labels = [_tick_label(tick, axis) for tick in ticks]
    # The labels are made here, so that they read like the numbers in the text.
    expression = f"{json.dumps(labels, ensure_ascii=False)}[indexof({json.dumps(list(ticks))}, datum.value)]"
    scale = {"type": "log", "nice": False, "padding": 14}
    return {**encoding, "scale": scale, "axis": {"title": title, "values": list(ticks), "labelExpr": expression}}


def _bit_ticks(low: float, high: float) -> tuple[float, ...]:
    return tuple(bits for bits in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0) if low * 0.94 <= bits <= high * 1.06)


def _tick_label(tick: float, axis: Axis) -> str:
    return power(tick, 1).removeprefix("1×") if axis == "flops" or tick >= 1e15 else quantity(tick)


def height(score: Score, texts: Texts) -> Spec:
    """Return the vertical encoding of a score; a headline metric spans guessing to ceiling."""
    scale: Spec = {"zero": False, "nice": True}
    if score.role == "headline" and score.floor is not None and score.ceiling is not None:
        scale = {"domain": [min(0.0, score.floor), score.ceiling], "clamp": False, "nice": False}
    title = texts.metric(score.metric) + ("" if score.higher_is_better else f" ({texts('role.lower')})")
    return {"field": "score", "type": "quantitative", "scale": scale, "axis": {"title": title, "grid": True}}


def floor_rule(score: Score) -> list[Spec]:
    """Return the layer that draws the score of guessing; none where it is unknown."""
    if score.floor is None:
        return []
    return [
        {
            "mark": {"type": "rule", "strokeDash": [4, 4], "color": MUTED, "opacity": 0.8},
            "encoding": {"y": {"datum": score.floor}},
            "data": {"values": [{}]},
        }
    ]


def rung_colour(rungs: Rungs, texts: Texts, legend: bool) -> Spec:
    """Return the colour encoding of the models; a long ladder names every few of them in its legend."""
    shown = rungs.names if len(rungs.names) <= 10 else rungs.names[:: max(1, len(rungs.names) // 8)]
    return {
        "field": "model",
        "type": "nominal",
        "scale": {"domain": list(rungs.names), "range": list(rungs.colours)},
        "legend": {"title": texts("column.rung"), "values": list(shown), "symbolType": "circle", "symbolOpacity": 1}
        if legend
        else None,
    }


def valid(field: str) -> Spec:
    """Return the filter for rows that have a place on a logarithmic axis."""
    return {"filter": f"isValid(datum.{field}) && datum.{field} > 0"}


def tip(field: str, title: str) -> Spec:
    """Return one line of a tooltip."""
    if field in ("params", "tokens", "flops", "examples", "at"):
        return {"field": field, "type": "quantitative", "title": title, "format": ".3s"}
    if field in ("model", "seed", "family", "method", "curve", "amount"):
        return {"field": field, "type": "nominal", "title": title}
    return {"field": field, "type": "quantitative", "title": title, "format": ".4~g"}


def score_tips(score: Score, texts: Texts) -> list[Spec]:
    """Return the tooltip lines of a score and its interval."""
    return [tip("score", texts.metric(score.metric)), tip("low", "5 %"), tip("high", "95 %")]
