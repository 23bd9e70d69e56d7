"""`forecast_table`: hold out the top of every ladder, forecast it by every method, score the methods, look further.

Shapes: B curves, S resamples, T targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis.bootstrap import HIGH, LOW
from emergence.analysis.forecasting.capability import forecast_by_components
from emergence.analysis.forecasting.laws import LAWS, forecast_by_law
from emergence.analysis.forecasting.mediated import forecast_by_loss, forecast_by_smooth
from emergence.analysis.forecasting.outcome import Outcome
from emergence.analysis.forecasting.recommending import stretches, with_recommendations
from emergence.analysis.forecasting.scoring import compared, score_forecasters
from emergence.analysis.forecasting.split import Case, ahead, hold_out_rungs
from emergence.analysis.forecasting.spread import Batch
from emergence.core.errors import UserError, unknown_name
from emergence.core.forecasts import FORECAST_AXES, METHODS, Forecast, ForecastFile, Method, Prediction
from emergence.core.schema import Axis, Interval
from emergence.core.seeds import stream

__all__ = ["forecast_cases", "forecast_table"]

Array = NDArray[np.float64]
CHUNK = 64  # curves at a time: bounds the memory of B x S x G tables


def forecast_table(
    scores: pl.DataFrame,
    *,
    axes: Sequence[Axis] = ("params", "flops", "loss", "examples"),
    hold_out: int = 1,
    above: float | None = None,
    resamples: int = 500,
    seed: int = 0,
    next_at: Sequence[float] | None = None,
    now: datetime,
    methods: Sequence[Method] = METHODS,
) -> ForecastFile:
    """Return the forecasts for held-out rungs, the methods' scores on them, and the forecasts for the next scale.

    ``scores`` is a completed table (`emergence.analysis.normalise`). Of every curve the ``hold_out`` top rungs are held
    out or, with ``above``, every rung past that value of the axis; the rest is fitted. The scores of held-out rungs are
    removed before anything is fitted. ``next_at`` are axis values beyond the ladder; the default is one geometric step.
    The method recommended for them is the one with the least interval score on the held-out rungs of the same axis, and
    an interval that held too few of those is stretched (`recommending`). Axes without values give nothing. ``now``
    (with a time zone) dates the forecasts.

    Raises UserError for a request that makes no sense and for a table without any curve long enough; ValueError for a
    ``now`` without a time zone.
    """
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    if resamples < 20:
        raise UserError(f"resamples is {resamples}; a 90 % interval needs 20 at least")
    _check_names("axis", axes, FORECAST_AXES)
    _check_names("method", methods, METHODS)
    if len(axes) != 1 and (above is not None or next_at is not None):
        raise UserError("above and next_at are values of one axis; name that axis alone")
    made = now.astimezone(UTC).isoformat(timespec="seconds")
    past: list[Forecast] = []
    future: list[Forecast] = []
    for axis in axes:
        if axis not in scores.columns or scores[axis].is_finite().sum() == 0:
            continue
        held = hold_out_rungs(scores, axis, hold_out=hold_out, above=above)
        tested = forecast_cases(held, resamples=resamples, seed=seed, made=made, methods=methods)
        later, wider = ahead(scores, axis, next_at), stretches(tested)
        past.extend(tested)
        future.extend(forecast_cases(later, resamples=resamples, seed=seed, made=made, methods=methods, stretch=wider))
    if not past and not future:
        axis_names = " or ".join(axes)
        raise UserError(f"no headline or smooth metric has two rungs on the axis {axis_names}: nothing can be forecast")
    past_chosen, future_chosen = with_recommendations(past, future)
    return ForecastFile(held_out=past_chosen, scores=score_forecasters(past_chosen), next=future_chosen)


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def forecast_cases(
    cases: Sequence[Case],
    *,
    resamples: int,
    seed: int,
    made: str,
    methods: Sequence[Method] = METHODS,
    stretch: Mapping[Method, float] = MappingProxyType({}),
) -> list[Forecast]:
    """Return one forecast for each target of each case, by every method, intervals widened by ``stretch``."""
    forecasts: list[Forecast] = []
    for chunk in _chunks(cases):
        rngs = [_stream(seed, case, "rungs") for case in chunk]
        batch = Batch.of(chunk, resamples, rngs)
        outcomes = {method: _run(method, batch, tuple(cases), _stream(seed, chunk[0], method)) for method in methods}
        for b, case in enumerate(chunk):
            for t in range(len(case.targets)):
                forecasts.append(_forecast(batch, case, b, t, outcomes, made, stretch))
    return forecasts


def _stream(seed: int, case: Case, purpose: str) -> np.random.Generator:
    key = case.key
    return stream(seed, "forecast", key.family, key.model or "", key.task, key.metric, key.shots, key.axis, purpose)


def _chunks(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Split into chunks of about `CHUNK` curves; the metrics of one task stay together, for `smooth_mediated`."""
    chunk: list[Case] = []
    for case in cases:
        same = chunk and (case.key.family, case.key.model, case.key.task) == (
            chunk[-1].key.family,
            chunk[-1].key.model,
            chunk[-1].key.task,
        )
        if len(chunk) >= CHUNK and not same:
            yield chunk
            chunk = []
        chunk.append(case)
    if chunk:
        yield chunk


