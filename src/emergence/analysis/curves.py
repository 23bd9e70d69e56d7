"""From a completed score table to curves: rungs along one axis, replicas side by side, more always better.

Shapes: K rungs, R replicas.
"""

# ruff: noqa: N802, N815 (shape suffixes on attributes)

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis.metrics import Metric, metric
from emergence.core.schema import ADAPTATIONS, PER_MODEL, SCORE_COLUMNS, Axis

__all__ = ["Curve", "CurveKey", "curves", "groups", "ladder", "rows_along"]

Array = NDArray[np.float64]
MIN_RUNGS = 3
TIE_DECADES = 1e-6


@dataclass(frozen=True)
class CurveKey:
    """What a curve is of. ``model`` is set on the axes of `PER_MODEL`: one model's training, or its adaptations."""

    family: str
    task: str
    metric: str
    shots: int
    axis: Axis
    model: str | None = None

    @property
    def order(self) -> tuple[str, str, str, str, int]:
        """What verdicts are sorted by."""
        return (self.family, self.model or "", self.task, self.metric, self.shots)


@dataclass(frozen=True)
class Curve:
    """Scores along an axis, oriented and scaled for analysis.

    ``x_K`` is log10 of the axis (minus log10 for the loss), so that ability grows with it. ``y_KR`` is the score,
    turned over where less is better and as a logarithm where the metric is a perplexity; NaN where a replica is
    missing. ``stderr_KR`` and ``n_KR`` belong to it and are NaN where unknown. ``share`` says that the score is a mean
    of zeros and ones.
    """

    key: CurveKey
    x_K: Array
    y_KR: Array
    stderr_KR: Array
    n_KR: Array
    floor: float | None
    ceiling: float | None
    share: bool
    answer_tokens: float | None
    turned: bool  # less is better in the table
    logarithm: bool  # analysed as a logarithm
    trajectories: bool  # replicas are whole training runs (axis `tokens`): the points of one are dependent
    design_effect: float = 1.0  # by which items that share a source shrank ``n_KR``

    @property
    def n_rungs(self) -> int:
        return int(self.x_K.size)

    @property
    def n_replicas(self) -> int:
        """The median number of replicas of a rung."""
        return int(np.median(np.isfinite(self.y_KR).sum(axis=1))) if self.x_K.size else 0

    @property
    def mean_K(self) -> Array:
        """Mean score of each rung."""
        return np.asarray(np.nanmean(self.y_KR, axis=1), dtype=float)

    @property
    def shown_K(self) -> Array:
        """Rung means as they stand in the table, for the measures of the literature."""
        mean = -self.mean_K if self.turned else self.mean_K
        return np.exp(mean) if self.logarithm else mean

    @property
    def shown_floor(self) -> float:
        """The floor as it stands in the table; 0 where it is unknown."""
        floor = 0.0 if self.floor is None else -self.floor if self.turned else self.floor
        return math.exp(floor) if self.logarithm and self.floor is not None else floor

    def to_axis(self, x: float) -> float:
        """Return the position ``x`` on the axis' own scale."""
        return float(10.0 ** (-x if self.key.axis == "loss" else x))


