"""What adaptation asks of any network, own or loaded: its module, its hidden states, and how deep each parameter lies.

Shapes: B rows, T positions, D width.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from emergence.core.errors import UserError

__all__ = ["check_adaptable", "depth_of", "depths", "embedding_of", "hidden_states", "module_of"]

_BLOCK = re.compile(r"\.(\d+)\.|_l(\d+)(?:_reverse)?$")  # of a list of blocks, or of a layer of nn.LSTM
_TABLE = re.compile(r"embed|\bw[tp]e\b|\bshared\b")


def module_of(network: Any) -> nn.Module:
    """Return the module that holds the parameters of a network: itself, or what an adapter of transformers wraps.

    Raises UserError where there are none, as in a family that counts.
    """
    module = getattr(network, "module", network)
    if not isinstance(module, nn.Module):
        raise UserError("this model has no parameters that gradients could change; choose another family")
    return module


def check_adaptable(network: Any, name: str) -> None:
    """Raise UserError for a network without hidden states that gradients go through."""
    if not hasattr(network, "hidden"):
        raise UserError(
            f"{name} asks for hidden states, which this model does not have; models of the families gpt, gpt2, lstm, "
            "mamba, bert, seq2seq, vae, word2vec, and those in Hugging Face's layout, have them"
        )


def hidden_states(network: Any, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states [B, T, D] of rows whose first ``lengths_B`` tokens count.

    Of an encoder-decoder and of a variational model they are the encoder's. What stands behind the length of a row is
    of no consequence before it.
    """
    read: torch.Tensor = network.hidden(ids_BT, lengths_B)
    return read


def embedding_of(network: Any) -> nn.Module:
    """Return the module that gives token ids [B, T] their vectors [B, T, D]."""
    module = module_of(network)
    ask: Any = getattr(module, "get_input_embeddings", None)
    found = module.get_submodule("embedding") if ask is None else ask()
    assert isinstance(found, nn.Module)
    return found


def depth_of(name: str) -> int | None:
    """Return how deep the parameter ``name`` lies: 0 for tables, 1 for the first block, None for what follows the last.

    Encoder and decoder of one model are counted side by side.
    """
    block = _BLOCK.search(name)
    if block is not None:
        return 1 + int(block[1] or block[2])
    return 0 if _TABLE.search(name) else None


def depths(network: Any) -> dict[str, int]:
    """Return the depth of every parameter of a network by name, from 0 (tables) to 1 + its number of blocks (what
    follows the last block)."""
    found = {name: depth_of(name) for name, _ in module_of(network).named_parameters()}
    last = 1 + max((depth for depth in found.values() if depth is not None), default=0)
    return {name: last if depth is None else depth for name, depth in found.items()}
