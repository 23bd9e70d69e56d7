"""What a study will do, before anything is spent: rungs, runs, parameters, FLOPs and memory. No torch here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.processor import mkl_holds_back
from emergence.core.seeds import derive_seed
from emergence.core.settings import StudySettings, TrainingSettings
from emergence.models.family import FAMILIES, Family, ladder
from emergence.models.vectors import read_vectors
from emergence.study.machine import machine_bytes, run_bytes, worker_count
from emergence.study.published import PublishedPlan, plan_published
from emergence.tasks.catalogue import NAMED_ONLY, make_task
from emergence.tasks.task import GeneratedTask, Task, TaskContext
from emergence.text import (
    Corpus,
    Summary,
    Tokenizer,
    build_tokenizer,
    distinct,
    folding_into,
    lines_of,
    read_corpus,
    split_corpus,
    summarise,
)
from emergence.training.schedule import BASE_LEARNING_RATE, Schedule, checkpoint_steps

__all__ = ["Job", "Plan", "Rung", "Texts", "can_do", "make_plan", "worth_stacking"]

LONGEST_TOKEN = 20  # characters; the mean over a text stays below
STACKABLE_PARAMETERS = 500_000  # from there on the passes between matrix products hardly matter
STACKABLE_STEP = 2.5e7  # parameters times tokens
MOST_CHECKPOINTS = 200  # of a run


@dataclass(frozen=True)
class Texts:
    """The corpus, split, and the tokenizer that serves corpus and tasks."""

    tokenizer: Tokenizer
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    corpus: Corpus | None = None
    files: tuple[str, ...] = ()  # hashes of what the tasks read

    def summary(self) -> Summary | None:
        """Say what the corpus is about; None where there is none."""
        return summarise(self.corpus.documents, self.tokenizer) if self.corpus is not None else None

    @property
    def identity(self) -> str:
        """Hash of the tokenizer, of every document and of the tasks' files: what the models of a study have read."""
        digest = hashlib.sha256(self.tokenizer.identity.encode())
        for part in (self.training, self.validation):
            digest.update(str(len(part)).encode())
            for document in part:
                digest.update(hashlib.sha256(document.encode()).digest())
        for file in self.files:
            digest.update(file.encode())
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
    steps: tuple[int, ...]  # at which it is asked


@dataclass(frozen=True)
class Plan:
    """Everything that follows from the settings alone, of a study that trains its models."""

    study: StudySettings
    tasks: dict[str, Task]
    texts: Texts = field(repr=False)
    rungs: tuple[Rung, ...]
    steps: int
    batch_rows: int
    checkpoint_steps: tuple[int, ...]
    sources: dict[str, float]  # what is trained on, with its share
    workers: int

    @property
    def jobs(self) -> list[Job]:
        """All runs, the most expensive first, so that none of them is left alone at the end."""
        seeds, steps = range(self.study.replicas), self.checkpoint_steps
        runs = [Job(f"{rung.name}-s{seed}", rung, seed, steps) for rung in self.rungs for seed in seeds]
        return sorted(runs, key=lambda job: (-job.rung.flops, job.seed))

    @property
    def shapes(self) -> dict[str, Any]:
        """The configuration of every run's model, by the name of the run."""
        return {job.name: job.rung.config.to_dict() for job in self.jobs}

    @property
    def sized(self) -> list[Rung]:
        """The rungs of families that have sizes."""
        return [rung for rung in self.rungs if FAMILIES.load(rung.family).sized]

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
        assert training is not None
        return Schedule(
            steps=self.steps,
            warmup=training.warmup,
            decay=training.decay,
            checkpoints=self.checkpoint_steps,
            branches=bool(training.budgets),
        )

    def learning_rate(self, family: str) -> float:
        """Return the learning rate of a family at `BASE_WIDTH`: its own, unless the study sets one for all."""
        assert self.study.training is not None
        asked = self.study.training.learning_rate
        return BASE_LEARNING_RATE * FAMILIES.load(family).rate if asked == "auto" else asked

    def seed_of(self, replica: int) -> int:
        """Return the seed of a replica. All rungs share it, so that they see the same data."""
        return derive_seed(self.study.seed, "replica", replica)


