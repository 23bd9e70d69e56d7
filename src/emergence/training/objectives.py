"""What a network is trained for: the loss of a batch, and its value on held-out rows.

A family names its objective (`models.family.Family.objective`). What an objective draws at random (masks, samples) it
takes from a generator that depends on the seed of the run and the number of the step, so that a run that is resumed
draws the same.

Shapes: S replicas, B rows, T positions, V vocabulary, M positions that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F

from emergence.core.catalogue import Catalogue
from emergence.training.batch import Batch, row_mean_losses

__all__ = ["NEXT_TOKEN", "OBJECTIVES", "Lesson", "NextToken", "Noise", "Objective", "Teachable"]

#: Makes the generator of the step under way; only who draws at random calls it.
Noise = Callable[[], torch.Generator]


class Objective(Protocol):
    """How a network learns from rows, and how what it has learnt is measured."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the loss of a batch, in nats where it is a log-probability: a scalar, or [S] stacked."""

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float | Mapping[str, float], int]:
        """Return the summed loss of held-out rows, or its summands by name, and over how many tokens it is summed;
        ``mask`` says which tokens of ``targets`` are supervised."""


@dataclass(frozen=True)
class Lesson:
    """What a batch asks: how a network answers, the right tokens [M] and their weights [M] in the loss.

    ``read(network)`` returns logits [M, V]. Stacked, all have a leading dimension S, and ``read_alone`` returns those
    of a network that is not stacked.
    """

    read: Callable[[Any], torch.Tensor]
    read_alone: Callable[[Any], torch.Tensor]
    targets: torch.Tensor
    weights: torch.Tensor


@runtime_checkable
class Teachable(Objective, Protocol):
    """An objective whose predictions another network can be asked for."""

    def lesson(self, network: Any, batch: Batch, noise: Noise) -> Lesson:
        """Return what the batch asks ``network``, with everything drawn that is drawn at random."""


class NextToken:
    """Cross-entropy of the next token at the supervised positions, every row with the same weight."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of the mean over their supervised positions."""
        return row_mean_losses(network, batch)

    def lesson(self, network: Any, batch: Batch, noise: Noise) -> Lesson:
        """Return what every supervised position asks."""

        def read(network: Any, ids: torch.Tensor = batch.inputs, select: torch.Tensor | None = batch.select) -> Any:
            logits = network(ids, select=select)
            return logits if select is not None else logits.flatten(-3, -2)

        def read_alone(network: Any) -> torch.Tensor:
            if batch.inputs.dim() == 2:
                return read(network)  # type: ignore[no-any-return]
            parts = [None] * len(batch.inputs) if batch.select is None else batch.select
            return torch.stack([read(network, ids, part) for ids, part in zip(batch.inputs, parts, strict=True)])

        return Lesson(read, read_alone, batch.targets, batch.weights)

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float, int]:
        """Return the summed cross-entropy of the supervised tokens, and their number."""
        logits_MV = network(inputs_BT, select=mask_BT.flatten().nonzero()[:, 0])
        targets_M = targets_BT[mask_BT]
        return float(F.cross_entropy(logits_MV, targets_M, reduction="sum")), len(targets_M)


NEXT_TOKEN = NextToken()

OBJECTIVES: Catalogue[Objective] = Catalogue("objective")
OBJECTIVES.add("next_token", "emergence.training.objectives:NEXT_TOKEN", "predict the next token")
OBJECTIVES.add("skipgram", "emergence.training.skipgram:SKIPGRAM", "tell a word's company from words at random")
OBJECTIVES.add("pairs", "emergence.training.pairs:PAIRS", "read prompts and predict targets, or hidden spans of text")
OBJECTIVES.add("masked_token", "emergence.training.masked:MASKED_TOKEN", "say what hidden tokens were")
OBJECTIVES.add("evidence_bound", "emergence.training.evidence:EVIDENCE_BOUND", "reconstruct through a latent vector")
