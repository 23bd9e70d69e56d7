"""Simulated ladders judged side by side, one single-threaded child process per core.

A child reads jobs as lines of JSON from standard input and stops when its input closes, that is, when the parent is
gone. Nothing has to be guarded in the caller's script, and the verdicts do not depend on how many children there are.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from types import TracebackType
from typing import Any

from emergence.analysis.simulate import ABILITY, Design, Effect, simulate
from emergence.analysis.verdict import judge
from emergence.core.children import end_child, start_child
from emergence.core.seeds import derive_seed, stream

__all__ = ["RESAMPLES", "Pool", "simulated_verdicts"]

RESAMPLES = 200  # of each simulated table; a study's own number changes intervals a little and verdicts hardly ever


def simulated_verdicts(
    effect: Effect, design: Design, seed: int, purpose: str, start: int, stop: int, resamples: int = RESAMPLES
) -> list[str]:
    """Return what `judge` calls the simulated studies ``start`` to ``stop - 1`` along `params`.

    Each study has a random stream of its own, named by ``purpose``, the effect and its number.
    """
    called = []
    for i in range(start, stop):
        table = simulate(effect, design, stream(seed, "power", purpose, effect.label, i))
        own = derive_seed(seed, "power", purpose, effect.label, i)
        found = judge(table, axes=("params",), resamples=resamples, seed=own, candidates=False)
        called.append(next(v.verdict.value for v in found if v.task == ABILITY and v.metric == "exact_match"))
    return called


class Pool:
    """``workers`` children (by default one per core), or none where one suffices; a context manager."""

    def __init__(self, workers: int | None = None) -> None:
        self._count = workers or len(os.sched_getaffinity(0))
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Pool:
        if self._count > 1:
            self._children = [start_child("emergence.analysis.workers") for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            end_child(child)
        self._children.clear()

    def verdicts(self, effect: Effect, design: Design, seed: int, purpose: str, start: int, stop: int) -> list[str]:
        """Return `simulated_verdicts`, the studies shared out among the children."""
        if not self._children:
            return simulated_verdicts(effect, design, seed, purpose, start, stop)
        job = {"effect": asdict(effect), "design": asdict(design), "seed": seed, "purpose": purpose}
        size, count = stop - start, len(self._children)
        edges = [start + size * i // count for i in range(count + 1)]
        for child, low, high in zip(self._children, edges, edges[1:], strict=False):
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # a dead child is noticed below, where its output ends
                child.stdin.write(json.dumps({**job, "start": low, "stop": high}).encode() + b"\n")
                child.stdin.flush()
        called: list[str] = []
        for child in self._children:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise RuntimeError(f"a process that simulates studies ended with status {child.wait()}")
            called += json.loads(line)
        return called


def _serve() -> None:
    """Answer jobs until there are none."""
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        effect, design = Effect(**job.pop("effect")), Design(**job.pop("design"))
        sys.stdout.write(json.dumps(simulated_verdicts(effect, design, **job)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
