"""Where an ability begins after fine-tuning on more and more examples, and what that forecasts without any."""

from __future__ import annotations

from emergence.core.schema import Axis, Frozen, Interval

__all__ = ["AmountOnset", "OnsetShift"]


class AmountOnset(Frozen):
    """The onset of models that were fine-tuned on ``examples`` examples each; 0: as they were pre-trained.

    An onset is where the expected score has come 5 % of the way from floor to ceiling.
    """

    examples: float
    models: int
    seen: bool  # whether the law and the line were fitted to it
    onset: Interval  # of the trend of these models alone
    law: Interval  # by the law for all amounts together


class OnsetShift(Frozen):
    """The reading of one task x metric x shots in one family: how its onset moves with the amount of fine-tuning."""

    family: str
    task: str
    metric: str
    shots: int
    axis: Axis  # `params` or `loss`
    fitted_to: float  # axis value of the most able model that was used
    limit: float  # examples for which the prediction is made: 0, or those in the prompt
    amounts: tuple[AmountOnset, ...]
    shift: Interval  # of the onset for ten times the examples: decades of parameters, or nats of loss; < 0: earlier
    predicted: Interval  # onset without fine-tuning, by the law for all amounts together
    predicted_by_line: Interval  # the same, by a line through the onsets of single amounts
    measured: Interval  # the onset of the models as they were pre-trained, which no prediction has seen
    reason: str  # one sentence in plain words
