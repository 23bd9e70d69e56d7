"""Two processes of one thread beside one process of two threads: why a study runs as many processes as cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.contest import Contestant, alternate, spread, table

TITLE = "Processes or threads"
SIZES = (3_000, 30_000, 200_000, 1_000_000, 5_000_000)
CONTEXT, ROWS, VOCABULARY, SECONDS, REPETITIONS = 64, 12, 64, 1.0, 5


def measure() -> list[dict[str, Any]]:
    """Return one row per size."""
    return [measure_size(size) for size in SIZES]


def measure_size(size: int) -> dict[str, Any]:
    """Return tokens per second of one process of one thread, of two together, and of one of two threads."""
    options = {"size": size, "vocabulary": VOCABULARY, "context": CONTEXT, "rows": ROWS}
    with ExitStack() as stack:
        one, other, wide = (
            stack.enter_context(Contestant("benchmarks.own.steps", options, threads=threads)) for threads in (1, 1, 2)
        )
        pool = stack.enter_context(ThreadPoolExecutor(2))

        def ask(contestant: Contestant) -> float:
            return float(contestant.ask(seconds=SECONDS)["tokens_per_second"])

        turns = {"one": lambda: ask(one), "two": lambda: sum(pool.map(ask, (one, other))), "threads": lambda: ask(wide)}
        found = alternate(turns, REPETITIONS)
    return {"size": size, **{name: spread(values) for name, values in found.items()}}


def render(figures: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    rows = [
        [
            f"{row['size']:,}",
            *(f"{row[name]['median']:,.0f}" for name in ("one", "two", "threads")),
            f"{row['two']['median'] / row['threads']['median']:.2f}",
        ]
        for row in figures
    ]
    said = (
        f"Tokens per second of bare training steps, context {CONTEXT}, {ROWS} rows, vocabulary {VOCABULARY}; nothing "
        f"is stacked. Medians of {REPETITIONS} rounds in which the three take turns."
    )
    head = ["parameters", "one process", "two processes", "one process, two threads", "ratio"]
    return "\n".join([said, "", *table(head, rows)])
