"""Running jobs side by side on this machine, one single-threaded process each.

Two processes of one thread train small models 1.2 to 2.3 times as fast as one process of two threads. A worker that is
killed is noticed, named and replaced; its job goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from emergence.core.children import end_child, start_child
from emergence.core.errors import UserError
from emergence.study.machine import MEMORY_SHARE, machine_bytes

__all__ = ["WorkerError", "Workers"]

ATTEMPTS = 3  # of one job, before a worker that keeps dying ends the study


class WorkerError(RuntimeError):
    """A job failed in its worker; everything finished so far is kept."""


class _Worker:
    """One child process and the job it is on."""

    def __init__(self) -> None:
        # glibc gives large blocks back at once by default, and a training step asks for the same ones again: the page
        # faults cost 5 to 8 % of it.
        memory = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
        self.process = start_child("emergence.study.worker", TOKENIZERS_PARALLELISM="false", **memory)
        self.job: dict[str, Any] | None = None
        self._unread = b""

    def give(self, job: dict[str, Any]) -> None:
        """Send the next job."""
        assert self.process.stdin is not None
        self.job = job
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed where its output ends
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def events(self) -> list[dict[str, Any]] | None:
        """Return what was reported since the last call; None when the process has ended."""
        assert self.process.stdout is not None
        content = os.read(self.process.stdout.fileno(), 2**16)
        if not content:
            return None
        *lines, self._unread = (self._unread + content).split(b"\n")
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        """End the process at once; what it was writing stays under a temporary name."""
        end_child(self.process)


class Workers:
    """Up to ``count`` processes and the jobs that wait for one; a context manager.

    The processes start at once, so that their imports go on beside whatever the caller still prepares. One that has
    nothing left to do ends, unless the processes are ``kept`` for the next call.
    """

    def __init__(self, count: int, *, kept: bool = False) -> None:
        self._count, self._kept = count, kept
        self._waiting: list[dict[str, Any]] = []
        self._memory = MEMORY_SHARE * machine_bytes()
        self._selector = selectors.DefaultSelector()
        self._active: list[_Worker] = []

    def __enter__(self) -> Self:
        while len(self._active) < self._count:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._active:
            worker.stop()
        self._selector.close()

    def measure(self, request: dict[str, Any]) -> float:
        """Let an idle worker answer `study.packing.measure_here`."""
        worker = self._active[0] if self._active else self._start()
        worker.give({"measure": request})
        while (events := worker.events()) is not None:
            if events:
                return float(events[0]["seconds"])
        raise WorkerError(
            f"a worker ended before its work (exit status {worker.process.wait()}); is the memory enough?"
        )

    def execute(self, jobs: Sequence[dict[str, Any]], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Run every job, in order as far as the memory allows; ``on_event`` receives what they report.

        A job whose ``memory`` (bytes) does not fit beside those that run waits until it does. Raises WorkerError when
        a job fails or its worker dies three times, or UserError when it was wrong input that every failed job failed
        by; the other jobs are finished first. An exception of ``on_event`` ends all of them. It may be called again;
        workers then start anew.
        """
        try:
            self._execute(jobs, on_event)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """End the processes that are at work, and start others where they are kept: those import beside the caller."""
        self._waiting = []
        for worker in [worker for worker in self._active if worker.job is not None]:
            self._end(worker)
        while self._kept and len(self._active) < self._count:
            self._start()

    def _execute(self, jobs: Sequence[dict[str, Any]], on_event: Callable[[dict[str, Any]], None]) -> None:
        self._waiting = list(jobs)
        attempts: dict[str, int] = {}
        faults: list[str] = []
        wrong_input = True
        for worker in self._active:
            worker.job = None
        self._fill()
        while any(worker.job is not None for worker in self._active):
            for worker in [key.data for key, _ in self._selector.select()]:
                if worker.job is None:  # only its end can be heard
                    self._end(worker)
                    continue
                name = worker.job["name"]
                events = worker.events()
                for event in events or []:
                    if event["event"] == "failed":
                        faults.append(f"{event['job']} failed: {event['reason']}")
                        wrong_input &= event["wrong_input"]
                    on_event(event)
                if events is None:
                    code = worker.process.wait()
                    attempts[name] = attempts.get(name, 0) + 1
                    if attempts[name] < ATTEMPTS:
                        on_event({"job": name, "event": "killed", "code": code})
                        self._waiting.insert(0, worker.job)
                    else:
                        wrong_input = False
                        faults.append(
                            f"{name}: its worker died {ATTEMPTS} times (exit status {code}); is the memory enough?"
                        )
                    self._end(worker)
                elif any(event["event"] in ("done", "failed") for event in events):
                    worker.job = None
            self._fill()
        if faults:
            others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            if wrong_input:
                raise UserError(f"{faults[0]}{others}; what else was asked for is finished")
            raise WorkerError(
                f"{faults[0]}{others}; what else was asked for is finished, tracebacks are in the files failure.txt"
            )

    def _fill(self) -> None:
        """Give every idle worker the first job that fits into the memory, start workers as far as they may, and end
        those that nothing is left for."""
        for worker in [worker for worker in self._active if worker.job is None]:
            job = self._next()
            if job is not None:
                worker.give(job)
            elif not self._kept:
                self._end(worker)
        while len(self._active) < self._count and (job := self._next()) is not None:
            self._start().give(job)

    def _next(self) -> dict[str, Any] | None:
        """Return the first waiting job that fits beside those that run; any fits alone."""
        busy = [worker.job for worker in self._active if worker.job is not None]
        free = self._memory - sum(job["memory"] for job in busy)
        fitting = (index for index, job in enumerate(self._waiting) if job["memory"] <= free or not busy)
        index = next(fitting, None)
        return None if index is None else self._waiting.pop(index)

    def _start(self) -> _Worker:
        worker = _Worker()
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        self._active.append(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        worker.stop()
        self._active.remove(worker)
