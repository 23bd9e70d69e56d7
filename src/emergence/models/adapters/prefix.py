"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190): trained keys and values that stand before every row.

Shapes: L blocks, B rows, H heads of queries, G heads of keys and values, P positions of the prefix, T of the rows, K
head width.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from emergence.core.adapter_settings import PrefixSettings
from emergence.core.errors import UserError
from emergence.models.cache import KeyValueCache
from emergence.models.layers import attend
from emergence.models.trunk import module_of

__all__ = ["Prefix", "Prefixes"]

SPREAD = 0.02  # of keys and values at the start
HELD = "adapter_prefix"  # under which name a network of transformers holds it


class Prefix(nn.Module):
    """Keys and values [L, 2, G, P, K] of the blocks of a network; it takes the place of a cache where there is none.

    They are trained themselves, without the network that the authors let produce them (section 4.3), as in `peft`.
    ``places`` is behind how many positions the rows stand.
    """

    def __init__(
        self, shape: tuple[int, int, int], settings: PrefixSettings, generator: torch.Generator, like: torch.Tensor
    ) -> None:
        super().__init__()
        L, G, K = shape
        drawn = torch.empty(L, 2, G, settings.length, K).normal_(0.0, SPREAD, generator=generator)
        self.keys_values = nn.Parameter(drawn.to(like))
        self.places = settings.length if settings.shifted else 0

    def positions(self, T: int) -> slice:
        """Return where the T tokens of rows stand."""
        return slice(self.places, self.places + T)

    def attend(self, block: int, q_BHTK: torch.Tensor, k_BGTK: torch.Tensor, v_BGTK: torch.Tensor) -> torch.Tensor:
        """Return what T tokens mix from the prefix, those before them and themselves: [B, H, T, K]."""
        T, P = q_BHTK.shape[2], self.keys_values.shape[3]
        hidden = q_BHTK.new_full((T, P + T), -torch.inf).triu(P + 1)
        keys, values = self._all(block, q_BHTK, k_BGTK, v_BGTK)
        return attend(q_BHTK, keys, values, hidden)

    def both_ways(
        self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor | None
    ) -> torch.Tensor:
        """Return what tokens mix from the prefix and from all of their rows that are not ``hidden``: [B, H, T, K]."""
        if hidden is not None:
            hidden = F.pad(hidden, (self.keys_values.shape[3], 0))
        keys, values = self._all(block, q, k, v)
        return attend(q, keys, values, hidden)

    def before(self, block: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [B, G, P + T, K] of the prefix and of rows [B, G, T, K]."""
        held_k, held_v = self.keys_values[block].unsqueeze(1)
        B = (len(k), -1, -1, -1)
        return torch.cat((held_k.expand(B), k), dim=2), torch.cat((held_v.expand(B), v), dim=2)

    def _all(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return them for every head of the queries."""
        more = q.shape[1] // k.shape[1]
        keys, values = self.before(block, k, v)
        if more > 1:
            keys, values = keys.repeat_interleave(more, dim=1), values.repeat_interleave(more, dim=1)
        return keys, values

    def cache(self) -> KeyValueCache:
        """Return what rows that are read token by token continue."""
        return KeyValueCache.holding(self.keys_values.detach(), self.places)


def slots(network: Any) -> dict[str, tuple[int, int, int]]:
    """Return the attributes of a network that take a prefix, with blocks, heads and head width of each.

    Raises UserError for a network without attention.
    """
    config = network.config
    shape = getattr(network, "attention_shape", None)
    if hasattr(network, "encoder_prefix"):
        half = getattr(config, "half", config)
        own = (config.depth, half.heads, half.head_width)
        return {"prefix": own, "encoder_prefix": own}
    if shape is not None:
        return {"prefix": shape}
    if isinstance(network, nn.Module) and hasattr(network, "prefix"):
        return {"prefix": (config.depth, config.heads, config.head_width)}
    raise UserError(
        "this model has no attention that a prefix could be put before; models of the families gpt, gpt2, bert, "
        "seq2seq, vae, and those in Hugging Face's layout, have. Use lora, which works on any matrix"
    )


class Prefixes:
    """The prefixes of one network."""

    def __init__(self, network: Any, settings: PrefixSettings, generator: torch.Generator) -> None:
        self._network, self._module, self._config = network, module_of(network), network.config
        found = slots(network)
        if settings.shifted:
            if settings.length >= network.config.context:
                raise UserError(
                    f"a prefix of {settings.length} leaves nothing of a context of {network.config.context}; make it "
                    "shorter, or let tokens keep their positions (shifted: false)"
                )
            network.config = dataclasses.replace(network.config, context=network.config.context - settings.length)
        like = next(self._module.parameters())
        self.added = {name: Prefix(shape, settings, generator, like) for name, shape in found.items()}
        for name, prefix in self.added.items():
            setattr(network, name, prefix)
        if network is not self._module:  # so that it moves with the network and tells it apart
            self._module.add_module(HELD, nn.ModuleDict(self.added))

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained."""
        return {name: prefix.keys_values for name, prefix in self.added.items()}

    def penalty(self) -> None:
        """There is none."""

    def after_step(self, step: int, steps: int) -> None:
        """Nothing is to be done."""

    def merge(self) -> None:
        """Raise UserError: no weights do what a prefix does."""
        raise UserError("a prefix cannot be merged into the weights; keep the adapter beside its base")

    def remove(self) -> None:
        """Take the prefixes away, and give the context back."""
        for name in self.added:
            setattr(self._network, name, None)
        if self._network is not self._module:
            delattr(self._module, HELD)
        self._network.config = self._config