def make_plan(study: StudySettings) -> Plan | PublishedPlan:
    """Derive the plan of a study; raise UserError for whatever cannot be: names, texts, sizes, memory."""
    tasks = {task.name: make_task(task.name, task.options) for task in study.tasks}
    if study.training is None:
        return plan_published(study, tasks)
    return _plan_training(study, study.training, tasks)


def _plan_training(study: StudySettings, training: TrainingSettings, tasks: dict[str, Task]) -> Plan:
    """Derive the plan of a study that trains its models."""
    _check_families(study)
    texts = _texts(study, tasks)
    context = study.model.context
    _check_questions(study, tasks, texts)
    batch_rows = max(1, round(training.batch_tokens / context))
    steps = max(1, round(training.tokens / (batch_rows * context)))
    tokens = steps * batch_rows * context
    rungs = [
        rung
        for family in study.model.family
        for rung in _rungs(study, training, family, tasks, texts.tokenizer, tokens, batch_rows * context)
    ]
    _check_embeddings(study, texts, rungs)
    sources = _sources(study, tasks)
    return Plan(
        study=study,
        tasks=tasks,
        texts=texts,
        rungs=tuple(rungs),
        steps=steps,
        batch_rows=batch_rows,
        checkpoint_steps=_checkpoints(study, steps, batch_rows * context, texts, sources),
        sources=sources,
        workers=_workers(study, rungs),
    )


def _check_families(study: StudySettings) -> None:
    """Raise UserError where a family cannot do a task of the study, and say which ones can.

    A task that few families can do needs only one of them in the study; the others are not asked it.
    """
    families = [FAMILIES.load(name) for name in study.model.family]
    for task in study.tasks:
        unable = [family for family in families if not can_do(family, task.name)]
        if unable and (task.name not in NAMED_ONLY or len(unable) == len(families)):
            able = [name for name in FAMILIES if can_do(FAMILIES.load(name), task.name)]
            only = "" if unable[0].tasks is None else f", only {', '.join(unable[0].tasks)}"
            raise UserError(
                f"the family {unable[0].name} cannot do the task {task.name}{only}; families that can: "
                f"{', '.join(able)}"
            )
    for family in families:
        if not any(can_do(family, task.name) for task in study.tasks):
            raise UserError(f"the family {family.name} can do no task of this study; add one, for example sampling")
        if family.tasks is not None and "text" not in family.tasks and study.corpus is not None:
            raise UserError(
                f"the family {family.name} cannot read a corpus; leave corpus out, or choose another family"
            )


def can_do(family: Family, task: str) -> bool:
    """Say whether a family can do a task: those it names, or by default all but those that have to be named."""
    return task not in NAMED_ONLY if family.tasks is None else task in family.tasks


def _check_embeddings(study: StudySettings, texts: Texts, rungs: list[Rung]) -> None:
    """Raise UserError where the models cannot begin with the token vectors that the study names."""
    if study.training is None or study.training.initialise_embeddings is None:
        return
    folder = Path(study.training.initialise_embeddings)
    vectors, _ = read_vectors(folder)
    if Tokenizer.load(folder).identity != texts.tokenizer.identity:
        raise UserError(
            f"the vectors in {folder} belong to other tokens than this study has; train them on the same corpus, "
            "tokenizer and tasks"
        )
    for rung in rungs:
        if FAMILIES.load(rung.family).embedding is None:
            raise UserError(
                f"the family {rung.family} has no token vectors to begin with; leave initialise_embeddings out"
            )
        if rung.config.width != vectors.shape[1]:
            raise UserError(
                f"{rung.name} ({rung.family}) is {rung.config.width} wide, but the vectors in {folder} are "
                f"{vectors.shape[1]}; choose a ladder of that width (vary: depth keeps one) or train other vectors"
            )


