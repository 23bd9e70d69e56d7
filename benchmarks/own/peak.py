"""The matrix-product peak of one thread, by the library's own measure."""

from __future__ import annotations

from typing import Any

from benchmarks.contest import serve


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Load torch; each question measures once more."""
    import torch

    from emergence.training.machine import peak_flops

    torch.set_num_threads(1)

    def measure(question: dict[str, Any]) -> dict[str, Any]:
        peak_flops.cache_clear()
        return {"flops": peak_flops()}

    return {}, measure


if __name__ == "__main__":
    serve(prepare)
