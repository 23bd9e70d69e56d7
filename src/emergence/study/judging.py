"""What can be asked of a score table beside other work: its forecasts, and the verdicts along some axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from emergence.core.schema import Axis

__all__ = ["ForecastRequest", "JudgeRequest"]

RESAMPLES = 250  # at most: of 512 held-out scores of Pythia 94 % lie inside; 500 cost 66 s of a core there, 200 cost 41


@dataclass(frozen=True)
class ForecastRequest:
    """What is to be forecast: see `emergence.analysis.forecast_table`. The answer is that of a `ForecastFile`."""

    axes: Sequence[Axis]
    hold_out: int
    above: float | None
    resamples: int
    seed: int
    now: str  # ISO 8601 with a time zone

    def answer(self, scores: pl.DataFrame) -> Any:
        """Make the forecasts; raise UserError where the table is too small or the request makes no sense."""
        from emergence.analysis import forecast_table

        return forecast_table(
            scores,
            axes=self.axes,
            hold_out=self.hold_out,
            above=self.above,
            resamples=min(self.resamples, RESAMPLES),
            seed=self.seed,
            now=datetime.fromisoformat(self.now),
        ).model_dump(mode="json")


@dataclass(frozen=True)
class JudgeRequest:
    """Along which axes a table is to be judged. The answer is that of an `Assessment` without comparisons."""

    axes: Sequence[Axis]
    resamples: int
    seed: int

    def answer(self, scores: pl.DataFrame) -> Any:
        """Judge the table."""
        from emergence.analysis.assessment import judge_axes

        return judge_axes(scores, axes=self.axes, resamples=self.resamples, seed=self.seed).to_json()
