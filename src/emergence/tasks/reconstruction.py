"""Giving a held-out sentence back after it went through the model's bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emergence.tasks.held_out import held_out_texts
from emergence.tasks.task import Question, TaskContext, TaskOptions, read_options

__all__ = ["Reconstruction"]


class ReconstructionOptions(TaskOptions):
    """There are none."""


class Reconstruction:
    """A held-out text becomes one latent vector, and the model writes it from that alone.

    The latent is the mean of the posterior. Only families with a bottleneck can do this.

    * ``exact_match`` (headline): 1 where the text that is written greedily is the text that was read.
    * ``token_accuracy`` (smooth): share of the text's tokens that were the most probable ones, given those before.
    * ``target_logprob`` (smooth): mean natural-log probability of those tokens, in nats per token.
    """

    name = "reconstruction"
    alphabet = ""
    trains = False
    headline = "exact_match"
    smooth = ("token_accuracy", "target_logprob")
    floor = 0.0

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(ReconstructionOptions, options, self.name)

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` texts. A worked example has no meaning here."""
        if shots:
            return []
        result = []
        for ids in held_out_texts(context, n, self.name):
            shown = context.tokenizer.decode(ids)
            result.append(
                Question(
                    prompt=shown,
                    target=context.tokenizer.decode(ids[1:]),
                    prompt_ids=(ids[0],),
                    target_ids=tuple(ids[1:]),
                    answer_length=len(ids) - 1,
                    source_ids=tuple(ids),
                )
            )
        return result

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match of what is written, and accuracy and log-probability per token."""
        return {
            "exact_match": float(output == question.target),
            "token_accuracy": sum(hits) / len(hits),
            "target_logprob": sum(logprobs) / len(logprobs),
        }
