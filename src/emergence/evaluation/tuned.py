"""What a fine-tuned network answers to its test sets, as records like those of any model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emergence.core.seeds import stream
from emergence.evaluation.class_records import classified, label_records, test_name
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.questions import writable_questions
from emergence.tasks.answer_scores import answer_scores
from emergence.tasks.label_scores import regression_scores
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled
from emergence.tasks.task import GeneratedTask, TaskContext
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import Aim, Classes, Values
from emergence.training.finetuning.prepare import text_rows
from emergence.training.finetuning.spans import Spans, encode_passages

__all__ = ["answer_tests"]


def answer_tests(
    network: Any, tokenizer: LanguageTokenizer, task: GeneratedTask, aim: Aim, *, examples: int, seed: int
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the records of every test set of a task, and a report of each (JSON values), by name of the set.

    Of a labelled task all test examples are answered through the head; where answers are written, ``examples``
    questions are asked.
    """
    if not isinstance(task, LabelledTask) or task.kind == "generation":
        return _written(network, tokenizer, task, examples, seed)
    frames: list[pl.DataFrame] = []
    reports: dict[str, Any] = {}
    for name, chosen in task.data().tests.items():
        if isinstance(aim, Classes):
            logprobs_NC = aim.predict(network, text_rows(tokenizer, chosen, network.config.context))
            rng = stream(seed, "report", task.name)
            frame, report = classified(task, name, chosen, logprobs_NC, rng)
        elif isinstance(aim, Values):
            frame, report = _valued(network, tokenizer, task, aim, chosen)
        else:
            assert isinstance(aim, Spans)
            frame, report = _found(network, tokenizer, task, aim, chosen)
        frames.append(frame.with_columns(pl.lit(test_name(task.name, name)).alias("task")))
        reports[name] = report
    return pl.concat(frames), reports


def _written(
    network: Any, tokenizer: LanguageTokenizer, task: GeneratedTask, examples: int, seed: int
) -> tuple[pl.DataFrame, dict[str, Any]]:
    context = TaskContext(tokenizer, network.config.context, seed, truncates=True)
    questions = writable_questions(task, context, examples, 0)
    frame = evaluate(network, tokenizer, [(task, questions)], seed=seed)[0]
    metrics = [name for name in frame.columns if name.startswith("score_")]
    means = {name.removeprefix("score_"): frame[name].mean() for name in metrics}
    return frame, {"test": {"n": frame.height, **means}}


def _valued(
    network: Any, tokenizer: LanguageTokenizer, task: LabelledTask, aim: Values, chosen: Sequence[Labelled]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    values_N = aim.predict(network, text_rows(tokenizer, chosen, network.config.context))
    truth_N = np.asarray([example.value for example in chosen], dtype=float)
    written = [f"{value:g}" for value in values_N.tolist()]
    targets = [task.answer(example) for example in chosen]
    frame = label_records(
        chosen,
        targets=targets,
        outputs=written,
        logprobs=[[] for _ in chosen],
        score_exact_match=np.asarray([float(a == b) for a, b in zip(written, targets, strict=True)]),
        score_squared_error=(values_N - truth_N) ** 2,
    )
    return frame, regression_scores(truth_N, values_N).to_dict()


def _found(
    network: Any, tokenizer: LanguageTokenizer, task: LabelledTask, aim: Spans, chosen: Sequence[Labelled]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    asked = [(e.text, e.second, None, "") for e in chosen]
    answers = [answer for answer, _ in aim.predict(network, encode_passages(tokenizer, asked, network.config.context))]
    scores = [answer_scores(answer, example.answers) for answer, example in zip(answers, chosen, strict=True)]
    frame = label_records(
        chosen,
        targets=[example.answers[0] for example in chosen],
        outputs=answers,
        logprobs=[[] for _ in chosen],
        score_exact_match=np.asarray([score["exact_match"] for score in scores]),
        score_f1=np.asarray([score["f1"] for score in scores]),
    )
    # Questions on one passage are not independent: their errors are clustered.
    frame = frame.with_columns(pl.Series("cluster", [example.group for example in chosen]))
    means = {name: math.fsum(score[name] for score in scores) / len(scores) for name in ("exact_match", "f1")}
    return frame, {"n": len(scores), **means}
