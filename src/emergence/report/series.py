"""The numbers behind the charts: runs, replica means with intervals, and the pool of named tables they are kept in.

A table is columns, not rows, and may continue another one: a curve over all checkpoints stores only its scores and
refers to the shared table of runs for parameters, tokens, FLOPs and loss, which would otherwise be repeated per curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from emergence.analysis.curves import ladder, rows_along
from emergence.core.schema import ADAPTATIONS, AXES, PER_MODEL, Axis
from emergence.report.data import complete
from emergence.report.numbers import compact

__all__ = ["Curves", "Pool", "axes_of", "last_adapted", "last_checkpoints", "thin"]

_CURVE = ("family", "task", "shots", "metric")
_RUN = ("family", "model", "seed", "step", "tokens")
_STEP = ("family", "model", "step", "tokens")
COORDINATES = ("params", "tokens", "flops", "loss")


@dataclass
class Pool:
    """Named tables, each held once and shared by the charts."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        columns: Mapping[str, Sequence[Any]],
        base: str | None = None,
        rows: Sequence[int] | None = None,
    ) -> str:
        """Keep a table; with ``base`` it continues the given rows of that table. Returns the name."""
        table: dict[str, Any] = {
            "columns": {key: [compact(value) for value in values] for key, values in columns.items()}
        }
        if base is not None:
            table |= {"base": base, "rows": list(rows or ())}
        self.tables[name] = table
        return name

    def add_frame(self, name: str, frame: pl.DataFrame, columns: Sequence[str]) -> str:
        """Keep the given columns of a data frame."""
        return self.add(name, {column: frame[column].to_list() for column in columns})

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return a table as rows with everything it takes from its base."""
        table = self.tables[name]
        columns = dict(table["columns"])
        if "base" in table:
            base = self.tables[table["base"]]["columns"]
            columns = {key: [values[row] for row in table["rows"]] for key, values in base.items()} | columns
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class Curves:
    """The scores of a report cut into curves: one per family, task, shots and metric."""

    def __init__(self, scores: pl.DataFrame, pool: Pool) -> None:
        self.pool = pool
        prepared = complete(scores).filter(pl.col("score").is_not_null() & pl.col("score").is_not_nan())
        # Sentinels let rows without a seed, a step or a token count be joined like any other.
        prepared = prepared.with_columns(
            pl.col("seed").fill_null(0), pl.col("step").fill_null(-1), pl.col("tokens").fill_null(-1.0)
        )
        runs = _coordinates(ladder(prepared), _RUN)
        steps = _coordinates(ladder(prepared), _STEP)
        prepared = prepared.join(runs.select(*_RUN, "run"), on=list(_RUN), how="left").sort(
            "params", "model", *ADAPTATIONS, "seed", "step", "tokens"
        )
        self._steps = steps
        self._curves: dict[tuple[Any, ...], pl.DataFrame] = prepared.partition_by(
            *_CURVE, as_dict=True, include_key=True
        )
        self._names = {key: str(index) for index, key in enumerate(self._curves)}
        pool.add_frame("runs", runs.with_columns(_no_sentinel()), ["model", "seed", *COORDINATES])
        pool.add_frame("steps", steps.with_columns(_no_sentinel()), ["model", *COORDINATES])

    def get(self, family: str, task: str, shots: int, metric: str | None) -> pl.DataFrame | None:
        """Return the rows of one curve, or None where the scores hold none."""
        return None if metric is None else self._curves.get((family, task, shots, metric))

    def across_families(self, task: str, shots: int, metric: str) -> pl.DataFrame | None:
        """Return the rows of one score in all families, or None where the scores hold none."""
        keys = [key for key in self._curves if key[1:] == (task, shots, metric)]
        return pl.concat([self._curves[key] for key in keys]) if keys else None

    def all_runs(self, curve: pl.DataFrame) -> str:
        """Keep every checkpoint of every replica and return the table's name."""
        curve = ladder(curve)
        return self._keep(
            "run",
            curve,
            lambda name: self.pool.add(name, {"score": curve["score"].to_list()}, "runs", curve["run"].to_list()),
        )

    def replicas(self, curve: pl.DataFrame) -> str:
        """Keep the last checkpoint of every replica and return the table's name."""
        last = last_checkpoints(curve)
        return self._keep(
            "final",
            curve,
            lambda name: self.pool.add(name, {"score": last["score"].to_list()}, "runs", last["run"].to_list()),
        )

    def means(self, curve: pl.DataFrame) -> str:
        """Keep the mean over replicas at the last checkpoint, with its interval, and return the table's name."""
        frame = mean_with_interval(last_checkpoints(curve), ["model"])
        columns = ["model", *COORDINATES, "score", "low", "high", "replicas"]
        return self._keep(
            "mean", curve, lambda name: self.pool.add_frame(name, frame.with_columns(_no_sentinel()), columns)
        )

    def step_means(self, curve: pl.DataFrame) -> str:
        """Keep the mean over replicas at every checkpoint, with its interval, and return the table's name."""
        frame = mean_with_interval(ladder(curve), ["model", "step", "tokens"], keep=["family"]).join(
            self._steps.select(*_STEP, "run"), on=list(_STEP)
        )
        columns = {name: frame[name].to_list() for name in ("score", "low", "high")}
        return self._keep("step", curve, lambda name: self.pool.add(name, columns, "steps", frame["run"].to_list()))

    def adapted_means(self, curve: pl.DataFrame, axis: Axis) -> tuple[str, str]:
        """Keep the mean over replicas of every adaptation along ``axis``, and those at 0, which no logarithmic axis has
        a place for; return the names of both tables."""
        frame = mean_with_interval(last_adapted(curve, axis), ["model", axis], keep=["family"])
        columns = ["model", axis, "score", "low", "high", "replicas"]
        places, starts = frame.filter(pl.col(axis) > 0), frame.filter(pl.col(axis) == 0)
        return (
            self._keep(axis, curve, lambda name: self.pool.add_frame(name, places, columns)),
            self._keep(f"{axis}-start", curve, lambda name: self.pool.add_frame(name, starts, columns)),
        )

    def _keep(self, kind: str, curve: pl.DataFrame, add: Any) -> str:
        key = tuple(curve[column][0] for column in _CURVE)
        name = f"{kind}{self._names[key]}"
        if name not in self.pool.tables:
            add(name)
        return name


