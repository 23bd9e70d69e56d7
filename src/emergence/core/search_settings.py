"""What a search tunes before a ladder is trained: which settings, in which ranges, with how many trials, for which
goal."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from emergence.core.schema import Frozen

__all__ = ["VALIDATION_LOSS", "SearchGoal", "SearchSettings", "SearchedSetting"]

VALIDATION_LOSS = "validation_loss"

Value = bool | int | float | str | None


class SearchedSetting(Frozen):
    """The values that a setting may take: a range, or a list of choices.

    A range whose ends (and step) are written as whole numbers has whole numbers only. With ``log`` equal ratios are
    equally likely; with ``step`` the values are low, low + step, ... high.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)] | None = None
    choices: Annotated[tuple[Value, ...], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> SearchedSetting:
        if self.choices is not None:
            if self.model_fields_set - {"choices"} and (self.low, self.high, self.log, self.step) != (
                None,
                None,
                False,
                None,
            ):
                raise ValueError("choices take the place of low, high, log and step; leave one of them out")
            if len({(type(value).__name__, value) for value in self.choices}) < len(self.choices):
                raise ValueError("a choice is listed twice; keep one")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give a range, such as {low: 1e-3, high: 1e-2, log: true}, or choices: [a, b]")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g}); exchange or move them")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with log begins above 0 (low is {self.low:g}); raise low or leave log out")
        if self.log and self.step is not None:
            raise ValueError("a range has log or a step; leave one of them out")
        if self.step is not None:
            steps = (self.high - self.low) / self.step
            if steps < 0.5 or not math.isclose(steps, round(steps), abs_tol=1e-6):
                raise ValueError(
                    f"{self.low:g} to {self.high:g} is no whole number of steps of {self.step:g}; move high or step"
                )
        return self

    @property
    def whole(self) -> bool:
        """Whether a range has whole numbers only."""
        numbers = [self.low, self.high, *([] if self.step is None else [self.step])]
        return all(isinstance(number, int) for number in numbers)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest value, or all choices."""
        return (self.low, self.high) if self.choices is None else self.choices


class SearchGoal(Frozen):
    """What a trial is judged by: a row of the scores table, found by its task and metric (and its shots, where there
    are several: by default their mean), or the validation loss. The direction follows from the metric where it is
    known."""

    task: str | None = None
    metric: str = VALIDATION_LOSS
    shots: Annotated[int, Field(ge=0)] | None = None
    direction: Literal["minimize", "maximize"] | None = None

    @model_validator(mode="after")
    def _complete(self) -> SearchGoal:
        if (self.task is None) != (self.metric == VALIDATION_LOSS):
            raise ValueError(
                "a goal is validation_loss, or a metric of a task: {task: recall, metric: target_logprob}; "
                f"{'name the task' if self.task is None else 'leave out the task'}"
            )
        if self.task is None and self.shots is not None:
            raise ValueError("the validation loss has no shots; leave them out")
        if self.task is None and self.direction == "maximize":
            raise ValueError("less validation loss is better; leave out direction, or set minimize")
        return self

    @property
    def words(self) -> str:
        """The goal as people name it."""
        shots = "" if self.shots is None else f", {self.shots}-shot"
        return self.metric.replace("_", " ") + ("" if self.task is None else f" of {self.task}{shots}")


class SearchSettings(Frozen):
    """The search of a study. A trial trains ``replicas`` of one rung, or of all of them, with values of its own for
    the ``settings``; the best values are those of the whole ladder.

    The first ``startup`` trials are random and none of them is pruned; the seed is the study's.
    """

    settings: Annotated[dict[str, SearchedSetting], Field(min_length=1)]
    trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    goal: SearchGoal = SearchGoal()
    rungs: Literal["smallest", "largest", "all"] = "smallest"
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    pruner: Literal["median", "successive_halving", "none"] = "median"
    startup: Annotated[int, Field(ge=1)] = 5

    @field_validator("goal", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"metric": value} if isinstance(value, str) else value
