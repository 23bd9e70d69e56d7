"""The whole flow of a study, and the file to read first.

A study trains a ladder of models (`models`, `training`) on texts and tasks (`text`, `tasks`), asks every checkpoint
every task (`generation`, `evaluation`), may fine-tune and compress what it has trained (`stages`), and lets the
statistics decide what appeared (`analysis`). Where it has a search, that comes first and chooses settings (`search`).
Models that somebody else trained (`published`) are asked and judged alone. Everything is kept in one folder; what is
there already is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.settings import StudySettings
from emergence.core.store import DamagedFileError, read_sealed
from emergence.models.checkpoint import find_checkpoints, last_step
from emergence.models.family import FAMILIES
from emergence.study.adapted import ADAPTATIONS, write_adaptations
from emergence.study.asking_published import describe_asking, forget_changed
from emergence.study.asking_teacher import questions_to_teacher
from emergence.study.executor import WorkerError, Workers
from emergence.study.findings import Findings, ask_forecasts, find, read_forecasts, with_earlier, write_findings
from emergence.study.folder import SOURCE, StudyFolder, claim, open_folder
from emergence.study.gather import gather
from emergence.study.lessons import lessons_to_write, written_flops
from emergence.study.packing import Group, describe_teaching, group_jobs, lay_out, set_stacks
from emergence.study.plan import Job, Plan, make_plan
from emergence.study.prepare import prepare
from emergence.study.published import PublishedPlan, PublishedRun
from emergence.study.rungs import can_do
from emergence.study.search import search_settings
from emergence.study.search_found import found_before, with_found
from emergence.study.search_plan import SearchPlan
from emergence.study.searching import require_optuna
from emergence.study.stages import run_stages, stage_jobs
from emergence.tasks.task import Split

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
    study = with_found(study, path)
    plan = make_plan(study, path)
    if study.search is not None:
        require_optuna()
    with open_folder(path, study, plan.shapes) as folder:
        if isinstance(plan, Plan) and plan.search is not None:
            _search(plan, plan.search, folder, progress)
            study = with_found(study, path)
            plan = make_plan(study, path)
            claim(path, study, plan.shapes)
        if (searched := found_before(study, path)) is not None:
            folder.manifest["search"] = searched.model_dump(mode="json")
        progress({"event": "plan", "plan": plan})
        earlier = read_forecasts(path / "forecasts.json")
        jobs, afterwards = _unfinished(plan, folder), stage_jobs(plan)
        lessons = lessons_to_write(plan, folder) if isinstance(plan, Plan) else []
        questions = questions_to_teacher(plan, folder) if isinstance(plan, Plan) else []
        most = max(len(jobs) + len(questions), len(lessons), len(afterwards))
        with Workers(min(plan.workers, most)) as workers:
            _do(plan, folder, jobs, workers, progress, questions=questions)
            run_stages(plan, folder, workers, progress, afterwards)
        progress({"event": "judging", "doing": "gathering the scores"})
        gathered = gather(plan, folder, afterwards)
        findings = _find(study, gathered.scores, progress)
        folder.manifest["notes"] = [*gathered.notes, *findings.notes]
        # Forecasts made before stay, with their date, and are compared with the rungs that are new.
        forecasts = with_earlier(earlier, findings.forecasts, gathered.scores)
        with folder.rewriting("scores.parquet", "verdicts.json", "forecasts.json", ADAPTATIONS):
            write_findings(path, gathered.scores, findings.assessment, forecasts)
            write_adaptations(path, gathered.adaptations)


def _let_write(lessons: list[dict[str, Any]], workers: Workers, progress: Progress) -> None:
    """Let the teacher write what the models are to read."""
    if lessons:
        sources = list(dict.fromkeys(lesson["source"] for lesson in lessons))
        progress({"event": "lessons", "sources": sources, "texts": sum(lesson["count"] for lesson in lessons)})
        workers.execute(lessons, progress)


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


def _search(plan: Plan, search: SearchPlan, folder: StudyFolder, progress: Progress) -> None:
    """Let the search train and ask its trials, whose processes are kept from one trial to the next.

    One process more than a trial needs is ready to take the place of one that is stopped.
    """
    with Workers(min(plan.workers, search.runs + 1), kept=True) as workers:

        def train(trial: Plan, own: StudyFolder, on_event: Progress) -> None:
            _do(trial, own, _unfinished(trial, own), workers, on_event, watched=search.split)

        search_settings(plan.study, search, folder, train, progress)


def _do(
    plan: AnyPlan,
    folder: StudyFolder,
    jobs: list[AnyJob],
    workers: Workers,
    progress: Progress,
    *,
    questions: Sequence[dict[str, Any]] = (),
    watched: Split | None = None,
) -> None:
    """Train and ask. Where the runs are ``watched``, questions are of that split, and ``progress`` is told of every
    checkpoint that is on the disk with its answers, and may end them by an exception."""
    if isinstance(plan, Plan):
        _let_write(lessons_to_write(plan, folder), workers, progress)
        prepare(plan, folder)
    _run_jobs(plan, folder, jobs, list(questions), workers, progress, watched)


def _unfinished(plan: AnyPlan, folder: StudyFolder) -> list[AnyJob]:
    """Return the runs that are still to be done, or to be done further."""
    jobs = [job for job in plan.jobs if not _finished(folder, job)]
    for job in jobs:
        folder.forget(folder.run(job.name), folder.path / "records" / f"{job.name}-")
    folder.save()
    return jobs


def _run_jobs(
    plan: AnyPlan,
    folder: StudyFolder,
    jobs: list[AnyJob],
    questions: list[dict[str, Any]],
    workers: Workers,
    progress: Progress,
    watched: Split | None,
) -> None:
    """Train and evaluate what is not finished yet, replicas of small rungs together; put ``questions`` to a teacher."""
    started = time.monotonic()

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            _record(folder, event["run"])
        if event["event"] == "answered":
            folder.record_files(*(folder.path / name for name in event["files"]))
        if event["event"] == "killed":
            folder.note(f"the worker of {event['job']} died (exit status {event['code']}) and was replaced")
        progress(event)

    progress({"event": "jobs", "waiting": [job.name for job in jobs], "total": len(plan.jobs)})
    try:
        described = _described(plan, folder, jobs, workers, watched) if jobs else []
        progress({"event": "groups", "names": [job["name"] for job in described]})
        workers.execute([*described, *questions], on_event)
    finally:
        folder.manifest["seconds"] = folder.manifest.get("seconds", 0.0) + time.monotonic() - started
        folder.save()


def _described(
    plan: AnyPlan, folder: StudyFolder, jobs: list[AnyJob], workers: Workers, watched: Split | None
) -> list[dict[str, Any]]:
    """Return what the workers are to do, in that order."""
    if isinstance(plan, PublishedPlan):
        return [describe_asking(plan, folder, job) for job in plan.jobs if job in jobs]
    begun = {job.name: last_step(folder.run(job.name)) for job in jobs}
    waiting = [job for job in plan.jobs if job.name in begun]
    groups = group_jobs(waiting, _stacks(plan, folder, workers), begun)
    return [describe(plan, folder, group, watched=watched) for group in groups]


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


def describe(plan: Plan, folder: StudyFolder, group: Group, *, watched: Split | None = None) -> dict[str, Any]:
    """Return the runs of a group as plain values, for the worker that will do them; ``watched`` ones tell of every
    checkpoint that is on the disk with its answers to the questions of that split."""
    study, training, family = plan.study, plan.study.training, FAMILIES.load(group.rung.family)
    assert training is not None
    return {
        "name": group.name,
        "memory": group.memory,
        "watched": watched is not None,
        "split": watched or "test",
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
        "teaching": describe_teaching(plan, group.rung),
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
            "beforehand": 0.0 if family.learner == "nothing" else written_flops(plan, folder),
            "sharers": len(plan.jobs),
        },
    }
