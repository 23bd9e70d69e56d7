"""Training a ladder with us: two neighbouring rungs of three replicas, run as a study, timed by its own events.

Two rungs, within 2 % of the size asked for, because a ladder has more than one: three replicas alone would leave one
of two processes idle for a third of the time.
"""

from __future__ import annotations

import string
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import serve

LETTERS = string.ascii_letters + string.digits  # with the end token and the unknown one: a vocabulary of 64
CHARACTERS = 40_000  # a small text, so that the validation loss after a run of seconds costs next to nothing
REPLICAS, RUNGS = 3, 2
UNCOUNTED_SHARE = 0.1  # of a run's steps


def study(size: float, tokens: float, batch_tokens: int, context: int, text: Path) -> dict[str, Any]:
    """Return the study: nothing but training, one checkpoint, eight questions."""
    return {
        "name": "ladder",
        "model": {
            "family": "gpt",
            "ladder": {"smallest": 0.98 * size, "largest": 1.02 * size, "rungs": RUNGS},
            "context": context,
        },
        "replicas": REPLICAS,
        "corpus": {"files": [str(text)], "tokenizer": {"kind": "char"}},
        "training": {"tokens": tokens, "batch_tokens": batch_tokens, "checkpoints": 1},
        "tasks": [{"name": "text", "samples": 0}],
        "evaluation": {"examples": 8},
        "analysis": {"axes": ["params"], "resamples": 100, "hold_out": 0},
    }


def random_text(letters: str, characters: int) -> str:
    """Return letters drawn at random, in lines of a thousand."""
    import numpy as np

    drawn = np.random.default_rng(0).choice(list(letters), characters)
    return "".join(drawn.tolist())


class Watch:
    """Notes when each run reported which step, and how long the first report took."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None
        self.seen: dict[str, list[tuple[float, int]]] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] != "training":
            return
        now = time.perf_counter()
        self.first = self.first or now
        self.seen.setdefault(event["job"], []).append((now, event["step"]))

    def steps_per_second(self) -> float:
        """Return steps of all runs a second, from the moment each process has done a tenth of its first run.

        The checkpoints of all runs but the last are written and evaluated meanwhile.
        """
        steps = max(step for reports in self.seen.values() for _, step in reports)
        begin = min(when for reports in self.seen.values() for when, step in reports if step >= UNCOUNTED_SHARE * steps)
        end = max(reports[-1][0] for reports in self.seen.values())
        done = 0.0
        for reports in self.seen.values():
            before = [step for when, step in reports if when <= begin]
            done += reports[-1][1] - (before[-1] if before else 0)
        return done / (end - begin)


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Import what a study needs; each question is one study of ``tokens`` a run."""
    import emergence as em

    batch_tokens = options["rows"] * options["context"]

    def train(question: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text.txt"
            text.write_text(random_text(LETTERS, CHARACTERS))
            settings = em.Study(**study(options["size"], question["tokens"], batch_tokens, options["context"], text))
            watch = Watch()
            em.run(settings, out=Path(folder) / "run", progress=watch)
        assert watch.first is not None
        return {
            "tokens_per_second": watch.steps_per_second() * batch_tokens,
            "startup": watch.first - watch.began,
        }

    return {}, train


if __name__ == "__main__":
    serve(prepare)
