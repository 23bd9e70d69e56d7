"""What a run leaves on the disk while it goes on, and where it goes on from.

Checkpoints are written by a thread of their own, so that the next steps (or the evaluation) do not wait for the disk.
A run with branches keeps the trunk's resume points in ``trunk/``; its checkpoints are the cooled ones. A branch is
short and has no resume points of its own. In the history the column ``branch`` holds the end of the branch that a row
belongs to, and nothing on the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import torch

from emergence.core.store import DamagedFileError, writing
from emergence.models.checkpoint import Checkpoint, find_checkpoints, save_checkpoint
from emergence.training.learners import Learner
from emergence.training.schedule import Schedule

__all__ = ["Keeper"]

History = list[dict[str, Any]]


class Keeper:
    """The folders of the replicas of one stack: histories, checkpoints and resume points. A context manager."""

    def __init__(self, folders: Sequence[Path], schedule: Schedule) -> None:
        self._folders, self._schedule = list(folders), schedule
        self._resumable = [folder / "trunk" if schedule.branches else folder for folder in folders]
        self.histories: list[History] = [[] for _ in folders]
        self.notes: list[list[str]] = [[] for _ in folders]
        self._ends: set[int] = set()  # of the branches that are there
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def wait(self) -> None:
        """Return once everything is on the disk; raise what went wrong there."""
        pending, self._writing = self._writing, None
        if pending is not None:
            pending.result()

    def resume(self, learner: Learner) -> int:
        """Give the learner the last state that is sound in every folder and return its step; 0 where there is none.

        Damaged checkpoints are deleted and named in the notes. With branches the step is one from which all that are
        missing can grow. Raises UserError for checkpoints of another version of this network.
        """
        found = [self._read_history(s) for s in range(len(self._folders))]
        if self._schedule.branches:
            self._ends = {end for end in self._schedule.checkpoints if self._is_done(end, found)}
        missing = [end for end in self._schedule.checkpoints if end not in self._ends]
        limit = min(map(self._schedule.fork, missing), default=None) if self._schedule.branches else None
        sound = [self._sound(s, rows) for s, rows in enumerate(found)]
        step = max((s for s in set.intersection(*map(set, sound)) if limit is None or s <= limit), default=0)
        if step:
            chosen = [own[step] for own in sound]
            learner.restore(
                step, [checkpoint.weights() for checkpoint, _ in chosen], [moments for _, moments in chosen]
            )
        self.histories = [
            [row for row in rows if (row["step"] <= step if row["branch"] is None else row["branch"] in self._ends)]
            for rows in found
        ]
        return step

    def _read_history(self, s: int) -> History:
        """Return the history of one replica; an unreadable one is noted and begins anew."""
        path = self._folders[s] / "history.parquet"
        try:
            return pl.read_parquet(path, glob=False).to_dicts() if path.exists() else []
        except (OSError, pl.exceptions.PolarsError) as error:
            self.notes[s].append(f"{path.name} was damaged ({error})")
            return []

    def _is_done(self, end: int, histories: list[History]) -> bool:
        """Say whether every replica has the checkpoint of a branch and its row in the history."""
        return all(
            any(checkpoint.step == end for checkpoint in find_checkpoints(folder))
            and any(row["branch"] == end for row in rows)
            for folder, rows in zip(self._folders, histories, strict=True)
        )

    def _sound(self, s: int, rows: History) -> dict[int, tuple[Checkpoint, dict[str, torch.Tensor]]]:
        """Return the checkpoints of one replica that can be trained on, with the optimiser's state, by step."""
        found = {}
        for checkpoint in find_checkpoints(self._resumable[s]):
            try:
                checkpoint.state()
                moments = checkpoint.optimiser()
                if moments is not None:
                    if not any(row["step"] == checkpoint.step and row["branch"] is None for row in rows):
                        raise DamagedFileError(f"{self._folders[s] / 'history.parquet'} does not reach it")
                    found[checkpoint.step] = (checkpoint, moments)
            except (DamagedFileError, OSError) as error:
                self.notes[s].append(f"a damaged checkpoint was passed over ({error})")
                checkpoint.delete()
        return found

    def has(self, end: int) -> bool:
        """Say whether every replica has the branch that ends at a step."""
        return end in self._ends

    def branch_steps(self) -> int:
        """Return the number of steps of all branches that are there."""
        return sum(end - self._schedule.fork(end) for end in self._ends)

    def save(self, learner: Learner, step: int) -> None:
        """Write a checkpoint that the run can go on from, and let go of what no resumption needs any more."""
        self._write(learner, step, self._resumable, () if self._schedule.branches else self._schedule.checkpoints)

    def save_cooled(self, learner: Learner, step: int) -> None:
        """Write the end of a branch, which nothing goes on from."""
        self._write(learner, step, self._folders, None)
        self._ends.add(step)

    def save_histories(self) -> None:
        """Write the histories alone: what they end with is no state to go on from."""
        self.wait()
        for run, history in zip(self._folders, self.histories, strict=True):
            _write_history(run, _frame(history))

    def _write(self, learner: Learner, step: int, folders: list[Path], kept: tuple[int, ...] | None) -> None:
        self.wait()
        work = []
        for s, folder in enumerate(folders):
            moments = None if kept is None else learner.moments(s)
            work.append((self._folders[s], folder, _frame(self.histories[s]), learner.weights(s), moments))

        def write() -> None:
            for run, folder, table, weights, moments in work:
                _write_history(run, table)
                save_checkpoint(folder, step, weights, moments)
                if kept is not None:
                    _thin(folder, step, kept)

        self._writing = self._writer.submit(write)


def _frame(history: History) -> pl.DataFrame:
    return pl.DataFrame(history, infer_schema_length=None, schema_overrides={"branch": pl.Int64})


def _write_history(run: Path, table: pl.DataFrame) -> None:
    with writing(run / "history.parquet") as temporary:
        table.write_parquet(temporary)


def _thin(folder: Path, step: int, kept: tuple[int, ...]) -> None:
    older = [checkpoint for checkpoint in find_checkpoints(folder) if checkpoint.step < step]
    for checkpoint in older[:-1]:  # the one before the last stays whole: it is used should the last be damaged
        if checkpoint.step in kept:
            checkpoint.drop_optimiser()
        else:
            checkpoint.delete()
