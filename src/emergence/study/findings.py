"""From a score table to everything that is kept of it: verdicts, forecasts, and what a reader should know.

The same for a study's own scores and for results from elsewhere. No torch here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from emergence.analysis import Assessment, assess, keep
from emergence.core.errors import UserError, unknown_name
from emergence.core.forecasts import FORECAST_AXES, Forecast, ForecastFile
from emergence.core.schema import AXES, Axis
from emergence.core.store import write_bytes, write_json, writing
from emergence.study.aside import Aside
from emergence.study.judging import ForecastRequest, JudgeRequest

__all__ = ["Findings", "ask_forecasts", "check_above", "find", "read_forecasts", "with_earlier", "write_findings"]

ALONGSIDE = 60  # curves; fewer are forecast sooner than a process starts


@dataclass(frozen=True)
class Findings:
    """What was found out about a table. ``forecasts`` is None where none were asked for, or none can be made."""

    assessment: Assessment
    forecasts: ForecastFile | None
    notes: tuple[str, ...] = ()


def ask_forecasts(
    axes: Sequence[Axis],
    *,
    hold_out: int,
    above: float | Mapping[Axis, float] | None,
    resamples: int,
    seed: int,
    now: datetime,
) -> ForecastRequest | None:
    """Return the forecasts to be made beside verdicts along ``axes``.

    `tokens` is forecast where it is the only axis: elsewhere it would be every checkpointed model; some axes have no
    next scale (`FORECAST_AXES`), and None is returned where no other is asked for. ``above`` (a value
    of the only axis, or an axis with its value) holds out every rung past it in place of the ``hold_out`` top ones, and
    then this axis alone is forecast. Raises UserError for a request that makes no sense.
    """
    _check_axes(axes)
    if isinstance(above, Mapping):
        ((axis, value),) = above.items()
        axes, above = (axis,), value
        if axis not in FORECAST_AXES:
            raise UserError(
                f"nothing is forecast along {axis}, which has no next scale; choose {', '.join(FORECAST_AXES)}"
            )
    elif above is not None and len(axes) != 1:
        raise UserError(f"above is {above:g}, a value of one axis; name that axis alone, for example params")
    if above is None and hold_out < 1:
        raise UserError(f"hold_out is {hold_out}; hold out one rung or more, or make no forecasts")
    along = tuple(axis for axis in axes if axis in FORECAST_AXES and (axis != "tokens" or len(axes) == 1))
    return None if not along else ForecastRequest(along, hold_out, above, resamples, seed, now.isoformat())


def find(
    scores: pl.DataFrame,
    *,
    axes: Sequence[Axis],
    resamples: int,
    seed: int,
    request: ForecastRequest | None,
    progress: Callable[[str], None] = lambda words: None,
) -> Findings:
    """Judge a completed score table and make the forecasts of ``request``, both at the same time where it is large.

    Axes without values are left out; where nothing can be forecast, a note says why. Raises UserError for an unknown
    axis, where no axis is left, and for too few resamples.
    """
    _check_axes(axes)
    if resamples < 20:
        raise UserError(f"resamples is {resamples}; a 90 % interval needs 20 or more")
    there = [axis for axis in AXES if scores[axis].is_finite().any()]
    axes = [axis for axis in axes if axis in there]
    if not axes:
        raise UserError(f"no score has a value on the axis that is asked for; there are values on {', '.join(there)}")
    forecasts: ForecastFile | None = None
    notes: tuple[str, ...] = ()
    # Judging every checkpointed model takes about as long as all the rest.
    aside = [axis for axis in axes if axis == "tokens" and len(axes) > 1 and len(os.sched_getaffinity(0)) > 1]
    judging = Aside(scores, JudgeRequest(aside, resamples, seed), beside=bool(aside))
    forecasting = None
    if request is not None:
        curves = scores.select("family", "task", "metric", "shots").n_unique() * len(request.axes)
        forecasting = Aside(scores, request, beside=curves > ALONGSIDE)
    with judging, forecasting or nullcontext():
        assessment = assess(
            scores,
            axes=axes,
            resamples=resamples,
            seed=seed,
            progress=progress,
            beside=(aside, lambda: Assessment.from_json(judging.result())),
        )
        if forecasting is not None:
            progress("forecasting")
            try:
                forecasts = ForecastFile.model_validate(forecasting.result())
            except UserError as reason:
                notes = (f"no forecasts: {reason}",)
    if forecasts is not None and not forecasts.held_out:
        notes = ("the forecasters were not tried: no curve has a rung left to fit when the asked ones are held out",)
    return Findings(assessment, forecasts, notes)


def _check_axes(axes: Sequence[Axis]) -> None:
    for axis in axes:
        if axis not in AXES:
            raise unknown_name("axis", axis, AXES)


def check_above(scores: pl.DataFrame, request: ForecastRequest) -> None:
    """Raise UserError, before any work, where ``above`` has no rung on one of its sides."""
    axis, above = request.axes[0], request.above
    if above is None:
        return
    places = scores[axis].drop_nulls().to_list()
    if not places or not min(places) < above < max(places):
        span = f"reaches from {min(places):.4g} to {max(places):.4g}" if places else "has no values"
        raise UserError(f"above is {above:g}, but the axis '{axis}' {span}; choose a value inside the ladder")


def read_forecasts(path: Path) -> ForecastFile | None:
    """Return the forecasts in a ``forecasts.json``, None where there is no such file.

    Raises UserError where it cannot be read.
    """
    try:
        return ForecastFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no forecasts ({reason}); restore it, or move it away to go on without the earlier forecasts"
        ) from error


def with_earlier(previous: ForecastFile | None, made: ForecastFile | None, scores: pl.DataFrame) -> ForecastFile | None:
    """Return the forecasts ``made`` with those of ``previous`` kept and compared with ``scores``.

    A forecast that is made again unchanged keeps its first date. Nothing is lost where none were made this time.
    """
    if previous is None:
        return made
    kept = keep(previous, made or ForecastFile(), scores)
    before = {forecast.place: forecast for forecast in previous.held_out}
    return kept.model_copy(
        update={"held_out": tuple(_first_dated(before.get(forecast.place), forecast) for forecast in kept.held_out)}
    )


def _first_dated(before: Forecast | None, again: Forecast) -> Forecast:
    return before if before is not None and again.model_copy(update={"made": before.made}) == before else again


def write_findings(folder: Path, scores: pl.DataFrame, assessment: Assessment, forecasts: ForecastFile | None) -> None:
    """Write ``scores.parquet``, ``verdicts.json`` and, where there are any, ``forecasts.json``."""
    with writing(folder / "scores.parquet") as temporary:
        scores.write_parquet(temporary)
    write_json(folder / "verdicts.json", assessment.to_json())
    if forecasts is not None:
        write_bytes(folder / "forecasts.json", (forecasts.model_dump_json(indent=2) + "\n").encode())
