"""Products in whole numbers: weights of 8 bits with inputs that are rounded to 8 bits as they come.

Shapes: N tokens, D inputs, M outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from emergence.compression.quantising import Quantised
from emergence.core.errors import UserError
from emergence.models.gpt_network import Matrix
from emergence.models.products import linear
from emergence.models.trunk import module_of

__all__ = ["KERNELS", "Int8Product", "Kernels", "use_kernels", "uses_int8"]

Kernels = Literal["auto", "float", "int8"]
KERNELS: tuple[Kernels, ...] = ("auto", "float", "int8")
#: What `auto` asks of a product: from there on whole numbers are faster (`docs/benchmarks.md`).
LEAST_SIDE = 256
LEAST_WORK = 2**21  # multiply-adds
LEAST_INPUTS = 2  # torch 2.13's product of one input gives what was in the memory before
TINY = 1e-12


class Int8Product(nn.Module):
    """``x W^T + b`` by torch's int8 product (oneDNN): every row of x is rounded to 8 bits with a step of its own, as
    torchao's ``Int8DynamicActivationInt8WeightConfig`` does.

    Products too small to gain are computed in float32, unless it is to be used ``always``.
    """

    folds = False  # a scale of the inputs goes to the inputs: the codes are those of the weight alone
    codes: torch.Tensor
    steps: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, codes: Quantised, *, always: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.always = weight, bias, always
        whole = (codes.codes.to(torch.int16) - codes.middle).to(torch.int8)
        # Kept with the weights, so that what a network answers with them is not taken for what it answers without.
        self.register_buffer("codes", whole)
        self.register_buffer("steps", codes.steps.view(-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product [..., M] of x [..., D]."""
        if not self.always and x.numel() * len(self.codes) < LEAST_WORK:
            return linear(x, self.weight, self.bias)
        x_ND = x.reshape(-1, x.shape[-1])
        steps_N1 = x_ND.abs().amax(dim=1, keepdim=True).clamp_(min=TINY).div_(127)
        whole = torch._int_mm((x_ND / steps_N1).round_().to(torch.int8), self.codes.t())
        out = whole.float().mul_(steps_N1).mul_(self.steps)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], len(self.codes))


def use_kernels(network: Any, codes: Mapping[str, Quantised], kernels: Kernels) -> None:
    """Let the products of a network whose codes are known be computed in whole numbers: those that gain (``auto``, on
    processors with instructions for it), or all that can (``int8``).

    Raises UserError where ``int8`` is asked of a model that has no matrix of 8 bits with one step per output row.
    """
    if kernels not in KERNELS:
        raise UserError(f"unknown kernels {kernels!r} (known: {', '.join(KERNELS)})")
    if kernels == "float" or (kernels == "auto" and not torch.cpu._is_vnni_supported()):
        return
    module = module_of(network)
    able = {name: own for name, own in codes.items() if own.bits == 8 and own.steps.shape[1] == 1 and own.zeros is None}
    swapped = 0
    for name, own in able.items():
        holder, _, attribute = name.rpartition(".")
        product = module.get_submodule(holder)
        if attribute != "weight" or not isinstance(product, nn.Linear | Matrix):
            continue
        if own.codes.shape[1] < LEAST_INPUTS or (kernels == "auto" and min(own.codes.shape) < LEAST_SIDE):
            continue
        bias = getattr(product, "bias", None)
        parent, _, last = holder.rpartition(".")
        replaced = Int8Product(product.weight, bias, own, always=kernels == "int8")
        setattr(module.get_submodule(parent), last, replaced.eval())
        swapped += 1
    if kernels == "int8" and not swapped:
        raise UserError(
            "kernels: int8 needs matrices of 8 bits with one step per output row, in modules of their own; compress "
            "with --method quantised --bits 8, without --group and --zero-point, or choose kernels auto or float"
        )


def uses_int8(network: Any) -> bool:
    """Say whether products of a network are computed in whole numbers."""
    return any(isinstance(part, Int8Product) for part in module_of(network).modules())
