"""How the matrices of our networks are called where `peft` keeps adapters: as transformers calls them.

`models.huggingface_layouts` says the same of whole weights. A fused matrix of ours has a name for each of its parts;
the rows of queries and keys of `gpt` are in another order there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.models.adapters.sites import Site
from emergence.models.bert_network import BertNetwork
from emergence.models.gpt2_network import GPT2Network
from emergence.models.gpt_network import GPTNetwork
from emergence.models.mamba_network import MambaNetwork
from emergence.models.trunk import module_of

__all__ = ["Theirs", "from_halves", "theirs", "to_halves", "turned"]

Names = dict[str, tuple[str, ...]]

_GPT: Names = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.o_proj",),
    "feed_forward.gate": ("mlp.gate_proj",),
    "feed_forward.up": ("mlp.up_proj",),
    "feed_forward.down": ("mlp.down_proj",),
}
_GPT2: Names = {"qkv": ("attn.c_attn",), "out": ("attn.c_proj",), "up": ("mlp.c_fc",), "down": ("mlp.c_proj",)}
_BERT: Names = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
}
_MAMBA: Names = {
    "into": ("mixer.in_proj",),
    "select": ("mixer.x_proj",),
    "step": ("mixer.dt_proj",),
    "out": ("mixer.out_proj",),
}
#: The blocks, and what stands before and after them, in ours and there.
_NAMES: dict[type, tuple[str, str, Names, dict[str, str]]] = {
    GPTNetwork: ("blocks", "model.layers", _GPT, {"head": "lm_head"}),
    GPT2Network: ("blocks", "transformer.h", _GPT2, {}),
    BertNetwork: ("blocks", "bert.encoder.layer", _BERT, {"transform": "cls.predictions.transform.dense"}),
    MambaNetwork: ("layers", "backbone.layers", _MAMBA, {"head": "lm_head"}),
}


@dataclass(frozen=True)
class Theirs:
    """The name of one part of a matrix there, and whether its rows are in another order."""

    name: str
    halves: bool = False


def theirs(network: Any, site: Site) -> Sequence[Theirs]:
    """Return the names of all parts of a matrix; UserError for a family that transformers does not have."""
    if network is not module_of(network):
        return (Theirs(site.name),)
    if type(network) not in _NAMES:
        raise UserError(
            "transformers has no model of this family, so that peft could not read the adapter; save it in this "
            "project's own layout"
        )
    blocks, layers, inside, outside = _NAMES[type(network)]
    if site.name in outside:
        return (Theirs(outside[site.name]),)
    found = re.fullmatch(rf"{blocks}\.(\d+)\.(.+)", site.name)
    assert found is not None
    halves = isinstance(network, GPTNetwork) and found[2] == "attention.qkv"
    return [Theirs(f"{layers}.{found[1]}.{name}", halves and i < 2) for i, name in enumerate(inside[found[2]])]


def turned(network: Any, site: Site) -> bool:
    """Say whether transformers keeps a matrix as [inputs, outputs], as in GPT-2."""
    return site.turned or isinstance(network, GPT2Network)


def to_halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Order the rows [H K, ...] of every head as transformers pairs them: (2i, 2i + 1) becomes (i, i + K/2)."""
    return rows.view(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def from_halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo `to_halves`."""
    return rows.view(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
