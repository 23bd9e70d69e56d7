"""The records of a study's stages (`core.adaptation`): made from what their jobs left, kept in ``adaptations.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.adaptation import AdaptationFile, AdaptedScore, CompressedRecord, TaskKind, TunedRecord
from emergence.core.compression_settings import Compression
from emergence.core.store import write_bytes
from emergence.evaluation.class_records import test_name
from emergence.evaluation.scores import score_records
from emergence.study.stages import AnyPlan, StageJob
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.task import Task

__all__ = ["ADAPTATIONS", "adaptation_records", "read_adaptations", "write_adaptations"]

ADAPTATIONS = "adaptations.json"
_KEPT = ("examples", "status", "params", "reports", "validation", "best_step", "history", "share", "flops", "seconds")
Finished = tuple[StageJob, dict[str, Any], pl.DataFrame | None]


def adaptation_records(plan: AnyPlan, finished: Sequence[Finished]) -> AdaptationFile:
    """Return the records of finished jobs, those of a stage in the order of the study."""
    tuned = [_tuned(plan, *one) for one in finished if one[0].stage == "finetune"]
    compressed = [_compressed(plan, *one) for one in finished if one[0].stage == "compress"]
    order = {name: place for place, name in enumerate(plan.tasks)}
    tuned.sort(key=lambda one: (order[one.task], one.name))
    return AdaptationFile(tuned=tuple(tuned), compressed=tuple(sorted(compressed, key=lambda one: one.name)))


def write_adaptations(folder: Path, records: AdaptationFile | None) -> None:
    """Write ``adaptations.json``; of a study that adapts nothing (any more) there is none."""
    if records is None:
        (folder / ADAPTATIONS).unlink(missing_ok=True)
        return
    write_bytes(folder / ADAPTATIONS, (records.model_dump_json(exclude_defaults=True) + "\n").encode())


def read_adaptations(folder: Path) -> AdaptationFile | None:
    """Return what is in ``adaptations.json``; None where nothing was adapted."""
    file = folder / ADAPTATIONS
    return AdaptationFile.model_validate_json(file.read_bytes()) if file.exists() else None


def _tuned(plan: AnyPlan, job: StageJob, outcome: dict[str, Any], records: pl.DataFrame | None) -> TunedRecord:
    task, before = plan.tasks[job.values["task"]], job.values["before"]
    kind: TaskKind = task.kind if isinstance(task, LabelledTask) else "generation"
    reports = outcome.get("reports", {})
    scores: list[AdaptedScore] = []
    if records is not None:
        names = {(test_name(task.name, test) if kind != "generation" else task.name): test for test in reports}
        scores = _scores(records, dict.fromkeys(names, task), names)
        scores += [one for test, report in reports.items() for one in _of_report(kind, test, report, records, task)]
    return TunedRecord(
        name=job.name,
        task=task.name,
        kind=kind,
        family=job.family,
        model=job.model,
        seed=job.seed,
        variant=job.values["variant"],
        baseline=job.values["baseline"] is not None,
        before=None if before is None else len(before["tasks"]),
        asked=job.values["examples"],
        scores=tuple(scores),
        **{name: outcome[name] for name in _KEPT if name in outcome},
    )


def _scores(records: pl.DataFrame, tasks: dict[str, Task], tests: dict[str, str]) -> list[AdaptedScore]:
    """Return the scores of all test sets, with the standard errors that the scores table has."""
    return [
        AdaptedScore(
            test=tests[row["task"]],
            metric=row["metric"],
            score=row["score"],
            error=row["stderr"],
            n=row["n"],
            headline=row["metric"] == tasks[row["task"]].headline,
            shots=row["shots"] or 0,
        )
        for row in score_records(records, tasks).iter_rows(named=True)
        if row["score"] is not None and math.isfinite(row["score"])
    ]


def _of_report(
    kind: TaskKind, test: str, report: dict[str, Any], records: pl.DataFrame, task: Task
) -> list[AdaptedScore]:
    """Return the scores that are of a report alone.

    The error of the root mean squared error is that of the mean of the squares over twice the root; that of Spearman's
    correlation r is (1 - r²) √((1 + r²/2) / (n - 3)) (Bonett and Wright 2000, doi 10.1007/BF02294183).
    """
    n = report["n"]
    if kind == "classification" and report["roc_auc"] is not None:
        return [AdaptedScore(test=test, metric="roc_auc", score=report["roc_auc"], n=n)]
    if kind != "regression":
        return []
    own = records.filter(pl.col("task") == test_name(task.name, test))["score_squared_error"]
    spread: Any = own.std() if n > 1 else None
    root = report["rmse"]
    error = None if spread is None or not root else spread / math.sqrt(n) / (2 * root)
    found = [AdaptedScore(test=test, metric="rmse", score=root, error=error, n=n)]
    r = report["spearman"]
    if r is not None:
        error = (1 - r**2) * math.sqrt((1 + r**2 / 2) / (n - 3)) if n > 3 else None
        found.append(AdaptedScore(test=test, metric="spearman", score=r, error=error, n=n))
    return found


def _compressed(
    plan: AnyPlan, job: StageJob, outcome: dict[str, Any], records: pl.DataFrame | None
) -> CompressedRecord:
    how = None if job.values["how"] is None else Compression(**job.values["how"])
    tasks: dict[str, Task] = dict(plan.tasks)
    return CompressedRecord(
        name=job.name,
        family=job.family,
        model=job.model,
        seed=job.seed,
        method=None if how is None else how.method,
        level="" if how is None else how.level,
        status=outcome["status"],
        bits=outcome["bits"] if outcome["status"] == "done" else None,
        params=outcome["params"],
        scores=() if records is None else tuple(_scores(records, tasks, {name: name for name in tasks})),
    )
