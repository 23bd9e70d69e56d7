"""Compressing a network in memory: its matrices are changed in place, and what they are now is returned.

Shapes: N tokens, D inputs, M outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from emergence.compression.matrices import Matrix, find_matrices, prepare_rows, read_rows
from emergence.compression.pruning import kept, wanda_scores
from emergence.compression.quantising import Quantised, quantise
from emergence.core.compression_settings import Compression
from emergence.core.errors import UserError
from emergence.models.trunk import module_of

__all__ = ["WHOLE", "Compressed", "compress_network"]

WHOLE = 32.0  # bits of a weight that nothing was done to


@dataclass(frozen=True)
class Compressed:
    """What became of the matrices of a network, by name; ``quantised`` is empty where they were pruned.

    ``bits`` are those stored for a weight of the compressed matrices, steps, zero points and bitmaps included;
    ``all_bits`` the same over all parameters of the network. ``sparsity`` is the share of zeros in the matrices.
    """

    how: Compression
    matrices: tuple[Matrix, ...]
    quantised: dict[str, Quantised]
    bits: float
    all_bits: float
    sparsity: float


def compress_network(
    network: Any, how: Compression, rows: Sequence[Sequence[int]] = (), *, seed: int = 0
) -> Compressed:
    """Prune or quantise the matrices of a network in place; its tables, norms and biases stay.

    ``rows`` of token ids show ``wanda`` what goes into every matrix; equally long ones are best, since all are cut to
    the shortest. Matrices are pruned in the order in which the network multiplies with them, each from inputs that
    those before it, pruned already, give (Sun et al. 2023, arXiv 2306.11695, algorithm 1, go block by block: within a
    block they see inputs from whole matrices). One with several products in a pass is pruned before the last, from the
    inputs of all. Raises UserError for a network without matrices, and where the method needs rows and has none.
    """
    if how.calibrated and not rows:
        raise UserError(f"{how.method} is calibrated on text; give some (a few thousand tokens like the model's own)")
    matrices = find_matrices(network, tables=how.embeddings)
    quantised: dict[str, Quantised] = {}
    with torch.no_grad():
        if how.method == "quantised":
            for matrix in matrices:
                codes = quantise(matrix.weight, how, matrix.name)
                matrix.weight.copy_(codes.weight())
                quantised[matrix.name] = codes
        elif how.calibrated:
            _prune_in_order(network, matrices, how, rows, seed)
        else:
            for matrix in matrices:
                _prune(matrix, matrix.weight.abs(), how)
    bits = [_bits(matrix, quantised.get(matrix.name)) for matrix in matrices]
    sizes = [matrix.weight.numel() for matrix in matrices]
    zeros = sum(int((matrix.weight == 0).sum()) for matrix in matrices)
    every = sum(parameter.numel() for parameter in module_of(network).parameters())
    return Compressed(
        how=how,
        matrices=tuple(matrices),
        quantised=quantised,
        bits=sum(bits) / sum(sizes),
        all_bits=(sum(bits) + WHOLE * (every - sum(sizes))) / every,
        sparsity=zeros / sum(sizes),
    )


def _bits(matrix: Matrix, codes: Quantised | None) -> float:
    """Return the bits that a matrix is stored in: what is not zero and a bitmap, or codes with their steps."""
    weight = matrix.weight
    if codes is None:
        return WHOLE * int((weight != 0).sum()) + weight.numel()
    zeros = 0 if codes.zeros is None else codes.bits * codes.zeros.numel()
    return float(codes.bits * weight.numel() + WHOLE * codes.steps.numel() + zeros)


def _prune(matrix: Matrix, scores_MD: torch.Tensor, how: Compression) -> None:
    # Filled, not multiplied: a zero has no sign, and is stored as nothing but its place.
    matrix.weight.masked_fill_(~kept(scores_MD, how) | (matrix.weight == 0), 0.0)


def _prune_in_order(
    network: Any, matrices: list[Matrix], how: Compression, rows: Sequence[Sequence[int]], seed: int
) -> None:
    """Prune every matrix in the pass in which it is met, from the inputs that it is met with."""
    waiting = {id(matrix.parameter): matrix for matrix in matrices}
    squares: dict[int, torch.Tensor] = {}
    met: dict[int, int] = {}

    def seen(parameter: nn.Parameter, x_ND: torch.Tensor, transposed: bool) -> None:
        key = id(parameter)
        matrix = waiting.get(key)
        if matrix is None:
            return
        own = x_ND.square().sum(dim=0)
        squares[key] = squares[key] + own if key in squares else own
        met[key] = met.get(key, 0) + 1
        if met[key] == matrix.uses:
            _prune(matrix, wanda_scores(matrix.weight, squares[key]), how)

    read_rows(network, prepare_rows(network, rows, torch.Generator().manual_seed(seed)), seen)
    if missed := [matrix.name for matrix in matrices if met.get(id(matrix.parameter), 0) < matrix.uses]:
        raise UserError(f"the calibration rows do not reach {missed[0]}; give longer ones")
