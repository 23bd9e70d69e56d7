"""The matrices of a network that compression works on, and the rows that a network reads to show them.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from emergence.compression.watching import Seen, Watch
from emergence.core.errors import UserError
from emergence.models.trunk import depth_of, module_of

__all__ = ["Matrix", "find_matrices", "prepare_rows", "read_rows"]

HIDDEN_SHARE = 0.15  # of the tokens a masked network reads: as it was trained (Devlin et al. 2019)
READ_AT_ONCE = 16384  # tokens: what is read at once is what one pass keeps


@dataclass(frozen=True)
class Matrix:
    """A parameter that inputs are multiplied with; ``transposed``: it is kept as [inputs, outputs].

    ``table``: it holds the vectors of tokens, is the output head, or both. ``uses`` counts its products in one reading.
    """

    name: str
    parameter: nn.Parameter
    transposed: bool
    table: bool
    uses: int

    @property
    def weight(self) -> torch.Tensor:
        """The weights [outputs, inputs], in the memory of the parameter."""
        return self.parameter.data.t() if self.transposed else self.parameter.data


def prepare_rows(network: Any, rows: Sequence[Sequence[int]], generator: torch.Generator) -> torch.Tensor:
    """Return rows of token ids as [B, T], cut to the network's context and to the shortest of them.

    A masked network gets some tokens hidden, as it reads them in training. Raises UserError where there is nothing to
    read, or an id that the network does not know.
    """
    shortest = min((len(row) for row in rows), default=0)
    T = min(shortest, network.config.context)
    if T < 2:
        raise UserError("there are no rows of two tokens or more to calibrate on; give more text")
    ids_BT = torch.tensor([list(row[:T]) for row in rows[: max(1, READ_AT_ONCE // T)]], device=network.device)
    if int(ids_BT.max()) >= network.config.vocabulary:
        raise UserError("the calibration rows hold tokens that the model does not know; encode them with its tokenizer")
    if network.reads == "masked":
        hidden = torch.rand(ids_BT.shape, generator=generator) < HIDDEN_SHARE
        ids_BT = ids_BT.masked_fill(hidden.to(ids_BT.device), network.mask_id)
    return ids_BT


@torch.no_grad()
def read_rows(network: Any, ids_BT: torch.Tensor, seen: Seen) -> Watch:
    """Let a network read rows, all in one pass, and tell ``seen`` of its products.

    An encoder-decoder network reads the first half of every row and writes the second. Raises UserError for a network
    that multiplies with no matrices.
    """
    B, T = ids_BT.shape
    watch = Watch(_module(network).parameters(), seen)
    with watch:
        if network.reads == "pairs":
            half = max(1, T // 2)
            memory = network.encode(ids_BT[:, :half], torch.full((B,), half, device=ids_BT.device))
            begin = torch.full((B, 1), network.start_id, device=ids_BT.device)
            network.decode(torch.cat((begin, ids_BT[:, half:-1]), dim=1), memory)
        elif network.reads == "latent":
            mean_BZ, _ = network.encode(ids_BT[:, 1:], torch.ones_like(ids_BT[:, 1:], dtype=torch.bool))
            network(ids_BT[:, :-1], mean_BZ)
        else:
            # One position goes through the head: its matrix is seen, and the logits take no memory.
            network(ids_BT, select=torch.tensor([T - 1], device=ids_BT.device))
    return watch


def find_matrices(network: Any, *, tables: bool = False) -> list[Matrix]:
    """Return the matrices that a network multiplies with, in the order in which it does; with ``tables`` also the
    token vectors and the output head.

    Raises UserError for a network that has none, such as one that counts.
    """
    module = _module(network)
    uses: dict[int, list[Any]] = {}

    def seen(parameter: nn.Parameter, x: torch.Tensor, transposed: bool) -> None:
        known = uses.setdefault(id(parameter), [parameter, transposed, 0])
        known[2] += 1

    ids_BT = torch.arange(2 * 4, device=network.device).view(2, 4) % network.config.vocabulary
    try:
        watch = read_rows(network, ids_BT, seen)
    except (NotImplementedError, IndexError, KeyError, ValueError) as error:
        raise UserError("this model does not read plain rows of tokens and cannot be compressed") from error
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    looked_up = {key for key in watch.tables if key in names}
    heads = looked_up | _heads(module)
    found = [
        Matrix(names[key], parameter, transposed, key in heads or depth_of(names[key]) == 0, count)
        for key, (parameter, transposed, count) in uses.items()
    ]
    parameters = dict(module.named_parameters())
    found += [
        Matrix(names[key], parameters[names[key]], transposed=False, table=True, uses=0)
        for key in sorted(looked_up - uses.keys(), key=lambda key: names[key])
    ]
    chosen = [matrix for matrix in found if tables or not matrix.table]
    if not chosen:
        raise _without()
    return chosen


def _module(network: Any) -> nn.Module:
    try:
        module = module_of(network)
    except UserError:
        raise _without() from None
    if not any(parameter.dim() == 2 for parameter in module.parameters()):
        raise _without()
    return module


def _without() -> UserError:
    return UserError(
        "this model has no matrices to compress: it counts, follows rules or holds nothing but token vectors; choose a "
        "family such as gpt, gpt2, bert, lstm, mamba, seq2seq or vae"
    )


def _heads(module: nn.Module) -> set[int]:
    """Return the output head of a network, by identity; one that is tied to the token vectors is a table anyway."""
    ask: Any = getattr(module, "get_output_embeddings", None)
    head = getattr(module, "head", None) if ask is None else ask()
    weight = getattr(head, "weight", None)
    return set() if weight is None else {id(weight)}
