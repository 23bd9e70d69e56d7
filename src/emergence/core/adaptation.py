"""What a study's stages did with its trained models: a record of every tuned, fitted or compressed one.

``adaptations.json`` of a study's folder holds them (`AdaptationFile`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from emergence.core.schema import Frozen

__all__ = ["AdaptationFile", "AdaptedScore", "CompressedRecord", "TaskKind", "TunedRecord"]

#: How a task is answered: through a head of its own, or by writing (``generation``).
TaskKind = Literal["classification", "regression", "span", "generation"]


class AdaptedScore(Frozen):
    """A score on one test set. ``error`` is its standard error over the ``n`` test examples, where that is known."""

    test: str  # of a task that a model was tuned for: the set; of one that it was asked: the task
    metric: str
    score: float
    error: float | None = None
    n: int | None = None
    headline: bool = False
    shots: int = 0


class TunedRecord(Frozen):
    """One model that was fine-tuned on one task, or a ``baseline`` fitted to the same examples.

    ``variant`` names the way (of a baseline: the baseline), ``before`` how many tasks were learnt first (None: it was
    not asked for). ``asked`` is the number of examples that the study names, None for all there are, and ``examples``
    how many those were. One that diverged has neither scores nor history.
    """

    name: str  # of its folder below ``adapted``
    task: str
    kind: TaskKind
    family: str
    model: str
    seed: int
    variant: str
    baseline: bool = False
    before: int | None = None
    asked: int | None = None
    examples: int | None = None
    status: Literal["done", "diverged"] = "done"
    params: float | None = None  # non-embedding
    scores: tuple[AdaptedScore, ...] = ()
    reports: dict[str, dict[str, Any]] = Field(default_factory=dict)  # by test set: `tasks.label_scores`
    validation: dict[str, float] = Field(default_factory=dict)  # at the step whose weights were kept
    best_step: int | None = None
    history: tuple[dict[str, float], ...] = ()  # of every reading: step, training loss, validation measures
    share: float | None = None  # of the parameters that learnt
    flops: float = 0.0
    seconds: float | None = None


class CompressedRecord(Frozen):
    """One compressed model and what it scored on every task; without a ``method`` it is the model as it was."""

    name: str
    family: str
    model: str
    seed: int
    method: str | None
    level: str = ""
    status: Literal["done", "diverged"] = "done"
    bits: float | None = None  # stored for a weight of its matrices
    params: float | None = None
    scores: tuple[AdaptedScore, ...] = ()


class AdaptationFile(Frozen):
    """All records of a study."""

    tuned: tuple[TunedRecord, ...] = ()
    compressed: tuple[CompressedRecord, ...] = ()

    @property
    def flops(self) -> float:
        """FLOPs of all fine-tunings."""
        return sum(record.flops for record in self.tuned)

    @property
    def seconds(self) -> float:
        """Seconds of all fine-tunings."""
        return sum(record.seconds or 0.0 for record in self.tuned)
