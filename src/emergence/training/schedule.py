"""The learning rate over a run, its transfer along the ladder, and when to take a checkpoint. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["BASE_LEARNING_RATE", "BASE_WIDTH", "Schedule", "checkpoint_steps", "width_scale"]

#: Learning rate at `BASE_WIDTH`, and that width; found by `python -m benchmarks width_transfer`.
BASE_LEARNING_RATE = 0.006
BASE_WIDTH = 64


def width_scale(width: int) -> float:
    """Return the factor on the learning rate at a width: BASE_WIDTH / width, for every parameter.

    Under Adam the update of a matrix has entries of the size of the learning rate whatever the gradient, so a product
    over ``width`` inputs moves by width times that; dividing by the width keeps the change of every activation the same
    along the ladder (Yang et al. 2022, arXiv 2203.03466, table 8). That derivation leaves embeddings and norms at a
    constant rate. We scale them too: at the sizes of these ladders the best rate then stays within a factor of two,
    and moves by more with their rate constant (`docs/benchmarks.md`, `docs/log.md`).
    """
    return BASE_WIDTH / width


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Warmup, stable, decay (Hu et al. 2024, arXiv 2404.06395), and the steps whose checkpoints are evaluated.

    The rate rises linearly over the first ``warmup`` share of ``steps``, stays, and falls over the last ``decay`` share
    as 1 - sqrt(x) (Haegele et al. 2024, arXiv 2405.18392).

    With ``branches`` every checkpoint is cooled down: the *trunk* keeps the constant rate, and for a checkpoint at step
    s a branch leaves it at ``fork(s)`` and decays until s. It is then what a run of s steps alone with the same number
    of warmup steps would have been, and the trunk serves all of them.
    """

    steps: int
    warmup: float
    decay: float
    checkpoints: tuple[int, ...]
    branches: bool = False

    def fork(self, end: int) -> int:
        """Return the step at which the decay of a run of ``end`` steps begins; a branch has one step at least."""
        return end - max(int(self.branches), round(self.decay * end))

    def factor(self, step: int, end: int | None) -> float:
        """Return the factor on the learning rate at ``step``, counted from 0, of a run of ``end`` steps; None: the
        trunk."""
        if (warmups := self.warmups(step)) <= 1:
            return warmups
        if end is not None and step >= self.fork(end):
            return 1 - math.sqrt((step - self.fork(end) + 1) / (end - self.fork(end) + 1))
        return 1.0

    def warmups(self, step: int) -> float:
        """Return how many times the warmup has passed at the end of ``step``, in the trunk and in every branch."""
        return (step + 1) / max(1, round(self.warmup * self.steps))

    @property
    def computed_steps(self) -> int:
        """Steps that are computed: the run, or the trunk and all of its branches."""
        if not self.branches:
            return self.steps
        return self.fork(self.steps) + sum(end - self.fork(end) for end in self.checkpoints)


def checkpoint_steps(steps: int, checkpoints: int) -> list[int]:
    """Return up to ``checkpoints`` steps from about 1 % of the run to its end, evenly spaced on a log scale."""
    first = max(1.0, steps / 100)
    return sorted({round(s) for s in np.geomspace(first, steps, checkpoints).tolist()} | {steps})[-checkpoints:]
