"""What a study does with its models after they are trained: stages, each with jobs for the workers and score rows.

A stage keeps what it makes in files of its own below the study's folder, and says itself which of its jobs are left, so
that a study that was killed goes on. No torch here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from emergence.core.settings import StudySettings
from emergence.study.executor import Workers
from emergence.study.folder import StudyFolder

if TYPE_CHECKING:
    from emergence.study.plan import Plan

__all__ = ["Stage", "StageScores", "run_stages", "stage_named", "stages_of"]


@dataclass(frozen=True)
class StageScores:
    """Rows of the scores table, and what a reader should know."""

    rows: tuple[pl.DataFrame, ...] = ()
    notes: tuple[str, ...] = ()


class Stage(ABC):
    """One thing that is done with every trained model. It holds no state: everything is in the folder."""

    name: ClassVar[str]  # the key of the study that asks for it; jobs say it as ``stage``

    @abstractmethod
    def jobs(self, plan: Plan, folder: StudyFolder) -> list[dict[str, Any]]:
        """Return what is left to do as plain values, as `study.executor` takes them: each with ``stage``, ``name``,
        ``runs``, ``folder`` and ``memory``."""

    @abstractmethod
    def record(self, folder: StudyFolder, run: str) -> None:
        """Put what a finished job left into the manifest."""

    @abstractmethod
    def scores(self, plan: Plan, folder: StudyFolder) -> StageScores:
        """Return the rows that the finished jobs give."""

    @abstractmethod
    def work(self, job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
        """Do a job, in a worker; ``report`` receives progress events, ``finished`` with its ``run`` at the end."""


def stage_named(name: str) -> Stage:
    """Return the stage of that name."""
    from emergence.study.compressing import CompressStage

    known: dict[str, type[Stage]] = {CompressStage.name: CompressStage}
    return known[name]()


def stages_of(study: StudySettings) -> list[Stage]:
    """Return the stages that a study asks for, in their order."""
    return [stage_named("compress")] if study.compress is not None else []


def run_stages(plan: Plan, folder: StudyFolder, progress: Callable[[dict[str, Any]], None]) -> None:
    """Do what is left of every stage that the study asks for, in order.

    Raises UserError for input that is wrong, and WorkerError when a job cannot be finished.
    """
    for stage in stages_of(plan.study):
        jobs = stage.jobs(plan, folder)
        if not jobs:
            continue
        folder.forget(*(folder.run(run) / "failure.txt" for job in jobs for run in job["runs"]))
        progress({"event": "stage", "name": stage.name, "jobs": len(jobs)})

        def on_event(event: dict[str, Any], stage: Stage = stage) -> None:
            if event["event"] == "finished":
                stage.record(folder, event["run"])
                event = {**event, "event": "stage_finished"}
            if event["event"] == "killed":
                folder.note(f"the worker of {event['job']} died (exit status {event['code']}) and was replaced")
            progress(event)

        with Workers(min(plan.workers, len(jobs))) as workers:
            workers.execute(jobs, on_event)
        folder.save()
