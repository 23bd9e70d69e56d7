"""What keeps a network from learning its examples by heart: dropout in the trunk, L1, and adversarial embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.trunk import embedding_of, module_of

__all__ = ["adversarial_step", "dropping", "l1_penalty"]

#: Modules whose output is added to the residual stream: of own networks, and of those like Llama without a dropout.
_WRITES = (".out", ".down", ".o_proj", ".down_proj")


@contextmanager
def dropping(network: Any, share: float) -> Iterator[None]:
    """Drop ``share`` of what the embedding and every block write, while the module is in training mode.

    Own networks and such as Llama have no dropout of their own; the others of transformers have it where their authors
    put it, and get the share there; so has `lstm`, between its layers.
    """
    module = module_of(network)
    own = [inner for inner in module.modules() if isinstance(inner, nn.Dropout)]
    before = [inner.p for inner in own]
    for inner in own:
        inner.p = share
    stacks = [inner for inner in module.modules() if isinstance(inner, nn.LSTM) and inner.num_layers > 1]
    between = [stack.dropout for stack in stacks]
    for stack in stacks:
        stack.dropout = share
    handles = []
    if not own and share:
        writes = [inner for name, inner in module.named_modules() if name.endswith(_WRITES)]

        def drop(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            return F.dropout(output, share, module.training)

        handles = [inner.register_forward_hook(drop) for inner in (embedding_of(network), *writes)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for inner, p in zip(own, before, strict=True):
            inner.p = p
        for stack, p in zip(stacks, between, strict=True):
            stack.dropout = p


def l1_penalty(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of the absolute values of all parameters."""
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


def adversarial_step(network: Any, loss: Callable[[], torch.Tensor], length: float) -> torch.Tensor:
    """Add to the gradients those of the loss at the worst nearby embeddings; return that loss.

    One more pass finds the gradient with respect to the embedded tokens [B, T, D]; each row then moves by ``length``
    times its own norm along it (Miyato et al. 2017, arXiv 1605.07725, equation 5, there with normalised embeddings).
    Tokens that the loss does not depend on, as those behind the end of a row, have no part in its norm.
    """
    table = embedding_of(network)
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        leaf = output.detach().requires_grad_()
        seen.append(leaf)
        return leaf

    handle = table.register_forward_hook(keep)
    try:
        found = torch.autograd.grad(loss(), seen)
    finally:
        handle.remove()
    moves = []
    for embedded, slope in zip(seen, found, strict=True):
        norm = torch.linalg.vector_norm(slope, dim=(1, 2), keepdim=True).clamp(min=1e-12)
        counted = (slope != 0).any(dim=-1, keepdim=True)
        size = torch.linalg.vector_norm(embedded * counted, dim=(1, 2), keepdim=True)
        moves.append((length * size * slope / norm).detach())
    handle = table.register_forward_hook(lambda _, __, output: output + moves.pop(0))
    try:
        worst = loss()
    finally:
        handle.remove()
    worst.backward()  # type: ignore[no-untyped-call]
    return worst.detach()
