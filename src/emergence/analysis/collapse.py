r"""Do models of every family and size fall on one curve of score against validation loss?

Du et al. 2024 (arXiv 2403.15796) find that models with the same pre-training loss have the same scores, whatever their
size and their number of tokens, and that some abilities leave the level of guessing only below a certain loss. Here

.. math:: y_{ji} = f(L_{ji} - \delta_j) + \text{noise}

with f a monotone curve common to all runs and :math:`\delta_j` the offset of run j in nats: with how much more loss it
has the same score. One number a run holds all that its checkpoints, which are autocorrelated, say of it. Offsets that
differ more between models than between replicas of a model (or, without replicas, that follow family and size more
closely than they scatter) show that the curves do not collapse.

Shapes: N points, J runs, G columns of the design, B resamples, V knots.
"""

# ruff: noqa: N815 (shape suffixes on attributes)

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis.bootstrap import interval_of
from emergence.analysis.curves import ladder
from emergence.analysis.metrics import metric
from emergence.analysis.noise import excess_scatter
from emergence.analysis.student import student_quantile
from emergence.core.collapse import Collapse
from emergence.core.errors import UserError
from emergence.core.schema import Interval
from emergence.core.seeds import stream

__all__ = ["fit_monotone", "loss_collapse"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
ALPHA = 0.05
ONSET = 0.05  # of the way from floor to ceiling
MIN_POINTS, MIN_RUNS, MIN_MODELS = 12, 4, 2
MAX_KNOTS = 20
HALVINGS, BENDS, MIN_WITHIN = 3, 2, 4  # see `_knots`
TOLERATED = 0.2  # of the stretch of loss over which the score rises: offsets within it are still one curve
SAME = 0.02  # of that stretch: no curve is known, and no two models agree, more closely than this
RISEN = 0.3  # share of the variance that the common curve must explain
SHIFTS = np.linspace(-1.0, 1.0, 81)  # of the tried offsets, in units of the reach
ROUNDS = 8
HIDDEN = 0.05  # share of resamples without an onset above which it is not identified


@dataclass(frozen=True)
class _Points:
    """The points of one task: able goes up with ``y_N``, ``loss_N`` in nats; runs and models are numbered."""

    loss_N: Array
    y_N: Array
    run_N: Index
    model_J: Index
    models: tuple[str, ...]
    family_J: tuple[str, ...]
    size_J: Array  # log10 of the parameters, NaN where unknown
    floor: float | None
    ceiling: float | None

    @property
    def n_runs(self) -> int:
        return int(self.model_J.size)


def loss_collapse(scores: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> list[Collapse]:
    """Return one reading for each task x metric x shots of a completed table that has losses, over all checkpoints.

    ``collapses`` is False where offsets between families and sizes are significant (F test over runs, p < 0.05), True
    where they are not and the 90 % interval of every one lies within a fifth of the stretch of loss over which the
    score rises, else None, with the reason. The onset's interval is that of a bootstrap of whole runs. Metrics without
    a direction are left out. The same table, resamples and seed give the same readings, whatever the order of the rows.

    Raises UserError where the table has no column ``loss`` or no value in it.
    """
    if "loss" not in scores.columns or scores["loss"].drop_nulls().is_empty():
        raise UserError("no validation loss: give the column loss (nats per token) of each model and checkpoint")
    table = ladder(scores).filter(pl.col("loss").is_finite() & (pl.col("loss") > 0) & pl.col("score").is_finite())
    missing = {"family": "unknown", "shots": 0, "seed": 0, "step": 0, "params": None, "floor": None, "ceiling": None}
    table = table.with_columns(pl.lit(v).alias(k) for k, v in missing.items() if k not in table.columns)
    table = table.with_columns(pl.col(k).fill_null(v) for k, v in missing.items() if v is not None)
    found = []
    for (task, name, shots), rows in sorted(table.group_by("task", "metric", "shots"), key=lambda item: str(item[0])):
        known = metric(str(name))
        told = rows["higher_is_better"].drop_nulls().to_list() if "higher_is_better" in rows.columns else []
        up = bool(told[0]) if told else known.higher_is_better if known is not None else True
        if up is None:
            continue
        logarithm = known is not None and known.scale == "log"
        points = _points(rows, 1.0 if up else -1.0, logarithm)
        rng = stream(seed, "collapse", str(task), str(name), int(str(shots)))
        found.append(_read((str(task), str(name), int(str(shots))), points, resamples, rng))
    return found


def _points(rows: pl.DataFrame, sign: float, logarithm: bool) -> _Points:
    rows = rows.filter(pl.col("score") > 0) if logarithm else rows
    rows = rows.sort("family", "model", "seed", "loss", "step", "score")
    score = rows["score"].cast(pl.Float64).to_numpy().astype(float)
    labels = list(zip(rows["family"], rows["model"], rows["seed"], strict=True))
    runs = list(dict.fromkeys(labels))
    number = {run: j for j, run in enumerate(runs)}
    families = {family for family, _, _ in runs}
    names = [f"{family}/{model}" if len(families) > 1 else str(model) for family, model, _ in runs]
    models = tuple(dict.fromkeys(names))
    size = dict(zip(labels, rows["params"].cast(pl.Float64).fill_null(math.nan), strict=True))
    bounds = [float(rows[c].drop_nulls()[0]) if rows[c].drop_nulls().len() else None for c in ("floor", "ceiling")]
    if logarithm:
        score = np.log(score)
        bounds = [math.log(b) if b is not None and b > 0 else None for b in bounds]
    floor, ceiling = (None if b is None else sign * b for b in bounds)
    return _Points(
        loss_N=rows["loss"].cast(pl.Float64).to_numpy().astype(float),
        y_N=sign * score,
        run_N=np.array([number[label] for label in labels], dtype=np.intp),
        model_J=np.array([models.index(name) for name in names], dtype=np.intp),
        models=models,
        family_J=tuple(str(family) for family, _, _ in runs),
        size_J=np.log10(np.array([size[run] for run in runs], dtype=float)),
        floor=floor,
        ceiling=ceiling,
    )


def fit_monotone(loss_N: Array, y_N: Array, knots_V: Array) -> Array:
    """Return the values at the knots of the closest broken line that never rises with the loss (least squares)."""
    from scipy.optimize import nnls

    step = np.diff(knots_V)
    ramps = np.clip((knots_V[None, 1:] - loss_N[:, None]) / step[None, :], 0.0, 1.0)  # 1 below the stretch, 0 above
    level = float(y_N.min()) - 1.0  # nnls wants every coefficient above zero: the level too, beneath all scores
    weights = nnls(np.concatenate([np.ones((loss_N.size, 1)), ramps], axis=1), y_N - level)[0]
    rises = np.concatenate([np.cumsum(weights[:0:-1])[::-1], [0.0]])
    return np.asarray(level + weights[0] + rises, dtype=float)


def _knots(loss_N: Array, y_N: Array) -> Array:
    """Return knots for the common curve: denser where points are, and halved around the sharpest bends.

    A score that leaves its floor at one loss has a kink there, which even knots would round off and shift.
    """
    count = int(np.clip(loss_N.size // 5, 4, MAX_KNOTS))
    even = np.linspace(loss_N.min(), loss_N.max(), count)
    knots = np.unique((even + np.quantile(loss_N, np.linspace(0, 1, count))) / 2)
    for _ in range(HALVINGS):
        slope = np.diff(fit_monotone(loss_N, y_N, knots)) / np.diff(knots)
        sharpest = 1 + np.argsort(-np.abs(np.diff(slope)))[:BENDS]
        halved = {int(i) for bend in sharpest for i in (bend - 1, bend)}
        within = np.histogram(loss_N, knots)[0]
        knots = np.sort(
            np.concatenate([knots, [(knots[i] + knots[i + 1]) / 2 for i in halved if within[i] >= MIN_WITHIN]])
        )
    return np.asarray(knots, dtype=float)


def _read(key: tuple[str, str, int], points: _Points, resamples: int, rng: np.random.Generator) -> Collapse:
    task, name, shots = key

    def answer(reason: str, collapses: bool | None = None, **more: Any) -> Collapse:
        return Collapse.model_validate(
            {
                "task": task,
                "metric": name,
                "shots": shots,
                "families": tuple(sorted(set(points.family_J))),
                "n_models": len(points.models),
                "n_points": int(points.y_N.size),
                "collapses": collapses,
                "p": None,
                "explained": None,
                "largest_offset": Interval(reason=reason),
                "onset_loss": Interval(reason=reason),
                "reason": reason,
                **more,
            }
        )

    if points.y_N.size < MIN_POINTS or np.ptp(points.loss_N) <= 0:
        return answer(
            f"Not identifiable: {points.y_N.size} points with a loss; {MIN_POINTS} at several losses are needed."
        )
    knots = _knots(points.loss_N, points.y_N)
    value = fit_monotone(points.loss_N, points.y_N, knots)
    rest = points.y_N - np.interp(points.loss_N, knots, value)
    total = float(((points.y_N - points.y_N.mean()) ** 2).sum())
    if total <= 0:
        return answer("All scores are the same, so no curve can be told from another.")
    explained = float(np.clip(1 - float((rest**2).sum()) / total, 0.0, 1.0))
    known: dict[str, Any] = {"explained": explained}
    if explained < RISEN and float(np.ptp(value)) < 3 * float(np.std(rest)):
        return answer("The score does not improve as the loss falls, so there is no curve to share.", **known)
    known["onset_loss"] = _onset(points, knots, value, resamples, rng)
    if len(points.models) < MIN_MODELS:
        return answer("Not identifiable: one model alone has nothing to share a curve with.", **known)
    offset, error, rise = _run_offsets(points)
    usable = np.isfinite(error)
    if int(usable.sum()) < MIN_RUNS or np.unique(points.model_J[usable]).size < MIN_MODELS:
        return answer(
            "Not identifiable: fewer than four runs rise over losses that another model reaches too.", **known
        )
    kept = replace(
        points,
        model_J=points.model_J[usable],
        family_J=tuple(f for f, use in zip(points.family_J, usable, strict=True) if use),
        size_J=points.size_J[usable],
    )
    effects = _effects(kept, offset[usable], error[usable], SAME * rise)
    if effects is None:
        return answer(
            "Not identifiable: too few runs to tell an offset from the scatter of runs; add replicas.", **known
        )
    collapses, sentence, largest = _judged(effects, rise)
    return answer(sentence, collapses, p=effects.p, offsets=effects.offsets, largest_offset=largest, **known)


def _run_offsets(points: _Points) -> tuple[Array, Array, float]:
    """Return each run's offset and its standard error by the scatter about the curve (NaN where it has none), J and J,
    and the stretch of loss over which the common curve goes from 10 % to 90 % of its rise.

    Curve and offsets are fitted in turn. A run counts where it passes, within the losses of other models, a tenth of
    the curve's rise.
    """
    loss, y, run = points.loss_N, points.y_N, points.run_N
    offset = np.zeros(points.n_runs)
    reach = 0.35 * float(np.ptp(loss))
    knots = _knots(loss, y)
    value = fit_monotone(loss, y, knots)
    for round_ in range(ROUNDS):
        tried = SHIFTS * reach * 0.6**round_
        shifted = loss[:, None] - offset[run][:, None] - tried[None, :]
        squares = (y[:, None] - np.interp(shifted, knots, value)) ** 2
        sums = np.stack([np.bincount(run, weights=column, minlength=points.n_runs) for column in squares.T], axis=1)
        offset = offset + tried[np.argmin(sums + 1e-12 * tried**2, axis=1)]
        offset = offset - offset.mean()
        knots = _knots(loss - offset[run], y)
        value = fit_monotone(loss - offset[run], y, knots)
    fitted = np.interp(loss - offset[run], knots, value)
    slope_V = np.diff(value) / np.diff(knots)
    slope = slope_V[np.clip(np.searchsorted(knots, loss - offset[run]) - 1, 0, slope_V.size - 1)]
    information = np.bincount(run, weights=slope**2, minlength=points.n_runs)
    rest = y - fitted
    spread = float((rest**2).sum()) / max(1, y.size - points.n_runs - 4) * _inflation(rest, run)
    error = np.sqrt(spread / np.maximum(information, 1e-300))
    rise = float(value.max() - value.min())
    for j in range(points.n_runs):
        others = loss[points.model_J[run] != points.model_J[j]]
        mine = (run == j) & (loss >= others.min(initial=np.inf)) & (loss <= others.max(initial=-np.inf))
        if not mine.any() or float(np.ptp(fitted[mine])) < 0.1 * rise:
            error[j] = math.nan
    inside = (value <= value.min() + 0.9 * rise) & (value >= value.min() + 0.1 * rise)
    stretch = float(np.ptp(knots[inside])) if inside.sum() >= 2 else 0.0
    return offset, error, max(stretch, float(np.median(np.diff(knots))))


def _inflation(rest: Array, run: Index) -> float:
    """Return by how much the autocorrelation of a run's checkpoints widens a mean: (1 + rho) / (1 - rho)."""
    together = run[1:] == run[:-1]
    squares = float((rest**2).mean())
    if not together.any() or squares <= 0:
        return 1.0
    rho = float(np.clip((rest[1:] * rest[:-1])[together].mean() / squares, 0.0, 0.9))
    return (1 + rho) / (1 - rho)


@dataclass(frozen=True)
class _Effects:
    """The offsets between groups of runs: p-value, and each family's and model's offset with its interval."""

    p: float
    replicated: bool
    offsets: dict[str, Interval]


def _effects(points: _Points, offset: Array, error: Array, same: float) -> _Effects | None:
    """Test the run offsets for differences between models; None where too few runs are left to judge their scatter.

    Weighted least squares with the variance of a run's offset: that by the scatter about the curve, and what runs
    differ beyond it (`excess_scatter`). F compares all models where replicas show how runs of one model differ, else
    families and a slope in log10 of the parameters. Models may differ by ``same`` (nats, a standard deviation) freely.
    """
    model, family, size = points.model_J, np.array(points.family_J), points.size_J
    own = (model[:, None] == np.unique(model)[None, :]).astype(float)
    replicated = model.size - own.shape[1] >= 2
    design = own
    if not replicated:
        columns = [(family == f).astype(float) for f in np.unique(family)]
        if np.isfinite(size).all() and np.ptp(size) > 0:
            columns.append(size - size.mean())
        design = np.stack(columns, axis=1)
    freedom = model.size - int(np.linalg.matrix_rank(design))
    tested = int(np.linalg.matrix_rank(design)) - 1
    if freedom < 2 or tested < 1:
        return None
    variance = error**2
    for _ in range(2):  # the scatter, and with it the weights, about a fit with the weights before
        scatter = excess_scatter(offset - _project(design, offset, 1 / variance), error**2, freedom)
        variance = error**2 + scatter
    weight = 1 / variance
    within = float((weight * (offset - _project(design, offset, weight)) ** 2).sum())
    mean = float((weight * offset).sum() / weight.sum())
    total = float((weight * (offset - mean) ** 2).sum())
    scale = max(within / freedom, 1e-12)
    from scipy.special import fdtrc

    free = 1 + same**2 * float((weight[:, None] * own).sum(axis=0).mean()) / max(scale, 1.0)
    p = float(fdtrc(tested, freedom, max(0.0, total - within) / tested / scale / free))
    reach = student_quantile(0.95, freedom) * math.sqrt(max(scale, 1.0))
    groups = {name: model == i for i, name in enumerate(points.models)}
    if np.unique(family).size > 1:
        groups = {str(f): family == f for f in np.unique(family)} | groups
    offsets = {}
    for name, mine in groups.items():
        if mine.any():
            at = float((weight[mine] * offset[mine]).sum() / weight[mine].sum()) - mean
            half = reach / math.sqrt(float(weight[mine].sum()))
            offsets[name] = Interval(estimate=at, low=at - half, high=at + half)
    return _Effects(p, replicated, offsets)


def _project(design: Array, y: Array, weight: Array) -> Array:
    root = np.sqrt(weight)
    return np.asarray(design @ np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0], dtype=float)


def _judged(effects: _Effects, rise: float) -> tuple[bool | None, str, Interval]:
    """Return the answer, its sentence and the largest offset."""
    name = max(effects.offsets, key=lambda k: abs(effects.offsets[k].estimate or 0.0))
    largest = effects.offsets[name]
    assert largest.estimate is not None
    widest = max(max(abs(o.low or 0.0), abs(o.high or 0.0)) for o in effects.offsets.values())
    side = "more" if largest.estimate > 0 else "less"
    stated = f"{name} has the same score at {abs(largest.estimate):.3g} nats {side} loss (p = {effects.p:.2g})"
    if effects.p < ALPHA:
        return False, f"Families and sizes do not fall on one curve against the loss: {stated}.", largest
    if widest <= TOLERATED * rise:
        return (
            True,
            (
                "Families and sizes fall on one curve against the loss: no offset is larger than "
                f"{widest:.3g} nats, and the score rises over {rise:.3g}."
            ),
            largest,
        )
    more = "more checkpoints" if effects.replicated else "replicas of each size"
    return None, f"Whether families and sizes share one curve stays open: {stated}; {more} would tell.", largest


def _onset(points: _Points, knots: Array, value: Array, resamples: int, rng: np.random.Generator) -> Interval:
    """Return the loss below which the common curve is above floor + 5 % of the way, with a bootstrap of whole runs.

    Its interval reaches a quarter further of the way to the next loss that was looked at: no finer than the data are.
    """
    if points.floor is None or points.ceiling is None or points.ceiling <= points.floor:
        return Interval(reason="the scores of guessing and of the best answer are not known")
    level = points.floor + ONSET * (points.ceiling - points.floor)
    if value[-1] >= level:
        return Interval(reason="the score is above its floor at the largest loss already")
    if value[0] < level:
        return Interval(reason="the score does not leave its floor at the losses reached")
    if points.n_runs < MIN_RUNS:
        return Interval(reason=f"fewer than {MIN_RUNS} runs, so the onset's uncertainty is not known")
    rows = [np.flatnonzero(points.run_N == j) for j in range(points.n_runs)]
    at = np.empty(resamples)
    for b in range(resamples):
        picked = np.concatenate([rows[j] for j in rng.integers(0, points.n_runs, points.n_runs)])
        drawn = fit_monotone(points.loss_N[picked], points.y_N[picked], knots)
        at[b] = _crossing(knots, drawn, level)
    hidden = ~np.isfinite(at)
    if float(hidden.mean()) > HIDDEN:
        return Interval(reason="too few runs pass the onset to say where it is")
    _, low, high = interval_of(at[~hidden])
    estimate = _crossing(knots, value, level)
    below, above = (points.loss_N[points.loss_N < estimate].max(), points.loss_N[points.loss_N > estimate].min())
    grain = float(above - below) / 4
    return Interval(estimate=estimate, low=min(low, estimate) - grain, high=max(high, estimate) + grain)


def _crossing(knots: Array, value: Array, level: float) -> float:
    """Return the loss at which a curve that never rises with the loss passes ``level``; NaN where it does not."""
    above = np.flatnonzero(value >= level)
    if above.size == 0 or above[-1] == value.size - 1:
        return math.nan
    i = int(above[-1])
    share = (value[i] - level) / (value[i] - value[i + 1])
    return float(knots[i] + share * (knots[i + 1] - knots[i]))
