"""Does one learning rate serve the whole ladder? Train three rungs over a grid of rates and see where each is best.

The rungs are trained for the same tokens on the same text, with the rule of `emergence.training.schedule.width_scale`.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

TITLE = "Transfer of the learning rate along the width"
DATA = Path(os.environ.get("EMERGENCE_DATA", "../shared/data"))
TEXT = str(DATA / "open/corpus/tiny_shakespeare/input.txt")
SIZES = (1.5e4, 8e4, 4e5)
RATES = (0.002, 0.004, 0.008, 0.016)
CONTEXT, BATCH_ROWS, STEPS = 64, 12, 1000


def train_once(text: str, size: float, rate: float) -> float:
    """Return the validation loss of one model; the largest float where it diverged."""
    import torch

    from emergence.core.settings import TokenizerSettings
    from emergence.models.gpt import size_for
    from emergence.text import build_tokenizer, read_corpus, split_corpus
    from emergence.training.data import CorpusSource, Mixture
    from emergence.training.loop import RunSpec, train
    from emergence.training.schedule import Schedule

    torch.set_num_threads(1)
    training, validation = split_corpus(read_corpus([text], None), seed=0)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), training + validation)
    tokens, held_out = (tokenizer.encode_arrays(part)[0] for part in (training, validation))
    spec = RunSpec(
        family="gpt",
        config=size_for(size, tokenizer.vocabulary_size, CONTEXT),
        seeds=(0,),
        stacked=False,
        learning_rate=rate,
        weight_decay=0.1,
        clip=1.0,
        schedule=Schedule(steps=STEPS, warmup=0.02, decay=0.2, checkpoints=(STEPS,)),
    )
    data = Mixture([CorpusSource(tokens, held_out, CONTEXT)], [1.0], BATCH_ROWS, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        (outcome,) = train(spec, [data], [Path(folder)], at_checkpoint=lambda *_: None, progress=lambda *_: None)
        if outcome.diverged is not None:
            return sys.float_info.max
        return float(pl.read_parquet(Path(folder) / "history.parquet")["validation_loss"].drop_nulls()[-1])


def measure(text: str = TEXT) -> list[dict[str, Any]]:
    """Return one row per size and rate."""
    grid = list(itertools.product(sorted(SIZES, reverse=True), RATES))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(train_once, text, size, rate) for size, rate in grid]
        return [
            {"size": size, "rate": rate, "loss": future.result()}
            for (size, rate), future in zip(grid, futures, strict=True)
        ]


def best_rate(losses: list[float]) -> float:
    """Return the rate at the bottom of the parabola through the lowest loss and its neighbours, on log rates."""
    k = min(max(losses.index(min(losses)), 1), len(losses) - 2)
    left, middle, right = losses[k - 1 : k + 2]
    offset = (left - right) / (2 * (left - 2 * middle + right))
    return float(RATES[k] * (RATES[1] / RATES[0]) ** max(-1.0, min(1.0, offset)))


def render(figures: list[dict[str, Any]]) -> str:
    """Return a table with the best rate of each rung."""
    lines = [
        f"Validation loss (nats per character of tiny Shakespeare) after {STEPS:,} steps of {BATCH_ROWS} x {CONTEXT} "
        "characters, one seed, by the learning rate at width 64; every rung takes it times 64/width. Best: the bottom "
        "of a parabola through the lowest loss and its neighbours.",
        "",
        f"| parameters | {' | '.join(f'{rate:g}' for rate in RATES)} | best |",
        "| ---: |" + " ---: |" * (len(RATES) + 1),
    ]
    best = []
    for size in SIZES:
        losses = [row["loss"] for rate in RATES for row in figures if (row["size"], row["rate"]) == (size, rate)]
        best.append(best_rate(losses))
        cells = " | ".join(f"{loss:.3f}" if loss < 100 else "diverged" for loss in losses)
        lines.append(f"| {size:,.0f} | {cells} | {best[-1]:.4f} |")
    lines += ["", f"The best rate moves by a factor of {max(best) / min(best):.1f}."]
    return "\n".join(lines)
