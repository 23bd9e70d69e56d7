"""Forecasts as types: what each method predicts for a rung it has not seen, and how the methods did.

An interval is a 90 % *prediction* interval: it is meant to hold the score that will be observed, so it carries the
uncertainty of the law, the scatter of rungs about it and the noise of the new rung's own examples.
"""

from __future__ import annotations

from typing import Literal

from emergence.core.schema import AXES, SCHEMA_VERSION, Axis, Frozen, Interval

__all__ = ["FORECAST_AXES", "METHODS", "Forecast", "ForecastFile", "ForecasterScore", "Method", "Prediction"]

Method = Literal[
    "constant",
    "linear",
    "power_law",
    "exact_match_law",
    "logistic",
    "broken_law",
    "loss_mediated",
    "smooth_mediated",
    "principal_components",
]
#: Every method, the simplest first: where two forecast equally well, the first is recommended.
METHODS: tuple[Method, ...] = (
    "constant",
    "linear",
    "power_law",
    "exact_match_law",
    "logistic",
    "broken_law",
    "loss_mediated",
    "smooth_mediated",
    "principal_components",
)

#: Axes with a next scale to forecast. Bits end at what the model was trained with and tasks at those there are: nobody
#: goes on along them, so nothing is held out either.
FORECAST_AXES: tuple[Axis, ...] = tuple(axis for axis in AXES if axis not in ("bits", "training_tasks"))


class Prediction(Frozen):
    """What one method forecasts; the score is missing, with a reason, where the method does not apply."""

    method: Method
    score: Interval
    reason: str | None = None
    stretched: float | None = None  # factor by which the interval was widened, as it held too few held-out scores
    error: float | None = None  # estimate - truth, once the truth is known
    inside: bool | None = None  # whether the interval holds the truth


class Forecast(Frozen):
    """The forecasts of one task x metric x shots at one place on an axis, made from the rungs before it."""

    family: str
    model: str | None = None  # whose curve it is on the axes of `PER_MODEL`
    task: str
    metric: str
    shots: int
    axis: Axis
    fitted_rungs: int
    fitted_to: float  # axis value of the most able rung that was used
    at: float  # axis value forecast
    at_model: str | None = None  # the rung at that place, where there is one
    predictions: tuple[Prediction, ...]
    recommended: Method | None = None
    recommendation: str | None = None  # why this method, or why none
    unit: float | None = None  # errors are divided by it when methods are compared (`ForecasterScore`)
    truth: float | None = None
    truth_stderr: float | None = None
    truth_at: float | None = None  # axis value of the rung that was measured
    made: str  # ISO 8601, UTC

    @property
    def place(self) -> tuple[str, str | None, str, str, int, str, float]:
        """What is forecast: two forecasts of one place are about the same measurement."""
        return (self.family, self.model, self.task, self.metric, self.shots, self.axis, self.at)

    def prediction(self, method: str | None) -> Prediction | None:
        """Return what ``method`` predicts, or None where it is not among the predictions."""
        return next((p for p in self.predictions if p.method == method), None)


class ForecasterScore(Frozen):
    """How one method did on scores it had not seen, in shares of each metric's range.

    The range is 1 for an accuracy, so that errors are in its own units. For a metric with a best value but no worst it
    is the way from the worst fitted rung to the best value, and without either what the fitted rungs span. ``method``
    is "recommended" for the procedure that follows the recommendation, each time chosen on other tasks.
    """

    method: Method | Literal["recommended"]
    forecasts: int
    undefined: int
    absolute_error_median: float | None = None
    absolute_error_mean: float | None = None
    coverage: float | None = None  # share of truths inside the 90 % interval
    width: float | None = None  # median width of the interval
    interval_score: float | None = None  # mean; Gneiting and Raftery 2007, doi:10.1198/016214506000001437, eq. 43
    interval_score_constant: float | None = None  # that of `constant` on the same forecasts
    reason: str | None = None


class ForecastFile(Frozen):
    """``forecasts.json``: the ladder's own test of the methods, the forecasts for the next scale, and earlier ones."""

    schema_version: int = SCHEMA_VERSION
    held_out: tuple[Forecast, ...] = ()
    scores: tuple[ForecasterScore, ...] = ()
    next: tuple[Forecast, ...] = ()
    kept: tuple[Forecast, ...] = ()
