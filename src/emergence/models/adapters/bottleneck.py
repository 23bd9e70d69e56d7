"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751): two thin layers behind attention and feed-forward.

Shapes: D width of the residual stream, M width of the bottleneck.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from emergence.core.adapter_settings import BottleneckSettings
from emergence.core.errors import UserError
from emergence.models.adapters.sites import writers
from emergence.models.trunk import module_of

__all__ = ["Bottleneck", "Bottlenecks"]

HELD = "adapter"  # under which name a network holds the thin layers


class Bottleneck(nn.Module):
    """What is added to h [..., D]: ``up gelu(down h)``.

    The last layer begins at zero, so that the network begins as it was; the original draws it near zero, and trains the
    normalisations of the network too, which are left alone here.
    """

    def __init__(self, D: int, M: int, generator: torch.Generator, like: torch.Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(M, D).normal_(0.0, 1 / math.sqrt(D), generator=generator).to(like))
        self.down_bias = nn.Parameter(torch.zeros(M).to(like))
        self.up = nn.Parameter(torch.zeros(D, M).to(like))
        self.up_bias = nn.Parameter(torch.zeros(D).to(like))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return h with what is added to it."""
        return h + F.linear(F.gelu(F.linear(h, self.down, self.down_bias)), self.up, self.up_bias)


class Bottlenecks:
    """The bottlenecks of one network."""

    def __init__(self, network: Any, settings: BottleneckSettings, generator: torch.Generator) -> None:
        self._module = module_of(network)
        like = next(self._module.parameters())
        found = writers(network)
        made = [Bottleneck(width, settings.width, generator, like) for _, _, width in found]
        self.added = {name: bottleneck for (name, _, _), bottleneck in zip(found, made, strict=True)}
        self._module.add_module(HELD, nn.ModuleList(made))  # so that it moves with the network and tells it apart
        self._hooks = [
            module.register_forward_hook(_behind(bottleneck))
            for (_, module, _), bottleneck in zip(found, made, strict=True)
        ]

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained."""
        return {f"{site}.{name}": p for site, added in self.added.items() for name, p in added.named_parameters()}

    def penalty(self) -> None:
        """There is none."""

    def after_step(self, step: int, steps: int) -> None:
        """Nothing is to be done."""

    def merge(self) -> None:
        """Raise UserError: between the two layers there is something that is not linear."""
        raise UserError("bottleneck adapters cannot be merged into the weights; keep the adapter beside its base")

    def remove(self) -> None:
        """Take the bottlenecks out of the network."""
        for hook in self._hooks:
            hook.remove()
        delattr(self._module, HELD)


def _behind(bottleneck: Bottleneck) -> Any:
    def hook(_: nn.Module, __: Any, out: Any) -> Any:
        if isinstance(out, tuple):  # of an LSTM: what it says at every position, and its state
            return (bottleneck(out[0]), *out[1:])
        return bottleneck(out)

    return hook
