"""Training with us: a study that does little else, timed by its own events."""

from __future__ import annotations

import json
import string
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import serve

LETTERS = string.ascii_letters + string.digits  # with the end token and the unknown one: a vocabulary of 64
CHARACTERS = 40_000  # a small text, so that the validation loss after a run of seconds costs next to nothing
UNCOUNTED_SHARE = 0.1  # of a run, in which things are allocated


def study(options: dict[str, Any], tokens: float, text: Path) -> dict[str, Any]:
    """Return the study: one checkpoint, eight questions; several rungs lie within 2 % of the size."""
    spread = 0.02 if options["rungs"] > 1 else 0.0
    size = options["size"]
    return {
        "name": "ladder",
        "model": {
            "family": "gpt",
            "ladder": {
                "smallest": (1 - spread) * size,
                "largest": (1 + spread) * size,
                "rungs": options["rungs"],
            },
            "context": options["context"],
        },
        "replicas": options["replicas"],
        "corpus": {"files": [str(text)], "tokenizer": {"kind": "char"}},
        "training": {"tokens": tokens, "batch_tokens": options["rows"] * options["context"], "checkpoints": 1},
        "tasks": [{"name": "text", "samples": 0}],
        "evaluation": {"examples": 8},
        "analysis": {"axes": ["params"], "resamples": 100, "hold_out": 0},
        "execution": {"workers": options["workers"]},
    }


def random_text(letters: str, characters: int) -> str:
    """Return letters drawn at random."""
    import numpy as np

    return "".join(np.random.default_rng(0).choice(list(letters), characters).tolist())


class Watch:
    """Notes when each run reported how far it was, and how long the first report took."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None
        self.tokens = 0  # of one run
        self.seen: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        now = time.perf_counter()
        if event["event"] == "plan":
            self.tokens = event["plan"].tokens
        if event["event"] == "training":
            self.first = self.first or now
            self.seen.setdefault(event["run"], []).append((now, event["share"]))

    def tokens_per_second(self) -> float:
        """Return tokens of all runs a second, from when the first run had done a tenth to the last report.

        The checkpoints of all runs but the last are written and evaluated meanwhile.
        """
        begin = min(when for reports in self.seen.values() for when, share in reports if share >= UNCOUNTED_SHARE)
        end = max(reports[-1][0] for reports in self.seen.values())
        done = 0.0
        for reports in self.seen.values():
            before = [share for when, share in reports if when <= begin]
            done += reports[-1][1] - (before[-1] if before else 0.0)
        return done * self.tokens / (end - begin)


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Import what a study needs; each question is one study of ``tokens`` a run."""
    from emergence.core.settings import StudySettings
    from emergence.study.run import run_study

    def train(question: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text.txt"
            text.write_text(random_text(LETTERS, CHARACTERS))
            watch = Watch()
            run_study(StudySettings(**study(options, question["tokens"], text)), Path(folder) / "run", watch)
            stacks = json.loads((Path(folder) / "run" / "manifest.json").read_text()).get("stacks", {})
        assert watch.first is not None
        return {
            "tokens_per_second": watch.tokens_per_second(),
            "startup": watch.first - watch.began,
            "stacked": max(stacks.values(), default=1),
        }

    return {}, train


if __name__ == "__main__":
    serve(prepare)
