"""Scores against the size of the model, one line per amount of fine-tuning, with every onset and the forecast one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emergence.analysis.onset_shift import tuned_rows
from emergence.core.onset_shift import OnsetShift
from emergence.core.schema import Axis, Interval
from emergence.report.encodings import Extent, Score, Spec, floor_rule, height, place, score_tips, tip
from emergence.report.gallery import Chart, Gallery, extent_of, score_of
from emergence.report.numbers import quantity
from emergence.report.series import mean_with_interval
from emergence.report.texts import Texts
from emergence.report.theme import FAMILIES

__all__ = ["onset_shift_charts"]

_HEIGHT = 280
_ONSET = 0.05


def onset_shift_charts(gallery: Gallery) -> list[tuple[OnsetShift, Chart]]:
    """Return a chart for every reading of how fine-tuning moves an onset; none where the report has no readings."""
    if not gallery.data.onset_shifts:
        return []
    rows, found = tuned_rows(gallery.scores), []
    for number, shift in enumerate(gallery.data.onset_shifts):
        curve = rows.filter(
            *(pl.col(key) == getattr(shift, key) for key in ("family", "task", "metric", "shots")),
            pl.col(shift.axis).is_not_null(),
        )
        if curve.is_empty():
            continue
        found.append((shift, _chart_of(gallery, shift, curve, f"onsets{number}")))
    return found


def _chart_of(gallery: Gallery, shift: OnsetShift, curve: pl.DataFrame, name: str) -> Chart:
    texts, score = gallery.texts, score_of(shift.metric, "headline", curve)
    amounts = sorted(curve["examples"].unique().to_list())
    labels = {value: _label(value, texts) for value in amounts}
    means = mean_with_interval(curve, ["examples", "model"]).with_columns(
        pl.col("examples").replace_strict(labels, return_dtype=pl.String).alias("amount")
    )
    columns = ["amount", "model", shift.axis, "score", "low", "high"]
    lowest, highest = extent_of(means, shift.axis)
    level = (
        None if score.floor is None or score.ceiling is None else score.floor + _ONSET * (score.ceiling - score.floor)
    )
    onsets = [(labels[one.examples], one.onset) for one in shift.amounts if one.examples in labels]
    tables = {
        "means": gallery.pool.add_frame(name, means.sort("examples", shift.axis), columns),
        "onsets": _marks(gallery, f"{name}-onsets", onsets, level),
        "predicted": _marks(gallery, f"{name}-predicted", [(_label(shift.limit, texts), shift.predicted)], level),
    }
    marked = [shift.predicted, *(onset for _, onset in onsets)]
    ends = [v for one in marked for v in (one.estimate, one.low, one.high) if v is not None]
    ends = [v for v in ends if lowest / 30 <= v <= highest * 30]  # an interval may reach far beyond the ladder
    extent = min([lowest, *ends]), max([highest, *ends])
    groups = list(dict.fromkeys([*labels.values(), _label(shift.limit, texts)]))
    spec = _spec(shift.axis, extent, score, groups, texts, legend=True)
    title = f"{shift.task} · {texts.metric(shift.metric)}" + (f" · {shift.family}" if shift.family else "")
    return gallery.chart(spec, tables, title, "")


def _label(examples: float, texts: Texts) -> str:
    return texts("onsets.without") if examples == 0 else texts("onsets.amount", n=quantity(examples))


def _marks(gallery: Gallery, name: str, marks: Sequence[tuple[str, Interval]], level: float | None) -> str:
    known = [(label, one) for label, one in marks if one.estimate is not None]
    return gallery.pool.add(
        name,
        {
            "amount": [label for label, _ in known],
            "at": [one.estimate for _, one in known],
            "low": [one.low for _, one in known],
            "high": [one.high for _, one in known],
            "level": [level for _ in known],
        },
    )


def _spec(axis: Axis, extent: Extent, score: Score, groups: Sequence[str], texts: Texts, *, legend: bool) -> Spec:
    """Return the chart: tables ``means``, ``onsets`` and ``predicted``."""
    x, y = place(axis, extent, texts), height(score, texts)
    x = {**x, "scale": {**x["scale"], "domain": list(extent)}}
    colour: Spec = {
        "field": "amount",
        "type": "nominal",
        "scale": {
            "domain": list(groups),
            "range": [FAMILIES[index % len(FAMILIES)][0] for index in range(len(groups))],
        },
        "legend": {"title": texts("onsets.legend"), "symbolType": "circle", "symbolOpacity": 1} if legend else None,
    }
    means: Spec = {"data": {"name": "means"}}
    tooltip = [
        tip("amount", texts("onsets.legend")),
        tip("model", texts("column.rung")),
        tip(axis, texts(f"axis.{axis}")),
        *score_tips(score, texts),
    ]
    layers: list[Spec] = [
        *floor_rule(score),
        {
            **means,
            "mark": {"type": "line", "strokeWidth": 1.6},
            "encoding": {"x": x, "y": y, "color": colour},
        },
        {
            **means,
            "mark": {"type": "rule", "opacity": 0.5},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            **means,
            "mark": {"type": "point", "filled": True, "size": 30, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
        },
    ]
    for name, shape, filled, word in (
        ("onsets", "triangle-up", True, texts("card.onset")),
        ("predicted", "diamond", False, texts("onsets.predicted")),
    ):
        at = {"x": {**x, "field": "at"}, "y": {**y, "field": "level"}, "color": colour}
        layers += [
            {
                "data": {"name": name},
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.8, "clip": True},
                "encoding": {**at, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "data": {"name": name},
                "mark": {
                    "type": "point",
                    "shape": shape,
                    "filled": filled,
                    "size": 110,
                    "strokeWidth": 2,
                    "opacity": 1,
                },
                "encoding": {**at, "tooltip": [tip("amount", texts("onsets.legend")), tip("at", word)]},
            },
        ]
    return {"width": "container", "height": _HEIGHT, "layer": layers}
