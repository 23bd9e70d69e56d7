"""One queue for the questions of all tasks: equal requests are answered once, each kind by the code made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.pairs import search_targets, target_likelihoods, write_targets
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.generation import decode, most_probable
from emergence.models.family import LanguageModel, Reads

__all__ = ["READERS", "Reader", "answer"]

Ids = Sequence[int]


def _causal_room(context: int, answer: int) -> int:
    """The last token of an answer is only predicted, never read."""
    return context + 1 - answer


@dataclass(frozen=True)
class Reader:
    """How networks of one kind are asked.

    ``score(network, pairs)`` returns the likelihood of the target of every (prompt, target). ``write(network, prompts,
    limits, end_id=...)`` returns the most probable answer to every prompt, of at most so many tokens, without the end.
    ``room(context, answer)`` is the longest prompt that fits into a context together with an answer, in tokens.
    ``search``, where there is one, does the same with the keyword ``beams``.
    """

    score: Callable[[Any, Sequence[tuple[Ids, Ids]]], list[Likelihood]]
    write: Callable[..., list[list[int]]]
    room: Callable[[int, int], int] = _causal_room
    search: Callable[..., list[list[int]]] | None = None


def _write_causally(
    network: LanguageModel, prompts: Sequence[Ids], limits: Sequence[int], *, end_id: int
) -> list[list[int]]:
    return decode(network, prompts, limits, most_probable, end_id=end_id)


READERS: dict[Reads, Reader] = {
    "causal": Reader(log_likelihoods, _write_causally),
    "pairs": Reader(target_likelihoods, write_targets, search_targets),
}


def answer(network: LanguageModel, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
    """Return the answer to every request, in the order of asking.

    An answer depends on its request alone (log-probabilities to 1e-5), not on what else is asked. Raises UserError for
    an empty prompt or target, and for a target longer than the network's context.
    """
    answers: dict[Request, Answer] = {}
    unique = list(dict.fromkeys(requests))
    scored = [request for request in unique if isinstance(request, ScoreRequest)]
    reader = READERS[network.reads]
    found = reader.score(network, [(request.prompt, request.target) for request in scored])
    answers.update(zip(scored, found, strict=True))
    asked = [request for request in unique if isinstance(request, GenerateRequest)]
    prompts, limits = [request.prompt for request in asked], [request.max_tokens for request in asked]
    written = reader.write(network, prompts, limits, end_id=end_id)
    answers.update(zip(asked, (Continuation(tuple(ids)) for ids in written), strict=True))
    return [answers[request] for request in requests]
