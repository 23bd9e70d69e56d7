"""From records to scores: each metric's mean over its records with its standard error. No torch here."""

from __future__ import annotations

import polars as pl

from emergence.analysis.records import scores_of_records
from emergence.tasks.task import Task

__all__ = ["score_records", "truncation_notes"]


def score_records(records: pl.DataFrame, tasks: dict[str, Task]) -> pl.DataFrame:
    """Return one row per model, seed, step, task, shots and metric.

    ``score`` is the mean over records, ``stderr`` its standard error (sample standard deviation over the root of n, or
    clustered where the records have a column ``cluster``; missing for a single record), ``n`` the number of records,
    ``answer_tokens`` the mean target length.
    """
    frames = []
    for name, task in tasks.items():
        own = records.filter(pl.col("task") == name)
        names = [m for m in (task.headline, *task.smooth) if f"score_{m}" in own.columns]
        if own.is_empty() or not names:
            continue
        for metric in names:
            frames.append(
                scores_of_records(own, metrics=[metric]).with_columns(
                    pl.lit("headline" if metric == task.headline else "smooth").alias("role"),
                    pl.lit(_floor(task, metric), dtype=pl.Float64).alias("floor"),
                )
            )
    return pl.concat(frames) if frames else pl.DataFrame(schema={})


def _floor(task: Task, metric: str) -> float | None:
    """Guessing's score is known for the headline, and for the probability of the target that is its smooth reading."""
    return task.floor if metric in (task.headline, "target_prob") else None


def truncation_notes(records: pl.DataFrame) -> list[str]:
    """Say of which questions the start of the prompt was cut, by model, task and number of shots; the worst checkpoint
    counts. Records without the column are those of questions that fitted."""
    if "truncated" not in records.columns:
        return []
    keys = ["model", "task", "shots"]
    cut = pl.col("truncated") > 0
    by_checkpoint = records.group_by(*keys, "seed", "step").agg(
        pl.len().alias("asked"), cut.sum().alias("questions"), pl.col("truncated").sum().alias("tokens")
    )
    worst = by_checkpoint.filter(pl.col("questions") > 0).sort("tokens", descending=True).unique(keys, keep="first")
    return [
        f"{model}: {questions:,} of {asked:,} questions of {task} with {shots} shots are longer than its context and "
        f"lost the start of their prompt ({tokens:,} tokens in all)"
        for model, task, shots, _, _, asked, questions, tokens in worst.sort(keys).iter_rows()
    ]