def _run(method: Method, batch: Batch, cases: tuple[Case, ...], rng: np.random.Generator) -> Outcome:
    if method in LAWS:
        return forecast_by_law(method, batch, rng)
    if method == "loss_mediated":
        return forecast_by_loss(batch, rng)
    if method == "smooth_mediated":
        return forecast_by_smooth(batch, rng)
    return forecast_by_components(batch, cases, rng)


def _forecast(
    batch: Batch,
    case: Case,
    b: int,
    t: int,
    outcomes: dict[Method, Outcome],
    made: str,
    stretch: Mapping[Method, float],
) -> Forecast:
    curve, key, target = case.curve, case.key, case.targets[t]
    bounds = (float(batch.low_B[b]), float(batch.high_B[b]))
    predictions = tuple(
        _prediction(
            method,
            case,
            float(outcome.estimate_BT[b, t]),
            outcome.draws_BST[b, :, t],
            outcome.reason_B[b],
            bounds,
            stretch.get(method, 1.0),
        )
        for method, outcome in outcomes.items()
    )
    forecast = Forecast(
        family=key.family,
        model=key.model,
        task=key.task,
        metric=key.metric,
        shots=key.shots,
        axis=key.axis,
        fitted_rungs=curve.n_rungs,
        fitted_to=curve.to_axis(float(curve.x_K[-1])),
        at=target.at,
        at_model=target.model,
        predictions=predictions,
        unit=_unit(case, bounds),
        made=made,
    )
    if t < len(case.truths):
        truth = case.truths[t]
        return compared(forecast, truth.score, truth.stderr, target.at)
    return forecast


def _unit(case: Case, bounds: tuple[float, float]) -> float | None:
    """Return the metric's range; with one end, the way from the worst fitted rung to it; else what the rungs span."""
    shown = case.to_table(case.curve.mean_K)
    if np.isfinite(bounds).all() and not case.curve.logarithm:
        return bounds[1] - bounds[0]
    if np.isfinite(bounds[1]):
        return float(np.abs(case.to_table(np.array([bounds[1]])) - shown).max()) or None
    return float(np.ptp(shown)) or None


def _prediction(
    method: Method,
    case: Case,
    estimate: float,
    draws: Array,
    reason: str | None,
    bounds: tuple[float, float],
    stretch: float,
) -> Prediction:
    usable = draws[np.isfinite(draws)]
    if reason is None and (not np.isfinite(estimate) or usable.size < draws.size // 2):
        reason = "the fit did not succeed"
    if reason is not None:
        return Prediction(method=method, score=Interval(reason=reason), reason=reason)
    # Order statistics at p (n + 1): so many draws hold a new one in 90 % of cases, however few they are.
    low, high = np.percentile(usable, [LOW, HIGH], method="weibull")
    reach = stretch * np.array([min(low - estimate, 0.0), max(high - estimate, 0.0)])
    ends = case.to_table(np.clip(estimate + reach, *bounds))
    value = float(case.to_table(np.array([estimate]))[0])
    if not (np.isfinite(ends).all() and np.isfinite(value)):
        reason = "the forecast overflows the metric's own scale"
        return Prediction(method=method, score=Interval(reason=reason), reason=reason)
    score = Interval(estimate=value, low=float(ends.min()), high=float(ends.max()))
    return Prediction(method=method, score=score, stretched=stretch if stretch > 1 else None)
