"""From the files of all runs to the scores table and the notes of a study. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from emergence.analysis import normalise
from emergence.core.adaptation import AdaptationFile
from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256
from emergence.evaluation.scores import score_records, truncation_notes
from emergence.models.checkpoint import find_checkpoints
from emergence.models.family import FAMILIES
from emergence.study.adapted import adaptation_records
from emergence.study.asking_teacher import teacher_notes, teacher_scores
from emergence.study.folder import SOURCE, StudyFolder
from emergence.study.plan import Job, Plan
from emergence.study.published import PublishedPlan, PublishedRun
from emergence.study.stages import STAGES, StageJob, finished_jobs
from emergence.tasks.labelled import LabelledTask

__all__ = ["Gathered", "gather"]


@dataclass(frozen=True)
class Gathered:
    """The completed scores table, what a reader should know about single runs, and what trained models became."""

    scores: pl.DataFrame
    notes: tuple[str, ...]
    adaptations: AdaptationFile | None = None


def gather(plan: Plan | PublishedPlan, folder: StudyFolder, afterwards: Sequence[StageJob] = ()) -> Gathered:
    """Collect what the finished runs left, and the jobs of stages ``afterwards``. A diverged run is noted and gives no
    scores."""
    scores = []
    notes = list(folder.manifest.get("events", []))
    beside_others = len(plan.study.model.family) > 1
    for family in plan.study.model.family:
        if own_loss := FAMILIES.load(family).own_loss:
            place = "; it has no place on the axis of loss beside other families" if beside_others else ""
            notes.append(f"the validation loss of {family} is {own_loss}{place}")
    for name, task in plan.tasks.items():
        if isinstance(task, LabelledTask):
            notes += [f"{name}: {note}" for note in task.data().notes]
    jobs: list[Job | PublishedRun] = [*plan.jobs]
    for job in sorted(jobs, key=lambda job: job.name):
        outcome = read_sealed(folder.run(job.name) / "outcome.json")
        notes += outcome["notes"]
        if isinstance(job, PublishedRun):
            places: pl.DataFrame | None = _published_places(folder, job)
        else:
            places = _places(folder, job, outcome, beside_others)
        if places is None:
            continue
        records = _records(folder, job)
        notes += [*_identical(folder, job), *truncation_notes(records)]
        scores.append(score_records(records, plan.tasks).join(places, on="step", how="left"))
    adapted = []
    for name in STAGES:
        finished = finished_jobs([job for job in afterwards if job.stage == name], folder)
        adapted += finished
        notes += [note for _, outcome, _ in finished for note in outcome["notes"]]
        answered = [(job, outcome, records) for job, outcome, records in finished if records is not None]
        scores += STAGES.load(name).rows(plan, answered)
    if isinstance(plan, Plan):
        notes += teacher_notes(plan, folder)
    if not scores:
        raise UserError("every run diverged; lower training.learning_rate and choose another folder with --out")
    if isinstance(plan, Plan) and (taught := teacher_scores(plan, folder)) is not None:
        scores.append(taught)
    return Gathered(
        normalise(pl.concat(scores, how="diagonal")),
        tuple(dict.fromkeys(notes)),
        adaptation_records(plan, adapted) if adapted else None,
    )


def _places(folder: StudyFolder, job: Job, outcome: dict[str, Any], beside_others: bool) -> pl.DataFrame | None:
    """Return the place of every checkpoint of a run on every axis, by step; None where it diverged.

    A family without sizes has a place along the tokens alone, and one with a loss of its own has none along the loss
    beside others: what is compared there must be the same.
    """
    history_file = folder.run(job.name) / "history.parquet"
    if outcome["status"] == "diverged":
        return None
    if not history_file.exists():
        raise DamagedFileError(f"{history_file} is missing; run the study again")
    history = pl.read_parquet(history_file, glob=False).drop_nulls("validation_loss")
    places = history.select("step", "tokens", "flops", pl.col("validation_loss").alias("loss")).with_columns(
        pl.lit(job.rung.family).alias("family"),
        pl.lit(float(job.rung.config.non_embedding_parameters)).alias("params"),
    )
    family = FAMILIES.load(job.rung.family)
    absent = [] if family.sized else ["params", "flops", "loss"]
    if family.own_loss is not None and beside_others:
        absent.append("loss")
    return places.with_columns(pl.lit(None, dtype=pl.Float64).alias(axis) for axis in absent)


def _published_places(folder: StudyFolder, run: PublishedRun) -> pl.DataFrame:
    """Return the same of models that somebody else trained; what is not known stays missing."""
    shapes = read_sealed(folder.run(run.name) / SOURCE)["checkpoints"]
    rows = [
        {
            "step": checkpoint.step,
            "tokens": checkpoint.tokens,
            "flops": checkpoint.flops,
            "loss": checkpoint.loss,
            "family": run.family,
            "params": float(shapes[str(checkpoint.step)]["non_embedding_parameters"]),
        }
        for checkpoint in run.checkpoints
    ]
    kinds = {"tokens": pl.Float64, "flops": pl.Float64, "loss": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=kinds)


def _records(folder: StudyFolder, job: Job | PublishedRun) -> pl.DataFrame:
    files = [folder.records(job.name, step) for step in job.steps]
    return pl.concat([pl.read_parquet(file, glob=False) for file in files], how="diagonal_relaxed")


def _identical(folder: StudyFolder, job: Job | PublishedRun) -> list[str]:
    """Name the checkpoints of a run whose weights are those of another: something did not train."""
    first: dict[str, int] = {}
    notes = []
    for step, digest in _weights(folder, job):
        if digest in first:
            notes.append(f"{job.name}: the checkpoints of steps {first[digest]} and {step} are identical")
        first.setdefault(digest, step)
    return notes


def _weights(folder: StudyFolder, job: Job | PublishedRun) -> Iterator[tuple[int, str]]:
    """Yield every checkpoint's step and what its weights are known by; of what has none, nothing."""
    if isinstance(job, PublishedRun):
        asked = read_sealed(folder.run(job.name) / SOURCE)["checkpoints"]
        yield from ((checkpoint.step, asked[str(checkpoint.step)]["weights"]) for checkpoint in job.checkpoints)
        return
    if not job.rung.config.parameters:
        return
    for checkpoint in find_checkpoints(folder.run(job.name)):
        path = checkpoint.folder / "model.safetensors"
        known = folder.manifest["files"].get(str(path.relative_to(folder.path)))
        try:
            yield checkpoint.step, known or sha256(path)
        except OSError as error:
            raise DamagedFileError(str(error)) from error
