"""Vega-Lite specifications as plain dicts. Each names the tables it needs; none holds data.

Because the data stays outside, abilities with the same metric and axis share one specification, letter for letter.
"""

from __future__ import annotations

from emergence.core.schema import Axis
from emergence.report.encodings import (
    Extent,
    Rungs,
    Score,
    Spec,
    floor_rule,
    height,
    place,
    rung_colour,
    score_tips,
    tip,
    valid,
)
from emergence.report.evidence_charts import change_layers, next_layers, next_model_layers, start_layers
from emergence.report.texts import Texts
from emergence.report.theme import MUTED, ONSET, THRESHOLD

__all__ = ["loss_chart", "model_chart", "runs_chart", "scale_chart", "scaling_chart"]

_HEIGHT = 250


def scale_chart(axis: Axis, extent: Extent, score: Score, texts: Texts) -> Spec:
    """Return scores at the last checkpoint against scale: tables ``mean``, ``final``, ``marks`` and ``next``."""
    x = place(axis, extent, texts)
    tooltip = [tip("model", texts("column.rung")), tip(axis, texts(f"axis.{axis}")), *score_tips(score, texts)]
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *_mark_layers(x),
            *floor_rule(score),
            {
                "data": {"name": "mean"},
                "transform": [valid(axis)],
                "mark": {"type": "line", "color": score.colour, "strokeWidth": 1.8},
                "encoding": {"x": x, "y": height(score, texts)},
            },
            {
                "data": {"name": "final"},
                "transform": [valid(axis)],
                "mark": {"type": "point", "filled": True, "color": score.colour, "opacity": 0.38, "size": 44},
                "encoding": {
                    "x": x,
                    "y": height(score, texts),
                    "tooltip": [tooltip[0], tip("seed", texts("column.seeds")), *tooltip[1:3]],
                },
            },
            {
                "data": {"name": "mean"},
                "transform": [valid(axis)],
                "mark": {"type": "rule", "color": score.colour, "strokeWidth": 1.4},
                "encoding": {"x": x, "y": {**height(score, texts), "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "data": {"name": "mean"},
                "transform": [valid(axis)],
                "mark": {"type": "point", "filled": True, "color": score.colour, "opacity": 1, "size": 52},
                "encoding": {"x": x, "y": height(score, texts), "tooltip": tooltip},
            },
            *next_layers(axis, x, score, texts),
        ],
    }


def model_chart(axis: Axis, extent: Extent, score: Score, rungs: Rungs, texts: Texts, *, legend: bool = False) -> Spec:
    """Return mean scores along an axis of `PER_MODEL`, one line per model.

    Tables ``steps`` and ``marks`` (thresholds); ``changes`` (change points of the pace) on the axis `tokens`, and on
    the others ``start`` (scores at 0, drawn at the left edge) and ``next`` (forecasts).
    """
    x, colour = place(axis, extent, texts), rung_colour(rungs, texts, legend)
    tooltip = [tip("model", texts("column.rung")), tip(axis, texts(f"axis.{axis}")), *score_tips(score, texts)]
    base = {"data": {"name": "steps"}, "transform": [valid(axis)]}
    thresholds = {"data": {"name": "marks"}, "transform": [{"filter": "isValid(datum.at)"}]}
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *floor_rule(score),
            {
                **base,
                "mark": {"type": "line", "strokeWidth": 1.6},
                "encoding": {"x": x, "y": height(score, texts), "color": colour},
            },
            {
                **base,
                "mark": {"type": "rule", "opacity": 0.55 if len(rungs.names) <= 10 else 0.25},
                "encoding": {
                    "x": x,
                    "y": {**height(score, texts), "field": "low"},
                    "y2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                **base,
                "mark": {"type": "point", "filled": True, "size": 26, "opacity": 1},
                "encoding": {"x": x, "y": height(score, texts), "color": colour, "tooltip": tooltip},
            },
            {
                **thresholds,
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.8},
                "encoding": {
                    "x": {**x, "field": "low"},
                    "x2": {"field": "high"},
                    "y": {**height(score, texts), "field": "level"},
                    "color": colour,
                },
            },
            {
                **thresholds,
                "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": {**x, "field": "at"},
                    "y": {**height(score, texts), "field": "level"},
                    "color": colour,
                    "tooltip": [tooltip[0], tip("at", texts.level("threshold", axis))],
                },
            },
            *(
                change_layers(x, colour, score, texts)
                if axis == "tokens"
                else [*start_layers(axis, colour, score, texts), *next_model_layers(axis, x, colour, score, texts)]
            ),
        ],
    }