def _rungs(
    study: StudySettings,
    training: TrainingSettings,
    family: str,
    tasks: dict[str, Task],
    tokenizer: Tokenizer,
    tokens: int,
    batch_tokens: int,
) -> list[Rung]:
    """Return the ladder of one family, told of the tokens and the tasks where it asks for them."""
    dial, context = study.model.ladder, study.model.context
    assert dial is not None
    prefix = f"{family}-" if len(study.model.family) > 1 else ""
    own = FAMILIES.load(family)
    configs = ladder(family, dial.sizes(), vocabulary=tokenizer.vocabulary_size, context=context, vary=dial.vary)
    if own.informed is not None:
        options = {name: task.options.model_dump() for name, task in tasks.items() if isinstance(task, GeneratedTask)}
        configs = [own.informed(config, tokenizer.spellings(), options) for config in configs]
    return [
        Rung(
            name=f"{prefix}R{index:02d}",
            family=family,
            config=config,
            flops=own.training_passes * config.forward_flops(tokens, context, own.predicted_share * tokens),
            memory=run_bytes(config, batch_tokens, branches=bool(training.budgets)),
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


def _texts(study: StudySettings, tasks: dict[str, Task]) -> Texts:
    """Read and split the corpus, and build the tokenizer on its training part and on what the tasks write."""
    alphabet = "".join(sorted({character for task in tasks.values() for character in task.alphabet}))
    files = tuple(task.data for task in tasks.values() if isinstance(task, GeneratedTask) and task.data)
    if study.corpus is None:
        from emergence.core.settings import TokenizerSettings

        return Texts(build_tokenizer(TokenizerSettings(kind="char"), [], alphabet), files=files)
    if not study.corpus.files:
        raise UserError(
            f"study {study.name} needs texts: add corpus.files, for example --set corpus.files=my-texts/*.txt"
        )
    fold = study.corpus.fold
    corpus = read_corpus(study.corpus.files, None)
    if study.corpus.rows == "lines":
        corpus = lines_of(corpus)
    if fold is not None:  # a poem in both scripts must not be learnt in one and held out in the other
        corpus = distinct(corpus, folding_into(fold))
    training, validation = split_corpus(corpus, seed=study.seed)
    # A character that only the held-out part has would be unknown to every model; the alphabet is not a secret.
    everything = [*training, *validation] if study.corpus.tokenizer.kind == "char" else training
    tokenizer = build_tokenizer(study.corpus.tokenizer, everything, alphabet, fold=fold)
    for name, part in (("training", training), ("validation", validation)):
        if study.corpus.rows == "windows":
            _check_length(part, tokenizer, study.model.context, name)
    return Texts(tokenizer, tuple(training), tuple(validation), corpus, files)


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


def _workers(study: StudySettings, rungs: list[Rung]) -> int:
    """Return how many processes go side by side: one per core."""
    total = machine_bytes()
    largest = max(rungs, key=lambda rung: rung.memory)
    if largest.memory > total:
        raise UserError(
            f"the largest rung ({largest.config.non_embedding_parameters:,} parameters) needs about "
            f"{largest.memory / 2**30:.1f} GiB but this machine has {total / 2**30:.1f} GiB; "
            "lower model.ladder.largest or training.batch_tokens"
        )
    return worker_count(study.execution, len(rungs) * study.replicas)


def _checkpoints(
    study: StudySettings, steps: int, step_tokens: int, texts: Texts, sources: dict[str, float]
) -> tuple[int, ...]:
    """Return the steps at which every run is evaluated, its end among them."""
    training = study.training
    assert training is not None
    if training.checkpoints == "epochs":
        lengths = [len(ids) + 1 for ids in texts.tokenizer.encode_arrays(texts.training)]
        if study.corpus is not None and study.corpus.rows != "windows":  # the rest of a row is read, though empty
            lengths = [math.ceil(length / study.model.context) * study.model.context for length in lengths]
        tokens = sum(lengths)
        epoch = tokens / (sources["corpus"] * step_tokens)  # in steps
        ends = [round(epoch * n) for n in range(1, int(steps / epoch) + 1)]
        if not ends or len(ends) > MOST_CHECKPOINTS:
            raise UserError(
                f"a pass through the corpus takes {epoch * step_tokens:,.0f} tokens, so that training.tokens are "
                f"{steps / epoch:.1f} of them; let it be 1 to {MOST_CHECKPOINTS}, or give checkpoints a number"
            )
        return tuple(sorted({*(max(1, end) for end in ends), steps}))
    if not training.budgets:
        return tuple(checkpoint_steps(steps, training.checkpoints))
    return tuple(sorted({max(1, round(budget / step_tokens)) for budget in training.budgets} | {steps}))
