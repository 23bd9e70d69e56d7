"""From records to scores: each metric's mean over its records with its standard error. No torch here."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergence.analysis.metrics import metric as known_metric
from emergence.analysis.records import RECORD_KEYS, scores_of_records
from emergence.core.schema import ADAPTATIONS
from emergence.tasks.task import Pooled, Task

__all__ = ["score_records", "truncation_notes"]


def score_records(records: pl.DataFrame, tasks: dict[str, Task]) -> pl.DataFrame:
    """Return one row per model, seed, step, task, shots and metric.

    ``score`` is the mean over records, ``stderr`` its standard error (sample standard deviation over the root of n, or
    clustered where the records have a column ``cluster``; missing for a single record), ``n`` the number of records,
    ``answer_tokens`` the mean target length. Metrics that belong to all records of a score together (BLEU is no mean
    over sentences) are computed from the outputs, with a standard error, by the task (`tasks.task.Pooled`).
    """
    frames = []
    for name, task in tasks.items():
        own = records.filter(pl.col("task") == name)
        also = task.also if isinstance(task, Pooled) else ()
        names = [m for m in (task.headline, *task.smooth, *also) if f"score_{m}" in own.columns]
        if own.is_empty() or not names:
            continue
        scored = [(metric, scores_of_records(own, metrics=[metric])) for metric in names]
        if isinstance(task, Pooled):
            scored += _pooled(own, task, scored[0][1])
        for metric, frame in scored:
            frames.append(
                frame.with_columns(
                    pl.lit(_role(task, metric), dtype=pl.String).alias("role"),
                    pl.lit(_floor(task, metric), dtype=pl.Float64).alias("floor"),
                )
            )
    return pl.concat(frames) if frames else pl.DataFrame(schema={})


def _pooled(records: pl.DataFrame, task: Pooled, like: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Return each metric of all records of a score together, with the columns and rows of ``like``."""
    keys = [key for key in (*RECORD_KEYS, *ADAPTATIONS) if key in records.columns]
    found: dict[str, list[dict[str, Any]]] = {}
    for place, own in records.group_by(keys, maintain_order=True):
        values = task.pool(*(own[column].to_list() for column in ("prompt", "target", "output")))
        for metric, (score, stderr) in values.items():
            row = {**dict(zip(keys, place, strict=True)), "score": score, "stderr": stderr, "metric": metric}
            found.setdefault(metric, []).append(row)
    rest = like.drop("score", "stderr", "metric")
    numbers = {"score": pl.Float64, "stderr": pl.Float64}
    return [
        (
            metric,
            rest.join(pl.DataFrame(rows, schema_overrides=numbers), on=keys, how="left", nulls_equal=True).select(
                like.columns
            ),
        )
        for metric, rows in found.items()
    ]


def _role(task: Task, metric: str) -> str | None:
    """Return what a metric is to its task, or else what it is known as: several may be quoted."""
    if metric in (task.headline, *task.smooth):
        return "headline" if metric == task.headline else "smooth"
    known = known_metric(metric)
    return None if known is None else known.role


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
