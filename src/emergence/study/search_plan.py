"""What a search will do, before anything is spent: the study of a trial, whether the goal and every value can be, and
what the trials cost at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from emergence.analysis.metrics import metric as known_metric
from emergence.core.errors import UserError, nearest
from emergence.core.search_settings import VALIDATION_LOSS, SearchGoal, SearchSettings
from emergence.core.settings import StudySettings, validate_study
from emergence.core.yaml import override
from emergence.models.family import FAMILIES
from emergence.study.folder import STAGE_SETTINGS
from emergence.tasks.task import Pooled, Split, Task, TaskContext

if TYPE_CHECKING:
    from emergence.study.plan import Plan
    from emergence.study.rungs import Rung

__all__ = ["SearchPlan", "plan_search", "trial_study", "with_values"]

#: Settings that a search does not tune, with the reason.
_FIXED = {
    "search": "a search does not tune itself",
    "name": "it does not change how a model is trained",
    "description": "it does not change how a model is trained",
    "analysis": "it does not change how a model is trained",
    "execution": "it does not change how a model is trained",
    "replicas": "the ladder has its own; those of a trial are search.replicas",
    "seed": "the best of several seeds is luck",
    "model.ladder": "the ladder is what the study asks about; search.rungs says what a trial trains",
    "tasks": "trials that are asked different questions cannot be compared",
    "evaluation": "trials that are asked different questions cannot be compared",
    **dict.fromkeys(STAGE_SETTINGS, "a trial ends with pre-training, before anything is done with its models"),
}
#: Settings that change what the validation loss is a loss of.
_OTHER_LOSS = ("mixture", "corpus")
#: Settings that the plan of a study does not depend on.
_LIGHT = ("training.learning_rate", "training.weight_decay", "training.clip")
EARLY = 0.25  # share of a training before which no trial is pruned: what learns first is not what ends best


@dataclass(frozen=True)
class SearchPlan:
    """What follows from the settings of a search and the plan of its study."""

    settings: SearchSettings
    direction: Literal["minimize", "maximize"]
    runs: int  # of a trial
    checkpoints: int  # of a run
    unpruned: int  # checkpoints at which no trial is pruned
    flops_each: float  # of the training of the most expensive trial

    @property
    def split(self) -> Split:
        """Whose questions a trial is asked: not those that the ladder is judged by, where its answers decide."""
        return "test" if self.settings.goal.task is None else "validation"

    @property
    def flops(self) -> float:
        """Training FLOPs of all trials if each were as expensive as can be and none were pruned."""
        return self.settings.trials * self.flops_each


def with_values(study: StudySettings, values: Mapping[str, Any]) -> StudySettings:
    """Return the study with values for the searched settings; raise UserError where one is not allowed."""
    changes = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    shown = ", ".join(changes)
    return validate_study(override(study.model_dump(mode="json"), changes), source=f"search with {shown}")


def trial_study(study: StudySettings, values: Mapping[str, Any]) -> StudySettings:
    """Return the study of one trial: the searched settings have the ``values``, and only the rungs and replicas that
    the search asks for are trained."""
    search, ladder = study.search, study.model.ladder
    assert search is not None
    assert ladder is not None
    tried = with_values(study, values).model_dump(mode="json")
    if search.rungs != "all":
        size = ladder.sizes()[0 if search.rungs == "smallest" else -1]
        tried["model"]["ladder"] = {"counts": [size], "vary": ladder.vary}
    own = {"search": None, "replicas": search.replicas} | {key: None for key in STAGE_SETTINGS if key in tried}
    return validate_study({**tried, **own}, source="a trial of the search")


def plan_search(plan: Plan, make_plan: Callable[[StudySettings], Plan]) -> SearchPlan:
    """Return the search of a study; raise UserError for a goal or a value that cannot be.

    Every end of every range is tried alone in the study, as is a value inside it, and planned by ``make_plan`` where
    sizes, texts or questions may depend on it.
    """
    study = plan.study
    search = study.search
    assert search is not None
    direction = _direction(search.goal, plan.tasks, study)
    base = plan.study.model_copy(update={"search": None})
    cost = dearest = _flops(plan, search)
    for name, setting in search.settings.items():
        _check_name(name, search.goal)
        ends = [with_values(base, {name: value}) for value in setting.ends]
        if setting.choices is None and not setting.whole:
            assert setting.low is not None
            assert setting.high is not None
            _check_inside(base, name, setting.low + 0.381 * (setting.high - setting.low))
        if name not in _LIGHT:
            plans = [make_plan(end) for end in ends]
            for planned in plans:
                _check_losses(planned.study, search.goal)
            dearest *= max(1.0, *(_flops(planned, search) / cost for planned in plans))
    _check_losses(study, search.goal)
    if search.goal.task is not None:
        _check_validation(plan)
    return SearchPlan(
        settings=search,
        direction=direction,
        runs=len(_trained(plan, search)) * search.replicas,
        checkpoints=len(plan.checkpoint_steps),
        unpruned=sum(step < EARLY * plan.steps for step in plan.checkpoint_steps),
        flops_each=dearest,
    )


def _check_name(name: str, goal: SearchGoal) -> None:
    """Raise UserError for a setting that no search may tune, or not for this goal."""
    for fixed, why in _FIXED.items():
        if name == fixed or name.startswith(f"{fixed}."):
            raise UserError(f"search.settings: {name} cannot be searched: {why}")
    if goal.task is None and name.split(".")[0] in _OTHER_LOSS:
        raise UserError(
            f"search.settings: with {name} the validation loss is one of another text, which cannot be compared; give "
            "search.goal a task and a metric"
        )


def _check_inside(study: StudySettings, name: str, value: float) -> None:
    try:
        with_values(study, {name: value})
    except UserError as error:
        raise UserError(f"{error}; write the range of a setting of whole numbers in whole numbers") from None


def _check_losses(study: StudySettings, goal: SearchGoal) -> None:
    """Raise UserError where the validation losses of families, or of choices of them, are not of one kind."""
    assert study.model.family
    families = set(study.model.family)
    if study.search is not None and (own := study.search.settings.get("model.family")) is not None:
        families |= {str(choice) for choice in own.choices or ()}
    own_loss = [name for name in sorted(families) if FAMILIES.load(name).own_loss]
    if goal.task is None and own_loss and len(families) > 1:
        raise UserError(
            f"the validation loss of {own_loss[0]} cannot be compared with that of other families; give search.goal a "
            "task and a metric"
        )


def _check_validation(plan: Plan) -> None:
    """Form the validation questions of every task once, so that one with too few fails before anything is spent."""
    study = plan.study
    context = TaskContext(
        tokenizer=plan.texts.tokenizer, context=study.model.context, seed=study.seed, split="validation"
    )
    for task in plan.tasks.values():
        for shots in study.evaluation.shots if task.trains else ():
            try:
                task.questions(context, study.evaluation.examples, shots)
            except UserError as error:
                raise UserError(
                    f"search.goal: a trial is asked the validation examples: {error}; or choose validation_loss"
                ) from None


def _direction(goal: SearchGoal, tasks: dict[str, Task], study: StudySettings) -> Literal["minimize", "maximize"]:
    """Return the direction of the goal; raise UserError where the study has no such score."""
    if goal.task is not None:
        if goal.task not in tasks:
            raise UserError(
                f"search.goal: the study has no task '{goal.task}'{nearest(goal.task, tasks)} "
                f"(tasks: {', '.join(tasks)})"
            )
        task = tasks[goal.task]
        metrics = [task.headline, *task.smooth, *(task.also if isinstance(task, Pooled) else ())]
        pooled = isinstance(task, Pooled) and known_metric(goal.metric) is not None  # known by name alone
        if goal.metric not in metrics and not pooled:
            raise UserError(
                f"search.goal: the task {goal.task} has no metric '{goal.metric}'{nearest(goal.metric, metrics)} "
                f"(metrics: {', '.join(metrics)})"
            )
        if goal.shots is not None and goal.shots not in study.evaluation.shots:
            raise UserError(f"search.goal: the study asks nothing with {goal.shots} shots; add it to evaluation.shots")
    if goal.direction is not None:
        return goal.direction
    known = known_metric(goal.metric)
    better = False if goal.metric == VALIDATION_LOSS else None if known is None else known.higher_is_better
    if better is None:
        raise UserError(f"search.goal: say whether {goal.metric} is to be had high or low: direction: maximize")
    return "maximize" if better else "minimize"


def _trained(plan: Plan, search: SearchSettings) -> list[Rung]:
    """Return the rungs of the ladder that a trial trains."""
    if search.rungs == "all":
        return list(plan.rungs)
    place = 0 if search.rungs == "smallest" else -1
    return [[rung for rung in plan.rungs if rung.family == family][place] for family in plan.study.model.family]


def _flops(plan: Plan, search: SearchSettings) -> float:
    """Return the training FLOPs of a trial that is not pruned."""
    own = sum(rung.flops for rung in _trained(plan, search)) * search.replicas
    return own * plan.schedule.computed_steps / plan.steps
