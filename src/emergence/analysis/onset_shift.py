r"""Does fine-tuning move the onset of an ability to smaller models, and where does that put it without fine-tuning?

Two answers, for a table of models of several sizes that were each fine-tuned on several amounts of examples:

* the *law* (`emergence_law`): one hinge for all amounts, whose elbow moves with the logarithm of the amount;
* the *line*: the onset of every amount by itself, by the trend that verdicts rest on (`crossings`), then a straight
  line through them against log10(1 + examples), with the scatter about it where there are three or more.

Both are extrapolated to no fine-tuning, or to the number of examples in a prompt, and say nothing of how the models
scored without it: that onset is measured from their own rows and stands beside the prediction.

Shapes: A amounts, B resamples.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis import wording
from emergence.analysis.bootstrap import interval_of
from emergence.analysis.carry_over import crossing_draws
from emergence.analysis.crossings import crossing, fit_trend
from emergence.analysis.curves import MIN_RUNGS, Curve, curves, ladder
from emergence.analysis.emergence_law import LawFit, Points, amount, fit_law
from emergence.analysis.gain import gain_test
from emergence.analysis.metrics import metric
from emergence.analysis.noise import excess_scatter, measure_noise
from emergence.core.errors import UserError
from emergence.core.onset_shift import AmountOnset, OnsetShift
from emergence.core.schema import ADAPTATIONS, SCORE_COLUMNS, Axis, Interval
from emergence.core.seeds import stream

__all__ = ["onset_shift", "tuned_rows"]

Array = NDArray[np.float64]
ONSET = 0.05  # of the way from floor to ceiling
SHOWN = 0.1  # of the way: a rung this high shows that the ability has begun
RISE_LEVEL = 0.02
HIDDEN = 0.05  # share of resamples that do not show an onset, or find none, above which it is not identified
LEAST_RESAMPLES = 20
_TUNED_ON = re.compile(r"^(?P<family>.*\S) on (?P<count>\d[\d,]*(?:\.\d+)?)(?P<unit>[kM]?)$")
_UNIT = {"": 1.0, "k": 1e3, "M": 1e6}


def tuned_rows(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of models of known size with the number of examples they were fine-tuned on; 0: on none.

    They are those with both ``params`` and ``examples``, and those of families called "gpt tuned on 100" or "gpt tuned
    on 1k", which become the family "gpt tuned"; the rows of "gpt" stand beside them with 0 examples. Of every run the
    last checkpoint counts. Families without any fine-tuning are left out; the frame is empty where nothing is left.
    """
    table = _with_columns(scores).filter(pl.col("params").is_not_null())
    both = table.filter(pl.col("examples").is_not_null())
    table = ladder(table)
    families = sorted(table["family"].unique().to_list())
    amounts: dict[str, dict[str, float]] = {}
    for name in families:
        if (found := _TUNED_ON.match(name)) is not None:
            count = float(found["count"].replace(",", "")) * _UNIT[found["unit"]]
            amounts.setdefault(found["family"], {})[name] = count
    frames = [both]
    for tuned, counts in amounts.items():
        base = max((name for name in families if tuned.startswith(f"{name} ")), key=len, default=None)
        known = counts if base is None else counts | {base: 0.0}
        own = table.filter(pl.col("family").is_in(list(known)))
        examples = pl.col("family").replace_strict(known, return_dtype=pl.Float64)
        frames.append(own.with_columns(examples.alias("examples"), pl.lit(tuned).alias("family")))
    run = ["family", "model", "examples", "seed", "task", "metric", "shots"]
    found_rows = pl.concat(frames).sort(*run, pl.col("step").fill_null(-1), pl.col("tokens").fill_null(-1.0))
    last = found_rows.group_by(run, maintain_order=True).last().select(found_rows.columns)
    return last.filter((pl.col("examples") > 0).any().over("family"))


