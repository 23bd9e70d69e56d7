"""One trial of a search: a study of its own that is trained and asked, watched, and stopped where it is pruned."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from emergence.core.errors import UserError
from emergence.core.search import TrialStatus
from emergence.core.search_settings import SearchGoal
from emergence.core.settings import StudySettings
from emergence.core.store import DamagedFileError, read_sealed
from emergence.evaluation.scores import score_records
from emergence.models.family import FAMILIES
from emergence.study.folder import StudyFolder, open_folder
from emergence.study.plan import Job, Plan, make_plan
from emergence.study.rungs import can_do
from emergence.study.search_plan import trial_study
from emergence.study.searching import Objective, Outcome, Watch

__all__ = ["Train", "clear_shared", "thin_trial", "trial_folder", "trial_objective"]

_SHARED = "shared"  # what the last trial read and packed, for the next one


class Train(Protocol):
    """Trains and asks the models of a plan in its folder, as far as that is still to be done."""

    def __call__(self, plan: Plan, folder: StudyFolder, on_event: Callable[[dict[str, Any]], None], /) -> None: ...


class _EndedError(Exception):
    """The trial is not to go on."""


def trial_folder(search: Path, number: int) -> Path:
    """Return the folder of a trial, for example ``search/trial-0007``."""
    return search / f"trial-{number:04d}"


def trial_objective(
    study: StudySettings, search: Path, train: Train, progress: Callable[[dict[str, Any]], None]
) -> Objective:
    """Return the objective that tries values in the study, each trial in a folder of its own below ``search``."""
    goal = study.search.goal if study.search is not None else SearchGoal()

    def objective(number: int, values: Mapping[str, Any], watch: Watch) -> Outcome:
        try:
            own = trial_study(study, values)
            plan = make_plan(own)
        except UserError as error:  # each value is allowed, all together are not
            return Outcome("invalid", note=str(error))
        assert isinstance(plan, Plan)
        path = trial_folder(search, number)
        with open_folder(path, own, plan.shapes) as folder:
            _take_shared(search, folder)
            attempt = _Attempt(plan, folder, goal, watch, progress)
            with contextlib.suppress(_EndedError):
                attempt.look()
                train(plan, folder, attempt)
                attempt.look()
            return attempt.outcome()

    return objective


class _Attempt:
    """What is known of a trial while it goes on; it is told the events of its runs."""

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        goal: SearchGoal,
        watch: Watch,
        progress: Callable[[dict[str, Any]], None],
    ) -> None:
        self._plan, self._folder, self._goal, self._watch, self._progress = plan, folder, goal, watch, progress
        asked = [job for job in plan.jobs if goal.task is None or can_do(FAMILIES.load(job.rung.family), goal.task)]
        self._asked = asked
        self._reached = 0  # checkpoints
        self._value: float | None = None
        self._note: str | None = None
        self._status: TrialStatus = "complete"
        self._shares: dict[str, float] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Look at a checkpoint that all runs have reached, and raise where the trial ends there."""
        if event["event"] == "training":
            self._shares[event["run"]] = event["share"]
            share = sum(self._shares.values()) / len(self._plan.jobs)
            self._progress({"event": "trial_training", "share": share, "loss": event["loss"]})
        elif event["event"] == "killed":
            self._progress(event)
        elif event["event"] in ("examined", "finished"):
            self.look()

    def look(self) -> None:
        """Report every checkpoint that is there and was not reported yet."""
        for job in self._plan.jobs:
            with contextlib.suppress(DamagedFileError):
                outcome = read_sealed(self._folder.run(job.name) / "outcome.json")
                if outcome["status"] == "diverged":
                    self._end("diverged", "; ".join(outcome["notes"]))
        steps = self._plan.checkpoint_steps
        while self._reached < len(steps):
            found = self._goal_at(steps[self._reached])
            if found is None:
                return
            self._reached, self._value = self._reached + 1, found
            if not math.isfinite(found):
                if self._reached == len(steps):
                    self._end("invalid", f"{self._goal.words} is no number at the end")
            elif not self._watch.goes_on(self._reached, found):
                self._end("pruned", None)

    def outcome(self) -> Outcome:
        """Return how it ended."""
        return Outcome(self._status, self._value if self._status == "complete" else None, self._flops(), self._note)

    def _end(self, status: TrialStatus, note: str | None) -> None:
        self._status, self._note = status, note
        raise _EndedError

    def _goal_at(self, step: int) -> float | None:
        """Return the mean of the goal over all runs at a checkpoint, None while one of them has not reached it."""
        values = []
        for job in self._asked:
            history = self._history(job)
            at = [row for row in history if row["step"] == step and row.get("validation_loss") is not None]
            if not at or not self._folder.records(job.name, step).exists():
                return None
            values.append(float(at[-1]["validation_loss"]) if self._goal.task is None else self._score(job, step))
        return math.fsum(values) / len(values)

    def _score(self, job: Job, step: int) -> float:
        """Return the mean of the rows of the scores table that the goal names."""
        goal = self._goal
        scores = score_records(pl.read_parquet(self._folder.records(job.name, step), glob=False), self._plan.tasks)
        if scores.width:
            scores = scores.filter((pl.col("task") == goal.task) & (pl.col("metric") == goal.metric))
        if scores.width and goal.shots is not None:
            scores = scores.filter(pl.col("shots") == goal.shots)
        if not scores.height:
            raise UserError(f"search.goal: no model has a score {goal.words}; choose another task or metric")
        mean = scores["score"].drop_nulls().mean()
        return math.nan if mean is None else float(mean)  # type: ignore[arg-type]

    def _history(self, job: Job) -> list[dict[str, Any]]:
        try:  # read at once: the worker may replace the file meanwhile
            content = (self._folder.run(job.name) / "history.parquet").read_bytes()
        except FileNotFoundError:
            return []
        return pl.read_parquet(io.BytesIO(content)).to_dicts()

    def _flops(self) -> float:
        """Return the training FLOPs of all runs, as far as they went: up to the checkpoint where the trial ended."""
        last = self._plan.checkpoint_steps[self._reached - 1] if self._status == "pruned" else math.inf
        total = 0.0
        for job in self._plan.jobs:
            rows = self._history(job)
            total += max((row["flops_spent"] for row in rows if row["step"] <= last), default=0.0)
        return total


def thin_trial(search: Path, number: int) -> None:
    """Delete the weights of a trial that has ended; what was measured stays. Its packed data wait for the next one."""
    path = trial_folder(search, number)
    for weights in [*path.glob("models/*/checkpoints"), *path.glob("models/*/trunk")]:
        shutil.rmtree(weights)
    if (path / "data").exists():
        clear_shared(search)
        (path / "data").replace(search / _SHARED)


def clear_shared(search: Path) -> None:
    """Delete the packed data that trials share."""
    shutil.rmtree(search / _SHARED, ignore_errors=True)


def _take_shared(search: Path, folder: StudyFolder) -> None:
    """Link what the last trial packed: what fits this one is not made again, and what does not is replaced."""
    if folder.data.exists() or not (search / _SHARED).exists():
        return
    shutil.copytree(search / _SHARED, folder.data, copy_function=os.link)
