"""One queue for the questions of all tasks: equal requests are answered once, each kind by the code made for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn.utils import parametrize

from emergence.core.errors import UserError
from emergence.evaluation import latent
from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.masked import fill_masks, pseudo_log_likelihoods
from emergence.evaluation.pairs import EncoderDecoder, search_targets, target_likelihoods, write_targets
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.generation import decode, generate, most_probable
from emergence.models.family import LanguageModel, Network, Reads

__all__ = ["READERS", "Reader", "answer"]

Ids = Sequence[int]


def _cut_before_answer(network: LanguageModel, prompt: Ids, answer: int) -> int:
    """Prompt and answer are one sequence, whose last token is only predicted, never read."""
    context: int = network.config.context
    return max(0, len(prompt) - max(1, context + 1 - answer))


def _cut_beside_answer(network: Network, prompt: Ids, answer: int) -> int:
    """Prompt and answer are one sequence, all of which is read."""
    context: int = network.config.context
    return max(0, len(prompt) - max(1, context - answer))


def _cut_alone(network: EncoderDecoder, prompt: Ids, answer: int) -> int:
    """An answer has a context of its own."""
    return network.lost(prompt)


@dataclass(frozen=True)
class Reader:
    """How networks of one kind are asked.

    ``score(network, pairs, end_id=...)`` returns the likelihood of the target of every (prompt, target).
    ``write(network, prompts, limits, end_id=...)`` returns the most probable answer to every prompt, of at most so many
    tokens, without the end; ``search``, where there is one, does the same with the keyword ``beams``. A text ends at
    ``end_id``. ``cut(network, prompt, answer)`` is how many tokens a prompt loses at its start, because it does not fit
    into the context beside an answer of so many.

    Where answers can be drawn at random, ``sample(network, prompts, settings, end_id=..., generator=...)`` draws one
    for every prompt. Where there is a bottleneck, ``score_through(network, triples)`` and ``write_through(network,
    prompts, limits, sources, end_id=...)`` answer from what a source became in it.
    """

    score: Callable[..., list[Likelihood]]
    write: Callable[..., list[list[int]]]
    cut: Callable[[Any, Ids, int], int]
    search: Callable[..., list[list[int]]] | None = None
    sample: Callable[..., list[list[int]]] | None = None
    score_through: Callable[..., list[Likelihood]] | None = None
    write_through: Callable[..., list[list[int]]] | None = None


def _score_causally(network: LanguageModel, pairs: Sequence[tuple[Ids, Ids]], *, end_id: int) -> list[Likelihood]:
    return log_likelihoods(network, pairs)


def _score_targets(network: EncoderDecoder, pairs: Sequence[tuple[Ids, Ids]], *, end_id: int) -> list[Likelihood]:
    return target_likelihoods(network, pairs)


def _write_causally(
    network: LanguageModel, prompts: Sequence[Ids], limits: Sequence[int], *, end_id: int
) -> list[list[int]]:
    return decode(network, prompts, limits, most_probable, end_id=end_id)


READERS: dict[Reads, Reader] = {
    "causal": Reader(_score_causally, _write_causally, _cut_before_answer, sample=generate),
    "latent": Reader(
        latent.score,
        latent.write,
        _cut_before_answer,
        sample=latent.sample,
        score_through=latent.score_through,
        write_through=latent.write_through,
    ),
    "masked": Reader(pseudo_log_likelihoods, fill_masks, _cut_beside_answer),
    "pairs": Reader(_score_targets, write_targets, _cut_alone, search_targets),
}


@parametrize.cached()  # weights that an adapter changes are computed once
def answer(network: Network, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
    """Return the answer to every request, in the order of asking.

    An answer depends on its request alone (log-probabilities to 1e-5), not on what else is asked. Raises UserError for
    an empty prompt or target, for a target longer than the network's context, and for a source where there is no
    bottleneck.
    """
    answers: dict[Request, Answer] = {}
    reader = READERS[network.reads]
    through = [request for request in dict.fromkeys(requests) if request.source]
    if through:
        answers.update(_answer_through(reader, network, through, end_id))
    unique = [request for request in dict.fromkeys(requests) if not request.source]
    scored = [request for request in unique if isinstance(request, ScoreRequest)]
    found = reader.score(network, [(request.prompt, request.target) for request in scored], end_id=end_id)
    answers.update(zip(scored, found, strict=True))
    asked = [request for request in unique if isinstance(request, GenerateRequest)]
    prompts, limits = [request.prompt for request in asked], [request.max_tokens for request in asked]
    written = reader.write(network, prompts, limits, end_id=end_id)
    answers.update(zip(asked, (Continuation(tuple(ids)) for ids in written), strict=True))
    return [answers[request] for request in requests]


def _answer_through(
    reader: Reader, network: Network, requests: Sequence[Request], end_id: int
) -> dict[Request, Answer]:
    """Return the answers to requests with a source."""
    if reader.score_through is None or reader.write_through is None:
        raise UserError("this model has no bottleneck to send a text through; ask one of the family vae")
    scored = [request for request in requests if isinstance(request, ScoreRequest)]
    found = reader.score_through(network, [(r.prompt, r.target, r.source) for r in scored])
    answers: dict[Request, Answer] = dict(zip(scored, found, strict=True))
    asked = [request for request in requests if isinstance(request, GenerateRequest)]
    written = reader.write_through(
        network, [r.prompt for r in asked], [r.max_tokens for r in asked], [r.source for r in asked], end_id=end_id
    )
    return answers | dict(zip(asked, (Continuation(tuple(ids)) for ids in written), strict=True))
