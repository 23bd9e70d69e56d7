"""The `bert` network: a bidirectional encoder, whose weights are those of Hugging Face's BertForMaskedLM.

Shapes: B batch, T positions, D width, H heads, K head width, V vocabulary, M selected positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.fingerprint import fingerprint
from emergence.models.layers import attend, pick
from emergence.models.products import Affine, linear

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix
    from emergence.models.bert import BertConfig
    from emergence.models.family import Reads

__all__ = ["BertNetwork"]


class Block(nn.Module):
    """One Transformer block, normalised after each half."""

    def __init__(self, config: BertConfig, block: int) -> None:
        super().__init__()
        D, F = config.width, config.feed_forward
        self.heads, self.block = config.heads, block
        self.qkv = Affine(D, 3 * D)
        self.out = Affine(D, D)
        self.attention_norm = nn.LayerNorm(D, eps=config.norm_epsilon)
        self.up = Affine(D, F)
        self.down = Affine(F, D)
        self.feed_forward_norm = nn.LayerNorm(D, eps=config.norm_epsilon)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None, prefix: Prefix | None) -> torch.Tensor:
        """Mix values over all positions of x [B, T, D], then apply the feed-forward with the exact GELU."""
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()
        y = attend(q, k, v, hidden) if prefix is None else prefix.both_ways(self.block, q, k, v, hidden)
        x = self.attention_norm(x + self.out(y.transpose(1, 2).reshape(B, T, D)))
        out: torch.Tensor = self.feed_forward_norm(x + self.down(F.gelu(self.up(x))))
        return out


class BertNetwork(nn.Module):
    """Token ids [B, T] in, logits [B, T, V + 1] of the token at every position itself out.

    It reads whole sequences: every position sees all of its row, so that rows of a batch are equally long.
    """

    reads: Reads = "masked"

    def __init__(self, config: BertConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.rows, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.transform = Affine(config.width, config.width)
        self.transform_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.bias = nn.Parameter(torch.zeros(config.rows))
        self.prefix: Prefix | None = None  # stands before every row of an adapted network
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights as `gpt2` does, so that activations keep their size at every width.

        Matrices have variance 1/fan_in, those that write to the residual stream divided by twice the depth. The tables
        have half the root of that: BERT's 0.02 at its width of 768, and logits of the table that is the head too begin
        with the same small spread at every width, near the loss of guessing.
        """
        for name, weight in self.named_parameters():
            if "embedding" in name:
                weight.normal_(0.0, 0.5 / math.sqrt(self.config.width), generator=generator)
            elif weight.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                std = 1 / math.sqrt(weight.shape[1]) / (math.sqrt(2 * self.config.depth) if residual else 1)
                weight.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()

    def forward(
        self, ids: torch.Tensor, select: torch.Tensor | None = None, part: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V + 1], or [M, V + 1] at the M flat positions b T + t of ``select``.

        Where rows hold several texts, ``part`` [B, T] says of which each position is: it does not see later ones.
        """
        x = self._read(ids, part)
        if select is not None:
            x = pick(x, select)
        x = self.transform_norm(F.gelu(self.transform(x)))
        return linear(x, self.embedding.weight, self.bias)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return the last block's output [B, T, D]; the first ``lengths_B`` positions of a row do not see the rest."""
        beyond = torch.arange(ids_BT.shape[1], device=ids_BT.device) >= lengths_B[:, None]
        return self._read(ids_BT, beyond.long() if bool(beyond.any()) else None)

    def _read(self, ids: torch.Tensor, part: torch.Tensor | None) -> torch.Tensor:
        """Return the last block's output."""
        hidden = None
        if part is not None:
            later = part[:, None, None, :] > part[:, None, :, None]
            hidden = self.embedding.weight.new_zeros(later.shape).masked_fill_(later, -torch.inf)
        T = ids.shape[1]
        where = slice(T) if self.prefix is None else self.prefix.positions(T)
        x: torch.Tensor = self.norm(self.embedding(ids) + self.position_embedding.weight[where])
        for block in self.blocks:
            x = block(x, hidden, self.prefix)
        return x

    @property
    def mask_id(self) -> int:
        """The token id that stands where a token is hidden."""
        return self.config.mask_id

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))
