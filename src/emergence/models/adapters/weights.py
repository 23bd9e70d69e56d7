"""LoRA and AdaLoRA: a product of two thin matrices beside each adapted one, added wherever that is read.

They change weights and not activations, so that they do not depend on how a network multiplies. Other than in the
original there is no dropout of what the thin matrices read: there is no such thing in the space of weights.

Shapes: C parts of a fused matrix [R, D] that are adapted, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from emergence.core.adapter_settings import AdaLoRASettings, LoRASettings
from emergence.models.adapters.allocation import Allocation
from emergence.models.adapters.sites import Site, choose

__all__ = ["LowRank", "Shape", "Weights"]

SPREAD = 0.02  # of singular vectors at the start, as in AdaLoRA's own code


@dataclass(frozen=True)
class Shape:
    """The rank of one site, and what its product is multiplied with."""

    rank: int
    scale: float


class LowRank(nn.Module):
    r"""What is added to a matrix: ``scale B A`` with A [C, r, D] and B [C, R / parts, r] (Hu et al. 2021, eq. 3).

    With singular values it is ``scale B diag(E) A`` (Zhang et al. 2023, eq. 3), where E [C, r] begins at zero; without
    them B does. Either way nothing is changed at the start.
    """

    def __init__(
        self, site: Site, shape: Shape, generator: torch.Generator, like: torch.Tensor, *, singular: bool
    ) -> None:
        super().__init__()
        C, r, D, R = len(site.chosen), shape.rank, site.columns, site.rows // len(site.parts)
        self.scale, self.site = shape.scale, site.name
        self.parts, self.chosen, self.turned = len(site.parts), site.chosen, site.turned
        spread = SPREAD if singular else 1 / math.sqrt(D)
        self.A = nn.Parameter(torch.empty(C, r, D).normal_(0.0, spread, generator=generator).to(like))
        right = torch.zeros(C, R, r)
        if singular:
            right.normal_(0.0, spread, generator=generator)
        self.B = nn.Parameter(right.to(like))
        self.E = nn.Parameter(torch.zeros(C, r).to(like)) if singular else None

    def update(self) -> torch.Tensor:
        """Return what is added, of the shape of the matrix [R, D]."""
        left = self.A if self.E is None else self.A * self.E.unsqueeze(-1)
        product = (self.B * self.scale) @ left
        if len(self.chosen) < self.parts:
            whole = product.new_zeros(self.parts, *product.shape[1:])
            index = torch.tensor(self.chosen, device=product.device)
            product = whole.index_copy(0, index, product)
        product = product.flatten(0, 1)
        return product.t() if self.turned else product

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the adapted matrix."""
        return weight + self.update()


class Weights:
    """The adapted matrices of one network."""

    def __init__(
        self,
        network: Any,
        settings: LoRASettings | AdaLoRASettings,
        generator: torch.Generator,
        shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        """Put thin matrices beside those that the settings name, of the ranks in ``shapes`` where some are given."""
        self.sites = choose(network, settings.targets)
        singular = isinstance(settings, AdaLoRASettings)
        usual = Shape(settings.rank, settings.alpha / settings.rank)
        self.added: dict[str, LowRank] = {}
        self._hooks: list[Any] = []
        for site in self.sites:
            original = getattr(site.module, site.attribute)
            shape = usual if shapes is None else shapes[site.name]
            self.added[site.name] = LowRank(site, shape, generator, original, singular=singular)
        for site in self.sites:
            parametrize.register_parametrization(site.module, site.attribute, self.added[site.name])
        # torch hands the weights of an LSTM to its kernel from a list of its own, which is to hold the adapted ones.
        self._lstms = {id(s.module): s.module for s in self.sites if isinstance(s.module, nn.LSTM)}
        for lstm in self._lstms.values():
            self._hooks.append(lstm.register_forward_pre_hook(_hand_over))
        self._allocation = (
            Allocation(list(self.added.values()), settings) if isinstance(settings, AdaLoRASettings) else None
        )

    @property
    def shapes(self) -> dict[str, Shape]:
        """The rank and the scale of every site."""
        return {name: Shape(added.A.shape[1], added.scale) for name, added in self.added.items()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained."""
        return {f"{site}.{name}": p for site, added in self.added.items() for name, p in added.named_parameters()}

    def penalty(self) -> torch.Tensor | None:
        """Return AdaLoRA's penalty of singular vectors that are not orthogonal."""
        return None if self._allocation is None else self._allocation.penalty()

    def after_step(self, step: int, steps: int) -> None:
        """Let AdaLoRA take singular values away."""
        if self._allocation is not None:
            self._allocation.after_step(step, steps)

    @torch.no_grad()
    def merge(self) -> None:
        """Write the adapted matrices over the original ones, and leave them."""
        for site in self.sites:
            adapted = getattr(site.module, site.attribute)
            self._original(site).copy_(adapted)
        self.remove()

    def remove(self) -> None:
        """Give the original matrices back as they are."""
        for hook in self._hooks:
            hook.remove()
        for site in self.sites:
            parametrize.remove_parametrizations(site.module, site.attribute, leave_parametrized=False)
        for lstm in self._lstms.values():
            _hand_over(lstm)

    @staticmethod
    def _original(site: Site) -> torch.Tensor:
        kept: Any = site.module.parametrizations
        original: torch.Tensor = kept[site.attribute].original
        return original


def _hand_over(lstm: Any, _: Sequence[Any] = ()) -> None:
    """Give an LSTM's kernel the weights that its attributes are now."""
    lstm._flat_weights = [getattr(lstm, name) for name in lstm._flat_weights_names]
