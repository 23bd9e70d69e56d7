"""Who teaches the models of a study: `training.teacher`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from emergence.core.schema import Frozen

__all__ = ["TeacherSettings"]


class TeacherSettings(Frozen):
    """A trained model that the models of a study learn from.

    ``model`` is the folder of a run (at ``step``, or its last checkpoint), of an exported model, or one in Hugging
    Face's layout, or a name on the hub. Of kind ``token`` (Hinton et al. 2015, arXiv 1503.02531) it says at every
    supervised position how probable each token is: ``weight`` is the share of this in the loss, and probabilities are
    softened by ``temperature``. Teacher and students then have the same tokens. Of kind ``sequence`` (Kim and Rush
    2016, arXiv 1606.07947) it writes what the students read in the place of the true answers and texts: ``texts``
    answers to the prompts of every task, the most probable by ``beams`` (one is greedy) after ``shots`` worked
    examples, and as many texts in the place of a corpus, drawn at ``temperature``.
    """

    model: Annotated[str, Field(min_length=1)]
    step: Annotated[int, Field(ge=0)] | None = None
    kind: Literal["token", "sequence"] = "token"
    temperature: Annotated[float, Field(ge=1e-2, le=1e3)] | None = None
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    texts: Annotated[int, Field(ge=8, le=10_000_000)] | None = None
    beams: Annotated[int, Field(ge=1, le=64)] | None = None
    shots: Annotated[int, Field(ge=0, le=64)] | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> TeacherSettings:
        foreign = ("texts", "beams", "shots") if self.kind == "token" else ("weight",)
        for name in foreign:
            if getattr(self, name) is not None:
                other = "sequence" if self.kind == "token" else "token"
                raise ValueError(f"{name} belongs to kind: {other}; leave it out, or change the kind")
        return self

    @property
    def softness(self) -> float:
        """The temperature: 2 where none is given, and 1 for texts, which are then drawn as the teacher would."""
        if self.temperature is not None:
            return self.temperature
        return 2.0 if self.kind == "token" else 1.0

    @property
    def share(self) -> float:
        """The weight of the teacher in the loss, a half where none is given."""
        return 0.5 if self.weight is None else self.weight

    @property
    def number(self) -> int:
        """How many answers to a task, or texts, are written."""
        return 8192 if self.texts is None else self.texts
