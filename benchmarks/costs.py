"""What a study costs: speed along the size, peak memory of training and of evaluating, processor time of starting."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import ROOT, Contestant, environment, spread, table

TITLE = "Costs"

SPEED_SIZES = (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000)
MEMORY_SIZES = (1_000_000, 5_000_000, 20_000_000)
SMALLEST_SIZE, EVALUATED_SIZE = 3_000, 5_000_000
EXAMPLES = (100, 1_000, 10_000)
VOCABULARY, CONTEXT, ROWS = 64, 64, 12
STEPS_SECONDS, REPETITIONS = 2.0, 5
COMMANDS = {
    "--help": ["--help"],
    "list tasks": ["list", "tasks"],
    "analyze, 72 rows": ["analyze", "scores.csv", "--axis", "params", "--json"],
}
STARTS = 7


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield speed, memory and starting, in turn."""
    yield "speed", measure_speed()
    trained = {"context": CONTEXT, "rows": ROWS, "letters": 24, "steps": 5, "examples": 8}
    sizes = (SMALLEST_SIZE, *MEMORY_SIZES)
    yield "training memory", {str(size): peak_memory({**trained, "size": size}) for size in sizes}
    asked = {"context": 18, "rows": 1, "letters": 8, "steps": 1, "size": EVALUATED_SIZE}
    yield "evaluation memory", {str(n): peak_memory({**asked, "examples": n}) for n in EXAMPLES}
    yield "starting", measure_starting()


def measure_speed() -> dict[str, Any]:
    """Return the FLOP/s of training in one process of one thread, size by size, in alternating rounds."""
    from emergence.models.gpt import size_for

    found: dict[int, list[float]] = {size: [] for size in SPEED_SIZES}
    peaks = []
    options = {"vocabulary": VOCABULARY, "context": CONTEXT, "rows": ROWS}
    with ExitStack() as stack:
        peak = stack.enter_context(Contestant("benchmarks.own.peak", {}, threads=1))
        own = {
            size: stack.enter_context(Contestant("benchmarks.own.steps", {**options, "size": size}, threads=1))
            for size in SPEED_SIZES
        }
        for _ in range(REPETITIONS):
            peaks.append(peak.ask()["flops"])
            for size, one in own.items():
                flops = 3 * size_for(size, VOCABULARY, CONTEXT).forward_flops(1, CONTEXT)
                found[size].append(one.ask(seconds=STEPS_SECONDS)["tokens_per_second"] * flops)
    return {"peak": spread(peaks), "sizes": {str(size): spread(values) for size, values in found.items()}}


def peak_memory(question: dict[str, Any]) -> dict[str, float]:
    """Return the peak of resident memory (bytes) of the worker of a study, and of the process that runs the study."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.own.memory", json.dumps(question)],
        cwd=ROOT,
        env=environment(1),
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure_starting() -> dict[str, Any]:
    """Return the processor seconds of whole commands, their children's included."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scores.csv").write_text(small_table())
        for _ in range(STARTS):
            for name, arguments in COMMANDS.items():
                found[name].append(_processor_seconds([*arguments], Path(folder)))
    return {name: median(values) for name, values in found.items()}


def _processor_seconds(arguments: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "emergence.cli.main", *arguments],
        cwd=folder,
        env=environment(None),
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def small_table(tasks: int = 3) -> str:
    """Return scores of eight sizes and three seeds on tasks that are learnt one after the other, as CSV."""
    lines = ["model,params,seed,task,metric,score,n"]
    for rung in range(8):
        place = 4 + rung / 3  # of the size, on a scale of decades
        for seed in range(3):
            for k in range(tasks):
                middle = 4.5 + 1.5 * k / max(1, tasks - 1) + 0.05 * (seed - 1)
                score = 1 / (1 + math.exp(-6 * (place - middle)))
                lines.append(f"m{rung},{10**place:.0f},{seed},task{k},exact_match,{score:.4f},512")
    return "\n".join(lines) + "\n"


def render(figures: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    lines: list[str] = []
    if "speed" in figures:
        speed = figures["speed"]
        values = {int(size): held["median"] for size, held in speed["sizes"].items()}
        middle = median(values.values())
        worst = max(abs(value / middle - 1) for value in values.values())
        rows = [
            [f"{size:,}", f"{value / 1e9:.1f}", f"{value / speed['peak']['median']:.2f}", f"{value / middle - 1:+.0%}"]
            for size, value in values.items()
        ]
        lines += [
            f"Training steps in one process of one thread, context {CONTEXT}, {ROWS} rows. The rates lie "
            f"within {worst:.0%} of their median (25 % to keep).",
            "",
            *table(["parameters", "GFLOP/s", "share of the peak", "from the median"], rows),
            "",
        ]
    if "training memory" in figures:
        held = figures["training memory"]
        least = held[str(SMALLEST_SIZE)]["worker"]
        rows = [
            [
                f"{int(size):,}",
                _mib(peaks["worker"]),
                f"{(peaks['worker'] - least) / int(size):.0f}",
                _mib(peaks["parent"]),
            ]
            for size, peaks in held.items()
        ]
        head = ["parameters", "worker, MiB", "bytes a parameter above the first row", "parent, MiB"]
        lines += ["Peak of resident memory of a study's training (weights, gradients and moments are 16 bytes):", ""]
        lines += [*table(head, rows), ""]
    if "evaluation memory" in figures:
        rows = [
            [f"{int(n):,}", _mib(peaks["worker"]), _mib(peaks["parent"])]
            for n, peaks in figures["evaluation memory"].items()
        ]
        lines += [f"The same of evaluating {EVALUATED_SIZE:,} parameters, which trained for one step:", ""]
        lines += [*table(["examples", "worker, MiB", "parent, MiB"], rows), ""]
    if "starting" in figures:
        rows = [[f"`emergence {name}`", f"{seconds:.2f}"] for name, seconds in figures["starting"].items()]
        lines += [f"Processor seconds of whole commands, median of {STARTS}:", "", *table(["", "s"], rows)]
    return "\n".join(lines).rstrip()


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f}"
