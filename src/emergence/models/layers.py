"""The operations that networks are made of, with hand-written derivatives where these save most of the time.

Every operation takes the weights of one model or of S stacked replicas: then weights and activations have a leading
dimension S, each replica meets its own weights only, and one batched product serves all of them.

Small models on a processor spend their time not in matrix products but between them, in passes over activations that
automatic differentiation adds one by one. The derivatives here need fewer passes and keep less.

Shapes: N tokens, D width, F feed-forward width, B sequences, H heads, T positions, K head width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = [
    "WHOLE_ATTENTION",
    "attend",
    "causal_attention",
    "embed",
    "pick",
    "rms_normalise",
    "rotate_heads",
    "swiglu",
]

WHOLE_ATTENTION = 128  # positions up to which whole T x T matrices are faster than the tiled kernel on a processor


def embed(ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the vectors of ids [B, T] from one table [V, D], or of ids [S, B, T] from S tables [S, V, D]."""
    if weight.dim() == 2:
        return F.embedding(ids, weight)
    S, V = weight.shape[:2]
    first = torch.arange(0, S * V, V, device=ids.device)
    return F.embedding(ids + first.view(S, *[1] * (ids.dim() - 1)), weight.flatten(0, 1))


def pick(x: torch.Tensor, select: torch.Tensor) -> torch.Tensor:
    """Return the vectors [M, D] at flat positions b T + t of x [B, T, D], or [S, M, D] of x [S, B, T, D]."""
    if select.dim() == 1:
        return x.flatten(0, 1).index_select(0, select)
    S, M = select.shape
    N = x.shape[1] * x.shape[2]
    first = torch.arange(0, S * N, N, device=x.device)
    return x.reshape(S * N, -1).index_select(0, (select + first[:, None]).flatten()).view(S, M, -1)


class _RMSNormalise(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        y: torch.Tensor = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        y, scale = ctx.saved_tensors
        along = (grad * y).sum(dim=-1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1 / y.shape[-1]).mul_(scale), None


def rms_normalise(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return x [..., D] divided by its root mean square (Zhang and Sennrich 2019, arXiv 1910.07467).

    The learned scale belongs to the product that follows: a pass over the weights costs less than one over the tokens.
    """
    out: torch.Tensor = _RMSNormalise.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return out


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        d_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return d_gate, F.silu(gate).mul_(grad)


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return ``silu(gate) up`` (Shazeer 2020, arXiv 2002.05202); the activation is computed again for the gradient."""
    out: torch.Tensor = _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call]
    return out


class _RotateHeads(Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, turn: torch.Tensor, heads: int) -> torch.Tensor:
        B, T = qkv.shape[:2]
        ctx.save_for_backward(turn)
        out = qkv.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
        _as_complex(out[:2]).mul_(turn)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (turn,) = ctx.saved_tensors
        _, B, H, T, K = grad.shape
        out = grad.new_empty(B, T, 3, H, K)
        back = out.permute(2, 0, 3, 1, 4)
        back.copy_(grad)
        _as_complex(back[:2]).mul_(turn.conj())
        return out.view(B, T, 3 * H * K), None, None


def _as_complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def rotate_heads(qkv: torch.Tensor, turn: torch.Tensor, heads: int) -> torch.Tensor:
    """Split qkv [B, T, 3 H K] into queries, keys and values [3, B, H, T, K], queries and keys turned by their position.

    ``turn`` [T, K/2], or [B, 1, T, K/2] where rows differ, holds ``exp(i angle)``: the pair (2i, 2i + 1) is one complex
    number, as in Su et al. 2021, arXiv 2104.09864.
    """
    out: torch.Tensor = _RotateHeads.apply(qkv, turn, heads)  # type: ignore[no-untyped-call]
    return out


class _WholeAttention(Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        scores = torch.baddbmm(
            future.expand(len(q), q.shape[1], k.shape[1]), q, k.transpose(1, 2), alpha=1 / math.sqrt(q.shape[-1])
        )
        weights = scores.softmax(dim=-1)
        ctx.save_for_backward(q, k, v, weights)
        return torch.bmm(weights, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        d_weights = torch.bmm(grad, v.transpose(1, 2))
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        scale = 1 / math.sqrt(q.shape[-1])
        d_q = torch.bmm(d_scores, k).mul_(scale)
        d_k = torch.bmm(d_scores.transpose(1, 2), q).mul_(scale)
        return d_q, d_k, torch.bmm(weights.transpose(1, 2), grad), None


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """Mix values over all positions up to each one's own: [B, H, T, K] from queries, keys and values of that shape.

    ``future`` [T, T] is minus infinity above the diagonal and zero elsewhere.
    """
    if q.shape[-2] > WHOLE_ATTENTION or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mixed: torch.Tensor = _WholeAttention.apply(  # type: ignore[no-untyped-call]
        q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), future
    )
    return mixed.view_as(q)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
    """Mix values [B, H, S, K] for queries [B, H, T, K] over all positions, before and after.

    ``hidden`` is minus infinity where a position is not to be seen and zero elsewhere, of a shape that expands to
    [B, H, T, S].
    """
    B, H, T, _ = q.shape
    S = k.shape[2]
    if max(S, T) > WHOLE_ATTENTION or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
    mask = q.new_zeros(1, 1) if hidden is None else hidden.expand(B, H, T, S).reshape(B * H, T, S)
    mixed: torch.Tensor = _WholeAttention.apply(  # type: ignore[no-untyped-call]
        q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask
    )
    return mixed.view_as(q)