def ladder(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of models as they were pre-trained; those of adapted models are on no ladder."""
    return table.filter(*(pl.col(axis).is_null() for axis in ADAPTATIONS if axis in table.columns))


def rows_along(table: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    """Return the rows with a place on ``axis``, 0 included."""
    return (table if axis in ADAPTATIONS else ladder(table)).filter(pl.col(axis).is_not_null())


def groups(scores: pl.DataFrame, axis: Axis) -> dict[CurveKey, pl.DataFrame]:
    """Split a score table into the rows of each curve along ``axis``; rows without that axis value are left out.

    So are rows at 0 (no tokens yet, no fine-tuning examples): a logarithmic axis has no place for them. The report
    draws such scores beside the curve.
    """
    missing = [name for name in SCORE_COLUMNS if name not in scores.columns]
    table = scores.with_columns(
        *(pl.lit(None, dtype=_POLARS[SCORE_COLUMNS[name]]).alias(name) for name in missing)
    ).with_columns(
        pl.col("family").fill_null("unknown"),
        pl.col("shots").fill_null(0),
        pl.col("seed").fill_null(0),
        pl.col("model").cast(pl.String),
    )
    table = rows_along(table, axis)
    table = table.filter(pl.col("score").is_finite() & pl.col(axis).is_finite() & (pl.col(axis) > 0))
    names = ["family", "task", "metric", "shots", *(["model"] if axis in PER_MODEL else [])]
    if axis != "tokens":
        # The last checkpoint of each run; a table without steps and tokens has one row a run. Every adaptation of a
        # model is a run of its own.
        age = [pl.col(name).fill_null(-1) for name in ("step", "tokens")]
        run = ["family", "model", "seed", "task", "metric", "shots", *([axis] if axis in ADAPTATIONS else [])]
        table = table.sort(*run, *age, pl.col("score")).group_by(run, maintain_order=True).last()
    found: dict[CurveKey, pl.DataFrame] = {}
    for values, rows in table.group_by(names, maintain_order=True):
        family, task, name, shots, *model = values
        key = CurveKey(str(family), str(task), str(name), int(str(shots)), axis, str(model[0]) if model else None)
        found[key] = rows
    return dict(sorted(found.items(), key=lambda item: item[0].order))


_POLARS: dict[type, pl.DataType] = {str: pl.String(), float: pl.Float64(), int: pl.Int64(), bool: pl.Boolean()}


def curves(scores: pl.DataFrame, axis: Axis) -> dict[CurveKey, Curve]:
    """Return every curve of a score table along ``axis``, in a fixed order."""
    return {key: _curve(key, rows) for key, rows in groups(scores, axis).items()}


def _first(values: Iterable[object]) -> float | None:
    """Return the first known number of a column that is constant within a curve."""
    return next((float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)), None)


def _curve(key: CurveKey, rows: pl.DataFrame) -> Curve:
    known = metric(key.metric)
    turned = _turned(rows, known)
    logarithm = known is not None and known.scale == "log"
    score = rows["score"].cast(pl.Float64).to_numpy().astype(float)
    stderr = _floats(rows, "stderr")
    n = _floats(rows, "n")
    n = np.where(n >= 1, n, np.nan)
    floor, ceiling = _first(rows["floor"]), _first(rows["ceiling"])
    if logarithm:
        positive = np.where(score > 0, score, np.nan)
        stderr, score = stderr / positive, np.log(positive)
        floor, ceiling = (None if v is None or v <= 0 else math.log(v) for v in (floor, ceiling))
    share = _is_share(score, stderr, n, known)
    design_effect = _design_effect(score, stderr, n) if share else 1.0
    if share:
        n = n / design_effect
        # the binomial standard error of 0 out of n is 0, which no rung deserves: the noise model makes its own
        stderr = np.sqrt(np.maximum(score * (1 - score), 0) / n)
    sign = -1.0 if turned else 1.0
    if floor is not None and ceiling is not None and sign * (ceiling - floor) <= 0:
        floor = ceiling = None  # there is no way from one to the other, so neither says anything
    x = np.log10(rows[key.axis].cast(pl.Float64).to_numpy().astype(float))
    x = -x if key.axis == "loss" else x
    kept = np.isfinite(score)
    per_model = key.axis in PER_MODEL
    labels = np.round(x / TIE_DECADES).astype(np.int64) if per_model else rows["model"].to_numpy()
    x_K, y_KR, stderr_KR, n_KR = _arrange(
        x[kept], labels[kept], rows["seed"].to_numpy()[kept], sign * score[kept], stderr[kept], n[kept]
    )
    return Curve(
        key,
        x_K,
        y_KR,
        stderr_KR,
        n_KR,
        floor=None if floor is None else sign * floor,
        ceiling=None if ceiling is None else sign * ceiling,
        share=share and not turned,
        answer_tokens=_first(rows["answer_tokens"]),
        turned=turned,
        logarithm=logarithm,
        trajectories=key.axis == "tokens",
        design_effect=design_effect,
    )


def _turned(rows: pl.DataFrame, known: Metric | None) -> bool:
    told = rows["higher_is_better"].drop_nulls()
    if len(told):
        return not bool(told[0])
    return known is not None and known.higher_is_better is False


def _floats(rows: pl.DataFrame, name: str) -> Array:
    return rows[name].cast(pl.Float64).fill_null(math.nan).to_numpy().astype(float)


def _is_share(score: Array, stderr: Array, n: Array, known: Metric | None) -> bool:
    """Whether scores are means of zeros and ones: in [0, 1], n known, standard errors (if given) as a binomial's, or
    larger by a common factor, as those of items that share a source are."""
    finite = np.isfinite(score)
    if not finite.any() or (known is not None and (known.role != "headline" or not known.is_share)):
        return False
    if not np.isfinite(n[finite]).all() or score[finite].min() < 0 or score[finite].max() > 1:
        return False
    ratio = _error_ratios(score, stderr, n)
    if ratio.size == 0:
        return known is not None
    return bool(ratio.min() > 0.8 and ratio.max() < (1.2 if known is None else 1.5 * float(np.median(ratio))))


def _error_ratios(score: Array, stderr: Array, n: Array) -> Array:
    """Return the given standard errors over the binomial ones, where both are known and above zero."""
    binomial = np.sqrt(np.maximum(score * (1 - score), 0) / n)
    compared = np.isfinite(score) & np.isfinite(stderr) & (binomial > 0)
    return np.asarray(stderr[compared] / binomial[compared], dtype=float)


def _design_effect(score: Array, stderr: Array, n: Array) -> float:
    """Return by how much clustering shrinks the number of examples (Kish 1965, Survey Sampling, section 5.4): the
    squared ratio of the given to the binomial errors, typical of the curve; 1 where they agree within a fifth."""
    ratio = _error_ratios(score, stderr, n)
    typical = float(np.median(ratio)) if ratio.size else 1.0
    return typical**2 if typical > 1.2 else 1.0


def _arrange(
    x: Array, labels: Sequence[object] | NDArray[np.generic], seeds: NDArray[np.generic], *values: Array
) -> tuple[Array, ...]:
    """Return (x_K, and each of ``values`` as K x R), with rungs whose positions coincide joined into one."""
    labels_array = np.asarray(labels)
    rungs: list[tuple[float, list[int]]] = []
    names = list(dict.fromkeys(labels_array.tolist()))
    for name in names:
        rows = [int(i) for i in np.flatnonzero(labels_array == name)]
        rungs.append((float(np.mean(x[rows])), rows))
    rungs.sort(key=lambda rung: rung[0])
    joined: list[tuple[float, list[int]]] = []
    for position, rows in rungs:
        if joined and position - joined[-1][0] <= TIE_DECADES:
            joined[-1][1].extend(rows)
        else:
            joined.append((position, list(rows)))
    columns = sorted({int(s) for s in seeds.tolist()})
    widest = max((len(rows) for _, rows in joined), default=0)
    by_seed = all(len({int(seeds[i]) for i in rows}) == len(rows) for _, rows in joined)
    shape = (len(joined), len(columns) if by_seed else widest)
    tables = [np.full(shape, math.nan) for _ in values]
    for k, (_, rows) in enumerate(joined):
        for place, i in enumerate(sorted(rows, key=lambda i: (int(seeds[i]), float(values[0][i])))):
            column = columns.index(int(seeds[i])) if by_seed else place
            for table, value in zip(tables, values, strict=True):
                table[k, column] = value[i]
    return (np.asarray([position for position, _ in joined], dtype=float), *tables)
