"""Whether a teacher can teach what a study asks. No torch here."""

from __future__ import annotations

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings
from emergence.core.teacher_settings import TeacherSettings
from emergence.models.family import FAMILIES
from emergence.study.rungs import can_do
from emergence.study.teacher import Teacher, find_teacher
from emergence.study.texts import Texts
from emergence.tasks.task import Task

__all__ = ["check_tokens", "teacher_of"]

TEACHABLE = ("next_token", "masked_token", "pairs")  # objectives whose predictions another network can be asked for


def teacher_of(study: StudySettings, tasks: dict[str, Task]) -> Teacher | None:
    """Return the teacher of a study, None where it has none; raise UserError where it cannot teach these families or
    these tasks."""
    settings = None if study.training is None else study.training.teacher
    if settings is None:
        return None
    teacher = find_teacher(settings)
    if settings.kind == "token":
        _check_families(study, teacher)
    _check_reading(study, settings, teacher, tasks)
    return teacher


def _check_families(study: StudySettings, teacher: Teacher) -> None:
    """Raise UserError where a family cannot learn from a teacher's probabilities, or not from this one's."""
    for name in study.model.family:
        family = FAMILIES.load(name)
        if family.learner == "nothing":  # what needs no learning needs no teacher either
            continue
        if family.learner != "gradient" or family.objective not in TEACHABLE:
            able = [other for other in FAMILIES if _can_learn(other)]
            raise UserError(
                f"the family {name} cannot learn from a teacher's probabilities; use kind: sequence, or one of "
                f"{', '.join(able)}"
            )
        if family.objective != teacher.objective or (teacher.reads != "causal" and not teacher.own):
            raise UserError(
                f"the teacher {teacher.shown} ({teacher.family}) predicts other positions than students of the family "
                f"{name} do; use kind: sequence, or a teacher that is trained as they are"
            )


def _can_learn(name: str) -> bool:
    family = FAMILIES.load(name)
    return family.learner == "gradient" and family.objective in TEACHABLE


def _check_reading(study: StudySettings, settings: TeacherSettings, teacher: Teacher, tasks: dict[str, Task]) -> None:
    """Raise UserError where the teacher cannot read what the students read, or write what they are to read."""
    sources = study.mixture or dict.fromkeys([*(["corpus"] if study.corpus else []), *tasks])
    kinds = {task.name: task.kind for task in study.tasks}
    if teacher.own:
        family = FAMILIES.load(teacher.family)
        for name in tasks:
            if name in sources and tasks[name].trains and not can_do(family, kinds[name]):
                raise UserError(
                    f"the teacher {teacher.shown} ({teacher.family}) cannot do the task {name}; leave it out"
                )
        if "corpus" in sources and not family.corpus:
            raise UserError(f"the teacher {teacher.shown} ({teacher.family}) reads no corpus; leave corpus out")
        if "corpus" in sources and settings.kind == "sequence" and not family.sampled:
            raise UserError(
                f"no text can be drawn from the teacher {teacher.shown} ({teacher.family}); leave corpus out"
            )
    if settings.kind == "sequence" and "corpus" in sources and teacher.reads not in ("causal", "latent"):
        raise UserError(
            f"no text can be drawn from the teacher {teacher.shown} ({teacher.family}); take the corpus out of the "
            "mixture, or choose a teacher that writes from left to right"
        )
    if settings.beams is not None and settings.beams > 1 and teacher.reads != "pairs":
        raise UserError(f"the teacher {teacher.shown} ({teacher.family}) writes without beams; leave beams out")
    if settings.kind == "token" and teacher.context is not None and teacher.context < study.model.context:
        raise UserError(
            f"the teacher {teacher.shown} reads {teacher.context} tokens at once, but model.context is "
            f"{study.model.context}; lower model.context"
        )


def check_tokens(teacher: Teacher, texts: Texts, tasks: dict[str, Task]) -> None:
    """Raise UserError where a teacher of kind ``token`` has other tokens than its students, or lacks what the tasks
    write."""
    own, tokenizer = teacher.tokenizer(), texts.tokenizer
    if own is None or own.identity != tokenizer.identity:
        size = "tokens that only its own library reads" if own is None else f"{own.vocabulary_size:,} tokens"
        raise UserError(
            f"the teacher {teacher.shown} has {size} and its students {tokenizer.vocabulary_size:,} others: a "
            "probability needs the same vocabulary; use kind: sequence"
        )
    if tokenizer.unknown_id is None:
        return
    for name, task in tasks.items():
        unknown = [letter for letter in task.alphabet if tokenizer.unknown_id in tokenizer.encode(letter)]
        if unknown:
            raise UserError(
                f"the teacher {teacher.shown} has no token for {', '.join(map(repr, unknown[:5]))}, which the task "
                f"{name} writes; train the teacher on that task too, or leave the task out"
            )
