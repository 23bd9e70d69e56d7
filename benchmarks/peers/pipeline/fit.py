"""Fit a logistic curve to each task's scores, with bootstrap intervals: ``python -m ....fit FOLDER``."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

RESAMPLES = 1000

Array = NDArray[np.float64]


def logistic(x: Array, top: float, middle: float, slope: float) -> Array:
    """Return a rise from 0 to ``top`` around ``middle``."""
    rise: Array = top / (1 + np.exp(-np.clip(slope * (x - middle), -50, 50)))
    return rise


def fit(x: Array, y: Array) -> Array:
    """Return top, middle and slope."""
    start = (max(float(y.max()), 0.01), float(x.mean()), 4.0)
    found: Array = curve_fit(logistic, x, y, p0=start, maxfev=5000)[0]
    return found


def intervals(x: Array, y: Array, rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return the threshold and the gain with 90 % intervals, models resampled within their size."""
    best = fit(x, y)
    groups = [np.flatnonzero(x == size) for size in np.unique(x)]
    drawn = []
    for _ in range(resamples):
        picks = np.concatenate([rng.choice(group, len(group)) for group in groups])
        try:
            drawn.append(fit(x[picks], y[picks]))
        except RuntimeError:  # no convergence
            continue
    tops, middles, _ = np.array(drawn).T
    return {
        "threshold": {"estimate": 10 ** best[1], "interval": (10 ** np.percentile(middles, (5, 95))).tolist()},
        "gain": {"estimate": best[0], "interval": np.percentile(tops, (5, 95)).tolist()},
    }


def main(folder: Path) -> None:
    """Fit both tasks and keep the intervals."""
    scores = json.loads((folder / "scores.json").read_text())
    rng = np.random.default_rng(0)
    found = {}
    warnings.simplefilter("ignore", OptimizeWarning)
    with np.errstate(over="ignore"):
        for task in sorted({score["task"] for score in scores}):
            own = [score for score in scores if score["task"] == task]
            x = np.log10([score["params"] for score in own])
            found[task] = intervals(x, np.array([score["score"] for score in own]), rng)
    (folder / "verdicts.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