def onset_shift(
    scores: pl.DataFrame,
    *,
    axis: Axis = "params",
    up_to: float | None = None,
    limit: float = 0.0,
    resamples: int = 400,
    seed: int = 0,
) -> list[OnsetShift]:
    """Return one reading for every family, task, headline metric and number of shots, in a fixed order.

    ``scores`` has the columns model, examples (0 as pre-trained), seed, task, metric, score, stderr, n, floor and
    ceiling, and that of the ``axis``, `params` or `loss` (the validation loss before fine-tuning); `tuned_rows` makes
    it of a score table. Fitted are the rows with examples above ``limit`` of models up to the axis value ``up_to`` (on
    the loss: down to it); the prediction is for ``limit`` examples: 0, or those in the prompt of few-shot scores, which
    are then the rows of ``examples`` equal to it. Intervals are 90 %; the same table, resamples and seed give the same.

    An answer that the data do not determine is missing with a reason: fewer than three models, an onset seen at fewer
    than two amounts, or a bootstrap that does not settle. Raises UserError for a table without these columns, another
    axis, or too few resamples.
    """
    if axis not in ("params", "loss"):
        raise UserError(f"an onset is asked for along params or loss, not along {axis}")
    if resamples < LEAST_RESAMPLES:
        raise UserError(f"resamples is {resamples}; a 90 % interval needs {LEAST_RESAMPLES} or more")
    for name in ("model", axis, "examples", "task", "metric", "score"):
        if name not in scores.columns:
            raise UserError(f"the column '{name}' is missing; the onset of tuned models needs it in every row")
    table = _with_columns(scores).filter(
        pl.col("examples").is_not_null(), pl.col(axis) > 0, pl.col("score").is_finite()
    )
    found = []
    keys = ["family", "task", "metric", "shots"]
    for values, rows in sorted(table.group_by(keys), key=lambda item: tuple(str(v) for v in item[0])):
        known = metric(str(values[2]))
        role = rows["role"].drop_nulls()
        headline = role[0] == "headline" if len(role) else known is None or known.role == "headline"
        if headline and (rows["examples"] > limit).any():
            found.append(_read(rows, axis, up_to, limit, resamples, seed))
    return found


def _with_columns(scores: pl.DataFrame) -> pl.DataFrame:
    kinds: dict[type, pl.DataType] = {str: pl.String(), float: pl.Float64(), int: pl.Int64(), bool: pl.Boolean()}
    return scores.select(
        (pl.col(name) if name in scores.columns else pl.lit(None)).cast(kinds[kind]).alias(name)
        for name, kind in SCORE_COLUMNS.items()
    ).with_columns(pl.col("family").fill_null(""), pl.col("shots").fill_null(0), pl.col("seed").fill_null(0))


def _read(rows: pl.DataFrame, axis: Axis, up_to: float | None, limit: float, resamples: int, seed: int) -> OnsetShift:
    family, task, name, shots = (rows[key][0] for key in ("family", "task", "metric", "shots"))
    beyond = pl.col(axis) < (up_to or 0) if axis == "loss" else pl.col(axis) > (np.inf if up_to is None else up_to)
    seen = rows.filter(pl.col("examples") > limit, ~beyond)
    fitted = {float(d): c for d in sorted(seen["examples"].unique()) if (c := _curve(seen, axis, d)) is not None}
    aside = _curve(rows, axis, limit)

    def rng(purpose: str) -> np.random.Generator:
        return stream(seed, "onset shift", family, task, name, shots, axis, purpose)

    onsets = {d: _onset(curve, resamples, rng(f"onset {d:g}")) for d, curve in fitted.items()}
    measured, _ = (
        (Interval(reason="there are no scores of the models without fine-tuning"), None)
        if aside is None
        else _onset(aside, resamples, rng("measured"))
    )
    law, why = _law(fitted, axis, resamples, rng("law"))
    places = {d: _by_law(law, why, d, axis) for d in (*fitted, limit)}
    line = _line({d: draws for d, (_, draws) in onsets.items() if draws is not None}, limit, axis, rng("line"))
    amounts = [
        AmountOnset(examples=d, models=c.n_rungs, seen=True, onset=onsets[d][0], law=places[d])
        for d, c in fitted.items()
    ]
    if aside is not None:
        without = AmountOnset(examples=limit, models=aside.n_rungs, seen=False, onset=measured, law=places[limit])
        amounts.insert(0, without)
    shift = Interval(reason=why) if law is None else _interval(*law.shift())
    ends = [c.to_axis(float(c.x_K[-1])) for c in fitted.values()]
    found = OnsetShift(
        family=family,
        task=task,
        metric=name,
        shots=shots,
        axis=axis,
        fitted_to=(min(ends) if axis == "loss" else max(ends)) if ends else float(rows[axis].max()),  # type: ignore[arg-type]
        limit=limit,
        amounts=tuple(amounts),
        shift=shift,
        predicted=places[limit],
        predicted_by_line=line,
        measured=measured,
        reason="",
    )
    return found.model_copy(update={"reason": _sentence(found)})


