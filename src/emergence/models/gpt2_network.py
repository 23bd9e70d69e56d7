"""The `gpt2` network: GPT-2's decoder, whose weights are those of Hugging Face's GPT2LMHeadModel.

Shapes: B batch, T new positions, D width, H heads, K head width, V vocabulary, M selected positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.cache import KeyValueCache, Tree
from emergence.models.fingerprint import fingerprint
from emergence.models.layers import WHOLE_ATTENTION, causal_attention, pick
from emergence.models.products import Affine, linear

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix
    from emergence.models.family import Reads
    from emergence.models.gpt2 import GPT2Config

__all__ = ["GPT2Network"]


class Block(nn.Module):
    """One Transformer block, normalised before each half."""

    def __init__(self, config: GPT2Config, block: int) -> None:
        super().__init__()
        D, F = config.width, config.feed_forward
        self.heads, self.block = config.heads, block
        self.attention_norm = nn.LayerNorm(D, eps=config.norm_epsilon)
        self.qkv = Affine(D, 3 * D)
        self.out = Affine(D, D)
        self.feed_forward_norm = nn.LayerNorm(D, eps=config.norm_epsilon)
        self.up = Affine(D, F)
        self.down = Affine(F, D)

    def forward(self, x: torch.Tensor, future: torch.Tensor, cache: KeyValueCache | Prefix | None) -> torch.Tensor:
        """Add the attention and then the feed-forward to the residual stream x [B, T, D].

        The GELU is the exact one (Hendrycks and Gimpel 2016, arXiv 1606.08415): its approximation by a hyperbolic
        tangent costs a fifth of the time of a small model on a processor.
        """
        B, T, D = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()
        y = causal_attention(q, k, v, future) if cache is None else cache.attend(self.block, q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        out: torch.Tensor = x + self.down(F.gelu(self.up(self.feed_forward_norm(x))))
        return out


class GPT2Network(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = True
    future: torch.Tensor

    def __init__(self, config: GPT2Config, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.prefix: Prefix | None = None  # stands before every row of an adapted network
        whole = min(config.context, WHOLE_ATTENTION)
        self.register_buffer("future", torch.full((whole, whole), -torch.inf).triu(1), persistent=False)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights so that activations keep their size at every width.

        Matrices have variance 1/fan_in, those that write to the residual stream divided by twice the depth. The tables
        have half the root of that: GPT-2's 0.02 at its width of 768, and logits of the table that is the head too
        begin with the same small spread at every width, near the loss of guessing.
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
        self, ids: torch.Tensor, cache: KeyValueCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        x = self._read(ids, cache)
        if select is not None:
            x = pick(x, select)
        return linear(self.norm(x), self.embedding.weight)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the output head would read, [B, T, D]; no position sees the padding behind its row."""
        read: torch.Tensor = self.norm(self._read(ids_BT, None))
        return read

    def _read(self, ids: torch.Tensor, cache: KeyValueCache | None) -> torch.Tensor:
        """Return the residual stream after the last block."""
        T = ids.shape[1]
        reader = self.prefix if cache is None else cache
        positions = self.position_embedding.weight[reader.positions(T) if reader is not None else slice(T)]
        x: torch.Tensor = self.embedding(ids) + positions
        for block in self.blocks:
            x = block(x, self.future[:T, :T], reader)
        if cache is not None:
            cache.advance(T)
        return x

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    @property
    def position_bytes(self) -> int:
        """Memory of one position of one sequence in a cache."""
        return 2 * self.config.depth * self.config.width * self.embedding.weight.element_size()

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: KeyValueCache | None = None, tree: Tree | None = None
    ) -> KeyValueCache:
        """Return an empty key/value cache for ``batch`` rows of at most ``length`` tokens after the shared prefix."""
        if prefix is None and self.prefix is not None:
            prefix = self.prefix.cache()
        config, like = self.config, self.embedding.weight
        return KeyValueCache(
            config.depth, batch, config.heads, length, config.head_width, like, prefix=prefix, tree=tree
        )
