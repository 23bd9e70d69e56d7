"""What a training step consists of, and what a second process beside it costs: the limits of its speed here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmarks.contest import Contestant, table
from benchmarks.ladders import CONTEXT, ROWS, SIZES, VOCABULARY

TITLE = "What a training step consists of"

REPLICAS = 3
SECONDS, REPETITIONS = 1.0, 5


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one row per size."""
    with Contestant("benchmarks.own.peak", {}, threads=1) as peak:
        for size in SIZES:
            yield str(size), measure_size(size, peak)


def measure_size(size: int, peak: Contestant) -> dict[str, Any]:
    """Return the shares of a step by kind, and the share of the peak alone and beside a twin."""
    from emergence.models.gpt import size_for
    from emergence.study.rungs import worth_stacking

    config = size_for(size, VOCABULARY, CONTEXT)
    replicas = REPLICAS if worth_stacking(config, ROWS * CONTEXT) else 1
    flops = 3 * replicas * config.forward_flops(ROWS * CONTEXT, CONTEXT)
    options = {"size": size, "rows": ROWS, "context": CONTEXT, "vocabulary": VOCABULARY, "replicas": replicas}
    name = "benchmarks.own.step_profile"
    alone, beside = [], []
    with Contestant(name, options, threads=1) as one, Contestant(name, options, threads=1) as twin:
        shares = one.ask(seconds=SECONDS, profile=True)["shares"]
        for _ in range(REPETITIONS):
            best = peak.ask()["flops"]
            alone.append(flops / one.ask(seconds=SECONDS)["seconds"] / best)
            with ThreadPoolExecutor(2) as pool:
                both = pool.map(lambda each: each.ask(seconds=SECONDS)["seconds"], (one, twin))
            beside.append(median(flops / seconds / best for seconds in both))
    return {"replicas": replicas, "shares": shares, "alone": median(alone), "beside": median(beside)}


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = []
    for size, row in figures.items():
        products = row["shares"]["products"]
        rows.append(
            [
                f"{int(size):,}",
                str(row["replicas"]),
                *(f"{share:.0%}" for share in row["shares"].values()),
                f"{row['alone']:.2f}",
                f"{row['beside']:.2f}",
                f"{row['alone'] / products:.2f}",
            ]
        )
    kinds = next(iter(figures.values()))["shares"]
    head = ["parameters", "stacked", *kinds, "alone", "beside a twin", "of the products alone"]
    said = (
        "One process of one thread: the shares of a step's time (profiler of torch, whose own cost falls on the many "
        "small calls; the products of attention are among the products), and the share of the measured matrix peak (of "
        "the faster of torch's libraries) that the whole step reaches, alone and beside a second process like it, with "
        "which it shares memory and cache. The last column is what the matrix products reach by themselves: the share "
        "of the peak if everything else took no time at all."
    )
    return "\n".join([said, "", *table(head, rows)])
