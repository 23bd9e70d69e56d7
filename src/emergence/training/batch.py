"""What a network reads in one step: token ids of one replica or of S stacked ones, and what counts in the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
    ``tokens`` counts those of one replica, ``supervised`` those that count in the loss of each. ``warmups`` says when
    in the run it is read, in warmups of the learning rate (`Schedule.warmups`), for objectives that change with time.
    """

    inputs: torch.Tensor
    select: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor
    tokens: int
    supervised: tuple[float, ...]
    warmups: float = math.inf


def collate(draws: Sequence[Draw], *, stacked: bool) -> list[Batch]:
    """Return the batches of successive steps from the draws of every replica; unstacked there is exactly one.

    A position weighs one over the number that count in its row and over the number of rows, so that every row counts
    the same. Stacked replicas are padded with rows and positions of weight 0, to the most positions there can be and
    to multiples of `LANES`.
    """
    K, B, T = draws[0].inputs.shape
    supervised = np.stack([draw.supervised.sum(axis=(1, 2)) for draw in draws], axis=1).astype(float)
    padding = -B % (LANES // math.gcd(T, LANES)) if stacked else 0
    inputs, targets, masks = (
        np.pad(np.stack(parts, axis=1), ((0, 0), (0, 0), (0, padding), (0, 0)))
        for parts in zip(*((draw.inputs, draw.targets, draw.supervised) for draw in draws), strict=True)
    )
    counts = np.maximum(masks.sum(axis=3, keepdims=True), 1)
    shares = (masks / (B * counts)).astype(np.float32).reshape(K, len(draws), -1)
    targets, masks = targets.reshape(shares.shape), masks.reshape(shares.shape)
    batches = []
    for step in range(K):
        chosen = _chosen(masks[step], int(draws[0].most[step]) if stacked else None)
        parts = [inputs[step], chosen, targets[step], shares[step]]
        if chosen is not None:
            kept = np.arange(chosen.shape[1]) < masks[step].sum(axis=1, keepdims=True)
            parts[2:] = [
                np.take_along_axis(targets[step], chosen, 1),
                np.take_along_axis(shares[step], chosen, 1) * kept,
            ]
        ids, select, following, weights = (
            None if part is None else torch.from_numpy(np.ascontiguousarray(part if stacked else part[0]))
            for part in parts
        )
        assert ids is not None
        assert following is not None
        assert weights is not None
        batches.append(Batch(ids, select, following, weights, B * T, tuple(supervised[step].tolist())))
    return batches


def _chosen(mask: npt.NDArray[np.bool_], most: int | None) -> npt.NDArray[np.int64] | None:
    """Return the positions that count in each row of ``mask`` [S, N], padded with 0 to ``most`` (rounded up to `LANES`)
    or to their number; None where that would be all."""
    number = int(mask[0].sum()) if most is None else most + -most % LANES
    if number >= mask.shape[1]:
        return None
    totals = mask.sum(axis=1, keepdims=True)
    chosen = np.zeros((len(mask), number), dtype=np.int64)
    chosen[np.arange(number) < totals] = mask.nonzero()[1]
    return chosen


def row_mean_losses(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the weighted cross-entropy of a batch in nats: a scalar, or [S] stacked."""
    logits = network(batch.inputs, select=batch.select)
    if batch.select is None:
        logits = logits.flatten(-3, -2)
    logprobs = logits.log_softmax(dim=-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    losses: torch.Tensor = -(logprobs * batch.weights).sum(dim=-1)
    return losses
