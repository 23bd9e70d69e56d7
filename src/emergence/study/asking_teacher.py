"""Asking the teacher what its students are asked: a level line to compare them with.

Its answers stand at every checkpoint of the students, since more of their training does not change them; it has a place
along the tokens alone, as a family without sizes has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.errors import UserError
from emergence.core.settings import TEXT_TASKS
from emergence.core.store import DamagedFileError, read_sealed, write_sealed
from emergence.evaluation.scores import score_records
from emergence.models.family import FAMILIES
from emergence.study.folder import StudyFolder, records_file
from emergence.study.machine import WORKER_BYTES
from emergence.study.plan import Plan
from emergence.study.rungs import can_do
from emergence.study.teacher import Teacher, load_teacher
from emergence.study.texts import study_context
from emergence.tasks.task import TaskContext
from emergence.text import Tokenizer

__all__ = ["ask_teacher", "questions_to_teacher", "teacher_notes", "teacher_scores"]

NAME = "teacher"  # of its rung and of its family
RUN = f"{NAME}-s0"


def questions_to_teacher(plan: Plan, folder: StudyFolder) -> list[dict[str, Any]]:
    """Return the job that asks the teacher, for a worker; none where there is no teacher, or it was asked.

    It is asked the tasks that it can do; what is asked of held-out text is asked of the students' tokens alone.
    """
    teacher, study = plan.teacher, plan.study
    if teacher is None or ((found := _asked(folder, teacher.identity)) is not None and _kept(plan, folder, found)):
        return []
    family = FAMILIES.load(teacher.family) if teacher.own else None
    tasks = {task.name: task.options for task in study.tasks if family is None or can_do(family, task.kind)}
    return [
        {
            "name": RUN,
            "runs": [],
            "run": RUN,
            "rung": NAME,
            "replica": 0,
            "memory": WORKER_BYTES + 8 * teacher.parameters,
            "folder": str(folder.path.resolve()),
            "asks": teacher.to_dict(),
            "context": study.model.context,
            "step": plan.steps,
            "study_seed": study.seed,
            "tasks": tasks,
            "shots": list(study.evaluation.shots),
            "examples": study.evaluation.examples,
        }
    ]


def ask_teacher(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Ask the teacher and keep its records; where it cannot be asked, keep the reason. This imports torch."""
    from emergence.study.asking import Examiner

    folder, teacher = Path(job["folder"]), Teacher(**job["asks"])
    report({"event": "evaluating", "run": RUN, "step": job["step"]})
    network, tokenizer = load_teacher(teacher)
    own, why = Tokenizer.load(folder / "data" / "tokenizer.json"), ""
    tasks = job["tasks"]
    if isinstance(tokenizer, Tokenizer) and tokenizer.identity == own.identity:
        length = min(job["context"], network.config.context)
        context = study_context(folder / "data", own, length, job["study_seed"])
    else:
        context = TaskContext(tokenizer, network.config.context, job["study_seed"], truncates=True)
        tasks = {name: options for name, options in tasks.items() if options.get("task", name) not in TEXT_TASKS}
    try:
        if not tasks:
            raise UserError("it can do none of the tasks")
        Examiner({**job, "tasks": tasks}, context).examine(network, job["step"])
    except UserError as error:
        why = str(error)
    write_sealed(_card(folder), {"identity": teacher.identity, "why": why})
    files = [_card(folder), records_file(folder, RUN, job["step"])]
    report({"event": "answered", "files": [str(file.relative_to(folder)) for file in files if file.exists()]})


def teacher_scores(plan: Plan, folder: StudyFolder) -> pl.DataFrame | None:
    """Return what the teacher scored, at every checkpoint of its students; None where it was not asked."""
    teacher = plan.teacher
    if teacher is None or _asked(folder, teacher.identity) is None:
        return None
    records = records_file(folder.path, RUN, plan.steps)
    if not records.exists():
        return None
    scores = score_records(pl.read_parquet(records, glob=False), plan.tasks).drop("step")
    steps = pl.DataFrame({"step": plan.checkpoint_steps}, schema={"step": pl.Int64})
    tokens = (pl.col("step") * (plan.tokens / plan.steps)).alias("tokens")
    absent = (pl.lit(None, dtype=pl.Float64).alias(axis) for axis in ("params", "flops", "loss"))
    return scores.join(steps.with_columns(tokens), how="cross").with_columns(pl.lit(NAME).alias("family"), *absent)


def teacher_notes(plan: Plan, folder: StudyFolder) -> list[str]:
    """Say who the teacher is, and why it has no scores where it has none."""
    teacher, settings = plan.teacher, plan.teacher_settings
    if teacher is None or settings is None:
        return []
    how = "says how probable each token is" if settings.kind == "token" else "wrote what the models read"
    said = [f"the teacher is {teacher.shown} ({teacher.family}, {teacher.parameters:,.0f} parameters); it {how}"]
    found = _asked(folder, teacher.identity)
    return said if found is None or not found["why"] else [*said, f"the teacher has no scores: {found['why']}"]


def _card(folder: Path) -> Path:
    return folder / "data" / "teacher-asked.json"


def _asked(folder: StudyFolder, identity: str) -> dict[str, Any] | None:
    """Return what became of asking this teacher; None where it was not asked."""
    try:
        found = read_sealed(_card(folder.path))
    except DamagedFileError:
        return None
    return found if found["identity"] == identity else None


def _kept(plan: Plan, folder: StudyFolder, found: dict[str, Any]) -> bool:
    return bool(found["why"]) or records_file(folder.path, RUN, plan.steps).exists()
