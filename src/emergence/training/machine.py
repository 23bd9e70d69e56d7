"""What this machine can do, measured: the matrix-product peak of one thread, and the time of a training step."""

from __future__ import annotations

import functools
import time

import numpy as np
import torch

from emergence.models.family import FAMILIES, ModelConfig
from emergence.models.products import linear
from emergence.training.batch import collate
from emergence.training.data import Draw
from emergence.training.distillation import Distilled, Teaching
from emergence.training.learners import make_learner
from emergence.training.objectives import OBJECTIVES

__all__ = ["peak_flops", "step_seconds"]


@functools.cache
def peak_flops(size: int = 512, seconds: float = 0.15) -> float:
    """Return the best FLOP/s that a square float32 matrix product reaches with the threads torch is set to, by the
    faster of torch's libraries (`models.products`)."""
    a = torch.full((size, size), 0.5)
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        linear(a, a)
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def step_seconds(
    family: str,
    config: ModelConfig,
    batch_rows: int,
    *,
    stacked: bool,
    replicas: int = 1,
    seconds: float = 0.1,
    teaching: Teaching | None = None,
) -> float:
    """Return the seconds of one training step per replica on this machine with one thread, those of a teacher included.

    The best of as many steps as fit into ``seconds`` counts, and of three at least, the first of which also allocates.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        own = OBJECTIVES.load(FAMILIES.load(family).objective)
        learner = make_learner(
            family,
            config,
            range(replicas),
            learning_rate=1e-3,
            weight_decay=0.0,
            clip=1.0,
            stacked=stacked,
            objective=None if teaching is None else Distilled(own, teaching),
        )
        ids = np.random.default_rng(0).integers(0, config.vocabulary, (1, batch_rows, config.context + 1))
        mask = np.ones((1, batch_rows, config.context), dtype=np.bool_)
        (batch,) = collate([Draw(ids[..., :-1], ids[..., 1:], mask, np.array([mask.size]))] * replicas, stacked=stacked)
        best, done, end = float("inf"), 0, time.perf_counter() + seconds
        while done < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            learner.step(batch, 1.0)
            best = min(best, time.perf_counter() - start)
            done += 1
        return best / replicas
    finally:
        torch.set_num_threads(threads)
