"""How a study names a model that somebody else trained."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from emergence.core.schema import Frozen

__all__ = ["PublishedModel", "check_distinct", "split_revision"]

MAIN = "main"  # the revision that no revision means
Positive = Annotated[float, Field(gt=0)]


def split_revision(text: str) -> tuple[str, str | None]:
    """Return the name and the revision of ``name@revision``; the revision is None where there is none."""
    name, at, revision = text.rpartition("@")
    return (name, revision) if at else (text, None)


class PublishedModel(Frozen):
    """A model in Hugging Face's layout: a local folder, or ``owner/model`` on the hub at a ``revision``.

    Written as ``name@revision`` where nothing else is said. ``tokens`` and ``flops`` of its training and its validation
    ``loss`` (nats per token) place it on those axes. Models of one ``rung`` and ``seed`` are checkpoints of one run and
    differ in ``step``; ``family`` says which ladder the rung belongs to. What is left out follows from the name.
    """

    name: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(min_length=1)] | None = None
    rung: Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=100)] | None = None
    family: Annotated[str, Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    step: Annotated[int, Field(ge=0)] | None = None
    tokens: Annotated[float, Field(ge=0)] | None = None
    flops: Annotated[float, Field(ge=0)] | None = None
    loss: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            name, revision = split_revision(value)
            return {"name": name} if revision is None else {"name": name, "revision": revision}
        if isinstance(value, dict | PublishedModel):
            return value
        raise ValueError("a model is a folder or a name, or a mapping: {name: owner/model, revision: step1000}")

    @field_validator("name")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/") or value

    @model_serializer(mode="wrap")
    def _what_is_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    @property
    def shown(self) -> str:
        """``name@revision``, or the name alone."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def check_distinct(models: tuple[PublishedModel, ...]) -> None:
    """Raise ValueError where a model is listed twice at one revision."""
    seen = set()
    for model in models:
        key = (model.name, model.revision or MAIN)
        if key in seen:
            raise ValueError(f"the model '{model.shown}' is listed twice; keep one, or give each its own revision")
        seen.add(key)
