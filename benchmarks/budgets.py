"""One warmup-stable-decay run for three token budgets, against a run of its own for each: losses and FLOPs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

TITLE = "One run for every token budget"
BUDGETS = (300_000, 600_000, 1_200_000)
STUDY = """
name: budgets
model: {{family: gpt, ladder: {{smallest: 5e4, largest: 5e4, rungs: 1}}, context: 64}}
replicas: 5
corpus: {{files: {text}}}
training: {training}
tasks: [{{name: text, samples: 0}}]
analysis: {{hold_out: 0, resamples: 100}}
"""


def measure() -> dict[str, Any]:
    """Return the validation losses per budget of branches and of separate runs, and what both cost."""
    import polars as pl

    import emergence as em

    data = Path(os.environ.get("EMERGENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    text = data / "open" / "corpus" / "tiny_shakespeare" / "input.txt"
    if not text.exists():
        raise SystemExit(f"{text} is not there; set EMERGENCE_DATA to the folder of the shared data")

    def histories(home: Path, name: str, training: str) -> list[pl.DataFrame]:
        file = home / f"{name}.yaml"
        file.write_text(STUDY.format(text=text, training=training))
        em.run(file, out=home / name)
        return [pl.read_parquet(path) for path in sorted((home / name / "models").glob("*/history.parquet"))]

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        common = f"batch_tokens: 768, tokens: {BUDGETS[-1]}, budgets: {list(BUDGETS[:-1])}"
        trunk = histories(home, "trunk", f"{{{common}}}")
        rows = []
        apart_flops = 0.0
        for budget in BUDGETS:
            apart = histories(home, f"apart-{budget}", f"{{batch_tokens: 768, tokens: {budget}, checkpoints: 1}}")
            apart_flops += sum(float(run["flops_spent"].max()) for run in apart)
            step = apart[0]["step"][-1]
            rows.append(
                {
                    "budget": budget,
                    "branches": [_loss(run, step) for run in trunk],
                    "apart": [_loss(run, step) for run in apart],
                }
            )
        spent = sum(float(run["flops_spent"].max()) for run in trunk)
    return {"rows": rows, "flops": spent, "flops_apart": apart_flops}


def _loss(history: Any, step: int) -> float:
    rows = history.drop_nulls("validation_loss")
    return float(rows.filter(rows["step"] == step)["validation_loss"][0])


def render(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    import numpy as np

    lines = [
        "tiny Shakespeare, 50,000 parameters, five replicas, the same data order in both. Validation loss in nats per",
        "character, mean over replicas; in brackets the standard deviation among replicas trained apart. The largest",
        "budget is the trunk's own end; the smaller ones differ from a run apart only in the length of the warmup.",
        "",
        "| tokens | branches of one run | runs apart | difference | its standard error |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in figures["rows"]:
        branches, apart = np.array(row["branches"]), np.array(row["apart"])
        paired = branches - apart
        lines.append(
            f"| {row['budget']:,} | {branches.mean():.4f} | {apart.mean():.4f} ({apart.std(ddof=1):.4f}) | "
            f"{paired.mean():+.4f} | {paired.std(ddof=1) / len(paired) ** 0.5:.4f} |"
        )
    saved = 1 - figures["flops"] / figures["flops_apart"]
    lines += ["", f"FLOPs: {figures['flops']:.3g} instead of {figures['flops_apart']:.3g}, {saved:.0%} saved."]
    return "\n".join(lines)
