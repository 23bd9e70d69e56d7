"""Weights as small whole numbers with a step, rounded to the nearest.

Shapes: M outputs, D inputs, G groups of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emergence.core.compression_settings import Compression
from emergence.core.errors import UserError

__all__ = ["Quantised", "quantise"]


@dataclass(frozen=True)
class Quantised:
    """A matrix as codes [M, D] of ``bits`` bits, counted from 0, with a step and a zero point for each of G groups.

    A weight is ``(code - zero) step``.
    """

    codes: torch.Tensor  # [M, D], uint8
    steps: torch.Tensor  # [M, G], float32
    zeros: torch.Tensor | None  # [M, G], uint8; None: all are `middle`
    bits: int

    @property
    def middle(self) -> int:
        """The code of zero where there are no zero points."""
        return int(2 ** (self.bits - 1) - 1)

    def weight(self) -> torch.Tensor:
        """Return the weights [M, D] in float32; the same codes and steps give the same bits."""
        M, D = self.codes.shape
        G = self.steps.shape[1]
        codes = self.codes.view(M, G, D // G).to(torch.int16)
        codes = codes - (self.middle if self.zeros is None else self.zeros.to(torch.int16).unsqueeze(-1))
        return (codes.float() * self.steps.unsqueeze(-1)).view(M, D)


def quantise(weight_MD: torch.Tensor, how: Compression, name: str) -> Quantised:
    """Return the matrix in ``how.bits`` bits a weight.

    Without zero points codes are symmetric around zero and the step is ``max |w| / (2^(b-1) - 1)``; with them
    it is ``(max - min) / (2^b - 1)``, the range being one that holds zero (Jacob et al. 2018, arXiv 1712.05877, section
    3). Either way a weight moves by half a step at most. Raises UserError where the group does not divide the inputs,
    and for weights that are not finite.
    """
    M, D = weight_MD.shape
    assert how.bits is not None
    size = how.group or D
    if D % size:
        raise UserError(
            f"a group of {size} does not divide the {D} inputs of {name}; choose another group, or none for one step "
            "per output row"
        )
    if not bool(weight_MD.isfinite().all()):
        raise UserError(f"{name} holds weights that are not finite; there is nothing to round them to")
    groups = weight_MD.float().reshape(M, D // size, size)
    most = 2**how.bits - 1
    if not how.zero_point:
        middle = 2 ** (how.bits - 1) - 1
        steps = _safe(groups.abs().amax(dim=-1) / middle)
        codes = (groups / steps.unsqueeze(-1)).round_().clamp_(-middle, middle).add_(middle)
        return Quantised(codes.to(torch.uint8).view(M, D), steps, None, how.bits)
    low, high = groups.amin(dim=-1).clamp_(max=0), groups.amax(dim=-1).clamp_(min=0)
    steps = _safe((high - low) / most)
    zeros = (-low / steps).round_().clamp_(0, most)
    codes = ((groups / steps.unsqueeze(-1)).round_() + zeros.unsqueeze(-1)).clamp_(0, most)
    return Quantised(codes.to(torch.uint8).view(M, D), steps, zeros.to(torch.uint8), how.bits)


def _safe(steps: torch.Tensor) -> torch.Tensor:
    """Return the steps with 1 where all weights of a group are zero, or so small that they are gone either way."""
    return torch.where(steps > torch.finfo(torch.float32).tiny, steps, 1.0)
