"""The ladders of a study's families: sizes, FLOPs and memory of every rung, and whether a family fits the study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.processor import mkl_holds_back
from emergence.core.settings import StudySettings, TrainingSettings
from emergence.models.family import FAMILIES, Family, ladder
from emergence.models.vectors import Vectors, load_vectors, read_vectors
from emergence.study.folder import kept_embeddings
from emergence.study.machine import run_bytes
from emergence.study.teacher import Teacher
from emergence.study.texts import Texts
from emergence.tasks.catalogue import DRAWN, NAMED_ONLY
from emergence.tasks.task import GeneratedTask, Task
from emergence.text import Tokenizer

__all__ = ["Rung", "can_do", "check_embeddings", "check_families", "ladder_of", "worth_stacking"]

STACKABLE_PARAMETERS = 500_000  # from there on the passes between matrix products hardly matter
STACKABLE_STEP = 2.5e7  # parameters times tokens


@dataclass(frozen=True)
class Rung:
    """One size of the ladder of one family: ``R00`` is the smallest, ``gpt-R00`` where there are several families."""

    name: str
    family: str
    config: Any
    flops: float  # of one run, all positions predicted, with those of a teacher that reads beside it
    memory: float  # bytes of one run at its peak, estimated
    stacked: bool  # whether its products have the form that replicas can share


def ladder_of(
    study: StudySettings,
    training: TrainingSettings,
    family: str,
    tasks: dict[str, Task],
    tokenizer: Tokenizer,
    tokens: int,
    batch_tokens: int,
    teacher: Teacher | None = None,
) -> list[Rung]:
    """Return the ladder of one family, told of the tokens and the tasks where it asks for them.

    A ``teacher`` reads every token beside its students.
    """
    dial, context = study.model.ladder, study.model.context
    assert dial is not None
    prefix = f"{family}-" if len(study.model.family) > 1 else ""
    own = FAMILIES.load(family)
    configs = ladder(family, dial.sizes(), vocabulary=tokenizer.vocabulary_size, context=context, vary=dial.vary)
    if own.informed is not None:
        options = {name: task.options.model_dump() for name, task in tasks.items() if isinstance(task, GeneratedTask)}
        configs = [own.informed(config, tokenizer.spellings(), options) for config in configs]
    taught, room = 0.0, 0.0
    if teacher is not None and own.learner != "nothing":
        taught = teacher.forward_flops(tokens, context, own.predicted_share * tokens)
        room = teacher.bytes_beside(batch_tokens, tokenizer.vocabulary_size)
    return [
        Rung(
            name=f"{prefix}R{index:02d}",
            family=family,
            config=config,
            flops=own.training_passes * config.forward_flops(tokens, context, own.predicted_share * tokens) + taught,
            memory=run_bytes(config, batch_tokens, branches=bool(training.budgets)) + room,
            stacked=own.stackable and worth_stacking(config, batch_tokens),
        )
        for index, config in enumerate(configs)
    ]


def worth_stacking(config: Any, batch_tokens: int) -> bool:
    """Say whether replicas of this size could gain by sharing products; it must not depend on a measurement.

    Batched products are MKL's. Where oneDNN is twice as fast (`models/products.py`), only small steps gain by them.
    """
    parameters = config.non_embedding_parameters
    if mkl_holds_back():
        return bool(parameters * batch_tokens < STACKABLE_STEP)
    return bool(parameters < STACKABLE_PARAMETERS)


def check_families(study: StudySettings) -> None:
    """Raise UserError where a family cannot do a task of the study, and say which ones can.

    A task that few families can do needs only one of them in the study; the others are not asked it.
    """
    families = [FAMILIES.load(name) for name in study.model.family]
    for task in study.tasks:
        unable = [family for family in families if not can_do(family, task.kind)]
        if unable and (task.kind not in NAMED_ONLY or len(unable) == len(families)):
            able = [name for name in FAMILIES if can_do(FAMILIES.load(name), task.kind)]
            only = "" if unable[0].tasks is None else f", only {', '.join(unable[0].tasks)}"
            raise UserError(
                f"the family {unable[0].name} cannot do the task {task.name}{only}; families that can: "
                f"{', '.join(able)}"
            )
    for family in families:
        if not any(can_do(family, task.kind) for task in study.tasks):
            example = "text" if family.tasks is None else family.tasks[0]
            raise UserError(f"the family {family.name} can do no task of this study; add one, for example {example}")
        if not family.corpus and study.corpus is not None:
            raise UserError(
                f"the family {family.name} cannot read a corpus; leave corpus out, or choose another family"
            )


def can_do(family: Family, task: str) -> bool:
    """Say whether a family can do a task: those it names, or by default all but those that have to be named; and
    random answers only where its networks can be sampled from."""
    if task in DRAWN and not family.sampled:
        return False
    return task not in NAMED_ONLY if family.tasks is None else task in family.tasks


def check_embeddings(study: StudySettings, texts: Texts, rungs: list[Rung], folder: Path | None) -> None:
    """Raise UserError where the models cannot begin with the token vectors that the study names, or keeps in its
    ``folder``."""
    if study.training is None or study.training.initialise_embeddings is None:
        return
    source = Path(study.training.initialise_embeddings)
    vectors = None if folder is None else _kept(folder)
    if vectors is None:
        vectors, _ = read_vectors(source)
        if Tokenizer.load(source).identity != texts.tokenizer.identity:
            raise UserError(
                f"the vectors in {source} belong to other tokens than this study has; train them on the same corpus, "
                "tokenizer and tasks"
            )
    for rung in rungs:
        if FAMILIES.load(rung.family).embedding is None:
            raise UserError(
                f"the family {rung.family} has no token vectors to begin with; leave initialise_embeddings out"
            )
        if rung.config.width != vectors.shape[1]:
            raise UserError(
                f"{rung.name} ({rung.family}) is {rung.config.width} wide, but the vectors in {source} are "
                f"{vectors.shape[1]}; choose a ladder of that width (vary: depth keeps one) or train other vectors"
            )


def _kept(folder: Path) -> Vectors | None:
    """Return the token vectors that a study has begun with, None where there are none or they cannot be read.

    That they belong to its tokens was seen when it was begun; tokens that changed since are refused (`study.prepare`).
    """
    from safetensors import SafetensorError

    file = kept_embeddings(folder)
    try:
        return None if file is None else load_vectors(file)
    except (SafetensorError, OSError, KeyError):  # damaged: the original takes its place
        return None
