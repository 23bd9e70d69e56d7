"""One queue for the questions of all tasks: equal requests are answered once, each kind by the code made for it."""

from __future__ import annotations

from collections.abc import Sequence

from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Request, ScoreRequest
from emergence.generation import decode, most_probable
from emergence.models.family import LanguageModel

__all__ = ["answer"]


def answer(network: LanguageModel, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
    """Return the answer to every request, in the order of asking.

    An answer depends on its request alone (log-probabilities to 1e-5), not on what else is asked. Raises UserError for
    an empty prompt or target, and for a target longer than the network's context.
    """
    answers: dict[Request, Answer] = {}
    unique = list(dict.fromkeys(requests))
    scored = [request for request in unique if isinstance(request, ScoreRequest)]
    found = log_likelihoods(network, [(request.prompt, request.target) for request in scored])
    answers.update(zip(scored, found, strict=True))
    asked = [request for request in unique if isinstance(request, GenerateRequest)]
    prompts, limits = [request.prompt for request in asked], [request.max_tokens for request in asked]
    written = decode(network, prompts, limits, most_probable, end_id=end_id)
    answers.update(zip(asked, (Continuation(tuple(ids)) for ids in written), strict=True))
    return [answers[request] for request in requests]
