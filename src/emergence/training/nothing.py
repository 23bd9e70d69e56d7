"""The learner of families that have nothing to learn: the same network at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emergence.models.family import FAMILIES, ModelConfig, build_network
from emergence.training.batch import Batch
from emergence.training.objectives import OBJECTIVES

__all__ = ["Nothing"]


class Nothing:
    """One network without parameters; its replicas are equal, and so are its checkpoints."""

    def __init__(self, family: str, config: ModelConfig, seeds: Sequence[int], **settings: Any) -> None:
        """Build the network; how fast it would learn (``settings``) says nothing here."""
        self._network = build_network(family, config, torch.Generator()).eval()
        self._objective = OBJECTIVES.load(FAMILIES.load(family).objective)

    @torch.inference_mode()
    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Return the loss of the batch, [1]."""
        return self._objective.losses(self._network, batch, torch.Generator).view(1)

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return no tensor."""
        return {}

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return no tensor."""
        return {}

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Go on: there is nothing to bring back."""

    def snapshot(self) -> None:
        """Return nothing."""

    def return_to(self, snapshot: None) -> None:
        """Go back to where it is."""

    def alone(self, replica: int) -> Any:
        """Return the network."""
        return self._network
