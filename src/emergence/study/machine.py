"""What this machine has for the processes of a study. No torch here."""

from __future__ import annotations

import os
from typing import Any

import psutil

from emergence.core.settings import ExecutionSettings

__all__ = ["MEMORY_SHARE", "WORKER_BYTES", "machine_bytes", "run_bytes", "worker_count"]

WORKER_BYTES = 400 * 2**20  # a process with torch loaded and nothing done
MEMORY_SHARE = 0.8  # of the machine, for all workers together


def machine_bytes() -> int:
    """Return the memory of this machine."""
    return int(psutil.virtual_memory().total)


def run_bytes(config: Any, batch_tokens: int, *, branches: bool) -> float:
    """Estimate the memory that training a run takes.

    Weights, two moments, gradients twice (as they come and flat), a copy of weights and moments for the thread that
    writes checkpoints, and one of the trunk while a branch grows, and the activations: 4 bytes a number.
    """
    weights = (5 + 3 + 3 * branches) * config.parameters
    return float(WORKER_BYTES + 4.0 * (weights + batch_tokens * config.activations))


def worker_count(execution: ExecutionSettings, jobs: int) -> int:
    """Return how many processes go side by side: one per core, and none without a job."""
    asked = execution.workers
    cores = len(os.sched_getaffinity(0)) if asked == "auto" else asked
    return max(1, min(cores, jobs))
