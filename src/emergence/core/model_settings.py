"""Which models a study is about: a ladder of families to be trained, or models that somebody else trained."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from emergence.core.published import PublishedModel, check_distinct
from emergence.core.schema import Frozen

__all__ = ["LadderSettings", "ModelSettings"]


class LadderSettings(Frozen):
    """Non-embedding parameter counts of the rungs, in geometric steps or one by one, and which dial is moved to reach
    them."""

    smallest: Annotated[float, Field(gt=0)] | None = None
    largest: Annotated[float, Field(gt=0)] | None = None
    rungs: Annotated[int, Field(ge=1, le=100)] | None = None
    counts: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=100)] | None = None
    vary: Literal["both", "width", "depth"] = "both"

    @model_validator(mode="after")
    def _ascending(self) -> LadderSettings:
        steps = (self.smallest, self.largest, self.rungs)
        if self.counts is not None:
            if steps != (None, None, None):
                raise ValueError("counts take the place of smallest, largest and rungs; leave one of them out")
            if any(a >= b for a, b in itertools.pairwise(self.counts)):
                raise ValueError("counts go from the smallest to the largest, each once; put them in order")
            return self
        if self.smallest is None or self.largest is None or self.rungs is None:
            raise ValueError("a ladder has smallest, largest and rungs, or counts: [3e3, 1e4, …]; add what is missing")
        if self.largest < self.smallest:
            raise ValueError(f"largest ({self.largest:g}) is below smallest ({self.smallest:g}); exchange them")
        if self.rungs > 1 and self.largest == self.smallest:
            raise ValueError("smallest and largest are equal, which is one rung; set rungs: 1 or move them apart")
        return self

    def sizes(self) -> tuple[float, ...]:
        """Return the asked parameter counts, smallest first."""
        if self.counts is not None:
            return self.counts
        assert self.smallest is not None
        assert self.largest is not None
        assert self.rungs is not None
        if self.rungs == 1:
            return (self.largest,)
        ratio = self.largest / self.smallest
        return tuple(self.smallest * ratio ** (i / (self.rungs - 1)) for i in range(self.rungs))


class ModelSettings(Frozen):
    """The families (one, or several to be compared), the ladder each of them has, and the number of tokens a model sees
    at once; or ``huggingface``, models that somebody else trained.

    Of those only safetensors are read, unless ``allow_pickle`` lets tensors be read from pickle files too.
    """

    family: Annotated[tuple[str, ...], Field(min_length=1)] = ("gpt",)
    ladder: LadderSettings | None = None
    context: Annotated[int, Field(ge=4, le=131_072)] = 64
    huggingface: tuple[PublishedModel, ...] = ()
    allow_pickle: bool = False

    @field_validator("family", "huggingface", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | dict) else value

    @field_validator("huggingface")
    @classmethod
    def _each_once(cls, value: tuple[PublishedModel, ...]) -> tuple[PublishedModel, ...]:
        if not value:
            raise ValueError("no model is named; list folders, or names such as EleutherAI/pythia-70m@step1000")
        check_distinct(value)
        return value

    @field_validator("family")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a family is listed twice; keep one")
        return value

    @model_validator(mode="after")
    def _own_or_published(self) -> ModelSettings:
        if not self.huggingface:
            if self.ladder is None:
                raise ValueError(
                    "the key 'model.ladder' is missing; or name models that somebody trained: huggingface: [...]"
                )
            if self.allow_pickle:
                raise ValueError("allow_pickle is for models under huggingface; leave it out")
            return self
        for key in ("family", "ladder", "context"):
            if key in self.model_fields_set:
                raise ValueError(f"models under huggingface have a {key} of their own; leave out model.{key}")
        return self

    @field_serializer("family")
    def _as_written(self, value: tuple[str, ...]) -> str | list[str]:
        return value[0] if len(value) == 1 else list(value)

    @model_serializer(mode="wrap")
    def _what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        published = ("huggingface", "allow_pickle")
        return {key: value for key, value in handler(self).items() if (key in published) == bool(self.huggingface)}
