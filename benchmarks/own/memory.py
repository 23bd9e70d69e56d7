"""The peak of resident memory of a study's worker and of the process that runs it: prints both, in bytes."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any


def study(question: dict[str, Any]) -> dict[str, Any]:
    """Return a study of one model that copies letters, trained for a few steps."""
    context, rows = question["context"], question["rows"]
    return {
        "name": "memory",
        "model": {
            "family": "gpt",
            "ladder": {"smallest": question["size"], "largest": question["size"], "rungs": 1},
            "context": context,
        },
        "replicas": 1,
        "training": {"tokens": question["steps"] * rows * context, "batch_tokens": rows * context, "checkpoints": 1},
        "tasks": [{"name": "copy", "length": question["letters"]}],
        "evaluation": {"examples": question["examples"]},
        "analysis": {"axes": ["params"], "resamples": 100, "hold_out": 0},
        "execution": {"workers": 1},
    }


def main() -> None:
    """Run the study."""
    import emergence as em

    question = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        em.run(em.Study(**study(question)), out=Path(folder) / "run")
    peaks = {
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "parent": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    unit = 1 if sys.platform == "darwin" else 1024
    with os.fdopen(1, "w") as answers:
        answers.write(json.dumps({who: peak * unit for who, peak in peaks.items()}))


if __name__ == "__main__":
    main()
