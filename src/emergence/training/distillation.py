"""Learning from a teacher at every position that counts (Hinton et al. 2015, arXiv 1503.02531): an objective around the
family's own.

The teacher reads what the student reads: the same hidden tokens, the same cut of a text. It has no replicas: of
stacked students it reads the rows of one after the other, so that what one learns does not depend on those beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from emergence.training.batch import Batch
from emergence.training.objectives import Noise, Objective, Teachable
from emergence.training.soft_targets import distillation_loss

__all__ = ["Distilled", "Teaching"]


@dataclass(frozen=True)
class Teaching:
    """A teacher: its network, in evaluation mode, the temperature and its weight in the loss; and
    ``forward_flops(tokens, length, predicted)`` of it, as those of a configuration (`models.family.ModelConfig`)."""

    network: Any
    temperature: float
    weight: float
    forward_flops: Callable[[float, int, float], float]

    @property
    def scale(self) -> float:
        """How much larger a loss can be than that of the right answers alone: the divergence has the factor T^2."""
        return 1 - self.weight + self.weight * max(1.0, self.temperature**2)


class Distilled:
    """The objective of a student: `soft_targets.distillation_loss` where its own objective predicts something."""

    def __init__(self, own: Objective, teaching: Teaching) -> None:
        """Teach what ``own`` predicts; raise TypeError for an objective that no teacher can help with."""
        if not isinstance(own, Teachable):
            raise TypeError(f"{type(own).__name__} has no predictions that a teacher could share")
        self._own, self._teaching = own, teaching

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the loss of a batch in nats: a scalar, or [S] stacked."""
        lesson, teaching = self._own.lesson(network, batch, noise), self._teaching
        soft = None
        if teaching.weight > 0:
            with torch.no_grad():
                soft = lesson.read_alone(teaching.network)
        return distillation_loss(
            lesson.read(network), soft, lesson.targets, lesson.weights, teaching.temperature, teaching.weight
        )

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float | Mapping[str, float], int]:
        """Return what the student's own objective returns: held-out rows have right answers alone."""
        return self._own.held_out(network, inputs_BT, targets_BT, mask_BT, noise)
