"""Thresholds with bootstrap intervals by SciPy, curve by curve."""

from __future__ import annotations

import time
import warnings
from typing import Any

from benchmarks.contest import serve


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Read the scores; a question names the resamples."""
    import csv
    import io

    import numpy as np
    from scipy.optimize import OptimizeWarning

    from benchmarks.peers.pipeline.fit import intervals

    warnings.simplefilter("ignore", OptimizeWarning)
    rows = list(csv.DictReader(io.StringIO(options["scores"])))

    def judge(question: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        for task in sorted({row["task"] for row in rows}):
            own = [row for row in rows if row["task"] == task]
            x = np.log10([float(row["params"]) for row in own])
            y = np.array([float(row["score"]) for row in own])
            intervals(x, y, np.random.default_rng(0), question["resamples"])
        return {"seconds": time.perf_counter() - start}

    return {}, judge


if __name__ == "__main__":
    serve(prepare)
