"""Which weights are set to zero: the smallest, or those that matter least to what comes in.

Shapes: M outputs, D inputs, N tokens.
"""

from __future__ import annotations

import torch

from emergence.core.compression_settings import Compression
from emergence.core.errors import UserError

__all__ = ["kept", "wanda_scores"]


def wanda_scores(weight_MD: torch.Tensor, squares_D: torch.Tensor) -> torch.Tensor:
    """Return ``|W_ij| ||X_j||_2`` [M, D] (Sun et al. 2023, arXiv 2306.11695, equation 1).

    ``squares_D`` is the sum of the squares of every input over the calibration tokens.
    """
    return weight_MD.abs() * squares_D.sqrt()


def kept(scores_MD: torch.Tensor, how: Compression) -> torch.Tensor:
    """Return which weights stay [M, D], those with the highest scores.

    A share is taken of the whole matrix by ``magnitude`` (Han et al. 2015, arXiv 1506.02626) and of every output row by
    ``magnitude-row`` and ``wanda``, rounded to whole weights. A pattern such as 2:4 keeps two of every four neighbours
    along the inputs (Mishra et al. 2021, arXiv 2104.08378); raises UserError where the inputs do not divide by four.
    """
    M, D = scores_MD.shape
    if how.pattern is not None:
        stay, of = how.pattern
        if D % of:
            raise UserError(
                f"{how.method} takes the inputs of a matrix in groups of {of}, and {D} do not divide by it; choose "
                "another width, or a method that takes a sparsity"
            )
        best = scores_MD.view(M, D // of, of).topk(stay, dim=-1).indices
        return torch.zeros(M, D // of, of, dtype=torch.bool).scatter_(-1, best, value=True).view(M, D)
    scores = scores_MD.reshape(1, M * D) if how.method == "magnitude" else scores_MD
    gone = round(how.share * scores.shape[1])
    # Sorted stably, so that of equal scores the first goes, and exactly as many as asked.
    order = scores.sort(dim=1, stable=True).indices[:, :gone]
    return torch.ones_like(scores, dtype=torch.bool).scatter_(1, order, value=False).view(M, D)
