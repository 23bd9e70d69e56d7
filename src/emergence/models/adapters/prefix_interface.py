"""Prefixes of networks of transformers whose attention is not ours: masked ones, encoder-decoders, sliding windows.

Families that follow transformers' attention interface take their attention from a registered function; the one here
puts the prefix of a module before its keys and values, at every call, so that caches know nothing of it. Which modules
attend, and to what, is not looked up but seen in a trial. Attention of a decoder to what was read has no prefix.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from emergence.core.adapter_settings import PrefixSettings
from emergence.core.errors import UserError
from emergence.models.adapters.prefix import HELD, Prefix
from emergence.models.trunk import module_of

__all__ = ["InterfacePrefixes"]

ATTENTION = "emergence_prefix"  # the name under which transformers finds our attention
PLACE = "emergence_prefix"  # an attribute of modules that attend: their prefix, and which block of it is theirs
SOURCE, TARGET = 5, 3  # tokens of the trial: where their numbers differ, a module attends to something else


class InterfacePrefixes:
    """The prefix of one network of transformers."""

    def __init__(self, network: Any, settings: PrefixSettings, generator: torch.Generator) -> None:
        if settings.shifted:
            raise UserError(
                "tokens of this model stand where its own layers say, not behind a prefix; set shifted: false"
            )
        module: Any = module_of(network)
        self._module = module
        self._before = module.config._attn_implementation
        _register()
        module.set_attn_implementation(ATTENTION)
        try:
            attending = _trial(network)
        except UserError:
            module.set_attn_implementation(self._before)
            raise
        like = next(module.parameters())
        shape = (len(attending), *next(iter(attending.values())))
        self._attending = list(attending)
        self.prefix = Prefix(shape, settings, generator, like)
        for index, part in enumerate(self._attending):
            setattr(part, PLACE, (self.prefix, index))  # a tuple, so that it is not counted as a part of each
        module.add_module(HELD, self.prefix)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained."""
        return {"prefix": self.prefix.keys_values}

    def penalty(self) -> None:
        """There is none."""

    def after_step(self, step: int, steps: int) -> None:
        """Nothing is to be done."""

    def merge(self) -> None:
        """Raise UserError: no weights do what a prefix does."""
        raise UserError("a prefix cannot be merged into the weights; keep the adapter beside its base")

    def remove(self) -> None:
        """Take the prefix away, and give the network its own attention back."""
        for module in self._attending:
            delattr(module, PLACE)
        delattr(self._module, HELD)
        self._module.set_attn_implementation(self._before)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, eager_mask)


@torch.no_grad()
def _trial(network: Any) -> dict[nn.Module, tuple[int, int]]:
    """Return the modules that attend to the tokens of their own row, with heads of keys and values, and head width.

    Raises UserError where they do not ask us, or differ in shape.
    """
    seen: dict[nn.Module, tuple[int, int]] = {}
    module = module_of(network)
    for part in module.modules():
        part.__dict__[PLACE] = seen
    try:
        ids = torch.arange(1, 1 + SOURCE, device=network.device)[None] % network.config.vocabulary
        if network.reads == "pairs":
            network.decode(ids[:, :TARGET], network.encode(ids, torch.tensor([SOURCE], device=network.device)))
        else:
            network(ids)
    finally:
        for part in module.modules():
            part.__dict__.pop(PLACE, None)
    if not seen or len(set(seen.values())) > 1:
        raise UserError(
            "the attention of this model cannot be given a prefix: it is not asked for in one way in all layers; use "
            "lora, which works on any matrix"
        )
    return seen


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' attention interface asks: [B, H, T, K] in, [B, T, H, K] out; masks are added."""
    place = getattr(module, PLACE, None)
    mask = attention_mask
    if position_bias is not None:
        mask = position_bias if mask is None else position_bias + mask
    if isinstance(place, dict) and query.shape[2] == key.shape[2]:
        place[module] = (key.shape[1], key.shape[3])
    elif isinstance(place, tuple):
        prefix, index = place
        if mask is not None:
            mask = F.pad(mask, (prefix.keys_values.shape[3], 0))
        key, value = prefix.before(index, key, value)
    more = query.shape[1] // key.shape[1]
    if more > 1:
        key, value = key.repeat_interleave(more, dim=1), value.repeat_interleave(more, dim=1)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return out.transpose(1, 2).contiguous(), None
