"""The `lstm` network: an embedding, stacked LSTM layers, and the embedding again as output head.

Shapes: B batch, T new positions, D width, L layers, V vocabulary, M selected positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from emergence.models.fingerprint import fingerprint
from emergence.models.layers import pick
from emergence.models.products import linear
from emergence.models.state_cache import StateCache

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.lstm import LSTMConfig

__all__ = ["LSTMNetwork"]


class LSTMNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0  # what it keeps of a row does not grow

    def __init__(self, config: LSTMConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.LSTM(config.width, config.width, config.depth, batch_first=True)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights so that activations keep their size at every width.

        Matrices have variance 1/fan_in. The table is read times the root of the width (Vaswani et al. 2017, arXiv
        1706.03762), so that inputs are of size one while logits begin small and the first loss is near ln V. Forget
        gates begin open, with a bias of one (Jozefowicz et al. 2015, PMLR 37).
        """
        D = self.config.width
        self.embedding.weight.normal_(0.0, 1 / math.sqrt(D), generator=generator)
        for name, weight in self.layers.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 1 / math.sqrt(D), generator=generator)
            else:
                weight.zero_()
                if name.startswith("bias_ih"):
                    weight[D : 2 * D] = 1.0  # torch keeps the gates in the order input, forget, cell, output

    def forward(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        x = self.embedding(ids) * math.sqrt(self.config.width)
        if cache is None:
            x, _ = self.layers(x)
        else:
            before = tuple(state.transpose(0, 1).contiguous() for state in cache.states)
            x, after = self.layers(x, before)
            cache.states = [state.transpose(0, 1) for state in after]
        if select is not None:
            x = pick(x, select)
        return linear(x, self.embedding.weight)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the output head would read, [B, T, D]; no position sees the padding behind its row."""
        read: torch.Tensor = self.layers(self.embedding(ids_BT) * math.sqrt(self.config.width))[0]
        return read

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: StateCache | None = None, tree: Tree | None = None
    ) -> StateCache:
        """Return the states, hidden and cell [B, L, D], of ``batch`` rows that continue the shared prefix."""
        empty = self.embedding.weight.new_zeros(1, self.config.depth, self.config.width)
        return StateCache.beginning(batch, (empty, empty), prefix)
