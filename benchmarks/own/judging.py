"""Verdicts with intervals on a table of scores."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contest import serve


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Read the scores; a question names the resamples."""
    import io

    import polars as pl

    import emergence as em

    table = pl.read_csv(io.StringIO(options["scores"]))

    def judge(question: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        em.analyze(table, axes="params", resamples=question["resamples"], forecast=False)
        return {"seconds": time.perf_counter() - start}

    return {}, judge


if __name__ == "__main__":
    serve(prepare)