def _curve(rows: pl.DataFrame, axis: Axis, examples: float) -> Curve | None:
    """Return the curve of the models with this amount of fine-tuning along ``axis``, None where it has no model."""
    own = rows.filter(pl.col("examples") == examples)
    own = own.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in ADAPTATIONS)
    return next(iter(curves(own, axis).values()), None)


def _onset(curve: Curve, resamples: int, rng: np.random.Generator) -> tuple[Interval, Array | None]:
    """Return the onset of one amount by its own trend, and its draws in log10 of the axis (minus log10 of the loss)."""
    if curve.floor is None or curve.ceiling is None:
        return Interval(reason="the scores of guessing and of the best answer are not known"), None
    if curve.n_rungs < MIN_RUNGS:
        return Interval(reason=f"fewer than {MIN_RUNGS} models"), None
    noise = measure_noise(curve)
    test = gain_test(curve, noise, rng)
    if test.p >= RISE_LEVEL or not test.rises:
        return Interval(reason="the score does not rise clearly"), None
    trend = fit_trend(curve, noise, resamples, rng)
    level = curve.floor + ONSET * (curve.ceiling - curve.floor)
    found = crossing(curve, trend, level, "5 % of the way from its floor to its ceiling")
    draws = crossing_draws(trend, level)
    shown = float(np.mean(~np.isfinite(draws))) <= HIDDEN
    return found, draws if shown else None


def _law(fitted: dict[float, Curve], axis: Axis, resamples: int, rng: np.random.Generator) -> tuple[LawFit | None, str]:
    """Return the law fitted to all amounts, or None with the reason."""
    if not fitted:
        return None, "no model was fine-tuned"
    if any(c.floor is None or c.ceiling is None for c in fitted.values()):
        return None, "the scores of guessing and of the best answer are not known"
    points = _points(fitted, axis)
    if np.unique(points.x_N).size < MIN_RUNGS:
        return None, f"fewer than {MIN_RUNGS} models"
    if len(fitted) < 2:
        return None, "there is one amount of fine-tuning; how the onset moves shows from two on"
    begun = [t for t in np.unique(points.t_N) if _begins(points, t)]
    if len(begun) < 2:
        return None, (
            f"the ability begins within the ladder at {len(begun) or 'none'} of {len(fitted)} amounts of fine-tuning; "
            "how the onset moves shows from two on: more examples, or larger models"
        )
    law = fit_law(points, resamples, rng)
    if law.outside > HIDDEN:
        return None, "the scores bound the onset of some amounts on one side only; more amounts or models between them"
    return law, ""


def _begins(points: Points, t: float) -> bool:
    """Whether the ability begins within the ladder at one amount: clearly there at some model, not yet at the first."""
    own = points.t_N == t
    share, x, error = points.share_N[own], points.x_N[own], np.sqrt(points.variance_N[own])
    first = int(np.argmin(x))
    return bool((share - 2 * error > SHOWN).any() and share[first] < 0.5 * points.share_N.max())


def _points(fitted: dict[float, Curve], axis: Axis) -> Points:
    parts = []
    for examples, curve in fitted.items():
        assert curve.floor is not None
        assert curve.ceiling is not None
        way = curve.ceiling - curve.floor
        noise = measure_noise(curve)
        x = -(10.0**-curve.x_K) if axis == "loss" else curve.x_K
        share = (curve.mean_K - curve.floor) / way
        known = noise.measured_K if noise.example_errors_known or noise.degrees > 0 else np.zeros_like(x)
        parts.append((x, np.full(x.size, amount(examples)), share, known / way**2, np.round(x, 6)))
    x_N, t_N, share_N, variance_N, places = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Points(x_N, t_N, share_N, variance_N, np.unique(places, return_inverse=True)[1])


def _to_axis(x: float, axis: Axis) -> float | None:
    """Return a place of the law on the axis' own scale; None where no model can be."""
    if axis == "loss":
        return -x if x < 0 else None
    return float(10.0**x) if x < 300 else None


