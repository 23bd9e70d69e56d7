"""Classification of one text or of a pair, and regression, on labelled examples from files.

A language model that is asked to classify is given every class to choose from: what it answers is the most probable
one, and ``accuracy`` is how often that is right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emergence.core.errors import UserError
from emergence.tasks.label_scores import confusion_matrix, macro_f1
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled
from emergence.tasks.task import Pool, Question, TaskContext

__all__ = ["Classification", "Regression"]


class Classification(LabelledTask):
    """``I won!\\nlabel:`` wants `` positive``.

    * ``accuracy`` (headline): 1 where the answer is the label. ``floor`` is the share of the largest class.
    * ``target_logprob``, ``target_prob`` (smooth): of the label, as in every task.
    * ``macro_f1``: of all answers of a model together.
    """

    name = "classification"
    kind = "classification"
    asks = "label"
    headline = "accuracy"
    also: tuple[str, ...] = ()

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        if self._data is not None:
            self.floor = largest_share(example.label for example in next(iter(self._data.tests.values())))

    def answer(self, example: Labelled) -> str:
        """Return the name of the class."""
        return example.label

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` test questions, each with all classes to choose from."""
        labels = self.data().labels
        found = []
        for question in super().questions(context, n, shots):
            space = question.target[: len(question.target) - len(question.target.lstrip(" "))]
            found.append(replace(question, choices=self._choices(context, space, labels)))
        longest = max(len(choice) for question in found for choice in question.choices)
        if longest >= context.context:
            raise UserError(
                f"a class of task {self.name} takes {longest} tokens, more than a context of {context.context}"
            )
        return [replace(question, answer_length=longest) for question in found]

    def _choices(self, context: TaskContext, space: str, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        end = context.tokenizer.separator_id
        return tuple((*ids, end) for ids in context.tokenizer.encode_batch([space + label for label in labels]))

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Whether the answer is the label, and the label's probability per token and as a whole."""
        scores = super().score(question, output, logprobs, hits)
        scores["accuracy"] = scores.pop("exact_match")
        return scores

    def pool(self, prompts: Sequence[str], targets: Sequence[str], outputs: Sequence[str | None]) -> dict[str, Pool]:
        """Return the macro-F1 of all answers together, with its jackknife standard error."""
        words = [(target.strip(), (output or "").strip()) for target, output in zip(targets, outputs, strict=True)]
        places = {label: place for place, label in enumerate(sorted({word for pair in words for word in pair}))}
        truth, answers = ([places[pair[side]] for pair in words] for side in (0, 1))
        confusion = confusion_matrix(truth, answers, len(places))
        cells = np.argwhere(confusion)
        counts = confusion[tuple(cells.T)]
        n = int(counts.sum())
        score = float(macro_f1(confusion))
        if n < 2:
            return {"macro_f1": (score, None)}
        # Examples in one cell are alike, and so are the scores without one of them.
        without = np.empty(len(cells))
        for k, (row, column) in enumerate(cells.tolist()):
            confusion[row, column] -= 1
            without[k] = macro_f1(confusion)
            confusion[row, column] += 1
        mean = float(counts @ without) / n
        return {"macro_f1": (score, math.sqrt((n - 1) / n * float(counts @ (without - mean) ** 2)))}


class Regression(LabelledTask):
    """A number for a text: ``I won!\nvalue:`` wants `` 4.5``.

    ``exact_match`` (headline) compares the numbers as they are written; ``floor`` is the share of the commonest one.
    """

    name = "regression"
    kind = "regression"
    asks = "value"

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        if self._data is not None:
            self.floor = largest_share(map(self.answer, next(iter(self._data.tests.values()))))

    def answer(self, example: Labelled) -> str:
        """Return the number in its shortest form."""
        return f"{example.value:g}"


def largest_share(answers: Iterable[str]) -> float:
    """Return the share of the commonest of all answers: what always giving that one scores."""
    counts = Counter(answers)
    return max(counts.values()) / counts.total()
