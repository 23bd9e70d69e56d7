"""The stage `finetune` of a study: which model is tuned how, and what its scores are points of.

Each job is one model, one variant, one task, one number of examples. Its records give rows of two kinds: a point of the
model's learning curve (axis ``examples``), and a point of the ladder of models tuned on so many examples (axis
``params``), so that it shows where the ability appears with fine-tuning and where without.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from emergence.core.errors import UserError, unknown_name
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.store import sha256
from emergence.core.tuning_settings import TuningSettings
from emergence.evaluation.class_records import test_name
from emergence.evaluation.scores import score_records
from emergence.models.family import FAMILIES
from emergence.study.plan import Job, Plan
from emergence.study.published import PublishedPlan, PublishedRun
from emergence.study.stages import AnyPlan, Report, StageJob
from emergence.tasks.classification import largest_share
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.task import GeneratedTask, Task
from emergence.training.finetuning import ADAPTABLE, WRITERS
from emergence.training.finetuning.choosing import ENOUGH

__all__ = ["TUNING", "Tuning"]

BASELINE_BYTES = 2**29
UNKNOWN_COST = 1e12  # FLOPs of what cannot be counted beforehand
WRITTEN_LENGTH = 32  # tokens of an example, about, where they are not counted yet


class Tuning:
    """Fine-tuning as a stage (`study.stages.Stage`)."""

    doing = "fine-tuning"

    def jobs(self, plan: AnyPlan) -> list[StageJob]:
        """Return a job for each model, variant, task and number of examples."""
        asked = plan.study.finetune
        if asked is None:
            return []
        tasks = _tasks(plan, asked)
        found = []
        runs = _runs(plan, asked)
        for name, task in tasks.items():
            sizes = _sizes(task, asked)
            for run in _able(runs, name, task):
                for variant in asked.variants:
                    found += [_job(plan, run, name, variant, size, asked) for size in sizes]
                found += _beforehand(plan, run, name, sizes, asked)
            if isinstance(task, LabelledTask) and task.kind == "classification":
                found += [
                    _baseline_job(plan, baseline, name, size, seed)
                    for baseline in asked.baselines
                    for size in sizes
                    for seed in range(plan.study.replicas)
                ]
        return found

    def work(self, job: dict[str, Any], report: Report) -> None:
        """Fine-tune one model, or fit a baseline, and answer the test sets."""
        from emergence.study.tuning_worker import fit_baseline, tune

        if job["baseline"] is not None:
            fit_baseline(job, report)
        else:
            tune(job, report)

    def rows(
        self, plan: AnyPlan, outcomes: Sequence[tuple[StageJob, dict[str, Any], pl.DataFrame]]
    ) -> list[pl.DataFrame]:
        """Return the points of learning curves, and of ladders tuned on so many examples."""
        frames = []
        for job, outcome, records in outcomes:
            names = records["task"].unique().to_list()
            tasks = {name: _with_floor(plan.tasks[job.values["task"]], name) for name in names}
            scores = score_records(records, tasks)
            frames += [scores.drop("step").with_columns(**values) for values in _places(job, outcome)]
        return frames


TUNING = Tuning()


def _with_floor(task: Task, name: str) -> Task:
    """Return the task with the floor of the test set that is scored under ``name``."""
    if not isinstance(task, LabelledTask) or task.kind != "classification":
        return task
    labels = next(
        [example.label for example in examples]
        for test, examples in task.data().tests.items()
        if test_name(task.name, test) == name
    )
    own = copy.copy(task)
    own.floor = largest_share(labels)
    return own


def _places(job: StageJob, outcome: dict[str, Any]) -> list[dict[str, pl.Expr]]:
    """Return the names and axis values of the rows of a job."""
    examples, before = outcome["examples"], job.values["before"]
    if job.run is None:
        return [{"family": pl.lit(job.family), "examples": pl.lit(float(examples))}]
    done = job.values["variant"]
    family, model = f"{job.family} {done}", f"{job.model} {done}"
    own = {"family": pl.lit(family), "model": pl.lit(model)}
    on = {"family": pl.lit(f"{family} on {examples}"), "model": pl.lit(f"{model} on {examples}")}
    if before is not None:
        return [on | {"training_tasks": pl.lit(float(len(before["tasks"])))}]
    curve = own | {"examples": pl.lit(float(examples))}
    if job.values["settings"]["start"] == "untrained":  # no place beside the models as they were trained
        return [curve]
    return [curve, on | {"params": pl.lit(float(outcome["params"]))}]


def _tasks(plan: AnyPlan, asked: TuningSettings) -> dict[str, Task]:
    """Return the tasks that are tuned for; raise UserError for one that has nothing to learn from."""
    labelled = {name: task for name, task in plan.tasks.items() if isinstance(task, LabelledTask)}
    if not asked.tasks and not labelled:
        raise UserError(
            "finetune needs a task to tune for: add a labelled one, such as classification, or name one of this study "
            "under finetune.tasks"
        )
    for name in (*asked.tasks, *(asked.before.tasks if asked.before else ())):
        if name not in plan.tasks:
            raise unknown_name("task", name, plan.tasks)
        if not isinstance(plan.tasks[name], GeneratedTask):
            raise UserError(f"the task {name} has no training examples to be tuned on; leave it out of finetune.tasks")
    for task in labelled.values():
        task.data()
    return {name: plan.tasks[name] for name in asked.tasks} if asked.tasks else dict(labelled)


def _sizes(task: Task, asked: TuningSettings) -> list[int | None]:
    """Return the numbers of examples: each once, none above what there are; None is all."""
    if not isinstance(task, LabelledTask):
        return list(dict.fromkeys(ENOUGH if size == "all" else size for size in asked.examples))
    most = len(task.data().train)
    return list(dict.fromkeys(None if size == "all" or size >= most else size for size in asked.examples))


def _runs(plan: AnyPlan, asked: TuningSettings) -> list[Job | PublishedRun]:
    """Return the runs whose models are tuned."""
    runs: list[Job | PublishedRun] = [*plan.jobs]
    if asked.rungs == "all":
        return runs
    names = {_rung(run) for run in runs}
    if asked.rungs == "largest":
        if isinstance(plan, PublishedPlan):
            raise UserError("finetune.rungs: largest is for ladders; name the models, or leave it out")
        largest = {rung.family: rung.name for rung in plan.rungs}  # in the order of size
        return [run for run in runs if _rung(run) in largest.values()]
    for name in asked.rungs:
        if name not in names:
            raise unknown_name("rung", name, names)
    return [run for run in runs if _rung(run) in asked.rungs]


def _able(runs: Sequence[Job | PublishedRun], name: str, task: Task) -> list[Job | PublishedRun]:
    """Return the runs whose models can do a task; raise UserError where there is none. Of a model that was trained
    elsewhere it is known once it is loaded."""
    written = _written(task)
    families = WRITERS if written else ADAPTABLE
    able = [run for run in runs if isinstance(run, PublishedRun) or run.rung.family in families]
    if not able:
        raise UserError(
            f"finetune: no model of this study can be tuned for {name}, which is answered by "
            f"{'writing' if written else 'a head on hidden states'}; families that can: {', '.join(families)}"
        )
    return able


def _written(task: Task) -> bool:
    """Say whether a task is answered by writing, without a head."""
    return not isinstance(task, LabelledTask) or task.kind == "generation"


def _check_freezing(run: Job | PublishedRun, variant: str, settings: FinetuneSettings, name: str, task: Task) -> None:
    """Raise UserError where nothing would be left to learn, or more is to be frozen than a model has; how much one
    trained elsewhere has is known once it is loaded."""
    if settings.freeze == "all":
        if _written(task):
            raise UserError(
                f"finetune: {variant} freezes all, and {name} is answered by writing, without a head that could learn; "
                "freeze less, or take the task out of finetune.tasks"
            )
        return
    if isinstance(run, PublishedRun):
        return
    depths = 1 + (0 if run.rung.family == "word2vec" else run.rung.config.depth)
    if settings.freeze > depths:
        raise UserError(
            f"finetune: {variant} freezes {settings.freeze} depths, but {run.rung.name} has {depths} below its head; "
            "freeze fewer, or say all"
        )


def _rung(run: Job | PublishedRun) -> str:
    return run.rung if isinstance(run, PublishedRun) else run.rung.name


def _family(run: Job | PublishedRun) -> str:
    return run.family if isinstance(run, PublishedRun) else run.rung.family


def _job(
    plan: AnyPlan,
    run: Job | PublishedRun,
    task: str,
    variant: str,
    size: int | None,
    asked: TuningSettings,
    before: dict[str, Any] | None = None,
) -> StageJob:
    settings = asked.variant(variant) if before is None else asked.settings
    _check_freezing(run, variant, settings, task, plan.tasks[task])
    shown = variant if before is None else before["method"]
    parts = [run.name, shown.replace(" ", "-"), task, "all" if size is None else str(size)]
    if before is not None:
        parts.append(f"after{len(before['tasks'])}")
    return StageJob(
        name=".".join(parts),
        stage="finetune",
        run=run.name,
        model=_rung(run),
        family=_family(run),
        seed=run.seed,
        cost=_cost(plan, run, task, size, settings) * (2 if before else 1),
        memory=run.memory if isinstance(run, PublishedRun) else run.rung.memory,
        values={
            "baseline": None,
            "variant": shown,
            "task": task,
            "tasks": {name: options for name, options in _options(plan).items() if name in _needed(task, before)},
            "examples": size,
            "questions": plan.study.evaluation.examples,
            "settings": settings.model_dump(mode="json"),
            "before": before,
            "read": _read(plan, _needed(task, before), settings),
            "allow_pickle": plan.study.model.allow_pickle,
        },
    )


def _read(plan: AnyPlan, names: set[str], settings: FinetuneSettings | None) -> dict[str, str]:
    """Return hashes of the files that a job reads, by task and lexicon: it is done again where one has changed."""
    found = {name: task.fingerprint for name in sorted(names) if isinstance(task := plan.tasks[name], GeneratedTask)}
    for augmentation in settings.augment if settings is not None else ():
        if augmentation.lexicon is not None:
            path = Path(augmentation.lexicon)
            if not path.is_file():
                raise UserError(f"finetune: there is no lexicon {path}; name a file of synonyms, or leave lexicon out")
            found[str(path)] = sha256(path)
    return found


def _needed(task: str, before: dict[str, Any] | None) -> set[str]:
    return {task, *(before["tasks"] if before else ())}


def _options(plan: AnyPlan) -> dict[str, dict[str, Any]]:
    return {task.name: task.options for task in plan.study.tasks}


def _beforehand(
    plan: AnyPlan, run: Job | PublishedRun, task: str, sizes: Sequence[int | None], asked: TuningSettings
) -> list[StageJob]:
    """Return the jobs that learn other tasks first; a task is none of its own forerunners."""
    if asked.before is None:
        return []
    others = [name for name in asked.before.tasks if name != task]
    found = []
    for method in asked.before.methods:
        for count in asked.before.counts:
            if count <= len(others):
                before = {
                    "method": method,
                    "tasks": others[:count],
                    "settings": asked.before.settings.model_dump(mode="json"),
                }
                found += [_job(plan, run, task, method, size, asked, before) for size in sizes]
    return found


def _baseline_job(plan: AnyPlan, baseline: str, task: str, size: int | None, seed: int) -> StageJob:
    return StageJob(
        name=f"{baseline}-s{seed}.{task}.{'all' if size is None else size}",
        stage="finetune",
        run=None,
        model=baseline,
        family=baseline,
        seed=seed,
        cost=1e9,
        memory=BASELINE_BYTES,
        values={
            "baseline": baseline,
            "variant": baseline,
            "task": task,
            "tasks": {task: _options(plan)[task]},
            "examples": size,
            "before": None,
            "read": _read(plan, {task}, None),
        },
    )


def _cost(plan: AnyPlan, run: Job | PublishedRun, task: str, size: int | None, settings: FinetuneSettings) -> float:
    """Return about the most FLOPs that a job takes."""
    if isinstance(run, PublishedRun) or not isinstance(plan, Plan):
        return UNKNOWN_COST
    found = plan.tasks[task]
    length = float(WRITTEN_LENGTH)
    count = size or 1000
    if isinstance(found, LabelledTask):
        some = found.data().train[:200]
        lengths = map(len, plan.texts.tokenizer.encode_batch([f"{e.text} {e.second}" for e in some]))
        length = min(plan.study.model.context, sum(lengths) / len(some))
        count = size or len(found.data().train)
    seen = max(settings.epochs * count, settings.least_steps * settings.batch)
    passes = FAMILIES.load(run.rung.family).training_passes
    each: float = run.rung.config.forward_flops(length, max(1, round(length)), 0)
    return seen * each * passes * (3 if settings.adversarial else 1)
