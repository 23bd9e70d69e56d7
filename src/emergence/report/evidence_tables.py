"""The tables behind the charts of replicas, change points, forecasts and scores against the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emergence.analysis.curves import ladder
from emergence.core.forecasts import Forecast
from emergence.core.schema import ADAPTATIONS, Axis, ReplicaReading, Verdict
from emergence.report.encodings import Extent
from emergence.report.forecasts import HeldOut
from emergence.report.series import Pool, mean_with_interval, thin
from emergence.report.texts import Texts

__all__ = ["change_table", "held_out_table", "loss_points", "next_table", "replica_tables"]

_COURSE = 60  # points of the curve of the share of able replicas
_LOSS_POINTS = 60  # per run in the chart against the loss


def next_table(pool: Pool, name: str, axis: Axis, forecasts: Sequence[Forecast], texts: Texts) -> str:
    """Keep the recommended forecasts for scales beyond the ladder along ``axis``, on the axes of adaptations those for
    every model."""
    columns: dict[str, list[Any]] = {key: [] for key in (axis, "score", "low", "high", "method", "label", "model")}
    for forecast in forecasts:
        chosen = forecast.prediction(forecast.recommended)
        if chosen is None or chosen.score.estimate is None or forecast.axis != axis:
            continue
        if (forecast.model is not None) != (axis in ADAPTATIONS):
            continue
        word = texts.method(chosen.method)
        row = (forecast.at, chosen.score.estimate, chosen.score.low, chosen.score.high, word)
        for key, value in zip(columns, (*row, texts("forecasts.label", method=word), forecast.model), strict=True):
            columns[key].append(value)
    return pool.add(name, columns)


def change_table(pool: Pool, name: str, verdicts: Sequence[Verdict], curve: pl.DataFrame, extent: Extent) -> str:
    """Keep the change points of single models, at the height that their mean score has there."""
    columns: dict[str, list[Any]] = {key: [] for key in ("model", "at", "low", "high", "level", "before", "after")}
    lowest, highest = extent[0] / 1.3, extent[1] * 1.3
    for verdict in verdicts:
        if not verdict.change_points:
            continue
        rows = mean_with_interval(
            curve.filter((pl.col("model") == verdict.model) & (pl.col("tokens") > 0)), ["model", "step", "tokens"]
        ).sort("tokens")
        if rows.is_empty():
            continue
        places, scores = np.log10(rows["tokens"].to_numpy()), rows["score"].to_numpy()
        for point in verdict.change_points:
            at, low, high = point.at.estimate, point.at.low, point.at.high
            if at is None or not lowest <= at <= highest:
                continue
            level = float(np.interp(math.log10(at), places, scores))
            reach = (None, None) if low is None or high is None else (max(low, lowest), min(high, highest))
            row = (verdict.model, at, *reach, level, point.slope_before, point.slope_after)
            for key, value in zip(columns, row, strict=True):
                columns[key].append(value)
    return pool.add(name, columns)


def replica_tables(pool: Pool, name: str, reading: ReplicaReading, axis: Axis, extent: Extent) -> dict[str, str]:
    """Keep the shares of able replicas, their fitted curve, and where it passes one half."""
    shares = pool.add(
        f"{name}-shares",
        {
            axis: [rung.at for rung in reading.rungs],
            "share": [rung.share.estimate for rung in reading.rungs],
            "low": [rung.share.low for rung in reading.rungs],
            "high": [rung.share.high for rung in reading.rungs],
            "able": [rung.able for rung in reading.rungs],
            "replicas": [rung.replicas for rung in reading.rungs],
        },
    )
    half = reading.threshold
    bounds: tuple[float | None, float | None] = (None, None)
    if half.low is not None and half.high is not None:
        bounds = max(half.low, extent[0]), min(half.high, extent[1])
    known = half.estimate is not None
    places, course = _course(reading, axis, extent)
    return {
        "shares": shares,
        "course": pool.add(f"{name}-course", {axis: places, "share": course}),
        "half": pool.add(
            f"{name}-half",
            {
                "at": [half.estimate] if known else [],
                "low": [bounds[0]] if known else [],
                "high": [bounds[1]] if known else [],
            },
        ),
    }


def _course(reading: ReplicaReading, axis: Axis, extent: Extent) -> tuple[list[float], list[float]]:
    r"""Return the logistic share :math:`1 / (1 + e^{-2 \ln 9 (x - m) / w})` in the log10 x of the axis.

    Where the width has an upper limit only, the curve steps from none to all at the threshold.
    """
    at = reading.threshold.estimate
    if at is None or not 0 < extent[0] < extent[1]:
        return [], []
    sign = -1.0 if axis == "loss" else 1.0
    width = reading.width_decades.estimate or 1e-6
    x = np.linspace(math.log10(extent[0]), math.log10(extent[1]), _COURSE)
    # Near the threshold the curve may turn within one step of the grid.
    near = math.log10(at) + np.linspace(-1.5, 1.5, 31) * width
    x = np.unique(np.concatenate([x, near[(near >= x[0]) & (near <= x[-1])]]))
    share = 1 / (1 + np.exp(np.clip(-sign * 2 * math.log(9) * (x - math.log10(at)) / width, -700, 700)))
    return [float(value) for value in 10**x], [float(value) for value in share]


def held_out_table(pool: Pool, held: HeldOut) -> str:
    """Keep held-out scores once, and beside them what every method said."""
    base = pool.add(f"held-out-{held.axis}", {"curve": held.curves, "truth": held.truths})
    names = ("method", "estimate", "low", "high", "inside")
    columns: dict[str, list[Any]] = {key: [] for key in names}
    for method, _, estimate, low, high, inside in held.said:
        for key, value in zip(names, (method, estimate, low, high, inside), strict=True):
            columns[key].append(value)
    return pool.add(f"forecasts-{held.axis}", columns, base, [row[1] for row in held.said])


def loss_points(curve: pl.DataFrame, by_family: bool) -> pl.DataFrame:
    """Return the points of a score against the loss: all checkpoints, thinned where a run has very many."""
    rows = ladder(curve).filter(pl.col("loss") > 0)
    group = pl.col("family") if by_family else pl.col("model")
    return thin(rows, ["family", "model", "seed"], "tokens", _LOSS_POINTS).with_columns(group.alias("group"))
