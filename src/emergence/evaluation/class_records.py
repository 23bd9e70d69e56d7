"""Predicted classes as records like those of any model, and their report. No torch here: baselines use it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from emergence.tasks.label_scores import classification_report
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled

__all__ = ["classified", "label_records", "test_name"]


def test_name(task: str, test: str) -> str:
    """Return the name under which a test set of a task is scored: the task's for "test", else both."""
    return task if test == "test" else f"{task} {test}"


def classified(
    task: LabelledTask,
    test: str,
    chosen: Sequence[Labelled],
    logprobs_NC: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the records of a test set, and its classification report (JSON values) with intervals drawn by ``rng``."""
    labels = task.data().labels
    truth_N = np.asarray([labels.index(example.label) for example in chosen])
    guesses_N = logprobs_NC.argmax(axis=1)
    targets_N = logprobs_NC[np.arange(len(truth_N)), truth_N]
    frame = label_records(
        chosen,
        targets=[example.label for example in chosen],
        outputs=[labels[guess] for guess in guesses_N.tolist()],
        logprobs=[[value] for value in targets_N.tolist()],
        score_accuracy=(guesses_N == truth_N).astype(float),
        score_target_logprob=targets_N,
        score_target_prob=np.exp(targets_N),
    ).with_columns(pl.lit(test_name(task.name, test)).alias("task"))
    return frame, classification_report(truth_N, np.exp(logprobs_NC), labels, rng).to_dict()


def label_records(
    chosen: Sequence[Labelled],
    *,
    targets: Sequence[str],
    outputs: Sequence[str],
    logprobs: Sequence[Sequence[float]],
    **scores: npt.NDArray[np.float64],
) -> pl.DataFrame:
    """Return records; the prompt is what is read, both texts of a pair a line each."""
    return pl.DataFrame(
        {
            "example": range(len(chosen)),
            "prompt": [f"{e.text}\n{e.second}" if e.second else e.text for e in chosen],
            "target": targets,
            "output": outputs,
            "logprobs": logprobs,
            "truncated": [0] * len(chosen),
            **scores,
        },
        schema_overrides={"example": pl.Int64, "output": pl.String, "logprobs": pl.List(pl.Float32)},
    )