def last_checkpoints(curve: pl.DataFrame) -> pl.DataFrame:
    """Return the last checkpoint of every replica of a curve, of the models as they were pre-trained."""
    return (
        ladder(curve)
        .sort("step", "tokens")
        .group_by("model", "seed", maintain_order=True)
        .last()
        .sort("params", "model", "seed")
    )


def last_adapted(curve: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    """Return the last checkpoint of every adaptation along ``axis``, sorted along it."""
    return (
        rows_along(curve, axis)
        .sort("step", "tokens")
        .group_by("family", "model", axis, "seed", maintain_order=True)
        .last()
        .sort("family", "model", axis, "seed")
    )


def mean_with_interval(rows: pl.DataFrame, by: list[str], keep: Sequence[str] = ()) -> pl.DataFrame:
    """Return the mean score over replicas per group, with its 90 % interval.

    The variance of the mean is the larger of what the replicas show and of what their own standard errors say, over
    their number r; Student's t with r - 1 degrees of freedom where the replicas decide, else the normal quantile.
    The interval is null where neither is known. It does not leave the range of the metric.
    """
    from scipy.special import stdtrit

    coordinates = [pl.col(name).mean() for name in COORDINATES if name not in by]
    grouped = rows.group_by(by, maintain_order=True).agg(
        *coordinates,
        *(pl.col(name).first() for name in keep),
        pl.col("score").mean(),
        pl.col("score").var().alias("between"),
        (pl.col("stderr").fill_nan(None) ** 2).mean().alias("within"),
        pl.len().alias("replicas"),
    )
    between = grouped["between"].fill_null(-1.0).to_numpy()
    within = grouped["within"].fill_null(-1.0).to_numpy()
    replicas = grouped["replicas"].to_numpy()
    variance = np.maximum(between, within)
    quantile = np.where(between > within, stdtrit(np.maximum(replicas - 1, 1), 0.95), 1.6449)
    half = np.where(variance >= 0, quantile * np.sqrt(np.maximum(variance, 0) / replicas), np.nan)
    score = grouped["score"].to_numpy()
    lowest, highest = _range(rows)
    return grouped.with_columns(
        pl.Series("low", np.clip(score - half, lowest, highest)).fill_nan(None),
        pl.Series("high", np.clip(score + half, lowest, highest)).fill_nan(None),
    ).sort("params", "model", *(name for name in by if name != "model"))


def _range(rows: pl.DataFrame) -> tuple[float, float]:
    """Return the bounds of a metric as far as its ceiling and its scores show them."""
    ceiling, highest, lowest = rows["ceiling"].max(), rows["score"].max(), rows["score"].min()
    upper = (
        float(ceiling) if isinstance(ceiling, float) and isinstance(highest, float) and highest <= ceiling else np.inf
    )
    return (0.0 if isinstance(lowest, float) and lowest >= 0 else -np.inf), upper


def axes_of(curve: pl.DataFrame) -> list[Axis]:
    """Return the axes along which a curve has at least two different places."""
    last = last_checkpoints(curve)
    found: list[Axis] = []
    for axis in AXES:
        if axis in PER_MODEL:
            places = rows_along(curve, axis).filter(pl.col(axis) > 0).group_by("family", "model")
            enough = places.agg(pl.col(axis).n_unique())[axis].max()
            if isinstance(enough, int) and enough > 1:
                found.append(axis)
        elif last.filter(pl.col(axis) > 0)[axis].n_unique() > 1 and last["model"].n_unique() > 1:
            found.append(axis)
    return found


def thin(frame: pl.DataFrame, by: Sequence[str], along: str, limit: int) -> pl.DataFrame:
    """Return at most ``limit`` rows per group, evenly spaced in the logarithm of ``along``, the last one always."""
    kept = []
    for _, group in frame.sort(along).group_by(list(by), maintain_order=True):
        if group.height > limit:
            wanted = np.geomspace(1, group.height, limit)
            group = group[sorted({round(place) - 1 for place in wanted} | {group.height - 1})]
        kept.append(group)
    return pl.concat(kept) if kept else frame


def _coordinates(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    others = [pl.col(name).mean() for name in COORDINATES if name not in by]
    return scores.group_by(list(by)).agg(others).sort("family", "params", *by[1:]).with_row_index("run")


def _no_sentinel() -> pl.Expr:
    return pl.when(pl.col("tokens") >= 0).then(pl.col("tokens")).alias("tokens")
