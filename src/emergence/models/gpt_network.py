"""The `gpt` network: a decoder-only Transformer whose weights are those of Hugging Face's LlamaForCausalLM.

Shapes: B batch, T new positions, S all positions so far, D width, H heads, K head width, F feed-forward width, V
vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.cache import KeyValueCache

if TYPE_CHECKING:
    from emergence.models.gpt import GPTConfig

__all__ = ["GPTNetwork"]


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return x / rms(x) times the learned scale."""
        return F.rms_norm(x_BTD, (x_BTD.shape[-1],), self.weight, self.epsilon)


def rotate(x_BTHK: torch.Tensor, cos_TK: torch.Tensor, sin_TK: torch.Tensor) -> torch.Tensor:
    """Turn each pair (i, i + K/2) by its position's angle (Su et al. 2021, arXiv 2104.09864, in the half-split
    layout)."""
    half = x_BTHK.shape[-1] // 2
    turned = torch.cat((-x_BTHK[..., half:], x_BTHK[..., :half]), dim=-1)
    return x_BTHK * cos_TK[:, None] + turned * sin_TK[:, None]


class Attention(nn.Module):
    """Causal multi-head self-attention; queries, keys and values come from one product."""

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.heads, self.head_width, self.block = config.heads, config.head_width, block
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x_BTD: torch.Tensor, cos_TK: torch.Tensor, sin_TK: torch.Tensor, cache: KeyValueCache | None
    ) -> torch.Tensor:
        """Mix values over all earlier positions."""
        B, T, D = x_BTD.shape
        qkv = self.qkv(x_BTD).view(B, T, 3 * self.heads, self.head_width)
        qk, v = qkv.split((2 * self.heads, self.heads), dim=2)
        q, k = rotate(qk, cos_TK, sin_TK).chunk(2, dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            y = cache.attend(self.block, q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: torch.Tensor = self.out(y.transpose(1, 2).reshape(B, T, D))
        return out


class FeedForward(nn.Module):
    """Gated feed-forward with SiLU (Shazeer 2020, arXiv 2002.05202); gate and up come from one product."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return down(silu(gate(x)) * up(x))."""
        gate, up = self.gate_up(x_BTD).chunk(2, dim=-1)
        out: torch.Tensor = self.down(F.silu(gate) * up)
        return out


class Block(nn.Module):
    """One Transformer block, normalised before each half."""

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config, block)
        self.feed_forward_norm = RMSNorm(config.width, config.norm_epsilon)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x_BTD: torch.Tensor, cos_TK: torch.Tensor, sin_TK: torch.Tensor, cache: KeyValueCache | None
    ) -> torch.Tensor:
        """Add the attention and then the feed-forward to the residual stream."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), cos_TK, sin_TK, cache)
        out: torch.Tensor = x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))
        return out


class GPTNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, config: GPTConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        frequency = config.rope_theta ** (-torch.arange(0, config.head_width, 2).float() / config.head_width)
        angle = torch.outer(torch.arange(config.context).float(), frequency).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights so that activations keep their size at every width (Yang et al. 2022, arXiv 2203.03466, table
        8).

        Hidden matrices have variance 1/fan_in, those that write to the residual stream divided by twice the depth
        (Radford et al. 2019); the head starts at zero, so that the first loss is exactly ln V at every width.
        """
        self.embedding.weight.normal_(0.0, 1.0, generator=generator)
        self.head.weight.zero_()
        for name, weight in self.blocks.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                std = 1 / math.sqrt(weight.shape[1]) / (math.sqrt(2 * self.config.depth) if residual else 1)
                weight.normal_(0.0, std, generator=generator)

    def forward(
        self, ids_BT: torch.Tensor, cache: KeyValueCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        T = ids_BT.shape[1]
        positions = cache.positions(T) if cache is not None else slice(T)
        cos, sin = self.cos[positions], self.sin[positions]
        x_BTD = self.embedding(ids_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, cos, sin, cache)
        if cache is not None:
            cache.advance(T)
        if select is not None:
            x_BTD = x_BTD.flatten(0, 1).index_select(0, select)
        logits: torch.Tensor = self.head(self.norm(x_BTD))
        return logits

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """Return an empty key/value cache for ``batch`` sequences of at most ``length`` tokens."""
        config = self.config
        return KeyValueCache(config.depth, batch, config.heads, length, config.head_width, self.embedding.weight)
