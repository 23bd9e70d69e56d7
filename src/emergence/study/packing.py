"""How the runs of a study share this machine: which replicas are stacked, in which order the groups go, how long it
takes.

Replicas of a small rung train faster stacked in one process than side by side (`training/stack.py`); larger ones do
not, and a stack cannot be shared among cores. A probe of about a second says how long a step takes both ways, and the
sizes of the stacks are those with which the last core is done first.

What a run computes must not depend on such a measurement. Whether its products have the stacked form therefore follows
from its size and the make of the processor alone (`rungs.Rung.stacked`), and in that form the number of replicas
changes no bit.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emergence.models.family import FAMILIES
from emergence.study.machine import MEMORY_SHARE, WORKER_BYTES, machine_bytes
from emergence.study.plan import Job, Plan
from emergence.study.rungs import Rung
from emergence.study.teacher import teaching_of

__all__ = [
    "Group",
    "Layout",
    "describe_teaching",
    "group_jobs",
    "lay_out",
    "measure_here",
    "most_stacked",
    "set_stacks",
]

MOST_STACKED = 8
PROBE_SECONDS = 1.0
TIMED_STEP_FLOPS = 1e10  # a larger step is timed on fewer rows
LEAST_GAIN = 0.02  # below which a measurement says nothing


@dataclass(frozen=True)
class Group:
    """Runs of one rung that one process does together."""

    rung: Rung
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """``R03-s1``, or ``R03-s0+s1+s2``."""
        return f"{self.rung.name}-{'+'.join(f's{seed}' for seed in self.seeds)}"

    @property
    def runs(self) -> list[str]:
        """The names of the runs."""
        return [f"{self.rung.name}-s{seed}" for seed in self.seeds]

    @property
    def memory(self) -> float:
        """Bytes at the peak, estimated."""
        return WORKER_BYTES + len(self.seeds) * (self.rung.memory - WORKER_BYTES)


@dataclass(frozen=True)
class Layout:
    """``stacks``: how many replicas are stacked, by rung; ``seconds``: of all training, estimated."""

    stacks: dict[str, int]
    seconds: float


def measure_here(request: dict[str, Any]) -> float:
    """Return the seconds of a training step per replica in this process; this imports torch.

    ``request`` holds the arguments of `training.machine.step_seconds` as plain values.
    """
    from emergence.training.machine import step_seconds

    config = FAMILIES.load(request["family"]).config_from(request["config"])
    teaching = None if request["teaching"] is None else teaching_of(request["teaching"])
    return step_seconds(**{**request, "config": config, "teaching": teaching})


def describe_teaching(plan: Plan, rung: Rung) -> dict[str, Any] | None:
    """Return the teacher that a rung learns from at every position, as plain values for `study.teacher.teaching_of`;
    None where there is none."""
    settings = plan.teacher_settings
    if plan.teacher is None or settings is None or settings.kind != "token":
        return None
    if FAMILIES.load(rung.family).learner == "nothing":
        return None
    asked = {"temperature": settings.softness, "weight": settings.share}
    return {"teacher": plan.teacher.to_dict(), **asked}


def lay_out(plan: Plan, measure: Callable[[dict[str, Any]], float] = measure_here) -> Layout:
    """Probe the machine and choose the stacks, unless the study sets them."""
    stacks = set_stacks(plan)
    choose = stacks is None
    if stacks is None:
        stacks = {rung.name: most_stacked(plan, rung) for rung in plan.rungs}
    seconds = _probe(plan, stacks, measure)
    if choose:
        for rung in plan.rungs:
            alone, stacked = (seconds[rung.name][size] for size in (1, stacks[rung.name]))
            if stacked > (1 - LEAST_GAIN) * alone:
                stacks[rung.name] = 1

    def total() -> float:
        groups = group_jobs(plan.jobs, stacks)
        steps = plan.schedule.computed_steps
        each = [steps * len(g.seeds) * _interpolated(seconds[g.rung.name], len(g.seeds)) for g in groups]
        return _makespan(each, plan.workers)

    best = total()
    # The most expensive rungs decide when the last core is done.
    for rung in sorted(plan.rungs if choose else (), key=lambda rung: -rung.flops):
        while stacks[rung.name] > 1:
            before = stacks[rung.name]
            stacks[rung.name] = _balanced(plan.study.replicas, math.ceil(plan.study.replicas / before) + 1)
            if (now := total()) > (1 - LEAST_GAIN) * best:
                stacks[rung.name] = before
                break
            best = now
    return Layout(stacks, best)


def set_stacks(plan: Plan) -> dict[str, int] | None:
    """Return the stacks where nothing is left to choose: the study sets them, or no replicas can be stacked."""
    asked = plan.study.execution.stack
    most = {rung.name: most_stacked(plan, rung) for rung in plan.rungs}
    if asked != "auto":
        return {name: min(size, asked) for name, size in most.items()}
    return most if max(most.values()) == 1 else None


def most_stacked(plan: Plan, rung: Rung) -> int:
    """Return how many replicas of a rung may be stacked: as many as are worth it and fit into the memory, in equal
    parts."""
    if not rung.stacked:
        return 1
    room = MEMORY_SHARE * machine_bytes() - WORKER_BYTES
    most = max(1, min(plan.study.replicas, MOST_STACKED, int(room / (rung.memory - WORKER_BYTES))))
    return _balanced(plan.study.replicas, math.ceil(plan.study.replicas / most))


def _balanced(replicas: int, groups: int) -> int:
    return math.ceil(replicas / groups)


def _interpolated(seconds: Mapping[int, float], size: int) -> float:
    """Return the seconds of a step per replica in a stack of ``size`` from those that were timed."""
    sizes = sorted(seconds)
    return float(np.interp(size, sizes, [seconds[known] for known in sizes]))


def group_jobs(jobs: Iterable[Job], stacks: Mapping[str, int], begun: Mapping[str, int] | None = None) -> list[Group]:
    """Return the groups of the given runs, the most expensive first.

    ``begun`` holds the step that each run has reached: a stack goes in step, so only runs that stand at the same one
    share a group.
    """
    members: dict[tuple[str, int, int], list[Job]] = {}
    for job in jobs:
        reached = (begun or {}).get(job.name, 0)
        members.setdefault((job.rung.name, reached, job.seed // stacks[job.rung.name]), []).append(job)
    groups = [Group(own[0].rung, tuple(sorted(job.seed for job in own))) for own in members.values()]
    return sorted(groups, key=lambda group: (-group.rung.flops * len(group.seeds), group.name))


def _probe(
    plan: Plan, stacks: Mapping[str, int], measure: Callable[[dict[str, Any]], float]
) -> dict[str, dict[int, float]]:
    """Return the seconds of a step per replica by rung and by the number that are stacked: one, and ``stacks``."""
    found: dict[str, dict[int, float]] = {}
    for rung in plan.rungs:
        found[rung.name] = {}
        for size in sorted({1, stacks[rung.name]}):
            share = TIMED_STEP_FLOPS / max(1.0, size * rung.flops / plan.steps)
            rows = max(1, min(plan.batch_rows, int(share * plan.batch_rows)))
            request = {
                "family": rung.family,
                "config": rung.config.to_dict(),
                "batch_rows": rows,
                "stacked": rung.stacked,
                "replicas": size,
                "seconds": PROBE_SECONDS / (2 * len(plan.rungs)),
                "teaching": describe_teaching(plan, rung),
            }
            found[rung.name][size] = measure(request) * plan.batch_rows / rows
    return found


def _makespan(seconds: Iterable[float], workers: int) -> float:
    """Return when the last worker is done if each takes the longest job that is left (Graham 1969, doi
    10.1137/0117039)."""
    ends = [0.0] * workers
    for job in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)
