"""Specifications of what stands beside the curves: replicas, change points, forecasts, and scores against the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emergence.core.schema import Axis
from emergence.report.encodings import Extent, Score, Spec, floor_rule, height, place, score_tips, tip, valid
from emergence.report.texts import Texts
from emergence.report.theme import FORECAST, HEADLINE, MUTED, ONSET, OUTSIDE, THRESHOLD

__all__ = [
    "change_layers",
    "forecast_chart",
    "loss_curve_chart",
    "next_layers",
    "next_model_layers",
    "replica_chart",
    "start_layers",
]

_HEIGHT = 250
_EDGE = 14  # pixels between the left edge and the first place: the padding of a logarithmic axis


def next_layers(axis: Axis, x: Spec, score: Score, texts: Texts) -> list[Spec]:
    """Return the forecast for a scale beyond the ladder, with its interval and its method: table ``next``."""
    data: Spec = {"data": {"name": "next"}, "transform": [valid(axis)]}
    tooltip = [
        tip("method", texts("forecasts.method")),
        tip(axis, texts(f"axis.{axis}")),
        tip("score", texts.metric(score.metric)),
        tip("low", "5 %"),
        tip("high", "95 %"),
    ]
    return [
        {
            **data,
            "mark": {"type": "rule", "color": FORECAST, "strokeWidth": 1.8},
            "encoding": {"x": x, "y": {**height(score, texts), "field": "low"}, "y2": {"field": "high"}},
        },
        {
            **data,
            "mark": {"type": "point", "shape": "diamond", "color": FORECAST, "size": 80, "strokeWidth": 2},
            "encoding": {"x": x, "y": height(score, texts), "tooltip": tooltip},
        },
        {
            **data,
            # At the foot of the plot, where a curve that rises leaves room.
            "mark": {"type": "text", "color": FORECAST, "align": "right", "baseline": "bottom", "dx": 9, "dy": -3},
            "encoding": {"x": x, "y": {"value": _HEIGHT}, "text": {"field": "label"}},
        },
    ]


def next_model_layers(axis: Axis, x: Spec, colour: Spec, score: Score, texts: Texts) -> list[Spec]:
    """Return the forecasts for single models beyond their curves, each in its model's colour: table ``next``."""
    data: Spec = {"data": {"name": "next"}, "transform": [valid(axis)]}
    tooltip = [
        tip("model", texts("column.rung")),
        tip("method", texts("forecasts.method")),
        tip(axis, texts(f"axis.{axis}")),
        *score_tips(score, texts),
    ]
    return [
        {
            **data,
            "mark": {"type": "rule", "strokeWidth": 1.4, "strokeDash": [3, 2]},
            "encoding": {
                "x": x,
                "y": {**height(score, texts), "field": "low"},
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            **data,
            "mark": {"type": "point", "shape": "diamond", "size": 70, "strokeWidth": 2},
            "encoding": {"x": x, "y": height(score, texts), "color": colour, "tooltip": tooltip},
        },
    ]


def start_layers(axis: Axis, colour: Spec, score: Score, texts: Texts) -> list[Spec]:
    """Return the scores at 0 (not fine-tuned, no task trained on) as short level lines at the left edge: table
    ``start``."""
    tooltip = [tip("model", texts("column.rung")), tip(axis, texts(f"axis.{axis}")), *score_tips(score, texts)]
    return [
        {
            "data": {"name": "start"},
            "mark": {"type": "rule", "strokeWidth": 3},
            "encoding": {
                "x": {"value": 0},
                "x2": {"value": _EDGE},
                "y": height(score, texts),
                "color": colour,
                "tooltip": tooltip,
            },
        }
    ]


def change_layers(x: Spec, colour: Spec, score: Score, texts: Texts) -> list[Spec]:
    """Return the change points of single models on their curves: table ``changes``."""
    data: Spec = {"data": {"name": "changes"}, "transform": [{"filter": "isValid(datum.at)"}]}
    y = {**height(score, texts), "field": "level"}
    tooltip = [
        tip("model", texts("column.rung")),
        tip("at", texts("changes.one")),
        tip("before", texts("changes.before")),
        tip("after", texts("changes.after")),
    ]
    return [
        {
            **data,
            "mark": {"type": "rule", "strokeWidth": 1.4, "strokeDash": [2, 2]},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": colour},
        },
        {
            **data,
            "mark": {"type": "point", "shape": "triangle-up", "size": 95, "strokeWidth": 2, "opacity": 1},
            "encoding": {"x": {**x, "field": "at"}, "y": y, "color": colour, "tooltip": tooltip},
        },
    ]


def replica_chart(axis: Axis, extent: Extent, texts: Texts) -> Spec:
    """Return the share of able replicas along an axis: tables ``shares``, ``course`` and ``half``.

    ``half`` holds where half of the replicas have the ability, ``course`` the curve that says so.
    """
    x = place(axis, extent, texts)
    y: Spec = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "nice": False},
        "axis": {"title": texts("replicas.axis"), "format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]},
    }
    shares: Spec = {"data": {"name": "shares"}, "transform": [valid(axis)]}
    tooltip = [
        tip(axis, texts(f"axis.{axis}")),
        tip("able", texts("replicas.able")),
        tip("replicas", texts("column.seeds")),
        tip("low", "5 %"),
        tip("high", "95 %"),
    ]
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            {
                "data": {"name": "half"},
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rect", "opacity": 0.1, "color": THRESHOLD},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "data": {"name": "half"},
                "transform": [{"filter": "isValid(datum.at)"}],
                "mark": {"type": "rule", "color": THRESHOLD, "strokeWidth": 1.3},
                "encoding": {"x": {**x, "field": "at"}},
            },
            {
                "data": {"name": "course"},
                "transform": [valid(axis)],
                "mark": {"type": "line", "color": HEADLINE, "strokeWidth": 1.8},
                "encoding": {"x": x, "y": y},
            },
            {
                **shares,
                "mark": {"type": "rule", "color": HEADLINE, "strokeWidth": 1.2, "opacity": 0.7},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                **shares,
                "mark": {"type": "point", "filled": True, "color": HEADLINE, "opacity": 1, "size": 60},
                "encoding": {"x": x, "y": y, "tooltip": tooltip},
            },
        ],
    }


