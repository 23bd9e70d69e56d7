"""From a task to an aim: its examples, as many as are wanted, encoded for one model, with the head that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import stream
from emergence.models.trunk import check_adaptable
from emergence.tasks.answer_scores import answer_scores
from emergence.tasks.augmented import augmented
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import SYNTHETIC, Labelled, LabelledData
from emergence.tasks.task import Example, GeneratedTask, Split
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import Aim, Classes, SoftTargets, Values, class_weights
from emergence.training.finetuning.choosing import ENOUGH, choose, some
from emergence.training.finetuning.heads import PooledHead, SpanHead
from emergence.training.finetuning.rows import TextRows, encode_rows
from emergence.training.finetuning.spans import Spans, encode_passages
from emergence.training.finetuning.writing import Answers, encode_answers

__all__ = ["Prepared", "Teacher", "prepare_aim", "text_rows"]

LEAST_VALIDATION, MOST_VALIDATION = 16, 1000  # examples that a reading looks at


@dataclass(frozen=True)
class Teacher:
    """Whoever says the log-probabilities [N, C] of the classes ``labels`` for examples, and how much that weighs."""

    says: Callable[[Sequence[Labelled]], torch.Tensor]
    labels: tuple[str, ...]
    temperature: float = 2.0
    weight: float = 0.5


@dataclass(frozen=True)
class Prepared:
    """An aim, how many examples it trains on, and what a report should say of them."""

    aim: Aim
    examples: int
    notes: tuple[str, ...] = ()


def prepare_aim(
    task: GeneratedTask,
    network: Any,
    tokenizer: LanguageTokenizer,
    settings: FinetuneSettings,
    *,
    width: int,
    examples: int | None,
    seed: int,
    teacher: Teacher | None = None,
) -> Prepared:
    """Return the aim of a task for a network whose hidden states have some ``width``.

    Of the training examples ``examples`` are taken (None: all there are; of a task that makes them, `ENOUGH`), and as
    many validation examples at most, since who has few of one has few of the other; those that a model wrote, and
    augmented ones, come on top. Raises UserError for a network that cannot do the task.
    """
    context = network.config.context
    if not isinstance(task, LabelledTask) or task.kind == "generation":
        if teacher is not None:
            raise UserError(f"the answers of {task.name} are written; let a teacher write them (training.teacher)")
        return _writing(task, network, tokenizer, settings, examples, seed)
    check_adaptable(network, task.name)
    if teacher is not None and task.kind != "classification":
        raise UserError(f"a teacher says how probable classes are, and {task.name} has none; leave the teacher out")
    data = task.data()
    chosen = choose(data.train, examples, seed)
    number = sum(example.group != SYNTHETIC for example in chosen)
    held = some(data.validation, min(MOST_VALIDATION, max(LEAST_VALIDATION, number)), seed)
    chosen = augmented(chosen, settings.augment, seed)
    if not held:
        raise UserError(f"task {task.name} has no validation examples to stop by; raise split.validation")
    if data.kind == "span":
        _whole_texts(task, settings)
        return _spans(task, chosen, number, held, tokenizer, settings, width, context)
    rows, held_rows = (text_rows(tokenizer, few, context) for few in (chosen, held))
    rows = replace(rows, thinning=settings.token_dropout)
    notes = _cut(task.name, rows)
    outputs = len(data.labels) if data.kind == "classification" else 1
    head = PooledHead(width, outputs, settings.pooling, settings.dropout)
    if data.kind == "regression":
        values, held_values = ([float(e.value or 0.0) for e in few] for few in (chosen, held))
        return Prepared(Values(task.name, rows, values, held_rows, held_values, head), number, notes)
    places = {label: place for place, label in enumerate(data.labels)}
    targets, held_targets = ([places[e.label] for e in few] for few in (chosen, held))
    weights = class_weights(targets, outputs) if settings.class_weights == "balanced" else None
    soft = None if teacher is None else _soft(teacher, data, chosen, settings)
    aim = Classes(
        task.name,
        rows,
        targets,
        held_rows,
        held_targets,
        head,
        weights=weights,
        smoothing=settings.label_smoothing,
        goal=settings.goal,
        soft=soft,
    )
    return Prepared(aim, number, (*notes, *_missing(task.name, data, targets)))


def _whole_texts(task: GeneratedTask, settings: FinetuneSettings) -> None:
    if settings.token_dropout:
        raise UserError(f"token_dropout would take parts out of the answers of {task.name}; leave it out")


def _soft(teacher: Teacher, data: LabelledData, chosen: Sequence[Labelled], settings: FinetuneSettings) -> SoftTargets:
    if teacher.labels != data.labels:
        raise UserError(
            f"the teacher knows the classes {', '.join(teacher.labels) or 'none'}, and the task has "
            f"{', '.join(data.labels)}; take a teacher that was tuned for the same classes"
        )
    if settings.label_smoothing:
        raise UserError("a teacher's probabilities take the place of label_smoothing; leave that out")
    return SoftTargets(teacher.says(chosen), teacher.temperature, teacher.weight)


def text_rows(tokenizer: LanguageTokenizer, examples: Sequence[Labelled], context: int) -> TextRows:
    """Return the token rows of labelled texts."""
    return encode_rows(tokenizer, [(example.text, example.second) for example in examples], context)


def _cut(name: str, rows: TextRows) -> tuple[str, ...]:
    if not rows.cut:
        return ()
    return (f"{name}: {rows.cut:,} of {len(rows):,} training texts are longer than the context and lost their end",)


def _missing(name: str, data: LabelledData, targets: Sequence[int]) -> tuple[str, ...]:
    absent = [label for place, label in enumerate(data.labels) if place not in set(targets)]
    if not absent:
        return ()
    return (f"{name}: {len(absent)} of {len(data.labels)} classes have no example among the {len(targets)} chosen",)


def _spans(
    task: LabelledTask,
    chosen: Sequence[Labelled],
    number: int,
    held: Sequence[Labelled],
    tokenizer: LanguageTokenizer,
    settings: FinetuneSettings,
    width: int,
    context: int,
) -> Prepared:
    train, validation = (
        encode_passages(tokenizer, [(e.text, e.second, e.start, e.answers[0]) for e in few], context)
        for few in (chosen, held)
    )
    aim = Spans(
        task.name,
        train,
        validation,
        [e.answers for e in held],
        SpanHead(width, settings.dropout),
        lambda answer, accepted: answer_scores(answer, accepted)["f1"],
    )
    return Prepared(aim, number)


def _writing(
    task: GeneratedTask,
    network: Any,
    tokenizer: LanguageTokenizer,
    settings: FinetuneSettings,
    examples: int | None,
    seed: int,
) -> Prepared:
    """Return the aim of writing a task's answers."""
    _whole_texts(task, settings)
    if settings.augment:
        raise UserError(f"the task {task.name} is answered by writing, which is not augmented; leave out augment")
    if network.reads not in ("causal", "pairs"):
        raise UserError(
            f"the task {task.name} is answered by writing, which masked and variational models are not fine-tuned for; "
            "take a causal or an encoder-decoder model"
        )
    few = examples or (len(task.data().train) if isinstance(task, LabelledTask) else ENOUGH)
    train = _distinct(task, few, "train", seed)
    if not train:
        raise UserError(f"task {task.name} has no training examples with these options; make it larger")
    held = _distinct(task, min(MOST_VALIDATION, max(LEAST_VALIDATION, len(train))), "validation", seed)
    encoded, cut = encode_answers(tokenizer, train, network, task.name)
    encoded_held, _ = encode_answers(tokenizer, held, network, task.name)
    if not encoded_held:
        raise UserError(f"task {task.name} has no validation examples to stop by; make it larger")
    notes = [f"{task.name}: {cut:,} of {len(train):,} training prompts lost their beginning to the context"] * bool(cut)
    aim = Answers(task.name, encoded, encoded_held, settings.label_smoothing)
    return Prepared(aim, len(train), tuple(notes))


def _distinct(task: GeneratedTask, n: int, split: Split, seed: int) -> list[Example]:
    """Return up to ``n`` different examples; more of them begin with those of fewer."""
    return task.write(task.latents(stream(seed, "fine-tuning", task.name, split), n, split, distinct=True))