def runs_chart(axis: Axis, extent: Extent, score: Score, rungs: Rungs, texts: Texts, *, legend: bool = False) -> Spec:
    """Return the score of every replica at every checkpoint, one line each: table ``runs``."""
    x, colour = place(axis, extent, texts), rung_colour(rungs, texts, legend)
    base = {"data": {"name": "runs"}, "transform": [valid(axis)]}
    tooltip = [
        tip("model", texts("column.rung")),
        tip("seed", texts("column.seeds")),
        tip(axis, texts(f"axis.{axis}")),
        tip("score", texts.metric(score.metric)),
    ]
    order = {"field": "tokens", "type": "quantitative"}
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *floor_rule(score),
            {
                **base,
                "mark": {"type": "line", "strokeWidth": 1.2, "opacity": 0.75},
                "encoding": {
                    "x": x,
                    "y": height(score, texts),
                    "color": colour,
                    "detail": {"field": "seed"},
                    "order": order,
                },
            },
            {
                **base,
                "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.75},
                "encoding": {"x": x, "y": height(score, texts), "color": colour, "tooltip": tooltip},
            },
        ],
    }


def loss_chart(
    column: str, extent: Extent, domain: tuple[float, float] | None, rungs: Rungs, texts: Texts, *, legend: bool = False
) -> Spec:
    """Return a loss against tokens on logarithmic axes, one line per run: table ``history``."""
    scale: Spec = {"type": "log", "nice": False} | ({"domain": list(domain)} if domain else {})
    y = {
        "field": column,
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": texts("losses.unit"), "format": "~g", "tickCount": 6},
    }
    tooltip = [
        tip("model", texts("column.rung")),
        tip("seed", texts("column.seeds")),
        tip("tokens", texts("axis.tokens")),
        tip(column, texts.metric(column)),
    ]
    encoding = {
        "x": place("tokens", extent, texts),
        "y": y,
        "color": rung_colour(rungs, texts, legend),
        "detail": {"field": "seed"},
    }
    return {
        "width": "container",
        "height": _HEIGHT,
        "data": {"name": "history"},
        "transform": [valid("tokens"), {"filter": f"isValid(datum.{column}) && datum.{column} > 0"}],
        "mark": {
            "type": "line",
            "strokeWidth": 1.2,
            "opacity": 0.85,
            "point": {"size": 12, "opacity": 0.7} if column == "validation_loss" else False,
        },
        "encoding": {**encoding, "tooltip": tooltip},
    }


def scaling_chart(axis: Axis, extent: Extent, metric: str, rungs: Rungs, texts: Texts, *, legend: bool = False) -> Spec:
    """Return a loss against scale with its fitted line on logarithmic axes: tables ``points`` and ``fit``."""
    x = place(axis, extent, texts)
    y = {
        "field": "loss",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False},
        "axis": {"title": texts.metric(metric), "format": "~g", "tickCount": 6},
    }
    tooltip = [
        tip("model", texts("column.rung")),
        tip(axis, texts(f"axis.{axis}")),
        tip("loss", texts.metric(metric)),
    ]
    colour = rung_colour(rungs, texts, legend)
    points: Spec = {
        "data": {"name": "points"},
        "transform": [valid(axis)],
        "encoding": {"x": x, "y": y, "color": colour, "detail": {"field": "seed"}},
    }
    layers = [{**points, "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6}}] if axis == "tokens" else []
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *layers,
            {
                "data": {"name": "fit"},
                "mark": {"type": "line", "color": MUTED, "strokeWidth": 1.5, "strokeDash": [5, 4]},
                "encoding": {"x": x, "y": y},
            },
            {
                **points,
                "mark": {"type": "point", "filled": True, "size": 40 if axis != "tokens" else 14, "opacity": 0.9},
                "encoding": {**points["encoding"], "tooltip": tooltip},
            },
        ],
    }


def _mark_layers(x: Spec) -> list[Spec]:
    """Return the onset and the threshold: a band for the interval, a line for the estimate, a label above the plot."""
    data = {"data": {"name": "marks"}}
    kinds = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": ["onset", "threshold"], "range": [ONSET, THRESHOLD]},
        "legend": None,
    }
    at = {**x, "field": "at"}
    return [
        {
            **data,
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rect", "opacity": 0.1},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": kinds},
        },
        {
            **data,
            "transform": [{"filter": "isValid(datum.at)"}],
            "mark": {"type": "rule", "strokeWidth": 1.3, "opacity": 0.9},
            "encoding": {"x": at, "color": kinds},
        },
        *(
            {
                **data,
                "transform": [{"filter": f"isValid(datum.at) && datum.kind == '{kind}'"}],
                "mark": {"type": "text", "baseline": "bottom", "fontSize": 11, "dy": dy},
                "encoding": {"x": at, "y": {"value": 0}, "text": {"field": "label"}, "color": kinds},
            }
            for kind, dy in (("onset", -17), ("threshold", -4))
        ),
    ]
