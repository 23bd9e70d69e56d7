"""The `mamba` network: selective state-space layers, whose weights are those of Hugging Face's MambaForCausalLM.

Shapes: B batch, T new positions, D width, E channels, N states of a channel, R rank, W window, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from emergence.models.fingerprint import fingerprint
from emergence.models.gpt_network import Embedding, Matrix, Normed
from emergence.models.layers import pick
from emergence.models.state_cache import StateCache

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.mamba import MambaConfig

__all__ = ["MambaNetwork", "scan"]

SLOWEST, FASTEST = 1e-3, 1e-1  # step sizes at the start, as published


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        states = drive.clone()
        for t in range(1, len(states)):
            states[t].addcmul_(decay[t], states[t - 1])
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        decay, states = ctx.saved_tensors
        d_drive = grad.clone()
        for t in range(len(grad) - 2, -1, -1):
            d_drive[t].addcmul_(decay[t + 1], d_drive[t + 1])
        d_decay = torch.zeros_like(decay)
        torch.mul(d_drive[1:], states[:-1], out=d_decay[1:])
        return d_decay, d_drive


def scan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
    """Return the states ``h_t = decay_t h_(t-1) + drive_t`` of a recurrence that begins at zero; all are [T, ...].

    One pass over memory a step in either direction. On a processor that is faster than the parallel form, which does
    log T times the work.
    """
    out: torch.Tensor = _Scan.apply(decay, drive)  # type: ignore[no-untyped-call]
    return out


class Layer(nn.Module):
    """One selective state-space layer."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        E, N, R = config.inner, config.state, config.rank
        self.inner, self.state, self.rank, self.window = E, N, R, config.window
        self.norm = Normed(config.width, config.norm_epsilon)
        self.into = Matrix(2 * E, config.width)
        self.convolution = nn.Parameter(torch.empty(E, config.window))
        self.convolution_bias = nn.Parameter(torch.zeros(E))
        self.select = Matrix(R + 2 * N, E)
        self.step = Matrix(E, R)
        self.step_bias = nn.Parameter(torch.empty(E))
        self.log_decay = nn.Parameter(torch.arange(1.0, N + 1).log().repeat(E))  # vectors have no weight decay
        self.passage = nn.Parameter(torch.ones(E))
        self.out = Matrix(config.width, E)

    def forward(self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None) -> tuple[torch.Tensor, ...]:
        """Return what is added to x [B, T, D], the inputs that the convolution still needs and the state after it."""
        (both,) = self.norm(x, self.into)
        inputs, gate = both.chunk(2, dim=-1)
        before = inputs.new_zeros(len(x), self.window - 1, self.inner) if state is None else state[0]
        seen = torch.cat((before, inputs), dim=1)
        T = x.shape[1]
        mixed = self.convolution_bias + sum(seen[:, w : w + T] * self.convolution[:, w] for w in range(self.window))
        u = F.silu(mixed)
        rank, write, read = self.select(u).split([self.rank, self.state, self.state], dim=-1)
        step = F.softplus(self.step(rank) + self.step_bias).transpose(0, 1).unsqueeze(-1)  # [T, B, E, 1]
        decay = (step * -self.log_decay.exp().view(self.inner, self.state)).exp()
        drive = step * u.transpose(0, 1).unsqueeze(-1) * write.transpose(0, 1).unsqueeze(-2)
        if state is not None:
            drive = torch.cat((drive[:1] + decay[:1] * state[1], drive[1:]))
        states = scan(decay, drive)
        y = (states.transpose(0, 1) @ read.unsqueeze(-1)).squeeze(-1) + self.passage * u
        added: torch.Tensor = self.out(y * F.silu(gate))
        return added, seen[:, T:], states[-1]


class MambaNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0  # what it keeps of a row does not grow

    def __init__(self, config: MambaConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = Normed(config.width, config.norm_epsilon)
        self.head = Matrix(config.vocabulary, config.width)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights so that activations keep their size at every width, as in `gpt`; the head starts at zero.

        Step sizes begin evenly spread over the decades from 0.001 to 0.1, and the states of a channel decay at rates
        of 1, 2, ... N (Gu and Dao 2023, section 3.6).
        """
        self.embedding.weight.normal_(0.0, 1.0, generator=generator)
        self.head.weight.zero_()
        for layer in self.layers:
            assert isinstance(layer, Layer)
            residual = math.sqrt(self.config.depth)
            for matrix, divisor in ((layer.into, 1.0), (layer.select, 1.0), (layer.step, 1.0), (layer.out, residual)):
                fan_in = matrix.weight.shape[1]
                matrix.weight.normal_(0.0, 1 / math.sqrt(fan_in) / divisor, generator=generator)
            layer.convolution.normal_(0.0, 1 / math.sqrt(self.config.window), generator=generator)
            decades = torch.empty(self.config.inner).uniform_(math.log(SLOWEST), math.log(FASTEST), generator=generator)
            layer.step_bias.copy_(decades.exp().expm1().log())  # softplus takes it back to the step size

    def forward(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        x = self.embedding(ids)
        after: list[torch.Tensor] = []
        for i, layer in enumerate(self.layers):
            added, *states = layer(x, None if cache is None else tuple(cache.states[2 * i : 2 * i + 2]))
            after += states
            x = x + added
        if cache is not None:
            cache.states = after
        if select is not None:
            x = pick(x, select)
        (logits,) = self.norm(x, self.head)
        out: torch.Tensor = logits
        return out

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the output head would read, [B, T, D]; no position sees the padding behind its row."""
        x = self.embedding(ids_BT)
        for layer in self.layers:
            x = x + layer(x, None)[0]
        return self.norm.scaled(x)

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
        """Return the inputs [B, W - 1, E] and states [B, E, N] of every layer for rows that continue the prefix."""
        config, like = self.config, self.embedding.weight
        inputs = like.new_zeros(1, config.window - 1, config.inner)
        states = like.new_zeros(1, config.inner, config.state)
        return StateCache.beginning(batch, (inputs, states) * config.depth, prefix)
