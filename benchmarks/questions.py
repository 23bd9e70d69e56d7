"""Answering questions beside lm-evaluation-harness: the same weights, the same texts, the same answers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Contestant, alternate, spread, table
from benchmarks.items import PROMPTS, SETS, write_items

TITLE = "Answering questions, beside lm-evaluation-harness"
PEERS = ("lm_eval", "transformers", "datasets")

MODEL = {"size": 5e6, "vocabulary": 2048, "context": 1024, "tokens": 32}
REPETITIONS = 5
TOLERANCE = 1e-4  # of a log-likelihood, in nats
#: Items of a round and of the search for the harness' best batch size, the sizes tried, and the ratio to reach.
CONTESTS: dict[str, dict[str, Any]] = {
    "five_shot": {"items": 100, "search": 40, "batches": (2, 4, 8, 16), "target": 20.0},
    "long_context": {"items": 60, "search": 30, "batches": (1, 2, 4, 8), "target": 3.0},
    PROMPTS: {"items": 256, "search": 256, "batches": (16, 64, 256), "target": 4.0},
}
LONG, LONG_ITEMS = "five_shot, long", 1000
WORDS = {
    LONG: "five-shot multiple choice",
    "five_shot": "five-shot multiple choice",
    "long_context": "zero-shot multiple choice, long contexts",
    PROMPTS: "greedy generation, 32 tokens",
}
DIFFERENCES = (
    "Both sides: one process with as many threads as cores, the same weights (a `gpt` and its export as "
    "`LlamaForCausalLM`, float32), the same texts. Seconds run from texts to log-likelihoods, or to texts: tokenizing "
    "is in them, loading the model is not. Of the harness only the call of its model (`HFLM.loglikelihood`, "
    "`HFLM.generate_until`) counts; *whole* is `simple_evaluate` with building the requests and the metrics. Its batch "
    "size is the best of those tried. The five worked examples are the same for every item (`sampler: first_n`, as in "
    "MMLU), the answers are written out (one to six words, as in ARC)."
)


class AnswersDifferError(RuntimeError):
    """The contestants do not answer alike, so that their speed cannot be compared."""


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one row per set of items, then the long run, which the harness makes once."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        own, harness = enter(stack, Path(folder), LONG_ITEMS)
        batches = {}
        for name, contest in CONTESTS.items():
            batches[name] = best_batch(harness, Path(folder), name, contest["search"], contest["batches"])
            yield name, compare(own, harness, Path(folder), name, contest["items"], batches[name], REPETITIONS)
        yield LONG, compare(own, harness, Path(folder), "five_shot", LONG_ITEMS, batches["five_shot"], 1)


def enter(stack: ExitStack, folder: Path, items: int, peer: str = "harness") -> tuple[Contestant, Contestant]:
    """Write the items and start both contestants; the peer reads the model that ours writes."""
    for name in SETS:
        write_items(folder, name, items)
    threads = len(os.sched_getaffinity(0))
    options = {**MODEL, "folder": str(folder)}
    own = stack.enter_context(Contestant("benchmarks.own.questions", options, threads=threads))
    return own, stack.enter_context(Contestant(f"benchmarks.peers.{peer}", options, threads=threads))


def best_batch(harness: Contestant, folder: Path, name: str, items: int, batches: tuple[int, ...]) -> int:
    """Return the batch size at which the harness answers fastest."""
    answers = str(folder / "harness.json")
    seconds = {
        batch: harness.ask(set=name, items=items, batch=batch, answers=answers)["model_seconds"] for batch in batches
    }
    return min(seconds, key=lambda batch: float(seconds[batch]))


def compare(
    own: Contestant, harness: Contestant, folder: Path, name: str, items: int, batch: int, repetitions: int
) -> dict[str, Any]:
    """Return the seconds of both contestants on a set of items, and how well they agree.

    Raises AnswersDifferError where a log-likelihood is off by more than `TOLERANCE`.
    """
    files = {"own": folder / "own.json", "harness": folder / "harness.json"}
    whole: list[float] = []
    tokens = 0.0

    def ask_own() -> float:
        nonlocal tokens
        reply = own.ask(set=name, items=items, answers=str(files["own"]))
        tokens = reply["prompt_tokens"]
        return float(reply["seconds"])

    def ask_harness() -> float:
        reply = harness.ask(set=name, items=items, batch=batch, answers=str(files["harness"]))
        whole.append(float(reply["seconds"]))
        return float(reply["model_seconds"])

    ask_own()
    found = alternate({"harness": ask_harness, "own": ask_own}, repetitions)
    while len(found["own"]) < REPETITIONS:  # where the harness is asked once, we still give a median
        found["own"].append(ask_own())
    mine, other = (json.loads(files[name].read_text()) for name in ("own", "harness"))
    return {
        "items": items,
        "prompt_tokens": tokens,
        "batch": batch,
        "repetitions": repetitions,
        "seconds": {key: spread(values) for key, values in found.items()},
        "whole": median(whole),
        "ratio": median(found["harness"]) / median(found["own"]),
        "agreement": agreement(mine, other),
    }


def agreement(mine: list[Any], other: list[Any]) -> dict[str, float]:
    """Return the largest difference of log-likelihoods, or how many of the texts are the same.

    Raises AnswersDifferError where a log-likelihood is off by more than `TOLERANCE`, or answers are missing.
    """
    if len(mine) != len(other):
        raise AnswersDifferError(f"{len(mine)} answers beside {len(other)}")
    if isinstance(mine[0], str):
        return {"same": sum(a == b for a, b in zip(mine, other, strict=True)), "of": len(mine)}
    worst = max(abs(a - b) for row, beside in zip(mine, other, strict=True) for a, b in zip(row, beside, strict=True))
    if worst > TOLERANCE:
        raise AnswersDifferError(f"log-likelihoods differ by {worst:.2g} nats")
    return {"largest_difference": worst}


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = []
    for name in (LONG, *CONTESTS):
        row = figures.get(name)
        if row is None:
            continue
        target = CONTESTS[name.removesuffix(", long")]["target"]
        alike = row["agreement"]
        seconds = row["seconds"]
        rows.append(
            [
                f"{WORDS[name]}: {row['items']:,} items, prompts of {row['prompt_tokens']:.0f} tokens",
                f"{seconds['harness']['median']:.2f} (batch {row['batch']}, {row['repetitions']} x)",
                f"{row['whole']:.2f}",
                f"{seconds['own']['median']:.2f}",
                f"**{row['ratio']:.1f}** ({target:g})",
                f"to {alike['largest_difference']:.0e}"
                if "largest_difference" in alike
                else f"{alike['same']} of {alike['of']} texts",
            ]
        )
    said = (
        f"Seconds of a {MODEL['size']:,.0f}-parameter model, vocabulary {MODEL['vocabulary']:,}; medians of "
        f"{REPETITIONS} rounds in which the contestants take turns, where nothing else is said; in brackets what is to "
        "be reached."
    )
    head = ["", "harness", "whole", "ours", "ratio", "answers agree"]
    return "\n".join([said, "", *table(head, rows), "", DIFFERENCES])
