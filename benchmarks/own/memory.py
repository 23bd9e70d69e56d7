"""A study of one model: prints the peak of resident memory of its worker and of the process that runs it, in bytes, and
the tokens that training reads per second."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl


def study(question: dict[str, Any]) -> dict[str, Any]:
    """Return a study of one model on one task (copying, unless another is named), trained for a few steps."""
    context, rows = question["context"], question["rows"]
    return {
        "name": "memory",
        "model": {
            "family": question.get("family", "gpt"),
            "ladder": {"smallest": question["size"], "largest": question["size"], "rungs": 1},
            "context": context,
        },
        "replicas": 1,
        "training": {"tokens": question["steps"] * rows * context, "batch_tokens": rows * context, "checkpoints": 1},
        "tasks": [question.get("task") or {"name": "copy", "length": question["letters"]}],
        "evaluation": {"examples": question["examples"]},
        "analysis": {"axes": ["params"], "resamples": 100, "hold_out": 0},
        "execution": {"workers": 1},
    }


def main() -> None:
    """Run the study."""
    import emergence as em

    question = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        settings = study(question)
        if settings["tasks"][0]["name"] == "text":
            (Path(folder) / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 2000)
            settings["corpus"] = {"files": [str(Path(folder) / "text.txt")]}
        em.run(em.Study(**settings), out=Path(folder) / "run")
        history = pl.read_parquet(next(Path(folder).glob("run/models/*/history.parquet")))
    peaks = {
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "parent": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    unit = 1 if sys.platform == "darwin" else 1024
    with os.fdopen(1, "w") as answers:
        speed = {"tokens_per_second": history["tokens_per_second"].median()}
        answers.write(json.dumps({who: peak * unit for who, peak in peaks.items()} | speed))


if __name__ == "__main__":
    main()
