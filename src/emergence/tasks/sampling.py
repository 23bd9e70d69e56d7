"""What a model writes by itself: how varied it is, and how probable real text is to the model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from emergence.tasks.held_out import held_out_texts
from emergence.tasks.task import Question, TaskContext, TaskOptions, read_options

__all__ = ["Sampling", "distinct"]

#: A word of letters and digits, one Chinese or Japanese character, or one other sign.
_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\w\s]")


class SamplingOptions(TaskOptions):
    """The first ``sets`` questions are answered by as many ``samples`` each; all are scored by prediction."""

    sets: int = Field(8, ge=1, le=256)
    samples: int = Field(16, ge=2, le=256)


class Sampling:
    """Sets of samples from nothing but the first token of a text: after an end token where rows are documents. They are
    drawn as all that is only shown (`evaluation.evaluate.SAMPLE`): at temperature 0.8, of the 50 most probable tokens.

    * ``distinct_2`` (headline): different bigrams in a set over all bigrams of the set (Li et al. 2016, arXiv
      1510.03055), of words, of single Chinese characters and of punctuation marks, within a line. It falls with the
      number of words, so compare sets of equally many samples.
    * ``distinct_1`` (smooth): the same of single words.
    * ``target_logprob`` (smooth): mean natural-log probability of the tokens of a held-out text, in nats per token;
      varied nonsense has many bigrams too.
    """

    name = "sampling"
    alphabet = ""
    trains = False
    headline = "distinct_2"
    smooth = ("distinct_1", "target_logprob")
    floor = 0.0

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(SamplingOptions, options, self.name)

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` held-out texts. A worked example has no meaning here."""
        if shots:
            return []
        return [
            Question(
                prompt=context.tokenizer.decode(ids[:1]),
                target="",
                prompt_ids=(ids[0],),
                target_ids=tuple(ids[1:]),
                answer_length=context.context - 1 if index < self.options.sets else 0,
                samples=self.options.samples,
            )
            for index, ids in enumerate(held_out_texts(context, n, self.name))
        ]

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Diversity of a set of samples, one a line, and the log-probability of a held-out text."""
        scores = {"target_logprob": sum(logprobs) / len(logprobs)}
        if output is not None:
            scores |= {f"distinct_{n}": distinct(output, n) for n in (1, 2)}
        return scores


def distinct(text: str, n: int) -> float:
    """Return the share of different ones among the n-grams of words within the lines of ``text``; 0 without any."""
    grams: list[tuple[str, ...]] = []
    for line in text.split("\n"):
        words = _UNIT.findall(line)
        grams += zip(*(itertools.islice(words, start, None) for start in range(n)), strict=False)
    return len(set(grams)) / len(grams) if grams else 0.0
