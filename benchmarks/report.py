"""How long the report of a large study takes to render, and how large the page is."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from benchmarks.contest import table

TITLE = "The report of a large study"

RUNGS, TASKS, CHECKPOINTS, SEEDS = 20, 10, 30, 3
REPETITIONS = 5


def measure() -> dict[str, Any]:
    """Render the page of a study that never ran; return the seconds and the bytes, its script included."""
    from tests.report.sample import study

    from emergence.report import render_html

    data = study(rungs=RUNGS, seeds=SEEDS, checkpoints=CHECKPOINTS, tasks=tuple(f"task{k}" for k in range(TASKS)))
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        page = render_html(data)
        seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds), "first": seconds[0], "bytes": len(page.encode())}


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = [
        ["seconds, median", f"{figures['seconds']:.1f}", "5"],
        ["seconds, the first time (the script is bundled then)", f"{figures['first']:.1f}", "5"],
        ["megabytes", f"{figures['bytes'] / 1e6:.1f}", "5"],
    ]
    said = f"{RUNGS} rungs × {TASKS} tasks × {CHECKPOINTS} checkpoints, {SEEDS} replicas; self-contained HTML."
    return "\n".join([said, "", *table(["", "measured", "at most"], rows)])
