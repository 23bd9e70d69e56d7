"""The `gpt` network: a decoder-only Transformer whose weights are those of Hugging Face's LlamaForCausalLM.

It is one model, or S replicas stacked into one network (`training/stack.py`): then every parameter, the token ids and
the logits have a leading dimension S.

Shapes: B batch, T new positions, D width, H heads, K head width, V vocabulary, M selected positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from emergence.models.cache import KeyValueCache, Tree
from emergence.models.fingerprint import fingerprint
from emergence.models.layers import (
    WHOLE_ATTENTION,
    causal_attention,
    embed,
    pick,
    rms_normalise,
    rotate_heads,
    swiglu,
)
from emergence.models.products import linear

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix
    from emergence.models.family import Reads
    from emergence.models.gpt import GPTConfig

__all__ = ["GPTNetwork"]


class Attends(Protocol):
    """What attention is left to, instead of looking back over the positions of one pass."""

    def attend(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, /) -> torch.Tensor:
        """Return what each position of q [B, H, T, K] mixes."""


class Matrix(nn.Module):
    """The weights [rows, columns] of a product without a bias, to be drawn by the network."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W^T."""
        return linear(x, self.weight)


class Embedding(nn.Module):
    """A table [V, D] of one vector per token id."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, width))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of the ids."""
        return embed(ids, self.weight)


class Normed(nn.Module):
    """Root-mean-square normalisation with its learned scale, and the products that read it."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor, *products: Matrix) -> tuple[torch.Tensor, ...]:
        """Return ``norm(x) W^T`` for every W of ``products``; the scale goes to whichever is smaller, x or W."""
        normed = rms_normalise(x, self.epsilon)
        scale = self.weight.unsqueeze(-2)
        if x.numel() < products[0].weight.numel():
            normed = normed * scale.view(*self.weight.shape[:-1], *[1] * (x.dim() - self.weight.dim()), -1)
            return tuple(product(normed) for product in products)
        return tuple(linear(normed, product.weight * scale) for product in products)

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """Return norm(x) itself, of one replica."""
        return rms_normalise(x, self.epsilon) * self.weight


class Attention(nn.Module):
    """Causal multi-head self-attention; queries, keys and values come from one product."""

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.heads, self.block = config.heads, block
        self.norm = Normed(config.width, config.norm_epsilon)
        self.qkv = Matrix(3 * config.width, config.width)
        self.out = Matrix(config.width, config.width)

    def forward(self, x: torch.Tensor, turn: torch.Tensor, future: torch.Tensor, cache: Attends | None) -> torch.Tensor:
        """Mix values over all earlier positions, or as ``cache`` says; x is [B, T, D] or [S, B, T, D]."""
        (qkv,) = self.norm(x, self.qkv)
        q, k, v = rotate_heads(qkv.view(-1, *qkv.shape[-2:]), turn, self.heads)
        y = causal_attention(q, k, v, future) if cache is None else cache.attend(self.block, q, k, v)
        mixed: torch.Tensor = self.out(y.transpose(1, 2).reshape(x.shape))
        return mixed


class FeedForward(nn.Module):
    """Gated feed-forward with SiLU."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm = Normed(config.width, config.norm_epsilon)
        self.gate = Matrix(config.feed_forward, config.width)
        self.up = Matrix(config.feed_forward, config.width)
        self.down = Matrix(config.width, config.feed_forward)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return down(silu(gate(x)) * up(x))."""
        gate, up = self.norm(x, self.gate, self.up)
        out: torch.Tensor = self.down(swiglu(gate, up))
        return out


class Block(nn.Module):
    """One Transformer block, normalised before each half."""

    def __init__(self, config: GPTConfig, block: int) -> None:
        super().__init__()
        self.attention = Attention(config, block)
        self.feed_forward = FeedForward(config)

    def forward(self, x: torch.Tensor, turn: torch.Tensor, future: torch.Tensor, cache: Attends | None) -> torch.Tensor:
        """Add the attention and then the feed-forward to the residual stream."""
        x = x + self.attention(x, turn, future, cache)
        out: torch.Tensor = x + self.feed_forward(x)
        return out


class GPTNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = True
    turn: torch.Tensor
    future: torch.Tensor

    def __init__(self, config: GPTConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.norm = Normed(config.width, config.norm_epsilon)
        self.head = Matrix(config.vocabulary, config.width)
        self.prefix: Prefix | None = None  # stands before every row of an adapted network
        frequency = config.rope_theta ** (-torch.arange(0, config.head_width, 2).float() / config.head_width)
        angle = torch.outer(torch.arange(config.context).float(), frequency)
        self.register_buffer("turn", torch.polar(torch.ones_like(angle), angle), persistent=False)
        whole = min(config.context, WHOLE_ATTENTION)
        self.register_buffer("future", torch.full((whole, whole), -torch.inf).triu(1), persistent=False)
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
        self, ids: torch.Tensor, cache: KeyValueCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V]. Stacked, ids are
        [S, B, T], ``select`` is [S, M] and the logits are [S, B, T, V] or [S, M, V].
        """
        x = self._read(ids, cache)
        if select is not None:
            x = pick(x, select)
        (logits,) = self.norm(x, self.head)
        out: torch.Tensor = logits
        return out

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the output head would read, [B, T, D]; no position sees the padding behind its row."""
        return self.norm.scaled(self._read(ids_BT, None))

    def _read(self, ids: torch.Tensor, cache: KeyValueCache | None) -> torch.Tensor:
        """Return the residual stream after the last block."""
        T = ids.shape[-1]
        reader = self.prefix if cache is None else cache
        turn = self.turn[reader.positions(T) if reader is not None else slice(T)]
        turn = turn.unsqueeze(1) if turn.dim() == 3 else turn
        future = self.future[:T, :T]
        x: torch.Tensor = self.embedding(ids)
        for block in self.blocks:
            x = block(x, turn, future, reader)
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
        shape = config.depth, batch, config.heads, length, config.head_width
        return KeyValueCache(*shape, like, prefix=prefix, tree=tree)
