"""Text to text, from files: completion and summarisation."""

from __future__ import annotations

from collections.abc import Sequence

from emergence.tasks.answer_scores import answer_scores, rouge_scores
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled
from emergence.tasks.task import Pool, Question
from emergence.text.bag import chinese_share

__all__ = ["Completion", "Summarisation"]


class _TextToText(LabelledTask):
    kind = "generation"

    def answer(self, example: Labelled) -> str:
        """Return the first accepted answer."""
        return example.answers[0]

    def pool(self, prompts: Sequence[str], targets: Sequence[str], outputs: Sequence[str | None]) -> dict[str, Pool]:
        """Return nothing: every metric is a mean over answers."""
        return {}


class Completion(_TextToText):
    """How a text goes on: the answer follows it directly, after a space unless the text ends in Chinese.

    * ``exact_match`` (headline) and ``f1``: with any accepted answer, as SQuAD compares them (`tasks.answer_scores`).
    * ``target_logprob``, ``target_prob`` (smooth): of the first accepted answer.
    """

    name = "completion"
    also: tuple[str, ...] = ("f1",)

    def template(self, example: Labelled) -> str:
        """Return the text itself, unless the task has a template."""
        if self.options.template is not None:
            return super().template(example)
        before = f"{example.text}\n{example.second}" if example.second else example.text
        return before if chinese_share(before[-1:]) else before + " "

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match and F1 with any accepted answer, and the first one's probability."""
        return super().score(question, output, logprobs, hits) | answer_scores(output or "", question.accepted)


class Summarisation(_TextToText):
    """A short text for a long one.

    * ``rouge_l`` (headline), ``rouge_1``, ``rouge_2``: F measures (`tasks.answer_scores`), Chinese by characters.
    * ``target_logprob``, ``target_prob`` (smooth): of the first accepted summary.
    """

    name = "summarisation"
    asks = "summary"
    headline = "rouge_l"
    also: tuple[str, ...] = ("rouge_1", "rouge_2")

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """ROUGE against the accepted summaries, and the first one's probability."""
        scores = super().score(question, output, logprobs, hits)
        del scores["exact_match"]
        return scores | rouge_scores(output or "", question.accepted)
