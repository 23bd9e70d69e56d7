"""Work on a score table in a process of its own, while the caller does something else.

Started as ``python -m emergence.study.aside``, it reads one request from standard input and writes one answer to
standard output. It stops at once when its input closes, that is, when its parent is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import polars as pl

from emergence.core.children import end_child, start_child
from emergence.core.errors import UserError

__all__ = ["Aside", "Request"]


class Request(Protocol):
    """A frozen dataclass of plain values that says what is to be done with a table."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def answer(self, scores: pl.DataFrame) -> Any:
        """Return the answer as plain values; raise UserError where the table or the request makes none possible."""


class Aside:
    """One request that is worked on beside the caller, or, where that does not pay, when its result is asked for.

    A context manager.
    """

    def __init__(self, scores: pl.DataFrame, request: Request, *, beside: bool) -> None:
        self._scores, self._request, self._beside = scores, request, beside
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not self._beside:
            return self
        self._folder = tempfile.TemporaryDirectory(prefix="emergence-")
        table = Path(self._folder.name) / "scores.parquet"
        self._scores.write_parquet(table)
        self._child = start_child("emergence.study.aside")
        kind = type(self._request)
        request = {"module": kind.__module__, "kind": kind.__name__, "values": asdict(self._request)}
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a dead child is noticed where its output ends
            self._child.stdin.write(json.dumps({"scores": str(table), **request}).encode() + b"\n")
            self._child.stdin.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        end_child(self._child)
        self._folder.cleanup()

    def result(self) -> Any:
        """Return the answer, waiting for it where that is needed; raise UserError as `Request.answer` does."""
        if self._child is None:
            return self._request.answer(self._scores)
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        name = type(self._request).__name__
        if not line:
            raise RuntimeError(f"the process of a {name} ended with status {self._child.wait()}")
        answer = json.loads(line)
        if "refused" in answer:
            raise UserError(answer["refused"])
        if "failed" in answer:
            raise RuntimeError(f"a {name} failed: {answer['failed']}")
        return answer["answer"]


def _serve() -> None:
    """Answer the one request."""
    document = json.loads(sys.stdin.readline())

    def listen() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    scores = pl.read_parquet(document["scores"], glob=False)
    try:
        request: Request = getattr(importlib.import_module(document["module"]), document["kind"])(**document["values"])
        answer: dict[str, Any] = {"answer": request.answer(scores)}
    except UserError as fault:
        answer = {"refused": str(fault)}
    except Exception as fault:
        answer = {"failed": f"{type(fault).__name__}: {fault}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # not by way of the thread that waits for input


if __name__ == "__main__":
    _serve()
