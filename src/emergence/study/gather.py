"""From the files of all runs to the scores table and the notes of a study. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergence.analysis import normalise
from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256
from emergence.evaluation.scores import score_records
from emergence.models.checkpoint import find_checkpoints
from emergence.models.family import FAMILIES
from emergence.study.folder import StudyFolder
from emergence.study.plan import Job, Plan

__all__ = ["Gathered", "gather"]


@dataclass(frozen=True)
class Gathered:
    """The completed scores table, and what a reader should know about single runs."""

    scores: pl.DataFrame
    notes: tuple[str, ...]


def gather(plan: Plan, folder: StudyFolder) -> Gathered:
    """Collect what the finished runs left. A diverged run is noted and gives no scores."""
    scores = []
    notes = list(folder.manifest.get("events", []))
    for job in sorted(plan.jobs, key=lambda job: job.name):
        outcome = read_sealed(folder.run(job.name) / "outcome.json")
        notes += outcome["notes"]
        history_file = folder.run(job.name) / "history.parquet"
        if not history_file.exists():
            if outcome["status"] != "diverged":
                raise DamagedFileError(f"{history_file} is missing; run the study again")
            continue
        if outcome["status"] != "diverged":
            notes += _identical(folder, job) if job.rung.config.parameters else []
            scores.append(_scores(plan, folder, job, pl.read_parquet(history_file, glob=False)))
    if not scores:
        raise UserError("every run diverged; lower training.learning_rate and choose another folder with --out")
    return Gathered(
        normalise(pl.concat(scores, how="diagonal")),
        tuple(dict.fromkeys(notes)),
    )


def _scores(plan: Plan, folder: StudyFolder, job: Job, history: pl.DataFrame) -> pl.DataFrame:
    """Return the scores of one run at every checkpoint, with its place on every axis.

    A family without sizes has a place along the tokens alone.
    """
    records = pl.concat(
        [pl.read_parquet(folder.records(job.name, step), glob=False) for step in plan.checkpoint_steps],
        how="diagonal_relaxed",
    )
    places = history.drop_nulls("validation_loss").select(
        "step", "tokens", "flops", pl.col("validation_loss").alias("loss")
    )
    scores = (
        score_records(records, plan.tasks)
        .join(places, on="step", how="left")
        .with_columns(
            pl.lit(job.rung.family).alias("family"),
            pl.lit(float(job.rung.config.non_embedding_parameters)).alias("params"),
        )
    )
    if FAMILIES.load(job.rung.family).sized:
        return scores
    return scores.with_columns(pl.lit(None, dtype=pl.Float64).alias(axis) for axis in ("params", "flops", "loss"))


def _identical(folder: StudyFolder, job: Job) -> list[str]:
    """Name the checkpoints of a run whose weights are byte for byte those of another: something did not train."""
    first: dict[str, int] = {}
    notes = []
    for checkpoint in find_checkpoints(folder.run(job.name)):
        path = checkpoint.folder / "model.safetensors"
        known = folder.manifest["files"].get(str(path.relative_to(folder.path)))
        try:
            digest = known or sha256(path)
        except OSError as error:
            raise DamagedFileError(str(error)) from error
        if digest in first:
            notes.append(f"{job.name}: the checkpoints of steps {first[digest]} and {checkpoint.step} are identical")
        first.setdefault(digest, checkpoint.step)
    return notes
