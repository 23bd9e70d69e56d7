"""How long and at which rate the models of a study are trained, and when they are looked at."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from emergence.core.schema import Frozen
from emergence.core.teacher_settings import TeacherSettings

__all__ = ["TrainingSettings"]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class TrainingSettings(Frozen):
    """One setting for the whole ladder; ``learning_rate: auto`` follows the family's own rule.

    With ``budgets``, numbers of tokens up to ``tokens``, every checkpoint stands for a whole training of that length: a
    branch leaves the run and cools down (`training.schedule`). They take the place of ``checkpoints``, which are a
    number of them, evenly spaced in the logarithm of tokens, or one for as many tokens as a pass through the corpus has
    (``epochs``). ``initialise_embeddings`` is the folder of a run, or of a model exported in this project's layout,
    whose token vectors every run begins with, such as one of `word2vec`. A ``teacher`` is a trained model that every
    run learns from.
    """

    tokens: Annotated[float, Field(ge=1, le=1e18)]
    budgets: tuple[Annotated[float, Field(ge=1)], ...] = ()
    batch_tokens: Count = 4096
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    checkpoints: Annotated[int, Field(ge=1, le=200)] | Literal["epochs"] = 8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup: Share = 0.02
    decay: Share = 0.2
    clip: Annotated[float, Field(gt=0)] = 1.0
    initialise_embeddings: str | None = None
    teacher: TeacherSettings | None = None

    @field_validator("budgets", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _phases_fit(self) -> TrainingSettings:
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup ({self.warmup:g}) and decay ({self.decay:g}) exceed the whole run; lower one of them"
            )
        return self

    @model_validator(mode="after")
    def _budgets_fit(self) -> TrainingSettings:
        if self.budgets and self.checkpoints != TrainingSettings.model_fields["checkpoints"].default:
            raise ValueError("budgets take the place of checkpoints; leave one of them out")
        if self.budgets and not self.decay:
            raise ValueError("budgets are reached by a decay of the learning rate; set decay above 0")
        warm = self.warmup * self.tokens
        for budget in self.budgets:
            if budget > self.tokens:
                raise ValueError(f"the budget of {budget:g} tokens exceeds tokens ({self.tokens:g}); raise tokens")
            if budget * (1 - self.decay) < warm:
                raise ValueError(
                    f"the budget of {budget:g} tokens would cool down before the warmup of {warm:g} tokens is over; "
                    "raise the budget or lower warmup"
                )
        return self
