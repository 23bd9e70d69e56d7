"""The curves of several families over one another: one chart per score and axis, one line per family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from emergence.analysis.curves import ladder
from emergence.core.schema import ADAPTATIONS, AXES, Axis
from emergence.report.data import Ability, models_by_size
from emergence.report.encodings import Extent, Score, Spec, floor_rule, height, place, tip
from emergence.report.gallery import Chart, Gallery, extent_of, score_of
from emergence.report.series import axes_of, last_adapted, last_checkpoints, mean_with_interval
from emergence.report.texts import Texts
from emergence.report.wider_charts import family_colours

__all__ = ["MOST_SCORES", "family_charts"]

MOST_SCORES = 12  # tasks and shots drawn; the others have their own charts, family by family
_HEIGHT = 240
_POSITIVE = ("params", "tokens", "flops", *ADAPTATIONS)


def family_charts(gallery: Gallery, abilities: Sequence[Ability]) -> list[dict[Axis, Chart]]:
    """Return for every headline score that several families have a chart per axis; none for one family.

    Along parameters, FLOPs and loss a family is a line through the ends of its runs, along the axes of `PER_MODEL` its
    largest model. One without a place on an axis is a level line across it, but not across that of an adaptation:
    models that were not adapted are another question.
    """
    sizes = dict(models_by_size(ladder(gallery.scores)))
    colours = [(name, light) for name, light, _ in family_colours(gallery)]
    found: list[dict[Axis, Chart]] = []
    for task, shots, metric in dict.fromkeys((a.task, a.shots, a.metric) for a in abilities):
        curve = gallery.curves.across_families(task, shots, metric)
        if curve is None or curve["family"].n_unique() < 2 or len(found) == MOST_SCORES:
            continue
        score = score_of(metric, str(curve["role"][0] or "headline"), curve)
        title = f"{task} · {shots}-shot" if shots else task
        charts: dict[Axis, Chart] = {}
        for axis in (axis for axis in AXES if axis in axes_of(curve)):
            points = _means(curve, axis, sizes)
            table = gallery.pool.add_frame(
                f"families{len(found)}-{axis}", points, ["family", "model", axis, "score", "low", "high"]
            )
            levels = gallery.pool.add_frame(
                f"families{len(found)}-{axis}-levels",
                _levels(curve, points, axis),
                ["family", "model", "score"],
            )
            spec = _chart(axis, extent_of(points, axis), score, colours, gallery.texts, legend=gallery.legend)
            charts[axis] = gallery.chart(spec, {"means": table, "levels": levels}, title, "")
        found.append(charts)
    return found


def _means(curve: pl.DataFrame, axis: Axis, sizes: Mapping[str, float | None]) -> pl.DataFrame:
    """Return the means over replicas with their intervals, sorted along the axis. ``sizes`` tells the parameters of
    models by name, where a row of an adapted model does not."""
    if axis == "tokens":
        curve = curve.filter(pl.col("params").eq_missing(pl.col("params").max().over("family")))
        means = mean_with_interval(ladder(curve), ["model", "step", "tokens"], keep=["family"])
    elif axis in ADAPTATIONS:
        rows = last_adapted(curve, axis)
        size = {name: (sizes.get(name) or 0.0, name) for name in rows["model"].unique().to_list()}
        largest = {family: max(own["model"], key=size.__getitem__) for (family,), own in rows.group_by("family")}
        rows = rows.filter(pl.col("model") == pl.col("family").replace_strict(largest, return_dtype=pl.String))
        means = mean_with_interval(rows, ["family", "model", axis])
    else:
        means = mean_with_interval(last_checkpoints(curve), ["model"], keep=["family"])
    shown = means.filter(pl.col(axis) > 0) if axis in _POSITIVE else means.drop_nulls(axis)
    return shown.sort("family", axis)


def _levels(curve: pl.DataFrame, points: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    """Return the score of every model of the families that have no point; none on the axis of an adaptation."""
    ends = last_checkpoints(curve.join(points.select("family").unique(), on="family", how="anti"))
    ends = ends.clear() if axis in ADAPTATIONS else ends
    return ends.group_by("family", "model", maintain_order=True).agg(pl.col("score").mean())


def _chart(
    axis: Axis, extent: Extent, score: Score, colours: Sequence[tuple[str, str]], texts: Texts, *, legend: bool
) -> Spec:
    """Return a score along an axis, one line and one band per family: table ``means``; level lines: ``levels``."""
    x, y = place(axis, extent, texts), height(score, texts)
    colour: Spec = {
        "field": "family",
        "type": "nominal",
        "scale": {"domain": [name for name, _ in colours], "range": [light for _, light in colours]},
        "legend": {"title": None, "symbolType": "circle", "symbolOpacity": 1} if legend else None,
    }
    tooltip = [
        tip("family", texts("column.family")),
        tip("model", texts("column.rung")),
        tip(axis, texts(f"axis.{axis}")),
        tip("score", texts.metric(score.metric)),
    ]
    means: Spec = {"data": {"name": "means"}}
    return {
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *floor_rule(score),
            {
                **means,
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "area", "opacity": 0.15},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
            {
                **means,
                "mark": {"type": "line", "strokeWidth": 2, "point": {"filled": True, "size": 34}},
                "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
            },
            {
                "data": {"name": "levels"},
                "mark": {"type": "rule", "strokeWidth": 2, "strokeDash": [8, 3]},
                "encoding": {"y": y, "color": colour, "tooltip": [tooltip[0], tooltip[-1]]},
            },
        ],
    }
