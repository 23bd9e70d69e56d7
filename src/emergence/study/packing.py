"""How the runs of a study share this machine: which replicas are stacked, in which order the groups go, how long it
takes.

Replicas of a small rung train faster stacked in one process than side by side (`training/stack.py`); from some hundred
thousand parameters on they do not, and a stack cannot be shared among cores. A probe of about a second says how long a
step takes both ways, and the sizes of the stacks are those with which the last core is done first.

What a run computes must not depend on such a measurement. Whether its products have the stacked form therefore follows
from its size alone, and in that form the number of replicas changes no bit.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emergence.models.family import FAMILIES
from emergence.study.plan import WORKER_BYTES, Job, Plan, Rung

__all__ = ["Group", "Layout", "group_jobs", "lay_out", "measure_here"]

MOST_STACKED = 8
PROBE_SECONDS = 1.0
STACKABLE_PARAMETERS = 500_000  # from there on the passes between matrix products hardly matter
TIMED_STEP_FLOPS = 1e11  # a step that takes a few seconds at most


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
    def stacked(self) -> bool:
        """Whether the products have the stacked form."""
        return _stackable(self.rung)

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
    return step_seconds(**{**request, "config": config})


def lay_out(plan: Plan, measure: Callable[[dict[str, Any]], float] = measure_here) -> Layout:
    """Probe the machine and choose the stacks, unless the study sets them."""
    alone, stacked = _probe(plan, measure)
    asked = plan.study.execution.stack
    most = min(plan.study.replicas, MOST_STACKED if asked == "auto" else asked)
    stacks = {
        rung.name: most if _stackable(rung) and (asked != "auto" or stacked[rung.name] < alone[rung.name]) else 1
        for rung in plan.rungs
    }

    def seconds() -> float:
        groups = group_jobs(plan.jobs, stacks)
        steps = plan.schedule.computed_steps
        return _makespan(
            [
                steps * len(group.seeds) * (stacked if len(group.seeds) > 1 else alone)[group.rung.name]
                for group in groups
            ],
            plan.workers,
        )

    best = seconds()
    for rung in reversed(plan.rungs if asked == "auto" else ()):  # the largest decides when the last core is done
        while stacks[rung.name] > 1:
            before = stacks[rung.name]
            stacks[rung.name] = math.ceil(plan.study.replicas / (math.ceil(plan.study.replicas / before) + 1))
            if (now := seconds()) >= best:
                stacks[rung.name] = before
                break
            best = now
    return Layout(stacks, best)


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


def _probe(plan: Plan, measure: Callable[[dict[str, Any]], float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of a step per replica, alone and stacked, by rung.

    Rungs too large to time in a moment are scaled up from the largest timed one by their FLOPs.
    """
    alone: dict[str, float] = {}
    stacked: dict[str, float] = {}
    size = min(plan.study.replicas, MOST_STACKED)
    per_flop = 0.0
    for rung in plan.rungs:
        request = {
            "family": plan.study.model.family,
            "config": rung.config.to_dict(),
            "batch_rows": plan.batch_rows,
            "stacked": _stackable(rung),
            "seconds": PROBE_SECONDS / (2 * len(plan.rungs)),
        }
        if not per_flop or rung.flops / plan.steps < TIMED_STEP_FLOPS:
            alone[rung.name] = measure({**request, "replicas": 1})
            per_flop = alone[rung.name] / rung.flops
        else:
            alone[rung.name] = rung.flops * per_flop
        stacks = size > 1 and _stackable(rung)
        stacked[rung.name] = measure({**request, "replicas": size}) if stacks else alone[rung.name]
    return alone, stacked


def _stackable(rung: Rung) -> bool:
    return bool(rung.config.non_embedding_parameters < STACKABLE_PARAMETERS)


def _makespan(seconds: Iterable[float], workers: int) -> float:
    """Return when the last worker is done if each takes the longest job that is left (Graham 1969, doi
    10.1137/0117039)."""
    ends = [0.0] * workers
    for job in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)
