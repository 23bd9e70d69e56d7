"""What a study does with its models after they are trained: stages, each with jobs of its own and rows of scores.

A job starts from the last checkpoint of one run (or from none), and leaves a folder ``adapted/NAME`` with
``records.parquet`` and a sealed ``outcome.json``, written last, which says from what it was made. A job whose outcome
was made from the same is not done again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from emergence.core.catalogue import Catalogue
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.models.checkpoint import find_checkpoints
from emergence.study.executor import Workers
from emergence.study.folder import SOURCE, StudyFolder
from emergence.study.plan import Plan
from emergence.study.published import PublishedPlan

__all__ = [
    "STAGES",
    "Answered",
    "Report",
    "Stage",
    "StageJob",
    "finish_job",
    "finished_jobs",
    "run_stages",
    "stage_jobs",
]

AnyPlan = Plan | PublishedPlan
Report = Callable[[dict[str, Any]], None]
OUTCOME, RECORDS = "outcome.json", "records.parquet"


@dataclass(frozen=True)
class StageJob:
    """One piece of work on one trained model. ``values`` is what the worker is told, plain values only."""

    name: str  # of its folder
    stage: str
    run: str | None  # whose last checkpoint it starts from
    model: str  # of its scores: the rung
    family: str
    seed: int
    cost: float  # FLOPs, about: what the jobs are sorted by
    memory: float  # bytes
    values: dict[str, Any]

    def folder(self, study: Path) -> Path:
        """Return where it leaves its files."""
        return study / "adapted" / self.name


Answered = tuple[StageJob, dict[str, Any], pl.DataFrame]  # a finished job, what it came to, and its records


class Stage(Protocol):
    """What is done with trained models. A new one is a file and a line below."""

    doing: str  # in a word, for who watches

    def jobs(self, plan: AnyPlan) -> list[StageJob]:
        """Return the jobs that the study asks for; none where it does not ask for this stage. Raises UserError for
        what cannot be done."""

    def work(self, job: dict[str, Any], report: Report) -> None:
        """Do a job in a worker, and end with `finish_job`."""

    def rows(self, plan: AnyPlan, outcomes: Sequence[Answered]) -> list[pl.DataFrame]:
        """Return rows of the scores table from the outcomes and the records of finished jobs."""


STAGES: Catalogue[Stage] = Catalogue("stage")
STAGES.add("finetune", "emergence.study.tuning:TUNING", "fine-tune trained models on labelled examples")
STAGES.add("compress", "emergence.study.compressing:COMPRESSING", "prune and quantise trained models")


def stage_jobs(plan: AnyPlan) -> list[StageJob]:
    """Return the jobs of all stages, the most expensive first."""
    jobs = [job for name in STAGES for job in STAGES.load(name).jobs(plan)]
    return sorted(jobs, key=lambda job: (-job.cost, job.name))


def run_stages(
    plan: AnyPlan, folder: StudyFolder, workers: Workers, progress: Report, jobs: Sequence[StageJob]
) -> None:
    """Do what is not done yet of ``jobs``. A model that has diverged is not adapted."""
    jobs = _possible(jobs, folder)
    made_from = {job.name: _identity(job, folder) for job in jobs}
    waiting = [job for job in jobs if _outcome(job, folder, made_from[job.name]) is None]
    for job in waiting:
        folder.forget(job.folder(folder.path))
    folder.save()
    if not jobs:
        return
    progress({"event": "stage", "waiting": {job.name: job.cost for job in waiting}, "total": len(jobs)})
    by_name = {job.name: job for job in waiting}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "adapted":
            folder.record_files(by_name[event["job"]].folder(folder.path))
        if event["event"] == "killed":
            folder.note(f"the worker of {event['job']} died (exit status {event['code']}) and was replaced")
        progress(event)

    described = [
        {
            "name": job.name,
            "stage": job.stage,
            "memory": job.memory,
            "runs": [],
            "folder": str(folder.path.resolve()),
            "home": str(job.folder(folder.path).resolve()),
            "base": None if job.run is None else str(folder.run(job.run).resolve()),
            "identity": made_from[job.name],
            "model": job.model,
            "seed": job.seed,
            "study_seed": plan.study.seed,
            **job.values,
        }
        for job in waiting
    ]
    started = time.monotonic()
    try:
        if described:
            workers.execute(described, on_event)
    finally:
        folder.manifest["seconds"] = folder.manifest.get("seconds", 0.0) + time.monotonic() - started
        folder.save()


def finish_job(job: dict[str, Any], report: Report, outcome: dict[str, Any], records: pl.DataFrame | None) -> None:
    """Leave the records (None: it came to nothing) and the outcome of a job, in that order."""
    home = Path(job["home"])
    digest = None
    if records is not None:
        named = records.with_columns(
            pl.lit(job["model"]).alias("model"),
            pl.lit(job["seed"], dtype=pl.Int64).alias("seed"),
            pl.lit(0, dtype=pl.Int64).alias("step"),
            (pl.col("shots") if "shots" in records.columns else pl.lit(0, dtype=pl.Int64)).alias("shots"),
        )
        with writing(home / RECORDS) as temporary:
            named.write_parquet(temporary)
        digest = sha256(home / RECORDS)
    write_sealed(home / OUTCOME, {**outcome, "identity": job["identity"], "records": digest})
    report({"event": "adapted"})


def finished_jobs(
    jobs: Sequence[StageJob], folder: StudyFolder
) -> list[tuple[StageJob, dict[str, Any], pl.DataFrame | None]]:
    """Return every job on a sound model with its outcome and records; raise DamagedFileError where one is missing."""
    found = []
    for job in _possible(jobs, folder):
        outcome = _outcome(job, folder, _identity(job, folder))
        if outcome is None:
            raise DamagedFileError(f"{job.folder(folder.path)} is not finished; run the study again")
        records = job.folder(folder.path) / RECORDS
        found.append((job, outcome, None if outcome["records"] is None else pl.read_parquet(records, glob=False)))
    return found


def _possible(jobs: Sequence[StageJob], folder: StudyFolder) -> list[StageJob]:
    """Return the jobs whose model has not diverged."""
    runs = {job.run for job in jobs if job.run is not None}
    sound = {run for run in runs if read_sealed(folder.run(run) / "outcome.json")["status"] == "done"}
    return [job for job in jobs if job.run is None or job.run in sound]


def _outcome(job: StageJob, folder: StudyFolder, identity: str) -> dict[str, Any] | None:
    """Return what a job came to, if that was made from the same and its records are sound."""
    home = job.folder(folder.path)
    try:
        outcome = read_sealed(home / OUTCOME)
        sound = outcome["records"] is None or sha256(home / RECORDS) == outcome["records"]
    except (DamagedFileError, OSError, KeyError):
        return None
    return outcome if sound and outcome["identity"] == identity else None


def _identity(job: StageJob, folder: StudyFolder) -> str:
    """Return a hash of all that decides what a job comes to: what it is told, and the weights it starts from."""
    base = None
    if job.run is not None:
        run = folder.run(job.run)
        if (run / SOURCE).exists():
            base = read_sealed(run / SOURCE)["checkpoints"]
        else:
            base = find_checkpoints(run)[-1].state()["files"]
    return hashlib.sha256(json.dumps([job.stage, job.values, base], sort_keys=True).encode()).hexdigest()
