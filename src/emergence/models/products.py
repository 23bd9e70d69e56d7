"""Matrix products with weights, by whichever library has the better kernels for this processor.

Torch's float32 products go to MKL, which keeps its AVX-512 kernels for Intel's processors and runs AVX2 ones elsewhere,
at half the speed; oneDNN, which comes with torch too, asks only what a processor can do. The choice follows from the
processor alone, never from a measurement, so that a run keeps its bits on one machine.

Shapes: N tokens, D inputs, M outputs, S stacked replicas, whose products are batched and stay with MKL.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from emergence.core.processor import mkl_holds_back

__all__ = ["Affine", "linear", "uses_onednn"]

LEAST_WORK = 2**20  # multiply-adds; a call of oneDNN costs 10 microseconds whatever it multiplies


@functools.cache
def uses_onednn() -> bool:
    """Say whether large float32 products on this processor are oneDNN's."""
    available = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn, "_linear_pointwise"
    )
    return available and mkl_holds_back()


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``x W^T + b``: x [..., D] with one weight [M, D], or x [S, ..., D] with S weights [S, M, D] and no b."""
    if weight.dim() == 3:
        product = torch.bmm(x.flatten(1, -2), weight.transpose(1, 2))
        return product.view(*x.shape[:-1], weight.shape[1])
    onednn = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and uses_onednn()
    if not onednn or x.numel() * len(weight) < LEAST_WORK:
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    out: torch.Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class Affine(nn.Linear):
    """A product with a bias whose large products are those of `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W^T + b."""
        return linear(x, self.weight, self.bias)


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_NM, x_ND = grad.flatten(0, -2), x.flatten(0, -2)
        # oneDNN copies its first factor where it is turned: let that be the narrower one.
        if grad_NM.shape[1] <= x_ND.shape[1]:
            d_weight = _onednn(grad_NM.t(), x_ND.t())
        else:
            d_weight = _onednn(x_ND.t(), grad_NM.t()).t()
        return _onednn(grad, weight.t()), d_weight, grad_NM.sum(dim=0) if ctx.has_bias else None
