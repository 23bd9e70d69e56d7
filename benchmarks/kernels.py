"""Are products in whole numbers faster than in float32? By the width of the matrix and the number of tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.contest import table
from emergence.compression.kernels import LEAST_SIDE, LEAST_WORK, Int8Product
from emergence.compression.quantising import quantise
from emergence.core.compression_settings import compression
from emergence.models.products import linear

TITLE = "Products in whole numbers"

WIDTHS = (64, 128, 256, 512, 1024, 2048)
TOKENS = (1, 8, 32, 128, 512, 2048)
SECONDS, REPETITIONS = 0.02, 16


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the times of one width by the number of tokens."""
    torch.set_num_threads(1)
    for width in WIDTHS:
        yield str(width), {str(tokens): measure_product(width, tokens) for tokens in TOKENS}


def measure_product(width: int, tokens: int) -> dict[str, float]:
    """Return the seconds of one product of ``tokens`` rows with a square matrix, in float32 and in whole numbers."""
    generator = torch.Generator().manual_seed(0)
    codes = quantise(torch.randn(width, width, generator=generator), compression(method="quantised", bits=8), "w")
    x, weight = torch.randn(tokens, width, generator=generator), codes.weight()
    product = Int8Product(torch.nn.Parameter(weight), None, codes, always=True)
    calls = {"float": lambda: linear(x, weight), "int8": lambda: product(x)}
    found = dict.fromkeys(calls, float("inf"))
    with torch.inference_mode():
        for _ in range(REPETITIONS):  # in turn, so that what else the machine does falls on both
            for name, call in calls.items():
                found[name] = min(found[name], seconds(call))
    return found


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of a call, the mean of as many as a moment takes."""
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = []
    for width, by_tokens in figures.items():
        cells = []
        for tokens, times in by_tokens.items():
            chosen = int(width) >= LEAST_SIDE and int(tokens) * int(width) ** 2 >= LEAST_WORK
            cells.append(f"{times['float'] / times['int8']:.2f}{'' if chosen else ' –'}")
        rows.append([f"{int(width):,}", *cells])
    said = (
        "Time of a float32 product (`models.products.linear`) over that of the int8 product of `compression.kernels`, "
        "inputs rounded row by row on the way, by the width of a square matrix and the number of tokens, one thread: "
        'above 1 whole numbers are faster. `–` marks what `em.load(…, kernels="auto")` leaves in float32.'
    )
    head = ["width", *(f"{tokens:,} token{'s' if tokens > 1 else ''}" for tokens in TOKENS)]
    return "\n".join([said, "", *table(head, rows)])
