"""One queue for the questions of all tasks: equal requests are answered once, each kind by the code made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.masked import fill_masks, pseudo_log_likelihoods
from emergence.evaluation.pairs import search_targets, target_likelihoods, write_targets
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.generation import decode, most_probable
from emergence.models.family import LanguageModel, Network, Reads

__all__ = ["READERS", "Reader", "answer"]

Ids = Sequence[int]


def _causal_room(context: int, answer: int) -> int:
    """The last token of an answer is only predicted, never read."""
    return context + 1 - answer


@dataclass(frozen=True)
class Reader:
    """How networks of one kind are asked.

    ``score(network, pairs, end_id=...)`` returns the likelihood of the target of every (prompt, target).
    ``write(network, prompts, limits, end_id=...)`` returns the most probable answer to every prompt, of at most so many
    tokens, without the end; ``search``, where there is one, does the same with the keyword ``beams``. A text ends at
    ``end_id``. ``room(context, answer)`` is the longest prompt that fits into a context together with an answer, in
    tokens.
    """

    score: Callable[..., list[Likelihood]]
    write: Callable[..., list[list[int]]]
    room: Callable[[int, int], int]
    search: Callable[..., list[list[int]]] | None = None


def _score_causally(network: LanguageModel, pairs: Sequence[tuple[Ids, Ids]], *, end_id: int) -> list[Likelihood]:
    return log_likelihoods(network, pairs)


def _write_causally(
    network: LanguageModel, prompts: Sequence[Ids], limits: Sequence[int], *, end_id: int
) -> list[list[int]]:
    return decode(network, prompts, limits, most_probable, end_id=end_id)


READERS: dict[Reads, Reader] = {
    "causal": Reader(_score_causally, _write_causally, room=_causal_room),
    "masked": Reader(pseudo_log_likelihoods, fill_masks, room=lambda context, answer: context - answer),
    "pairs": Reader(target_likelihoods, write_targets, room=lambda context, answer: context, search=search_targets),
}


def answer(network: Network, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
    """Return the answer to every request, in the order of asking.

    An answer depends on its request alone (log-probabilities to 1e-5), not on what else is asked. Raises UserError for
    an empty prompt or target, and for a target longer than the network's context.
    """
    answers: dict[Request, Answer] = {}
    unique = list(dict.fromkeys(requests))
    scored = [request for request in unique if isinstance(request, ScoreRequest)]
    reader = READERS[network.reads]
    found = reader.score(network, [(request.prompt, request.target) for request in scored], end_id=end_id)
    answers.update(zip(scored, found, strict=True))
    asked = [request for request in unique if isinstance(request, GenerateRequest)]
    prompts, limits = [request.prompt for request in asked], [request.max_tokens for request in asked]
    written = reader.write(network, prompts, limits, end_id=end_id)
    answers.update(zip(asked, (Continuation(tuple(ids)) for ids in written), strict=True))
    return [answers[request] for request in requests]
