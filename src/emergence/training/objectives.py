"""What a network is trained for: the loss of a batch, and its value on held-out rows.

A family names its objective (`models.family.Family.objective`). What an objective draws at random (masks, samples) it
takes from a generator that depends on the seed of the run and the number of the step, so that a run that is resumed
draws the same.

Shapes: S replicas, B rows, T positions, V vocabulary, M positions that count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from emergence.core.catalogue import Catalogue
from emergence.training.batch import Batch, row_mean_losses

__all__ = ["NEXT_TOKEN", "OBJECTIVES", "NextToken", "Noise", "Objective"]

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


class NextToken:
    """Cross-entropy of the next token at the supervised positions, every row with the same weight."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of the mean over their supervised positions."""
        return row_mean_losses(network, batch)

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
