"""The whole flow of a study, and the file to read first.

A study trains a ladder of models (`models`, `training`) on texts and tasks (`text`, `tasks`), asks every checkpoint
every task (`generation`, `evaluation`), may fine-tune and compress what it has trained (`stages`), and lets the
statistics decide what appeared (`analysis`). Models that somebody else trained (`published`) are asked and judged
alone. Everything is kept in one folder; what is there already is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.settings import StudySettings
from emergence.core.store import DamagedFileError, read_sealed
from emergence.models.checkpoint import find_checkpoints, last_step
from emergence.models.family import FAMILIES
from emergence.study.asking_published import describe_asking, forget_changed
from emergence.study.executor import WorkerError, Workers
from emergence.study.findings import Findings, ask_forecasts, find, read_forecasts, with_earlier, write_findings
from emergence.study.folder import SOURCE, StudyFolder, open_folder
from emergence.study.gather import gather
from emergence.study.packing import Group, group_jobs, lay_out, set_stacks
from emergence.study.plan import Job, Plan, make_plan
from emergence.study.prepare import prepare
from emergence.study.published import PublishedPlan, PublishedRun
from emergence.study.rungs import can_do
from emergence.study.stages import run_stages, stage_jobs

__all__ = ["run_study"]

Progress = Callable[[dict[str, Any]], None]
AnyPlan = Plan | PublishedPlan
AnyJob = Job | PublishedRun


def run_study(study: StudySettings, path: Path, progress: Progress = lambda event: None) -> None:
    """Run a study in the folder ``path``, or go on with it; scores and verdicts are then in the folder.

    Everything is checked before anything runs; ``progress`` receives events as they happen. Raises UserError for
    input that is wrong, and WorkerError when a run cannot be finished. Interrupted anywhere, a second call continues
    and ends with the same scores.
    """
    plan = make_plan(study, path)
    with open_folder(path, study, plan.shapes) as folder:
        progress({"event": "plan", "plan": plan})
        earlier = read_forecasts(path / "forecasts.json")
        jobs, afterwards = _unfinished(plan, folder), stage_jobs(plan)
        with Workers(min(plan.workers, len(jobs) + len(afterwards))) as workers:
            if isinstance(plan, Plan):
                prepare(plan, folder)
            _run_jobs(plan, folder, jobs, workers, progress)
            run_stages(plan, folder, workers, progress, afterwards)
        progress({"event": "judging", "doing": "gathering the scores"})
        gathered = gather(plan, folder, afterwards)
        findings = _find(study, gathered.scores, progress)
        folder.manifest["notes"] = [*gathered.notes, *findings.notes]
        # Forecasts made before stay, with their date, and are compared with the rungs that are new.
        forecasts = with_earlier(earlier, findings.forecasts, gathered.scores)
        with folder.rewriting("scores.parquet", "verdicts.json", "forecasts.json"):
            write_findings(path, gathered.scores, findings.assessment, forecasts)


def _find(study: StudySettings, scores: pl.DataFrame, progress: Progress) -> Findings:
    """Judge the scores and forecast the next rung, as the study asks."""
    asked = study.analysis
    common: dict[str, Any] = {"axes": asked.axes, "resamples": asked.resamples, "seed": study.seed}
    request = None
    if asked.held_out_rungs:
        now = datetime.now(UTC)
        request = ask_forecasts(hold_out=asked.held_out_rungs, above=asked.forecast_above, now=now, **common)
    return find(
        scores, request=request, progress=lambda words: progress({"event": "judging", "doing": words}), **common
    )


def _unfinished(plan: AnyPlan, folder: StudyFolder) -> list[AnyJob]:
    """Return the runs that are still to be done, or to be done further."""
    jobs = [job for job in plan.jobs if not _finished(folder, job)]
    for job in jobs:
        folder.forget(folder.run(job.name), folder.path / "records" / f"{job.name}-")
    folder.save()
    return jobs


def _run_jobs(plan: AnyPlan, folder: StudyFolder, jobs: list[AnyJob], workers: Workers, progress: Progress) -> None:
    """Train and evaluate what is not finished yet, replicas of small rungs together."""
    started = time.monotonic()

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            _record(folder, event["run"])
        if event["event"] == "killed":
            folder.note(f"the worker of {event['job']} died (exit status {event['code']}) and was replaced")
        progress(event)

    progress({"event": "jobs", "waiting": [job.name for job in jobs], "total": len(plan.jobs)})
    try:
        described = _described(plan, folder, jobs, workers) if jobs else []
        progress({"event": "groups", "names": [job["name"] for job in described]})
        workers.execute(described, on_event)
    finally:
        folder.manifest["seconds"] = folder.manifest.get("seconds", 0.0) + time.monotonic() - started
        folder.save()


def _described(plan: AnyPlan, folder: StudyFolder, jobs: list[AnyJob], workers: Workers) -> list[dict[str, Any]]:
    """Return what the workers are to do, in that order."""
    if isinstance(plan, PublishedPlan):
        return [describe_asking(plan, folder, job) for job in plan.jobs if job in jobs]
    begun = {job.name: last_step(folder.run(job.name)) for job in jobs}
    waiting = [job for job in plan.jobs if job.name in begun]
    return [describe(plan, folder, group) for group in group_jobs(waiting, _stacks(plan, folder, workers), begun)]


def _stacks(plan: Plan, folder: StudyFolder, workers: Workers) -> dict[str, int]:
    """Return how many replicas of each rung are stacked, as the study or a probe of the machine says."""
    stacks = set_stacks(plan)
    if stacks is None:
        try:
            stacks = lay_out(plan, workers.measure).stacks
        except WorkerError as fault:
            folder.note(f"no replicas are stacked: {fault}")
            stacks = {rung.name: 1 for rung in plan.rungs}
    folder.manifest["stacks"] = stacks
    return stacks


def _finished(folder: StudyFolder, job: AnyJob) -> bool:
    """Say whether a run has its outcome and, unless it diverged, its last checkpoint and the records of all of them.

    What the manifest does not vouch for is checked by its content first.
    """
    if isinstance(job, PublishedRun):
        forget_changed(folder, job)
    try:
        outcome = read_sealed(folder.run(job.name) / "outcome.json")
    except DamagedFileError:
        return False
    if f"models/{job.name}/outcome.json" not in folder.manifest["files"]:
        _check_contents(folder, job)
        _record(folder, job.name)
    if outcome["status"] == "diverged":
        return True
    return all(path.exists() for path in [*_left_behind(folder, job), *_records(folder, job)])


def _left_behind(folder: StudyFolder, job: AnyJob) -> list[Path]:
    """Return what a run must have left beside its records."""
    run = folder.run(job.name)
    if isinstance(job, PublishedRun):
        return [run / SOURCE]
    return [run / "checkpoints" / f"{job.steps[-1]:06d}" / "state.json", run / "history.parquet"]


def _records(folder: StudyFolder, job: AnyJob) -> list[Path]:
    return [folder.records(job.name, step) for step in job.steps]


def _record(folder: StudyFolder, name: str) -> None:
    """Put everything a run left into the manifest."""
    folder.record_files(folder.run(name), *sorted((folder.path / "records").glob(f"{name}-*.parquet")))


def _check_contents(folder: StudyFolder, job: AnyJob) -> None:
    """Delete what cannot be read of a run that the manifest does not know, whose parent died or which was lost."""
    for checkpoint in find_checkpoints(folder.run(job.name)):
        try:
            checkpoint.state()
        except DamagedFileError as error:
            folder.note(f"a damaged checkpoint was removed ({error})")
            checkpoint.delete()
    for table in [folder.run(job.name) / "history.parquet", *_records(folder, job)]:
        try:
            if table.exists():
                pl.read_parquet(table, glob=False)
        except (OSError, pl.exceptions.PolarsError):
            folder.note(f"{table.relative_to(folder.path)} was damaged and has been removed")
            table.unlink()


def describe(plan: Plan, folder: StudyFolder, group: Group) -> dict[str, Any]:
    """Return the runs of a group as plain values, for the worker that will do them."""
    study, training, family = plan.study, plan.study.training, FAMILIES.load(group.rung.family)
    assert training is not None
    return {
        "name": group.name,
        "memory": group.memory,
        "folder": str(folder.path.resolve()),
        "rung": group.rung.name,
        "runs": group.runs,
        "replicas": list(group.seeds),
        "study_seed": study.seed,
        "sources": plan.sources,
        "batch_rows": plan.batch_rows,
        "tasks": {task.name: task.options for task in study.tasks if can_do(family, task.kind)},
        "shots": list(study.evaluation.shots),
        "examples": study.evaluation.examples,
        "spec": {
            "family": group.rung.family,
            "config": group.rung.config.to_dict(),
            "seeds": [plan.seed_of(seed) for seed in group.seeds],
            "stacked": group.rung.stacked,
            "learning_rate": plan.learning_rate(group.rung.family),
            "weight_decay": training.weight_decay,
            "clip": training.clip,
            "schedule": asdict(plan.schedule),
            "embeddings": str(folder.embeddings.resolve()) if training.initialise_embeddings is not None else None,
        },
    }
