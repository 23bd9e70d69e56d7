"""Whether a threshold found in one family, corpus or prompt holds in another: the type of the answer."""

from __future__ import annotations

from emergence.core.schema import Axis, Frozen, Interval

__all__ = ["CarryOver"]


class CarryOver(Frozen):
    """The onsets and thresholds of one task x metric in two groups of models, compared along one axis."""

    between: str  # the column that tells the groups apart: `family`, `shots` ...
    first: str
    second: str
    model: str | None = None  # whose curves they are on the axes of `PER_MODEL`
    task: str
    metric: str
    shots: int | None  # None where shots are what is compared
    axis: Axis
    first_threshold: Interval  # on the axis' own scale
    second_threshold: Interval
    difference_decades: Interval  # log10 of the second threshold less that of the first
    onset_difference_decades: Interval
    carries: bool | None
    p: float | None  # of equal thresholds
    q_value: float | None  # corrected for all pairs of one axis
    reason: str  # one sentence in plain words
