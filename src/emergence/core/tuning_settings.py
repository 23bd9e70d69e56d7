"""What a study fine-tunes: which tasks, on how many examples, in which ways, beside which baselines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from emergence.core.faults import first_fault
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.schema import Frozen

__all__ = ["Beforehand", "TuningSettings"]

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[\w][\w -]*$", max_length=40)]


class Beforehand(Frozen):
    """Tasks that a model learns together before the one it is tuned for: the first so many of ``tasks``, for each of
    ``counts``.

    ``multitask`` trains one trunk with a head for each task on all examples; ``reptile`` moves the trunk toward where a
    few steps on single tasks lead (Nichol et al. 2018, arXiv 1803.02999).
    """

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    methods: tuple[Literal["multitask", "reptile"], ...] = ("multitask",)
    settings: FinetuneSettings = FinetuneSettings()

    @model_validator(mode="after")
    def _enough_tasks(self) -> Beforehand:
        if max(self.counts) > len(self.tasks):
            raise ValueError(
                f"counts ask for {max(self.counts)} of {len(self.tasks)} tasks; name more, or ask for fewer"
            )
        return self

    @model_validator(mode="after")
    def _the_trained_trunk_learns(self) -> Beforehand:
        for key, usual in (("adapter", None), ("start", "trained"), ("freeze", 0)):
            value = getattr(self.settings, key)
            if value != usual and (key != "freeze" or value == "all"):
                raise ValueError(f"settings.{key}: the trained model itself learns tasks beforehand; leave {key} out")
        return self


def _one_variant() -> dict[str, dict[str, Any]]:
    return {"tuned": {}}


class TuningSettings(Frozen):
    """Every model of the study (``rungs``: all, the largest of each family, or by name) is fine-tuned on each of
    ``tasks`` with each number of ``examples``, once in each of ``variants``: a name, and what is different there from
    ``settings``.

    ``baselines`` are fitted to the same examples. Answers that are written are judged on evaluation.examples questions.
    """

    tasks: tuple[str, ...] = ()
    examples: Annotated[tuple[Count | Literal["all"], ...], Field(min_length=1)] = ("all",)
    settings: FinetuneSettings = FinetuneSettings()
    variants: dict[Name, dict[str, Any]] = Field(default_factory=_one_variant, min_length=1)
    baselines: tuple[Literal["majority", "lexicon", "naive_bayes", "logistic"], ...] = ()
    rungs: Literal["all", "largest"] | tuple[str, ...] = "all"
    before: Beforehand | None = None

    @field_validator("examples", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _each_variant_fits(self) -> TuningSettings:
        for name in self.variants:
            try:
                self.variant(name)
            except ValidationError as error:
                fault = first_fault(error)
                raise ValueError(f"variants.{name}{'.' * bool(fault.key)}{fault.key}: {fault.says}") from None
        return self

    @model_validator(mode="after")
    def _each_has_a_name_of_its_own(self) -> TuningSettings:
        names = [name.replace(" ", "-") for name in (*self.variants, *(self.before.methods if self.before else ()))]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"variants: two ways of fine-tuning are called {name!r}; rename one")
        if self.before is not None and self.settings.start == "untrained":
            raise ValueError("settings.start: untrained would forget what was learnt before; put it into a variant")
        return self

    def variant(self, name: str) -> FinetuneSettings:
        """Return the settings of a variant."""
        return FinetuneSettings.model_validate({**self.settings.model_dump(), **self.variants[name]})
