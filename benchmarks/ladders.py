"""Training speed of a ladder with three replicas on the whole machine, beside the Hugging Face Trainer and nanoGPT."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.contest import Contestant, alternate, spread, table

if TYPE_CHECKING:
    from emergence.models.gpt import GPTConfig

TITLE = "Training a ladder, beside others"
PEERS = ("transformers", "accelerate")

VOCABULARY, CONTEXT, ROWS = 64, 64, 12
RUNGS, REPLICAS = 2, 3  # two neighbouring rungs, as three replicas alone leave one of two processes idle at the end
REPETITIONS = 5
EXPECTED_SHARE, FEWEST_STEPS = 0.4, 20  # of the peak, for the length of our turns; of a run
#: Non-embedding parameters: seconds of a peer's turn and of ours (six runs, checkpoints included), and the ratios to
#: reach against the Trainer and nanoGPT, and the share of the matrix peak.
SIZES = {
    30_000: (1.5, 5.0, 5.0, 2.5, 0.45),
    200_000: (1.5, 6.0, 3.0, 1.5, 0.6),
    1_000_000: (2.0, 9.0, 2.0, 1.1, 0.7),
    5_000_000: (3.0, 18.0, 1.8, 1.1, 0.7),
}
TRAINER, NANOGPT, OWN = "trainer", "nanogpt", "own"
LIMITS = (
    "What can be won at all: the ratios if both cores did nothing but matrix products at the measured peak, and the "
    "share of it that a step would have to reach for both aims. What the rest of a step is: the next section."
)
DIFFERENCES = (
    "What differs. *Trainer*: the same network as ours (`LlamaForCausalLM`), default `TrainingArguments` but for the "
    "batch, the steps, no GPU, nothing saved or reported; the replicas one after another, with as many threads as "
    "cores. *nanoGPT*: a GPT-2 of the same width, depth and heads, written from its description (learned positions, "
    "LayerNorm, tanh GELU, tied head, fused AdamW, slices of a memory-mapped file); the replicas one after another, "
    "with as many threads as cores; no evaluation, nothing saved. Its feed-forward part is four times the width, ours "
    "takes up what is missing to the size asked for, so that a token costs nanoGPT 0.8 to 1.15 times what it costs us: "
    "hence the column in FLOP/s. *Ours*: a study of two rungs within 2 % of the size, "
    "three replicas each, one single-threaded process a core, stacked as the engine chooses; RMSNorm, gated SiLU, "
    "rotary positions, separate head; large products by oneDNN on processors where MKL holds back "
    "(`models/products.py`), as here, while torch sends those of the peers to MKL; the validation, checkpoint and "
    "eight questions at the end of a run are in the time. All: float32, AdamW, gradients clipped at 1, no dropout."
)


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one row per size, as soon as it is measured."""
    for size in SIZES:
        yield str(size), measure_size(size, REPETITIONS)


