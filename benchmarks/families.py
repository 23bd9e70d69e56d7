"""What a training step of every family costs at one size: tokens a second, and the peak of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.contest import table
from benchmarks.costs import peak_memory

TITLE = "Families"

SIZE, CONTEXT, ROWS, STEPS = 200_000, 64, 12, 60
EXAMPLES = 8


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one row per family that has sizes."""
    from emergence.models.family import FAMILIES

    for name in (name for name in FAMILIES if FAMILIES.load(name).sized):
        tasks = FAMILIES.load(name).tasks
        question = {"family": name, "size": SIZE, "context": CONTEXT, "rows": ROWS, "steps": STEPS, "letters": 24}
        task = None if tasks is None or "copy" in tasks else {"name": tasks[0]}
        yield name, peak_memory({**question, "task": task, "examples": EXAMPLES})


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = [
        [f"`{name}`", f"{found['tokens_per_second']:,.0f}", f"{found['worker'] / 2**20:,.0f}"]
        for name, found in figures.items()
    ]
    said = (
        f"Training steps of {SIZE:,} parameters in one process of one thread: copying letters, context {CONTEXT}, "
        f"{ROWS} rows (graph networks: the first of their tasks; the variational model: a text); the peak of resident "
        "memory holds torch and what a study loads, some 380 MiB. One run each."
    )
    return "\n".join([said, "", *table(["family", "tokens/s", "peak, MiB"], rows)])
