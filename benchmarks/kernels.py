"""Are products in whole numbers faster than in float32? By size of the matrix and number of tokens, on this processor.

``python -m benchmarks.kernels`` prints the time of `models.products.linear` over that of `compression.kernels`' product
(above 1: whole numbers are faster), and what `auto` chooses. One thread, the best of several repetitions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from emergence.compression.kernels import LEAST_SIDE, LEAST_WORK, Int8Product
from emergence.compression.quantising import quantise
from emergence.core.compression_settings import compression
from emergence.models.products import linear

WIDTHS = (64, 128, 256, 512, 1024, 2048)
TOKENS = (1, 8, 32, 128, 512, 2048)
SECONDS = 0.05


def best(call: Callable[[], Any], repeats: int = 5) -> float:
    """Return the least time of a call in seconds."""
    call()
    times = []
    for _ in range(repeats):
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            call()
            calls += 1
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def measure(width: int, tokens: int) -> dict[str, Any]:
    """Return the times of one product of ``tokens`` rows with a square matrix."""
    generator = torch.Generator().manual_seed(0)
    codes = quantise(torch.randn(width, width, generator=generator), compression(method="quantised", bits=8), "w")
    x, weight = torch.randn(tokens, width, generator=generator), codes.weight()
    product = Int8Product(torch.nn.Parameter(weight), None, codes, always=True)
    chosen = width >= LEAST_SIDE and tokens * width * width >= LEAST_WORK
    with torch.inference_mode():
        whole, real = best(lambda: product(x)), best(lambda: linear(x, weight))
    return {"width": width, "tokens": tokens, "float": real, "int8": whole, "auto": "int8" if chosen else "float"}


def main() -> None:
    """Measure all sizes and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    found = [measure(width, tokens) for width in WIDTHS for tokens in TOKENS]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'width':>6} {'tokens':>6} {'float (us)':>11} {'int8 (us)':>11} {'ratio':>6}  auto")
    for row in found:
        ratio = row["float"] / row["int8"]
        times = f"{1e6 * row['float']:11.1f} {1e6 * row['int8']:11.1f}"
        print(f"{row['width']:6} {row['tokens']:6} {times} {ratio:6.2f}  {row['auto']}")


if __name__ == "__main__":
    main()