def measure_size(
    size: int, repetitions: int, peers: tuple[str, ...] = (TRAINER, NANOGPT), haste: float = 1.0
) -> dict[str, Any]:
    """Return tokens per second of every contestant at one size, their start-up, and our share of the peak.

    ``haste`` below 1 shortens every turn.
    """
    from emergence.models.gpt import size_for

    theirs, ours, *_ = SIZES[size]
    theirs, ours = haste * theirs, haste * ours
    options = {"size": size, "vocabulary": VOCABULARY, "context": CONTEXT, "rows": ROWS}
    study = {**options, "rungs": RUNGS, "replicas": REPLICAS, "workers": "auto"}
    cores = len(os.sched_getaffinity(0))
    config = size_for(size, VOCABULARY, CONTEXT)
    flops = 3 * config.forward_flops(1, CONTEXT)
    startups: list[float] = []
    stacks: list[int] = []
    with ExitStack() as stack:
        own = stack.enter_context(Contestant("benchmarks.own.ladder", study, threads=None))
        peak = stack.enter_context(Contestant("benchmarks.own.peak", {}, threads=1))
        others = {
            name: stack.enter_context(Contestant(f"benchmarks.peers.{name}", options, threads=cores)) for name in peers
        }
        speed = EXPECTED_SHARE * cores * peak.ask()["flops"] / flops
        tokens = max(FEWEST_STEPS * ROWS * CONTEXT, speed * ours / (RUNGS * REPLICAS))

        def train_own() -> float:
            answer = own.ask(tokens=tokens)
            startups.append(own.startup + answer["startup"])
            stacks.append(answer["stacked"])
            return float(answer["tokens_per_second"])

        def train_other(other: Contestant) -> float:
            return float(other.ask(seconds=theirs)["tokens_per_second"])

        turns: dict[str, Callable[[], float]] = {name: partial(train_other, other) for name, other in others.items()}
        found = alternate(turns | {OWN: train_own, "peak": lambda: float(peak.ask()["flops"])}, repetitions)
    shares = [rate * flops / cores / best for rate, best in zip(found[OWN], found["peak"], strict=True)]
    return {
        "width": config.width,
        "nanogpt_flops": nanogpt_flops(config) / config.forward_flops(1, CONTEXT),
        "depth": config.depth,
        "heads": config.heads,
        "processes": cores,
        "stacked": median(stacks),
        "speed": {name: spread(found[name]) for name in (*others, OWN)},
        "ratio": {
            name: spread([mine / other for mine, other in zip(found[OWN], found[name], strict=True)]) for name in others
        },
        "startup": {**{name: other.startup for name, other in others.items()}, OWN: spread(startups)["median"]},
        "peak": spread(found["peak"]),
        "share": spread(shares),
    }


def nanogpt_flops(config: GPTConfig) -> float:
    """Return the matrix-product FLOPs of nanoGPT's forward pass for one token at our width and depth."""
    D, L = config.width, config.depth
    return 2.0 * L * 12 * D * D + 4.0 * L * CONTEXT * D + 2.0 * D * VOCABULARY


def render(figures: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    rows, starts, limits = [], [], []
    for size, (_, _, trainer, nanogpt, share) in SIZES.items():
        row = figures.get(str(size))
        if row is None:
            continue
        speed, ratio = row["speed"], row["ratio"]
        rows.append(
            [
                f"{size:,} ({row['width']} wide, {row['depth']} deep, {row['heads']} heads)",
                f"{row['stacked']:.0f}",
                *(f"{speed[name]['median']:,.0f}" for name in (TRAINER, NANOGPT, OWN)),
                f"**{ratio[TRAINER]['median']:.2f}** ({trainer:g})",
                f"**{ratio[NANOGPT]['median']:.2f}** ({nanogpt:g})",
                f"{ratio[NANOGPT]['median'] / row['nanogpt_flops']:.2f}",
                f"**{row['share']['median']:.2f}** ({share:g})",
            ]
        )
        reached = row["share"]["median"]
        least = max(
            wanted / ratio[name]["median"] * reached for name, wanted in ((TRAINER, trainer), (NANOGPT, nanogpt))
        )
        limits.append(
            [f"{size:,}", *(f"{ratio[name]['median'] / reached:.1f}" for name in (TRAINER, NANOGPT)), f"{least:.2f}"]
        )
        starts.append([f"{size:,}", *(f"{row['startup'][name]:.1f}" for name in (TRAINER, NANOGPT, OWN))])
    head = [
        "parameters",
        "stacked",
        "Trainer",
        "nanoGPT",
        "ours",
        "ours/Trainer",
        "ours/nanoGPT",
        "the same in FLOP/s",
        "share of the peak",
    ]
    said = (
        f"Tokens per second once running, three replicas, the whole machine; vocabulary {VOCABULARY}, context "
        f"{CONTEXT}, batches of {ROWS} rows. Medians of {REPETITIONS} rounds in which the contestants take turns; in "
        "brackets what is to be reached. The share is that of our matrix products in the measured peak of one thread, "
        "per process."
    )
    seconds = table(["parameters", "Trainer", "nanoGPT", "ours"], starts)
    limit = table(["parameters", "limit over Trainer", "limit over nanoGPT", "share needed for both aims"], limits)
    lines = [said, "", *table(head, rows), "", LIMITS, "", *limit, "", "Seconds from nothing to the first steps:", ""]
    return "\n".join([*lines, *seconds, "", DIFFERENCES])
