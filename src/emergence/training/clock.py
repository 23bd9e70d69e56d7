"""What a run has read, computed and taken so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from emergence.models.family import ModelConfig
from emergence.training.batch import Batch
from emergence.training.machine import peak_flops

__all__ = ["Clock"]


class Clock:
    """Tokens, FLOPs and seconds of S replicas; time spent on checkpoints and evaluation does not count.

    ``tokens`` and ``flops`` are those of the model as it is. ``flops_spent`` and ``seconds`` grow with everything that
    is computed, branches too; seconds are shared equally among stacked replicas, and the speed is that of all of them.

    Both count what a teacher computes: its ``teacher`` forward passes beside every step, and what it computed
    ``beforehand``, for as many runs as there are ``sharers``: a model needs all of that, and each run spends its part.
    """

    def __init__(
        self,
        config: ModelConfig,
        replicas: int,
        passes: float,
        predicted_share: float = 1.0,
        *,
        teacher: Callable[[float, int, float], float] | None = None,
        beforehand: float = 0.0,
        sharers: int = 1,
    ) -> None:
        self._config, self._passes, self._share, self._teacher = config, passes, predicted_share, teacher
        self._tokens = 0.0
        self._flops = np.full(replicas, beforehand)
        self._spent = np.full(replicas, beforehand / sharers)
        self._read = 0.0
        self._seconds = 0.0
        self._mark = (0.0, float(self._spent.sum()), 0.0)
        self._peak = peak_flops()
        self._since = time.monotonic()
        self._fork: tuple[float, Any] | None = None

    def restore(self, histories: list[list[dict[str, Any]]], step: int) -> None:
        """Go on after ``step`` of the trunk as the histories say."""
        trunk = [next(row for row in rows if row["step"] == step and row["branch"] is None) for rows in histories]
        self._tokens = trunk[0]["tokens"]
        self._flops = np.array([row["flops"] for row in trunk])
        self._spent = np.array([max(row["flops_spent"] for row in rows) for rows in histories])
        self._seconds = max(row["seconds"] for rows in histories for row in rows)
        self._mark = (self._read, float(self._spent.sum()), self._seconds)

    def count(self, batch: Batch) -> None:
        """Add one training step, which costs so many forward passes, and predicts at so many of the supervised
        positions, as the family says."""
        length = batch.inputs.shape[-1]
        self._tokens += batch.tokens
        self._read += batch.tokens * len(self._flops)
        for s, supervised in enumerate(batch.supervised):
            read = batch.tokens, length, self._share * supervised
            flops = self._passes * self._config.forward_flops(*read)
            if self._teacher is not None:
                flops += self._teacher(*read)
            self._flops[s] += flops
            self._spent[s] += flops

    def branch(self) -> None:
        """Remember the trunk's tokens and FLOPs."""
        self._fork = (self._tokens, self._flops.copy())

    def back(self) -> None:
        """Return to the trunk; what the branch cost stays spent."""
        assert self._fork is not None
        self._tokens, self._flops = self._fork

    def pause(self) -> None:
        """Stop the clock."""
        self._seconds += (time.monotonic() - self._since) / len(self._flops)

    def resume(self) -> None:
        """Start the clock again."""
        self._since = time.monotonic()

    def rows(self, step: int, losses: list[float], learning_rate: float) -> list[dict[str, Any]]:
        """Return the history row of every replica at ``step``: totals, and the speed since the rows before."""
        read, spent, seconds = self._mark
        self._mark = (self._read, float(self._spent.sum()), self._seconds)
        elapsed = max(self._seconds - seconds, 1e-9) * len(self._flops)
        speed = (self._read - read) / elapsed
        utilisation = (self._mark[1] - spent) / elapsed / self._peak
        return [
            {
                "step": step,
                "tokens": self._tokens,
                "flops": float(flops),
                "flops_spent": float(spent_here),
                "train_loss": loss,
                "learning_rate": learning_rate,
                "seconds": self._seconds,
                "tokens_per_second": speed,
                "utilisation": utilisation,
            }
            for loss, flops, spent_here in zip(losses, self._flops, self._spent, strict=True)
        ]
