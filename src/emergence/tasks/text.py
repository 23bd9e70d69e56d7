"""Continuing the corpus: how well the model predicts held-out text, and what it writes by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from emergence.tasks.held_out import held_out_texts
from emergence.tasks.task import Question, TaskContext, TaskOptions, read_options

__all__ = ["Text"]


class TextOptions(TaskOptions):
    """``samples`` questions get a written continuation; all are scored by prediction."""

    samples: int = Field(4, ge=0, le=64)


class Text:
    """Windows of held-out text, or whole documents where models learn from these: the first half is read, the second
    is predicted token by token.

    * ``token_accuracy`` (headline): share of the second half's tokens that were the most probable ones.
    * ``target_logprob`` (smooth): mean natural-log probability of those tokens, in nats per token.
    * ``bits_per_byte`` (smooth): negative base-2 log probability per byte of UTF-8, comparable between tokenizers. The
      end of a whole document is no byte, and what it takes to predict it is left out here.
    """

    name = "text"
    alphabet = ""
    trains = False
    headline = "token_accuracy"
    smooth = ("target_logprob", "bits_per_byte")
    floor = 0.0

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(TextOptions, options, self.name)

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` texts spread evenly over the held-out part. A worked example has no meaning here."""
        texts = held_out_texts(context, n, self.name)
        if shots:
            return []
        result = []
        for i, ids in enumerate(texts):
            prompt, target = ids[: len(ids) // 2], ids[len(ids) // 2 :]
            result.append(
                Question(
                    prompt=context.tokenizer.decode(prompt),
                    target=context.tokenizer.decode(target),
                    prompt_ids=tuple(prompt),
                    target_ids=tuple(target),
                    answer_length=len(target) if i < self.options.samples else 0,
                    target_bytes=context.tokenizer.utf8_bytes(target),
                    closes=context.whole_documents,
                )
            )
        return result

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Accuracy and log-probability per token, and bits per byte of the predicted half."""
        total = math.fsum(logprobs)
        text = math.fsum(logprobs[:-1]) if question.closes else total
        return {
            "token_accuracy": sum(hits) / len(hits),
            "target_logprob": total / len(logprobs),
            "bits_per_byte": -text / math.log(2) / max(1, question.target_bytes),
        }
