"""Who does the learning: by gradients for most families, by whatever a family names in `models.family.Family.learner`.

The one loop (`training/loop.py`) asks nothing else of a learner, so that runs of every family are scheduled, resumed,
evaluated and reported alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from emergence.core.catalogue import Catalogue
from emergence.models.family import FAMILIES, ModelConfig
from emergence.training.batch import Batch
from emergence.training.objectives import Objective

__all__ = ["LEARNERS", "Learner", "make_learner"]


class Learner(Protocol):
    """S replicas of one rung, how they learn from a batch, and what they remember of it."""

    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Learn from one batch and return the losses [S] before that, in nats.

        ``factor`` multiplies the learning rate; what is drawn at random depends on the number ``step``.
        """

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of what the network of one replica is made of, by name: what a checkpoint keeps."""

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of what one replica needs besides to go on learning."""

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Continue after ``step`` steps from what `weights` and `moments` returned for every replica.

        Raises UserError where they are those of another network.
        """

    def snapshot(self) -> Any:
        """Return a copy of everything, for `return_to`."""

    def return_to(self, snapshot: Any) -> None:
        """Go back to a snapshot; it is used up."""

    def alone(self, replica: int) -> Any:
        """Return one replica as a network of its own, ready to be asked; the next call may reuse it."""


LEARNERS: Catalogue[Callable[..., Learner]] = Catalogue("learner")
LEARNERS.add("gradient", "emergence.training.stack:Stack", "AdamW on an objective, one replica or several stacked")
LEARNERS.add("skipgram", "emergence.training.skipgram:CountingStack", "AdamW on vectors, and counts of what was read")
LEARNERS.add("nothing", "emergence.training.nothing:Nothing", "a network without parameters stays what it is")
LEARNERS.add("counts", "emergence.training.counts:Counting", "n-grams, counted")
LEARNERS.add("by_hand", "emergence.training.by_hand:ByHand", "AdamW with derivatives written out in NumPy")


def make_learner(
    family: str,
    config: ModelConfig,
    seeds: Sequence[int],
    *,
    learning_rate: float,
    weight_decay: float,
    clip: float,
    stacked: bool,
    embeddings: str | None = None,
    objective: Objective | None = None,
) -> Learner:
    """Return the learner of a family, at its beginning, for replicas with the given seeds.

    ``embeddings`` is a file of token vectors (`models.vectors`); only families that have such vectors are given any.
    ``objective`` takes the place of the family's own; only those that learn by `gradient` are given one.
    """
    make = LEARNERS.load(FAMILIES.load(family).learner)
    given: dict[str, Any] = {} if embeddings is None else {"embeddings": embeddings}
    if objective is not None:
        given["objective"] = objective
    return make(
        family,
        config,
        seeds,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip=clip,
        stacked=stacked,
        **given,
    )
