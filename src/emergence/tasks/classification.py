"""Classification of one text or of a pair, and regression, on labelled examples from files.

A language model that is asked to classify is given every class to choose from: what it answers is the most probable
one, and ``accuracy`` is how often that is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled
from emergence.tasks.task import Question

__all__ = ["Classification", "Regression"]


class Classification(LabelledTask):
    """``I won!\\nlabel:`` wants `` positive``.

    * ``accuracy`` (headline): 1 where the answer is the label. ``floor`` is the share of the largest class.
    * ``target_logprob``, ``target_prob`` (smooth): of the label, as in every task.
    """

    name = "classification"
    kind = "classification"
    asks = "label"
    headline = "accuracy"

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        if self._data is not None:
            self.floor = largest_share(example.label for example in next(iter(self._data.tests.values())))

    def answer(self, example: Labelled) -> str:
        """Return the name of the class."""
        return example.label

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Whether the answer is the label, and the label's probability per token and as a whole."""
        scores = super().score(question, output, logprobs, hits)
        scores["accuracy"] = scores.pop("exact_match")
        return scores


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