def _place(estimate: float, draws: Array, axis: Axis) -> Interval:
    _, low, high = interval_of(draws)
    ends = [_to_axis(v, axis) for v in (estimate, min(low, estimate), max(high, estimate))]
    if None in ends:
        return Interval(reason="the extrapolation leaves what a model can be")
    at, *reach = (float(v) for v in ends if v is not None)
    return Interval(estimate=at, low=min(reach), high=max(reach))


def _by_law(law: LawFit | None, why: str, examples: float, axis: Axis) -> Interval:
    if law is None:
        return Interval(reason=why)
    return _place(*law.passes(float(amount(examples)), ONSET), axis)


def _interval(estimate: float, draws: Array) -> Interval:
    _, low, high = interval_of(draws)
    return Interval(estimate=estimate, low=min(low, estimate), high=max(high, estimate))


def _line(found: dict[float, Array], limit: float, axis: Axis, rng: np.random.Generator) -> Interval:
    """Return the onset at ``limit`` by a straight line through the onsets of single amounts."""
    if len(found) < 2:
        return Interval(reason=f"{len(found) or 'no'} amounts show an onset within the ladder; a line needs two")
    resamples = min(draws.size for draws in found.values())
    shown = [np.where(np.isfinite(draws), draws, np.nan) for draws in found.values()]
    y_BA = np.stack([rng.permutation(np.where(np.isnan(d), np.nanmedian(d), d))[:resamples] for d in shown], axis=1)
    y_BA = -(10.0**-y_BA) if axis == "loss" else y_BA
    t_A = np.concatenate([np.atleast_1d(amount(d)) for d in found])
    middle, variance = np.median(y_BA, axis=0), np.maximum(np.var(y_BA, axis=0), 1e-8)
    scatter = 0.0
    if t_A.size > 2:
        residual = middle - _predict(t_A, middle[None], variance, t_A)[0]
        scatter = excess_scatter(residual, variance, t_A.size - 2)
    degrees = max(1, t_A.size - 2)
    tails = degrees / np.maximum(rng.chisquare(degrees, (resamples, 1)), 1e-3)
    y_BA = y_BA + rng.normal(size=y_BA.shape) * np.sqrt(scatter * tails)
    at = amount(np.array([limit]))
    estimate = float(_predict(t_A, middle[None], variance + scatter, at)[0, 0])
    return _place(estimate, _predict(t_A, y_BA, variance + scatter, at)[:, 0], axis)


def _predict(t_A: Array, y_BA: Array, variance_A: Array, at: Array) -> Array:
    """Return the values at ``at`` of weighted straight lines through each row."""
    weight = 1 / variance_A
    centre = float((weight * t_A).sum() / weight.sum())
    level = (y_BA @ weight) / weight.sum()
    slope = (y_BA @ (weight * (t_A - centre))) / float((weight * (t_A - centre) ** 2).sum())
    return np.asarray(level[:, None] + slope[:, None] * (at - centre), dtype=float)


def _sentence(found: OnsetShift) -> str:
    name = wording.metric_name(found.metric)
    if found.predicted.estimate is None or found.shift.estimate is None:
        return f"How fine-tuning moves the onset of {name} is not determined: {found.predicted.reason}."
    unit = "nats of loss" if found.axis == "loss" else "parameters"

    def place(value: float | None) -> str:
        return "?" if value is None else f"{value:.3g}"

    low, high = found.shift.low or 0.0, found.shift.high or 0.0
    moved = "to less able models" if high < 0 else "to more able models" if low > 0 else "in no clear direction"
    size = (
        f"by {abs(found.shift.estimate):.2g} nats"
        if found.axis == "loss"
        else f"by a factor of {10 ** abs(found.shift.estimate):.3g} in parameters"
    )
    without = "without fine-tuning" if found.limit == 0 else f"with {found.limit:g} examples"
    said = (
        f"Ten times the fine-tuning examples move the onset of {name} {size} {moved}; {without} it is predicted at "
        f"{place(found.predicted.estimate)} {unit} ({place(found.predicted.low)} to {place(found.predicted.high)})"
    )
    if found.measured.estimate is not None:
        inside = (found.predicted.low or 0) <= found.measured.estimate <= (found.predicted.high or np.inf)
        said += f", and measured at {place(found.measured.estimate)}, {'inside' if inside else 'outside'} that interval"
    return said + "."
