"""Forecasts outlive the analysis that made them: kept with their date until their rung exists, and then compared.

A forecast is never changed afterwards but for its truth; a later forecast for the same place stands beside it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from emergence.analysis.curves import Curve, CurveKey, curves
from emergence.analysis.forecasting.scoring import compared
from emergence.analysis.forecasting.split import to_table
from emergence.analysis.noise import measure_noise
from emergence.core.forecasts import FORECAST_AXES, Forecast, ForecastFile
from emergence.core.schema import Axis

__all__ = ["NEAR_DECADES", "keep"]

#: A rung this close to the place of a forecast, in decades of the axis, is what was forecast: 12 % of the size. A
#: step of the loss is smaller by its exponent (0.076; Kaplan et al. 2020, arXiv 2001.08361): 0.9 %.
NEAR_DECADES: dict[Axis, float] = dict.fromkeys(FORECAST_AXES, 0.05) | {"loss": 0.05 * 0.076}


def keep(previous: ForecastFile | None, new: ForecastFile, scores: pl.DataFrame) -> ForecastFile:
    """Return ``new`` with the earlier forecasts kept, and compared with ``scores`` where their rung now exists.

    Kept are those of ``previous`` and what it forecast for the next scale. A forecast of ``new.next`` that repeats an
    earlier one (same place, same rungs, same estimates) is the same forecast and keeps its first date.
    A truth is filled in from the rung nearest to the place, within `NEAR_DECADES` and beyond what had been fitted; once
    filled in, it stays.
    """
    if previous is None:
        return new
    before = {_content(f): f for f in (*reversed(previous.next), *reversed(previous.kept))}  # the first made counts
    repeated = {key for f in new.next if (key := _content(f)) in before}
    following = tuple(_with_advice(before[_content(f)], f) if _content(f) in before else f for f in new.next)
    kept = [f for f in (*previous.kept, *previous.next) if _content(f) not in repeated or f.truth is not None]
    tables: dict[Axis, dict[CurveKey, Curve]] = {
        axis: curves(scores, axis) for axis in {f.axis for f in kept if f.truth is None}
    }
    checked = tuple(f if f.truth is not None else _compare(f, tables[f.axis]) for f in kept)
    return new.model_copy(update={"next": following, "kept": checked})


def _content(forecast: Forecast) -> tuple[object, ...]:
    """Return what makes two forecasts the same: the place, the rungs behind it, and what each method estimates.

    Not the date, and not the ends of the intervals, which are drawn.
    """
    estimates = tuple(
        (p.method, None if p.score.estimate is None else f"{p.score.estimate:.6g}") for p in forecast.predictions
    )
    return (*forecast.place, forecast.fitted_rungs, forecast.fitted_to, estimates)


def _with_advice(first: Forecast, again: Forecast) -> Forecast:
    return first.model_copy(update={"recommended": again.recommended, "recommendation": again.recommendation})


def _compare(forecast: Forecast, found: dict[CurveKey, Curve]) -> Forecast:
    key = CurveKey(forecast.family, forecast.task, forecast.metric, forecast.shots, forecast.axis, forecast.model)
    curve = found.get(key)
    if curve is None:
        return forecast
    sign = -1.0 if forecast.axis == "loss" else 1.0
    x, last = sign * np.log10(forecast.at), sign * np.log10(forecast.fitted_to)
    nearest = int(np.argmin(np.abs(curve.x_K - x)))
    position = float(curve.x_K[nearest])
    if abs(position - x) > NEAR_DECADES[forecast.axis] or position <= last + 1e-6:
        return forecast
    noise = measure_noise(curve)
    truth = float(to_table(curve, curve.mean_K)[nearest])
    error: float | None = None
    if noise.example_errors_known or noise.degrees > 0:
        error = float(np.sqrt(noise.measured_K[nearest])) * (truth if curve.logarithm else 1.0)
    return compared(forecast, truth, error, curve.to_axis(position))
