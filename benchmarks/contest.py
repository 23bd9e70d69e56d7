"""What the contests share: contestants as child processes that are asked in turn, and how their figures are kept.

A contestant is a module that calls `serve` when run. It prepares itself once and then answers one question at a time,
so that the parent can alternate between contestants: a busy moment of the machine then meets all of them alike, and
what is compared are ratios of figures taken seconds apart.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ROOT", "Contestant", "alternate", "environment", "serve", "spread", "table", "versions"]

ROOT = Path(__file__).parent.parent
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Answer = dict[str, Any]


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a child: ``threads`` for linear algebra (None: as its libraries choose), no network."""
    limits = dict.fromkeys(THREAD_SETTINGS, str(threads)) if threads else {}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    kept = {key: value for key, value in os.environ.items() if key not in THREAD_SETTINGS}
    return {**kept, **limits, **offline}


class Contestant:
    """A child process that has prepared itself; ``startup`` is how many seconds that took from nothing."""

    def __init__(self, module: str, options: Mapping[str, Any], *, threads: int | None) -> None:
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(options)],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "EMERGENCE_BENCH_LOUD" not in os.environ else None,
            text=True,
        )
        self._module = module
        self.ready = self._hear()
        self.startup = time.perf_counter() - start

    def ask(self, **question: Any) -> Answer:
        """Put one question and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"{self._module} ended with status {code}; EMERGENCE_BENCH_LOUD=1 shows what it said")
        answer: Answer = json.loads(line)
        return answer

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(prepare: Callable[[Answer], tuple[Answer, Callable[[Answer], Answer]]]) -> None:
    """Be a contestant: ``prepare(options)`` returns what to say when ready, and the function that answers questions."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    ready, answer = prepare(json.loads(sys.argv[1]))
    answers.write(json.dumps(ready) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")


def alternate(contestants: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Ask every contestant once a round, each round beginning with the next one; return the figures by name."""
    names = list(contestants)
    found: dict[str, list[float]] = {name: [] for name in names}
    for k in range(repetitions):
        for i in range(len(names)):
            name = names[(i + k) % len(names)]
            found[name].append(contestants[name]())
    return found


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, least and most of repeated figures, and how many there are."""
    held = list(values)
    return {"median": statistics.median(held), "low": min(held), "high": max(held), "n": len(held)}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a Markdown table: the first column to the left, the others to the right."""
    titles = list(head)
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---', *['--:'] * (len(titles) - 1)])} |"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def versions(*packages: str) -> str:
    """Name the installed versions of the packages that a contest rests on."""
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
