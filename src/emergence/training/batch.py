"""What a network reads in one step: token ids of one replica or of S stacked ones, and what counts in the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from emergence.training.data import Draw

__all__ = ["LANES", "Batch", "collate", "row_mean_losses"]

#: Element-wise kernels take so many numbers at once and the rest of a tensor one by one, which rounds differently.
#: Where each replica's part of every stacked tensor is a multiple of it, its bits do not depend on those beside it.
LANES = 32


@dataclass(frozen=True)
class Batch:
    """Ids [B, T], the flat positions that count [M] (None: all), their next tokens [M] and weights [M] in the loss.

    Stacked, each has a leading dimension S.
    ``tokens`` counts those of one replica, ``supervised`` those that count in the loss of each.
    """

    inputs: torch.Tensor
    select: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor
    tokens: int
    supervised: tuple[float, ...]


def collate(draws: Sequence[Draw], *, stacked: bool) -> Batch:
    """Return the batch of the given draws of equal shape, one per replica; unstacked there is exactly one.

    A position weighs one over the number that count in its row and over the number of rows, so that every row counts
    the same. Stacked replicas are padded with rows and positions of weight 0, to the most positions there can be and
    to multiples of `LANES`.
    """
    B, T = draws[0].inputs.shape
    tokens, supervised = B * T, tuple(float(draw.supervised.sum()) for draw in draws)
    if stacked:
        draws = [_padded(draw, -B % (LANES // math.gcd(T, LANES))) for draw in draws]
    inputs = np.stack([draw.inputs for draw in draws])
    masks = np.stack([draw.supervised for draw in draws])
    S, rows, _ = masks.shape
    counts = masks.sum(axis=2, keepdims=True)
    shares = np.broadcast_to((1.0 / (B * np.maximum(counts, 1))).astype(np.float32), masks.shape).reshape(S, rows * T)
    targets = np.stack([draw.targets for draw in draws]).reshape(S, rows * T)
    flat = masks.reshape(S, rows * T)
    shares = shares * flat
    totals = flat.sum(axis=1)
    most = draws[0].most + -draws[0].most % LANES if stacked else int(totals[0])
    select = None
    if most < rows * T:
        select = np.zeros((S, most), dtype=np.int64)
        kept = np.arange(select.shape[1]) < totals[:, None]
        select[kept] = flat.nonzero()[1]
        targets = np.take_along_axis(targets, select, axis=1)
        shares = np.take_along_axis(shares, select, axis=1) * kept
    tensors = [
        None if array is None else torch.from_numpy(np.ascontiguousarray(array if stacked else array[0]))
        for array in (inputs, select, targets, shares)
    ]
    ids, places, following, weights = tensors
    assert ids is not None
    assert following is not None
    assert weights is not None
    return Batch(ids, places, following, weights, tokens, supervised)


def _padded(draw: Draw, rows: int) -> Draw:
    """Return the draw with that many rows more, in which nothing counts."""
    margin = ((0, rows), (0, 0))
    return Draw(np.pad(draw.inputs, margin), np.pad(draw.targets, margin), np.pad(draw.supervised, margin), draw.most)


def row_mean_losses(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the weighted cross-entropy of a batch in nats: a scalar, or [S] stacked."""
    logits = network(batch.inputs, select=batch.select)
    if batch.select is None:
        logits = logits.flatten(-3, -2)
    logprobs = logits.log_softmax(dim=-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    losses: torch.Tensor = -(logprobs * batch.weights).sum(dim=-1)
    return losses
