"""The `vae` network: a sentence becomes a Gaussian over latent vectors, and a latent vector becomes sentences.

Shapes: B batch, T positions, D width, Z latent dimensions, V vocabulary, M selected positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.cache import KeyValueCache
from emergence.models.fingerprint import fingerprint
from emergence.models.gpt_network import Block, Embedding, Matrix, Normed
from emergence.models.layers import WHOLE_ATTENTION, pick
from emergence.models.products import Affine

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix
    from emergence.models.family import Reads
    from emergence.models.vae import VAEConfig

__all__ = ["VAENetwork"]


class BothWays:
    """Attention of an encoder: every position mixes the values of all visible ones of its row."""

    def __init__(self, visible_BT: torch.Tensor, prefix: Prefix | None) -> None:
        self._mask = visible_BT[:, None, None, :]
        self._prefix = prefix

    def attend(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return what each position mixes, [B, H, T, K]."""
        if self._prefix is not None:
            hidden = q.new_zeros(self._mask.shape).masked_fill_(~self._mask, -torch.inf)
            return self._prefix.both_ways(block, q, k, v, hidden)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask)


class VAENetwork(nn.Module):
    """`encode` gives the mean and the log-variance of the latent of a sentence; a call gives the logits of its tokens
    given a latent."""

    reads: Reads = "latent"
    maskable = True
    turn: torch.Tensor
    future: torch.Tensor

    def __init__(self, config: VAEConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        D, Z = config.width, config.latent
        self.embedding = Embedding(config.vocabulary, D)
        self.encoder = nn.ModuleList(Block(config.half, i) for i in range(config.depth))
        self.encoder_norm = nn.RMSNorm(D, eps=config.norm_epsilon)
        self.posterior = Affine(D, 2 * Z)
        self.latent = Matrix(D, Z)
        self.decoder = nn.ModuleList(Block(config.half, i) for i in range(config.depth))
        self.norm = Normed(D, config.norm_epsilon)
        self.head = Matrix(config.vocabulary, D)
        self.prefix: Prefix | None = None  # stand before every row of an adapted network
        self.encoder_prefix: Prefix | None = None
        frequency = config.rope_theta ** (-torch.arange(0, config.half.head_width, 2).float() / config.half.head_width)
        angle = torch.outer(torch.arange(config.context).float(), frequency)
        self.register_buffer("turn", torch.polar(torch.ones_like(angle), angle), persistent=False)
        whole = min(config.context, WHOLE_ATTENTION)
        self.register_buffer("future", torch.full((whole, whole), -torch.inf).triu(1), persistent=False)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights as `gpt` does; what the latent adds to an embedding is as large as that is. Posteriors begin
        with a variance of one."""
        Z = self.config.latent
        self.embedding.weight.normal_(0.0, 1.0, generator=generator)
        self.head.weight.zero_()
        self.posterior.weight.zero_()
        self.posterior.bias.zero_()
        self.posterior.weight[:Z].normal_(0.0, 1 / math.sqrt(self.config.width), generator=generator)
        self.latent.weight.normal_(0.0, 1 / math.sqrt(Z), generator=generator)
        for name, weight in [*self.encoder.named_parameters(), *self.decoder.named_parameters()]:
            if weight.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                std = 1 / math.sqrt(weight.shape[1]) / (math.sqrt(2 * self.config.depth) if residual else 1)
                weight.normal_(0.0, std, generator=generator)

    def encode(self, ids_BT: torch.Tensor, visible_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and the log-variance [B, Z] of the latent of each sentence.

        A sentence is what the decoder is to write: its tokens without the one that stands before all of them, and with
        the end. ``visible`` says which tokens belong to it, at least one of every row.
        """
        share_BT1 = (visible_BT / visible_BT.sum(dim=1, keepdim=True)).unsqueeze(-1)
        mean, log_variance = self.posterior((self._read(ids_BT, visible_BT) * share_BT1).sum(dim=1)).chunk(2, dim=-1)
        return mean, log_variance

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the encoder makes of texts, [B, T, D], of which the first ``lengths_B`` tokens count."""
        return self._read(ids_BT, torch.arange(ids_BT.shape[1], device=ids_BT.device) < lengths_B[:, None])

    def _read(self, ids_BT: torch.Tensor, visible_BT: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output at every position."""
        T = ids_BT.shape[1]
        x, everything = self.embedding(ids_BT), BothWays(visible_BT, self.encoder_prefix)
        turn = self.turn[slice(T) if self.encoder_prefix is None else self.encoder_prefix.positions(T)]
        for block in self.encoder:
            x = block(x, turn, self.future, everything)
        read: torch.Tensor = self.encoder_norm(x)
        return read

    def forward(
        self,
        ids: torch.Tensor,
        latent_BZ: torch.Tensor,
        cache: KeyValueCache | None = None,
        select: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return next-token logits [B, T, V] of rows with these latents; with a cache the ids continue what was read.

        The latent is added to the embedding of every token (Li et al. 2020, arXiv 2004.04092, figure 2). ``select`` [M]
        names flat positions b T + t; then only their logits are computed, [M, V].
        """
        T = ids.shape[1]
        reader = self.prefix if cache is None else cache
        turn = self.turn[reader.positions(T) if reader is not None else slice(T)]
        turn = turn.unsqueeze(1) if turn.dim() == 3 else turn
        x = self.embedding(ids) + self.latent(latent_BZ).unsqueeze(1)
        for block in self.decoder:
            x = block(x, turn, self.future[:T, :T], reader)
        if cache is not None:
            cache.advance(T)
        if select is not None:
            x = pick(x, select)
        (logits,) = self.norm(x, self.head)
        out: torch.Tensor = logits
        return out

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

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """Return an empty key/value cache of the decoder for ``batch`` rows of at most ``length`` tokens."""
        half, like = self.config.half, self.embedding.weight
        prefix = None if self.prefix is None else self.prefix.cache()
        return KeyValueCache(half.depth, batch, half.heads, length, half.head_width, like, prefix=prefix)
