"""What a study, or a design alone, can see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings

if TYPE_CHECKING:
    from emergence.analysis.power import PowerReport
    from emergence.analysis.simulate import Design
    from emergence.study.plan import Plan

__all__ = ["power"]


def power(
    study: str | Path | StudySettings | None = None,
    *,
    changes: Iterable[str] = (),
    rungs: int | None = None,
    replicas: int | None = None,
    examples: int | None = None,
    decades: float | None = None,
    floor: float | None = None,
    answer_tokens: float | None = None,
    spread: float | None = None,
    gain: float | None = None,
    width: float | None = None,
    probabilities: Sequence[float] = (),
    power: float = 0.8,
    simulations: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> PowerReport:
    """Return the probability that a study gets the right verdict, by nature, and what would raise it to ``power``.

    The design is the study's: its rungs, decades, replicas, examples and number of curves, each task's floor and answer
    length; without a study it is that of `analysis.simulate.Design`. ``rungs`` to ``spread`` change it. ``gain`` and
    ``width`` are those of the mirage and the emergence to be told apart; ``probabilities`` are those of an ability of
    which it is asked how many examples show it. The studies are simulated and judged in ``workers`` processes, by
    default one per core. Raises UserError for wrong input.
    """
    from emergence.analysis import power as analysis
    from emergence.analysis.simulate import Design
    from emergence.api import plan
    from emergence.study.published import PublishedPlan

    asked = {
        "rungs": rungs,
        "replicas": replicas,
        "examples": examples,
        "decades": decades,
        "floor": floor,
        "answer_tokens": answer_tokens,
        "spread": spread,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    name = "this design"
    notes: tuple[str, ...] = ()
    if study is None:
        designs = {"ability": replace(Design(), **given)}
    else:
        planned = plan(study, changes=changes)
        if isinstance(planned, PublishedPlan):
            raise UserError(
                f"study {planned.study.name} trains nothing, so that there is no design to change; give that of its "
                "ladder without a study: --rungs, --replicas, --examples and --decades"
            )
        name = planned.study.name
        designs, notes = _designs(planned, given)
    return analysis.power_report(
        designs,
        name=name,
        power=power,
        probabilities=probabilities,
        gain=analysis.GAIN if gain is None else gain,
        width=analysis.WIDTH if width is None else width,
        simulations=analysis.SIMULATIONS if simulations is None else simulations,
        seed=seed,
        workers=workers,
        progress=progress,
        notes=notes,
    )


def _designs(plan: Plan, given: Mapping[str, Any]) -> tuple[dict[str, Design], tuple[str, ...]]:
    """Return the design of every task with a right answer, and notes on the others."""
    from emergence.analysis.simulate import Design
    from emergence.tasks.task import TaskContext

    study = plan.study
    sizes = [rung.config.non_embedding_parameters for rung in plan.sized]
    if not sizes:
        raise UserError(f"study {study.name} has no family with sizes, whose ladder could be simulated; add one")
    families = tuple(dict.fromkeys(rung.family for rung in plan.sized))
    rungs = len(sizes) // len(families)
    if "rungs" not in given and rungs < 3:
        raise UserError(
            f"study {study.name} has {rungs} of the 3 rungs that a verdict needs; "
            "raise model.ladder.rungs, or give --rungs"
        )
    context = TaskContext(tokenizer=plan.texts.tokenizer, context=study.model.context, seed=study.seed)
    counted = {name: task for name, task in plan.tasks.items() if task.trains}
    others = [name for name in plan.tasks if name not in counted]
    if not counted:
        raise UserError(f"study {study.name} has no task with right answers, whose power could be simulated; add one")
    shots = study.evaluation.shots
    designs = {}
    for name, task in counted.items():
        questions = task.questions(context, study.evaluation.examples, shots[0])
        found = {
            "rungs": rungs,
            "replicas": study.replicas,
            "examples": len(questions),
            "decades": math.log10(max(sizes) / min(sizes)),
            "floor": task.floor,
            "answer_tokens": sum(len(question.target_ids) for question in questions) / len(questions),
            "curves": len(families) * (len(counted) * len(shots) + len(others)),
        }
        designs[name] = Design(**{**found, **given})
    notes = tuple(f"{name}: not simulated, its score is no share of right answers" for name in others)
    return designs, notes
