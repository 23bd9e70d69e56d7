"""What a study will do, before anything is spent: rungs, runs, parameters, FLOPs and memory. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.core.settings import StudySettings, TrainingSettings
from emergence.core.teacher_settings import TeacherSettings
from emergence.models.family import FAMILIES
from emergence.study.machine import machine_bytes, worker_count
from emergence.study.published import PublishedPlan, plan_published
from emergence.study.rungs import Rung, check_embeddings, check_families, ladder_of
from emergence.study.search_found import found_before
from emergence.study.search_plan import SearchPlan, plan_search
from emergence.study.taught import check_tokens, teacher_of
from emergence.study.teacher import Teacher
from emergence.study.texts import Texts, check_questions, read_texts
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Task
from emergence.training.schedule import BASE_LEARNING_RATE, Schedule, checkpoint_steps

__all__ = ["Job", "Plan", "make_plan"]

MOST_CHECKPOINTS = 200  # of a run


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
    search: SearchPlan | None = None  # what comes before, while it is still to be done
    teacher: Teacher | None = None

    @property
    def teacher_settings(self) -> TeacherSettings | None:
        """What the study asks of its teacher."""
        return None if self.study.training is None else self.study.training.teacher

    @property
    def writing_flops(self) -> float:
        """FLOPs by which a teacher of kind ``sequence`` writes, at most: as if every text filled a context."""
        settings = self.teacher_settings
        if self.teacher is None or settings is None or settings.kind != "sequence":
            return 0.0
        context = self.study.model.context
        return len(self.sources) * self.teacher.forward_flops(settings.number * context, context)

    @property
    def teaching_flops(self) -> float:
        """FLOPs of all forward passes of a teacher, at most."""
        settings = self.teacher_settings
        if self.teacher is None or settings is None or settings.kind != "token":
            return self.writing_flops
        context, tokens = self.study.model.context, self.tokens * self.schedule.computed_steps / self.steps
        taught = [job for job in self.jobs if FAMILIES.load(job.rung.family).learner != "nothing"]
        share = [FAMILIES.load(job.rung.family).predicted_share for job in taught]
        return sum(self.teacher.forward_flops(tokens, context, own * tokens) for own in share)

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
        """FLOPs of all training, with those of a teacher."""
        training = sum(job.rung.flops for job in self.jobs) * self.schedule.computed_steps / self.steps
        return training + self.writing_flops

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


def make_plan(study: StudySettings, folder: Path | None = None) -> Plan | PublishedPlan:
    """Derive the plan of a study; raise UserError for whatever cannot be: names, texts, sizes, memory.

    A study that was begun in ``folder`` goes on with the token vectors that are kept there, and those of the run that
    they came from are not needed any more; a search that is finished there is not planned again.
    """
    tasks = {task.name: make_task(task.name, task.options) for task in study.tasks}
    if study.training is None:
        return plan_published(study, tasks)
    plan = _plan_training(study, study.training, tasks, folder)
    if study.search is None or found_before(study, folder) is not None:
        return plan

    def plan_again(changed: StudySettings) -> Plan:
        assert changed.training is not None
        own = {task.name: make_task(task.name, task.options) for task in changed.tasks}
        return _plan_training(changed, changed.training, own, folder)

    return replace(plan, search=plan_search(plan, plan_again))


def _plan_training(
    study: StudySettings, training: TrainingSettings, tasks: dict[str, Task], folder: Path | None
) -> Plan:
    """Derive the plan of a study that trains its models."""
    check_families(study)
    teacher = teacher_of(study, tasks)
    beside = teacher if training.teacher is not None and training.teacher.kind == "token" else None
    texts = read_texts(study, tasks, None if beside is None else beside.tokenizer())
    if beside is not None:
        check_tokens(beside, texts, tasks)
    context = study.model.context
    check_questions(study, tasks, texts)
    batch_rows = max(1, round(training.batch_tokens / context))
    steps = max(1, round(training.tokens / (batch_rows * context)))
    tokens = steps * batch_rows * context
    rungs = [
        rung
        for family in study.model.family
        for rung in ladder_of(study, training, family, tasks, texts.tokenizer, tokens, batch_rows * context, beside)
    ]
    check_embeddings(study, texts, rungs, folder)
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
        teacher=teacher,
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
