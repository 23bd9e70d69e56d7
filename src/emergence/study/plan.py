"""What a study will do, before anything is spent: rungs, runs, parameters, FLOPs and memory. No torch here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psutil

from emergence.core.errors import UserError
from emergence.core.processor import mkl_holds_back
from emergence.core.seeds import derive_seed
from emergence.core.settings import StudySettings, TrainingSettings
from emergence.models.family import FAMILIES, ladder
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Task, TaskContext
from emergence.text import (
    Corpus,
    Summary,
    Tokenizer,
    build_tokenizer,
    distinct,
    folding_into,
    read_corpus,
    split_corpus,
    summarise,
)
from emergence.training.schedule import BASE_LEARNING_RATE, Schedule, checkpoint_steps

__all__ = ["Job", "Plan", "Rung", "Texts", "make_plan"]

LONGEST_TOKEN = 20  # characters; the mean over a text stays below
WORKER_BYTES = 400 * 2**20  # a process with torch loaded and nothing done
STACKABLE_PARAMETERS = 500_000  # from there on the passes between matrix products hardly matter
STACKABLE_STEP = 2.5e7  # parameters times tokens
MEMORY_SHARE = 0.8  # of the machine, for all workers together


@dataclass(frozen=True)
class Texts:
    """The corpus, split, and the tokenizer that serves corpus and tasks."""

    tokenizer: Tokenizer
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    corpus: Corpus | None = None

    def summary(self) -> Summary | None:
        """Say what the corpus is about; None where there is none."""
        return summarise(self.corpus.documents, self.tokenizer) if self.corpus is not None else None

    @property
    def identity(self) -> str:
        """Hash of the tokenizer and of every document: what the models of a study have read."""
        digest = hashlib.sha256(self.tokenizer.identity.encode())
        for part in (self.training, self.validation):
            digest.update(str(len(part)).encode())
            for document in part:
                digest.update(hashlib.sha256(document.encode()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Rung:
    """One size of the ladder of one family: ``R00`` is the smallest, ``gpt-R00`` where there are several families."""

    name: str
    family: str
    config: Any
    flops: float  # of one run, all positions predicted
    memory: float  # bytes of one run at its peak, estimated
    stacked: bool  # whether its products have the form that replicas can share


@dataclass(frozen=True)
class Job:
    """One run: a rung with a seed."""

    name: str
    rung: Rung
    seed: int


@dataclass(frozen=True)
class Plan:
    """Everything that follows from the settings alone."""

    study: StudySettings
    tasks: dict[str, Task]
    texts: Texts = field(repr=False)
    rungs: tuple[Rung, ...]
    steps: int
    batch_rows: int
    learning_rate: float
    checkpoint_steps: tuple[int, ...]
    sources: dict[str, float]  # what is trained on, with its share
    workers: int

    @property
    def jobs(self) -> list[Job]:
        """All runs, the most expensive first, so that none of them is left alone at the end."""
        runs = [Job(f"{rung.name}-s{seed}", rung, seed) for rung in self.rungs for seed in range(self.study.replicas)]
        return sorted(runs, key=lambda job: (-job.rung.flops, job.seed))

    @property
    def tokens(self) -> int:
        """Training tokens of every run."""
        return self.steps * self.batch_rows * self.study.model.context

    @property
    def flops(self) -> float:
        """FLOPs of all training."""
        return sum(job.rung.flops for job in self.jobs) * self.schedule.computed_steps / self.steps

    @property
    def flops_apart(self) -> float:
        """FLOPs of all training if every budget had a run of its own."""
        return sum(job.rung.flops for job in self.jobs) * sum(self.checkpoint_steps) / self.steps

    @property
    def schedule(self) -> Schedule:
        """The learning rate of every run and its checkpoints."""
        training = self.study.training
        return Schedule(
            steps=self.steps,
            warmup=training.warmup,
            decay=training.decay,
            checkpoints=self.checkpoint_steps,
            branches=bool(training.budgets),
        )

    def seed_of(self, replica: int) -> int:
        """Return the seed of a replica. All rungs share it, so that they see the same data."""
        return derive_seed(self.study.seed, "replica", replica)


def make_plan(study: StudySettings) -> Plan:
    """Derive the plan of a study; raise UserError for whatever cannot be: names, texts, sizes, memory."""
    tasks = {task.name: make_task(task.name, task.options) for task in study.tasks}
    _check_families(study)
    texts = _texts(study, tasks)
    context, training = study.model.context, study.training
    _check_questions(study, tasks, texts)
    batch_rows = max(1, round(training.batch_tokens / context))
    steps = max(1, round(training.tokens / (batch_rows * context)))
    tokens = steps * batch_rows * context
    rungs = [
        rung
        for family in study.model.family
        for rung in _rungs(study, family, texts.tokenizer.vocabulary_size, tokens, batch_rows * context)
    ]
    return Plan(
        study=study,
        tasks=tasks,
        texts=texts,
        rungs=tuple(rungs),
        steps=steps,
        batch_rows=batch_rows,
        learning_rate=BASE_LEARNING_RATE if training.learning_rate == "auto" else training.learning_rate,
        checkpoint_steps=_checkpoints(training, steps, batch_rows * context),
        sources=_sources(study, tasks),
        workers=_workers(study, rungs),
    )


def _check_families(study: StudySettings) -> None:
    """Raise UserError where a family cannot do a task of the study, and say which ones can."""
    named = {name: FAMILIES.load(name) for name in FAMILIES}
    for family in (FAMILIES.load(name) for name in study.model.family):
        for task in study.tasks:
            if family.tasks is not None and task.name not in family.tasks:
                able = [name for name, other in named.items() if other.tasks is None or task.name in other.tasks]
                raise UserError(
                    f"the family {family.name} cannot do the task {task.name}, only {', '.join(family.tasks)}; "
                    f"families that can: {', '.join(able)}"
                )
        if family.tasks is not None and study.corpus is not None:
            raise UserError(
                f"the family {family.name} cannot read a corpus; leave corpus out, or choose another family"
            )


def _rungs(study: StudySettings, family: str, vocabulary: int, tokens: int, batch_tokens: int) -> list[Rung]:
    """Return the ladder of one family."""
    dial, context = study.model.ladder, study.model.context
    prefix = f"{family}-" if len(study.model.family) > 1 else ""
    configs = ladder(family, dial.sizes(), vocabulary=vocabulary, context=context, vary=dial.vary)
    return [
        Rung(
            name=f"{prefix}R{index:02d}",
            family=family,
            config=config,
            flops=FAMILIES.load(family).training_passes * config.forward_flops(tokens, context),
            memory=_run_bytes(config, batch_tokens, branches=bool(study.training.budgets)),
            stacked=FAMILIES.load(family).stackable and _worth_stacking(config, batch_tokens),
        )
        for index, config in enumerate(configs)
    ]


def _worth_stacking(config: Any, batch_tokens: int) -> bool:
    """Say whether replicas of this size could gain by sharing products; it must not depend on a measurement.

    Batched products are MKL's. Where oneDNN is twice as fast (`models/products.py`), only small steps gain by them.
    """
    parameters = config.non_embedding_parameters
    if mkl_holds_back():
        return bool(parameters * batch_tokens < STACKABLE_STEP)
    return bool(parameters < STACKABLE_PARAMETERS)


def _texts(study: StudySettings, tasks: dict[str, Task]) -> Texts:
    """Read and split the corpus, and build the tokenizer on its training part and on what the tasks write."""
    alphabet = "".join(sorted({character for task in tasks.values() for character in task.alphabet}))
    if study.corpus is None:
        from emergence.core.settings import TokenizerSettings

        return Texts(build_tokenizer(TokenizerSettings(kind="char"), [], alphabet))
    if not study.corpus.files:
        raise UserError(
            f"study {study.name} needs texts: add corpus.files, for example --set corpus.files=my-texts/*.txt"
        )
    fold = study.corpus.fold
    corpus = read_corpus(study.corpus.files, None)
    if fold is not None:  # a poem in both scripts must not be learnt in one and held out in the other
        corpus = distinct(corpus, folding_into(fold))
    training, validation = split_corpus(corpus, seed=study.seed)
    # A character that only the held-out part has would be unknown to every model; the alphabet is not a secret.
    everything = [*training, *validation] if study.corpus.tokenizer.kind == "char" else training
    tokenizer = build_tokenizer(study.corpus.tokenizer, everything, alphabet, fold=fold)
    for name, part in (("training", training), ("validation", validation)):
        _check_length(part, tokenizer, study.model.context, name)
    return Texts(tokenizer, tuple(training), tuple(validation), corpus)


def _check_length(documents: list[str], tokenizer: Tokenizer, context: int, name: str) -> None:
    """Raise UserError where a part of the corpus is smaller than a context; only small texts are counted exactly."""
    if sum(map(len, documents)) > LONGEST_TOKEN * (context + 1):
        return
    tokens = sum(len(ids) + 1 for ids in tokenizer.encode_arrays(documents))
    if tokens < context + 1:
        raise UserError(
            f"the {name} part of the corpus holds {tokens} tokens, but a context of {context} needs {context + 1}; "
            f"add text or lower model.context"
        )


def _check_questions(study: StudySettings, tasks: dict[str, Task], texts: Texts) -> None:
    """Form the questions of every generated task once, so that a task that is too small or too long fails here."""
    context = TaskContext(tokenizer=texts.tokenizer, context=study.model.context, seed=study.seed)
    if 0 not in study.evaluation.shots and not any(task.trains for task in tasks.values()):
        raise UserError("no task of this study takes worked examples; put 0 into evaluation.shots")
    for task in tasks.values():
        for shots in study.evaluation.shots:
            if task.trains:
                questions = task.questions(context, study.evaluation.examples, shots)
                _check_folding(task.name, (question.target for question in questions), texts.tokenizer)


def _check_folding(name: str, targets: Iterable[str], tokenizer: Tokenizer) -> None:
    """Raise UserError where folding leaves a model no way to write the right answer."""
    for target in targets:
        if tokenizer.fold(target) != target:
            raise UserError(
                f"corpus.fold turns {target!r}, an answer of the task {name}, into {tokenizer.fold(target)!r}; leave "
                "corpus.fold out, or fold the texts of the task too"
            )


def _sources(study: StudySettings, tasks: dict[str, Task]) -> dict[str, float]:
    """Return what is trained on with its share of the rows: the mixture, or everything in equal parts."""
    available = (["corpus"] if study.corpus else []) + [name for name, task in tasks.items() if task.trains]
    weights = study.mixture or dict.fromkeys(available, 1.0)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _run_bytes(config: Any, batch_tokens: int, *, branches: bool) -> float:
    """Estimate the memory of a run.

    Weights, two moments, gradients twice (as they come and flat), a copy of weights and moments for the thread that
    writes checkpoints, and one of the trunk while a branch grows, and the activations: 4 bytes a number.
    """
    weights = (5 + 3 + 3 * branches) * config.parameters
    return float(WORKER_BYTES + 4.0 * (weights + batch_tokens * config.activations))


def _workers(study: StudySettings, rungs: list[Rung]) -> int:
    """Return how many processes go side by side: one per core."""
    total = psutil.virtual_memory().total
    largest = max(rungs, key=lambda rung: rung.memory)
    if largest.memory > total:
        raise UserError(
            f"the largest rung ({largest.config.non_embedding_parameters:,} parameters) needs about "
            f"{largest.memory / 2**30:.1f} GiB but this machine has {total / 2**30:.1f} GiB; "
            "lower model.ladder.largest or training.batch_tokens"
        )
    asked = study.execution.workers
    cores = len(os.sched_getaffinity(0)) if asked == "auto" else asked
    return max(1, min(cores, len(rungs) * study.replicas))


def _checkpoints(training: TrainingSettings, steps: int, step_tokens: int) -> tuple[int, ...]:
    """Return the steps at which every run is evaluated, its end among them."""
    if not training.budgets:
        return tuple(checkpoint_steps(steps, training.checkpoints))
    return tuple(sorted({max(1, round(budget / step_tokens)) for budget in training.budgets} | {steps}))
