"""Asking one run every task at every checkpoint, and keeping the records. Each checkpoint's records are one file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.store import DamagedFileError, writing
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.questions import writable_questions
from emergence.models.checkpoint import find_checkpoints
from emergence.models.family import Network
from emergence.study.folder import records_file
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Question, Task, TaskContext

__all__ = ["Examiner"]


class Examiner:
    """The questions of a study; `of` gives one that puts them to the networks of one run."""

    def __init__(self, job: dict[str, Any], context: TaskContext) -> None:
        """Form the questions of ``job`` as ``context`` allows; raises UserError where its tokenizer cannot write
        them."""
        self._job = job
        self._folder = Path(job["folder"])
        self._tokenizer = context.tokenizer
        self._questions: list[tuple[Task, int, list[Question]]] = []
        for name, options in job["tasks"].items():
            task = make_task(name, options)
            for shots in job["shots"]:
                questions = writable_questions(task, context, job["examples"], shots)
                if questions:
                    self._questions.append((task, shots, questions))

    def of(self, run: str, replica: int) -> Examiner:
        """Return an examiner of the same questions for one run."""
        own = copy.copy(self)
        own._job = {**self._job, "run": run, "replica": replica}
        return own

    def _path(self, step: int) -> Path:
        return records_file(self._folder, self._job["run"], step)

    def lacks(self, step: int) -> bool:
        """Say whether the records of a checkpoint are missing."""
        return not self._path(step).exists()

    def examine(self, network: Network, step: int) -> None:
        """Ask everything and write the records, unless they are there already."""
        if not self.lacks(step):
            return
        records = self.answers(network, step)
        with writing(self._path(step)) as temporary:
            records.write_parquet(temporary)

    def answers(self, network: Network, step: int) -> pl.DataFrame:
        """Ask everything and return the records."""
        asked = [(task, questions) for task, _, questions in self._questions]
        answered = evaluate(network, self._tokenizer, asked, seed=self._job["study_seed"])
        frames = [
            frame.with_columns(pl.lit(shots, dtype=pl.Int64).alias("shots"))
            for frame, (_, shots, _) in zip(answered, self._questions, strict=True)
        ]
        return pl.concat(frames, how="diagonal").with_columns(
            pl.lit(self._job["rung"]).alias("model"),
            pl.lit(self._job["replica"], dtype=pl.Int64).alias("seed"),
            pl.lit(step, dtype=pl.Int64).alias("step"),
        )

    def forget_unreachable(self, run: Path, steps: tuple[int, ...]) -> None:
        """Delete a checkpoint that is damaged while its records are missing, and what was trained from there, so that
        it is trained again. A branch has nothing after it."""
        found = {checkpoint.step: checkpoint for checkpoint in find_checkpoints(run)}
        last = max(found, default=0)
        for step in steps:
            if step > last or not self.lacks(step):
                continue
            try:
                if step not in found:
                    raise DamagedFileError
                found[step].state()
            except DamagedFileError:
                alone = self._job["spec"]["schedule"]["branches"]
                for later in found.values():
                    if later.step == step or (later.step > step and not alone):
                        later.delete()
