"""The `seq2seq` network: an encoder reads the prompt, a decoder writes the target and looks back at what was read.

Shapes: B pairs, S source positions, T target positions, D width, H heads, K head width, V vocabulary of the tokenizer,
M selected positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.cache import KeyValueCache
from emergence.models.fingerprint import fingerprint
from emergence.models.layers import WHOLE_ATTENTION, attend, causal_attention, pick
from emergence.models.products import Affine, linear

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix
    from emergence.models.family import Reads
    from emergence.models.seq2seq import Seq2SeqConfig

__all__ = ["Memory", "Seq2SeqNetwork"]


@dataclass(frozen=True)
class Memory:
    """What the encoder has read of B prompts: keys and values [B, H, S, K] for every decoder block, and minus infinity
    [B, 1, 1, S] where a shorter prompt is padded (None: nowhere)."""

    keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    hidden: torch.Tensor | None

    def rows(self, rows: torch.Tensor) -> Memory:
        """Return what was read of the given rows, in that order; a row may be there several times."""
        kept = tuple((keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.keys_values)
        return Memory(kept, None if self.hidden is None else self.hidden.index_select(0, rows))


class FeedForward(nn.Module):
    """Two products with a ReLU between them, normalised before."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.up = Affine(config.width, config.feed_forward)
        self.down = Affine(config.feed_forward, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x plus what it is changed by."""
        out: torch.Tensor = x + self.down(F.relu(self.up(self.norm(x))))
        return out


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself, normalised before."""

    def __init__(self, config: Seq2SeqConfig, block: int) -> None:
        super().__init__()
        self.heads, self.block = config.heads, block
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.qkv = Affine(config.width, 3 * config.width)
        self.out = Affine(config.width, config.width)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        qkv = self.qkv(self.norm(x)).view(B, T, 3, self.heads, D // self.heads)
        heads: torch.Tensor = qkv.permute(2, 0, 3, 1, 4).contiguous()
        return heads

    def both_ways(self, x: torch.Tensor, hidden: torch.Tensor | None, prefix: Prefix | None) -> torch.Tensor:
        """Return x [B, S, D] plus what every position mixes from all that are not ``hidden``."""
        q, k, v = self._split(x)
        y = attend(q, k, v, hidden) if prefix is None else prefix.both_ways(self.block, q, k, v, hidden)
        mixed: torch.Tensor = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return mixed

    def backwards(self, x: torch.Tensor, future: torch.Tensor, cache: KeyValueCache | Prefix | None) -> torch.Tensor:
        """Return x [B, T, D] plus what every position mixes from itself and those before."""
        q, k, v = self._split(x)
        y = causal_attention(q, k, v, future) if cache is None else cache.attend(self.block, q, k, v)
        mixed: torch.Tensor = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return mixed


class CrossAttention(nn.Module):
    """Multi-head attention of the decoder to what the encoder has read."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.query = Affine(config.width, config.width)
        self.key_value = Affine(config.width, 2 * config.width)
        self.out = Affine(config.width, config.width)

    def remember(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [B, H, S, K] of what was read [B, S, D]."""
        B, S, D = encoded.shape
        keys, values = self.key_value(encoded).view(B, S, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        return keys.contiguous(), values.contiguous()

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor | None
    ) -> torch.Tensor:
        """Return x [B, T, D] plus what it finds in the keys and values that are not ``hidden``."""
        B, T, D = x.shape
        q = self.query(self.norm(x)).view(B, T, self.heads, D // self.heads).transpose(1, 2)
        mixed: torch.Tensor = x + self.out(attend(q, keys, values, hidden).transpose(1, 2).reshape(B, T, D))
        return mixed


class EncoderBlock(nn.Module):
    """Attention in both directions, and a feed-forward."""

    def __init__(self, config: Seq2SeqConfig, block: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, block)
        self.feed_forward = FeedForward(config)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None, prefix: Prefix | None) -> torch.Tensor:
        """Read x [B, S, D]."""
        out: torch.Tensor = self.feed_forward(self.attention.both_ways(x, hidden, prefix))
        return out


class DecoderBlock(nn.Module):
    """Attention to what was written, attention to what was read, and a feed-forward."""

    def __init__(self, config: Seq2SeqConfig, block: int) -> None:
        super().__init__()
        self.attention = SelfAttention(config, block)
        self.reading = CrossAttention(config)
        self.feed_forward = FeedForward(config)
        self.block = block

    def forward(
        self, x: torch.Tensor, future: torch.Tensor, memory: Memory, cache: KeyValueCache | Prefix | None
    ) -> torch.Tensor:
        """Go on with x [B, T, D]."""
        x = self.attention.backwards(x, future, cache)
        out: torch.Tensor = self.feed_forward(self.reading(x, *memory.keys_values[self.block], memory.hidden))
        return out


class Seq2SeqNetwork(nn.Module):
    """Prompts and the beginnings of targets in, logits of the next token of the targets out."""

    reads: Reads = "pairs"
    position: torch.Tensor
    future: torch.Tensor

    def __init__(self, config: Seq2SeqConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.start_id = config.start_id
        self.embedding = nn.Embedding(config.vocabulary + config.extra, config.width)
        self.encoder = nn.ModuleList(EncoderBlock(config, i) for i in range(config.depth))
        self.decoder = nn.ModuleList(DecoderBlock(config, i) for i in range(config.depth))
        self.encoder_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.decoder_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.prefix: Prefix | None = None  # stand before every row of an adapted network
        self.encoder_prefix: Prefix | None = None
        self.register_buffer("position", _sinusoids(config.context + config.extra, config.width), persistent=False)
        whole = min(config.context + config.extra, WHOLE_ATTENTION)
        self.register_buffer("future", torch.full((whole, whole), -torch.inf).triu(1), persistent=False)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights so that activations keep their size at every width, as those of `gpt2`.

        Matrices have variance 1/fan_in, those that write to the residual stream divided by the number of such products.
        The table has half the root of 1/D, and is read times the root of D (Vaswani et al. 2017).
        """
        for name, weight in self.named_parameters():
            if "embedding" in name:
                weight.normal_(0.0, 0.5 / math.sqrt(self.config.width), generator=generator)
            elif weight.dim() == 2:
                writes = 3 if name.startswith("decoder") else 2
                residual = name.endswith(("out.weight", "down.weight"))
                std = 1 / math.sqrt(weight.shape[1]) / (math.sqrt(writes * self.config.depth) if residual else 1)
                weight.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()

    def forward(
        self, sources_BS: torch.Tensor, lengths_B: torch.Tensor, inputs_BT: torch.Tensor, select: torch.Tensor
    ) -> torch.Tensor:
        """Return logits [M, V + extra] at the flat positions b T + t of the targets.

        The first ``lengths_B`` tokens of a source count. ``inputs_BT`` is what the decoder reads: `start_id`, and every
        target but for its last token.
        """
        x = pick(self._decode(inputs_BT, self.encode(sources_BS, lengths_B), None), select)
        return linear(self.decoder_norm(x), self.embedding.weight)

    def source(self, prompt: Sequence[int]) -> list[int]:
        """Return what is read of a prompt: its last tokens, as many as the context holds."""
        return list(prompt[-self.config.context :])

    def lost(self, prompt: Sequence[int]) -> int:
        """Return how many tokens at the beginning of a prompt are not read."""
        return max(0, len(prompt) - self.config.context)

    def encode(self, ids_BS: torch.Tensor, lengths_B: torch.Tensor) -> Memory:
        """Read prompts, of which the first ``lengths_B`` tokens count."""
        encoded, hidden = self._read(ids_BS, lengths_B)
        blocks = [block for block in self.decoder if isinstance(block, DecoderBlock)]
        return Memory(tuple(block.reading.remember(encoded) for block in blocks), hidden)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the encoder makes of texts, [B, T, D], of which the first ``lengths_B`` tokens count."""
        return self._read(ids_BT, lengths_B)[0]

    def _read(self, ids_BS: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what the encoder makes of prompts, and minus infinity where there is only padding."""
        S = ids_BS.shape[1]
        hidden = None
        if bool((lengths_B < S).any()):
            beyond = torch.arange(S, device=ids_BS.device) >= lengths_B[:, None]
            hidden = self.position.new_zeros(beyond.shape).masked_fill_(beyond, -torch.inf)[:, None, None]
        where = slice(S) if self.encoder_prefix is None else self.encoder_prefix.positions(S)
        x = self.embedding(ids_BS) * math.sqrt(self.config.width) + self.position[where]
        for block in self.encoder:
            x = block(x, hidden, self.encoder_prefix)
        return self.encoder_norm(x), hidden

    def decode(self, ids_BT: torch.Tensor, memory: Memory, cache: KeyValueCache | None = None) -> torch.Tensor:
        """Return the logits [B, T, V] of what follows each token of targets that begin with `start_id`; with a cache
        the ids continue what it holds. No text has the extra ids, so that they are left out."""
        x = self.decoder_norm(self._decode(ids_BT, memory, cache))
        return linear(x, self.embedding.weight[: self.config.vocabulary])

    def _decode(self, ids_BT: torch.Tensor, memory: Memory, cache: KeyValueCache | None) -> torch.Tensor:
        T = ids_BT.shape[1]
        reader = self.prefix if cache is None else cache
        where = reader.positions(T) if reader is not None else slice(T)
        x: torch.Tensor = self.embedding(ids_BT) * math.sqrt(self.config.width) + self.position[where]
        for block in self.decoder:
            x = block(x, self.future[:T, :T], memory, reader)
        if cache is not None:
            cache.advance(T)
        return x

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """Return an empty cache of what ``batch`` decoders write, ``length`` tokens at most."""
        config, like = self.config, self.embedding.weight
        prefix = None if self.prefix is None else self.prefix.cache()
        return KeyValueCache(config.depth, batch, config.heads, length, config.head_width, like, prefix=prefix)


def _sinusoids(length: int, width: int) -> torch.Tensor:
    """Return the positions [length, D] of Vaswani et al. 2017, section 3.5: sine and cosine at D/2 wavelengths from 2
    pi to 10,000 times that, in geometric steps."""
    wavelengths = 10_000 ** (-torch.arange(0, width, 2).float() / width)
    angle = torch.outer(torch.arange(length).float(), wavelengths)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]
