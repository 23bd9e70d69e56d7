"""From nothing to verdicts with intervals: a study, beside the pipeline that a careful user writes without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import ROOT, environment, table
from benchmarks.peers.pipeline.examples import write_examples

TITLE = "From nothing to a verdict"
PEERS = ("transformers", "lm_eval", "scipy")

OWN_REPETITIONS, PIPELINE_REPETITIONS = 3, 1
CONTEXT, BATCH_ROWS, TOKENS, REPLICAS = 18, 30, 3e5, 3
EXAMPLES, FEWEST_EXAMPLES = 512, 8
SMALLEST, LARGEST, RUNGS = 3e3, 2e5, 5
TASKS = ("copy", "recall")
STUDY = f"""\
name: contest
model: {{family: gpt, ladder: {{smallest: {SMALLEST:g}, largest: {LARGEST:g}, rungs: {RUNGS}}}, context: {CONTEXT}}}
replicas: {REPLICAS}
training: {{tokens: {TOKENS:g}, batch_tokens: {BATCH_ROWS * CONTEXT}, learning_rate: 4e-3, checkpoints: 1}}
tasks:
  - {{name: copy, length: 8}}
  - {{name: recall, pairs: 6}}
evaluation: {{examples: {EXAMPLES}}}
analysis: {{axes: [params]}}
"""
STAGES = {"training": "train", "evaluation": "evaluate", "analysis": "fit"}
DIFFERENCES = (
    "Both: the same sizes, replicas, steps, batches, tasks, numbers of examples. *Ours*: `emergence run`, one "
    "single-threaded process a core; it also measures validation losses and smooth metrics, calibrates its verdicts "
    "against simulated ladders, forecasts and writes the report; AdamW with warmup-stable-decay. Its training is what "
    f"the study takes with {FEWEST_EXAMPLES} examples until the last model is done, start-up included; its evaluation "
    "is what the examples add. *The pipeline*: three scripts (`benchmarks/peers/pipeline`), as many threads as cores: "
    "the Trainer on the same networks (`LlamaForCausalLM`), on packed rows that are there at no cost, cosine schedule, "
    "final weights saved; `simple_evaluate` on each, greedy exact match only, batches of 128; a logistic curve by "
    "`curve_fit` with 1,000 bootstrap resamples. The start-up of each script is in its stage."
)


def measure() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield our runs and then that of the pipeline."""
    runs = [run_own(EXAMPLES) for _ in range(OWN_REPETITIONS)]
    yield "own", {"runs": runs, "training": run_own(FEWEST_EXAMPLES)["models"]}
    yield "pipeline", {"runs": [run_pipeline() for _ in range(PIPELINE_REPETITIONS)]}


def run_own(examples: int) -> dict[str, float]:
    """Return the seconds of a study as a process: the whole, and until the last model was trained and evaluated."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.yaml").write_text(STUDY)
        clock, start = time.time(), time.perf_counter()
        asked = ["run", "study.yaml", "--set", f"evaluation.examples={examples}"]
        _run(["emergence.cli.main", *asked], threads=None, folder=Path(folder))
        whole = time.perf_counter() - start
        outcomes = (Path(folder) / "runs" / "contest" / "models").glob("*/outcome.json")
        models = max(outcome.stat().st_mtime for outcome in outcomes) - clock
    return {"whole": whole, "models": models}


def run_pipeline() -> dict[str, float]:
    """Return the seconds of each of the pipeline's scripts, run as processes one after the other."""
    seconds = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "study.yaml").write_text(STUDY)
        write_examples(folder / "study.yaml", folder)
        for stage, module in STAGES.items():
            start = time.perf_counter()
            _run([f"benchmarks.peers.pipeline.{module}", temporary], threads=len(os.sched_getaffinity(0)), folder=ROOT)
            seconds[stage] = time.perf_counter() - start
        found = json.loads((folder / "scores.json").read_text())
    best = {task: max(score["score"] for score in found if score["task"] == task) for task in TASKS}
    return {**seconds, "whole": sum(seconds.values()), **{f"best {task}": value for task, value in best.items()}}


def _run(module: list[str], *, threads: int | None, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env=environment(threads),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module[0]} ended with status {done.returncode}: {done.stderr[-2000:]}")


def render(figures: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    if not {"own", "pipeline"} <= set(figures):
        return "Not measured yet."
    mine, other = figures["own"], figures["pipeline"]
    whole, models = (median(run[key] for run in mine["runs"]) for key in ("whole", "models"))
    training = min(mine["training"], models)
    own = {"training": training, "evaluation": models - training, "analysis": whole - models, "whole": whole}
    pipeline = {key: median(run[key] for run in other["runs"]) for key in (*STAGES, "whole")}
    rows = [
        [title, *(f"{seconds[key]:.1f}" for key in (*STAGES, "whole"))]
        for title, seconds in (("ours", own), ("the pipeline", pipeline))
    ]
    rows.append(["ratio", *["" for _ in STAGES], f"**{pipeline['whole'] / whole:.1f}** (5, aim 10)"])
    low, high = (pick(run["whole"] for run in mine["runs"]) for pick in (min, max))
    said = (
        f"Seconds of {RUNGS} rungs from {SMALLEST:,.0f} to {LARGEST:,.0f} parameters, {REPLICAS} replicas, "
        f"{TOKENS:,.0f} tokens each, two tasks, {EXAMPLES} examples. Ours: median of {len(mine['runs'])} runs "
        f"({low:.1f} to {high:.1f}); the pipeline: {len(other['runs'])} run."
    )
    return "\n".join([said, "", *table(["", *STAGES, "together"], rows), "", DIFFERENCES])
