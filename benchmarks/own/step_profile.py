"""Where the time of training steps goes in one process of one thread, and how long they take."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contest import serve

UNCOUNTED_STEPS = 3
#: Parts of the names of kernels, by what they do; the rest are passes over memory.
KINDS = {
    "products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "mkldnn::_linear_pointwise"),
    "optimiser": ("adamw", "aten::linalg_vector_norm", "aten::_foreach"),
}


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Make the replicas; a question trains for ``seconds``, with a profile where ``profile`` is asked for."""
    import numpy as np
    import torch
    from torch.profiler import ProfilerActivity, profile

    from emergence.models.gpt import size_for
    from emergence.training.batch import collate
    from emergence.training.data import Draw
    from emergence.training.stack import Stack

    torch.set_num_threads(1)
    rows, context, vocabulary, replicas = (options[key] for key in ("rows", "context", "vocabulary", "replicas"))
    config = size_for(options["size"], vocabulary, context)
    settings = {"learning_rate": 1e-3, "weight_decay": 0.1, "clip": 1.0, "stacked": replicas > 1}
    stack = Stack("gpt", config, range(replicas), **settings)
    ids = np.random.default_rng(0).integers(0, vocabulary, (1, rows, context + 1))
    mask = np.ones((1, rows, context), dtype=np.bool_)
    draw = Draw(ids[..., :-1], ids[..., 1:], mask, np.array([mask.size]))
    (batch,) = collate([draw] * replicas, stacked=replicas > 1)

    def train(seconds: float) -> float:
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            stack.step(batch, 1.0)
            steps += 1
        return elapsed / steps

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        for _ in range(UNCOUNTED_STEPS):
            stack.step(batch, 1.0)
        if not question.get("profile"):
            return {"seconds": train(question["seconds"])}
        with profile(activities=[ProfilerActivity.CPU]) as found:
            train(question["seconds"])
        times = dict.fromkeys((*KINDS, "passes over memory"), 0.0)
        for event in found.key_averages():
            kind = next((kind for kind, names in KINDS.items() if any(n in event.key for n in names)), None)
            times[kind or "passes over memory"] += event.self_cpu_time_total
        return {"shares": {kind: part / sum(times.values()) for kind, part in times.items()}}

    return {}, answer


if __name__ == "__main__":
    serve(prepare)