def forecast_chart(methods: Sequence[tuple[str, str]], domain: tuple[float, float], texts: Texts) -> Spec:
    """Return forecasts of held-out scores against the truth, with the diagonal: table ``forecasts``.

    ``methods`` are names and words of the methods to choose from, the first one shown at first.
    """
    scale = {"domain": list(domain), "nice": False, "zero": False}
    x: Spec = {
        "field": "truth",
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": texts("forecasts.truth"), "tickCount": 6, "grid": True},
    }
    y: Spec = {**x, "field": "estimate", "axis": {"title": texts("forecasts.estimate"), "tickCount": 6, "grid": True}}
    chosen: Spec = {"data": {"name": "forecasts"}, "transform": [{"filter": "datum.method == chosen"}]}
    colour: Spec = {
        "field": "inside",
        "type": "nominal",
        "scale": {"domain": [True, False], "range": [FORECAST, OUTSIDE]},
        "legend": None,
    }
    tooltip = [
        tip("curve", texts("column.task")),
        tip("truth", texts("forecasts.truth.short")),
        tip("estimate", texts("forecasts.estimate.short")),
        tip("low", "5 %"),
        tip("high", "95 %"),
    ]
    layers: list[Spec] = [
        {
            "data": {"values": [{"truth": end, "estimate": end} for end in domain]},
            "mark": {"type": "line", "color": MUTED, "strokeDash": [5, 4], "strokeWidth": 1.2},
            "encoding": {"x": x, "y": y},
        },
        {
            **chosen,
            "mark": {"type": "rule", "opacity": 0.4, "clip": True},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            **chosen,
            "mark": {"type": "point", "filled": True, "size": 34, "opacity": 0.85, "clip": True},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
        },
    ]
    bind = {
        "input": "select",
        "options": [name for name, _ in methods],
        "labels": [word for _, word in methods],
        "name": texts("forecasts.method") + " ",
    }
    shown: dict[str, Any] = {"name": "chosen", "value": methods[0][0]}
    return {
        "width": "container",
        "height": 340,
        "params": [shown | ({"bind": bind} if len(methods) > 1 else {})],
        "layer": layers,
    }


def loss_curve_chart(
    score: Score, extent: Extent, groups: Sequence[str], colours: Sequence[str], texts: Texts, *, legend: bool
) -> Spec:
    """Return the scores of all checkpoints against the validation loss: tables ``points`` and ``onset``.

    Points are coloured by ``group``: the family, or the model where there is one family.
    """
    x = place("loss", extent, texts)
    # The order of the groups is that of the legend; only a few of a long ladder are named.
    named = list(groups) if len(groups) <= 10 else list(groups[:: max(1, len(groups) // 8)])
    colour: Spec = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": list(groups), "range": list(colours)},
        "legend": {"title": None, "values": named, "symbolType": "circle"} if legend else None,
    }
    tooltip = [
        tip("family", texts("column.family")),
        tip("model", texts("column.rung")),
        tip("tokens", texts("axis.tokens")),
        tip("loss", texts("axis.loss")),
        tip("score", texts.metric(score.metric)),
    ]
    onset: Spec = {"data": {"name": "onset"}}
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            {
                **onset,
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rect", "opacity": 0.12, "color": ONSET},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                **onset,
                "transform": [{"filter": "isValid(datum.at)"}],
                "mark": {"type": "rule", "color": ONSET, "strokeWidth": 1.3},
                "encoding": {"x": {**x, "field": "at"}},
            },
            *floor_rule(score),
            {
                "data": {"name": "points"},
                "mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.7},
                "encoding": {"x": x, "y": height(score, texts), "color": colour, "tooltip": tooltip},
            },
        ],
    }
