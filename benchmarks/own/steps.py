"""Bare training steps in one process with as many threads as it is given; a study has one."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contest import serve

UNCOUNTED_STEPS = 2


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Make the model; each question trains for ``seconds``."""
    import numpy as np

    from emergence.models.gpt import size_for
    from emergence.training.batch import collate
    from emergence.training.data import Draw
    from emergence.training.stack import Stack

    rows, context, vocabulary = options["rows"], options["context"], options["vocabulary"]
    config = size_for(options["size"], vocabulary, context)
    stack = Stack("gpt", config, [0], learning_rate=1e-3, weight_decay=0.1, clip=1.0, stacked=False)
    ids = np.random.default_rng(0).integers(0, vocabulary, (1, rows, context + 1))
    mask = np.ones((1, rows, context), dtype=np.bool_)
    (batch,) = collate([Draw(ids[..., :-1], ids[..., 1:], mask, np.array([mask.size]))], stacked=False)

    def train(question: dict[str, Any]) -> dict[str, Any]:
        for _ in range(UNCOUNTED_STEPS):
            stack.step(batch, 1.0)
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < question["seconds"]:
            stack.step(batch, 1.0)
            steps += 1
        return {"tokens_per_second": steps * rows * context / elapsed}

    return {}, train


if __name__ == "__main__":
    serve(prepare)
