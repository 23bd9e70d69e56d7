"""Child processes of our own modules, that read from standard input and write to standard output."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

__all__ = ["end_child", "start_child"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


def start_child(module: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` with one thread, the modules that this process sees, and more in its environment.

    It belongs to no terminal: Ctrl-C reaches the parent alone, which then ends it.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],  # -P: no code from the current folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(THREADS, "1"), **environment, "PYTHONPATH": paths},
        start_new_session=True,
    )


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and let go of it; what it was writing stays under a temporary name."""
    child.kill()
    child.wait()
    for end in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):  # closing flushes, and a dead child reads nothing
            if end is not None:
                end.close()
