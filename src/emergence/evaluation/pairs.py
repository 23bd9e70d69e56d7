"""How encoder-decoder networks are asked: a prompt is read once, whatever is asked of it.

Shapes: P prompts, S positions of the longest, N targets, T positions of the longest, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from emergence.core.errors import UserError
from emergence.evaluation.requests import Likelihood
from emergence.generation import beam_search, check_beams
from emergence.generation.decoding import tokens_at_once

__all__ = ["EncoderDecoder", "search_targets", "target_likelihoods", "write_targets"]

LOGITS_AT_ONCE = 2**22
ROWS_AT_ONCE = 256  # targets that are written at once

Ids = Sequence[int]


class EncoderDecoder(Protocol):
    """What is asked of a network whose encoder reads prompts, and whose decoder writes targets after ``start_id``."""

    config: Any  # ``vocabulary``, and ``context``: the most tokens of a prompt, and of a target
    start_id: int

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""

    def source(self, prompt: Ids) -> list[int]:
        """Return what is read of a prompt; one longer than the context loses its beginning."""

    def lost(self, prompt: Ids) -> int:
        """Return how many tokens at the beginning of a prompt are not read."""

    def encode(self, ids_PS: torch.Tensor, lengths_P: torch.Tensor) -> Any:
        """Return what was read of prompts, of which the first ``lengths_P`` tokens count; ``.rows(rows)`` chooses."""

    def decode(self, ids_NT: torch.Tensor, memory: Any, cache: Any = None) -> torch.Tensor:
        """Return the logits [N, T, V] after each token of targets that begin with ``start_id``; with a cache the ids
        continue what it holds."""

    def new_cache(self, batch: int, length: int) -> Any:
        """Return an empty cache for up to ``batch`` targets; ``.keep(rows)`` chooses among its rows."""


@torch.inference_mode()
def target_likelihoods(network: EncoderDecoder, pairs: Sequence[tuple[Ids, Ids]]) -> list[Likelihood]:
    """Return the likelihood of each target given its prompt, both as token ids.

    A prompt longer than the context loses its beginning. Raises UserError for an empty prompt or target, or a target
    that does not fit into the context.
    """
    context = network.config.context
    asked: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, target) in enumerate(pairs):
        if not prompt or not target:
            raise UserError("a log-likelihood needs at least one token of prompt and one of target")
        if len(target) > context:
            raise UserError(f"a target of {len(target)} tokens does not fit into the context of {context}")
        asked.setdefault(tuple(network.source(prompt)), []).append(index)
    found: list[Likelihood | None] = [None] * len(pairs)
    for prompts in _alike(list(asked), tokens_at_once(network.device)):
        memory = _encode(network, prompts)
        below = [(row, index) for row, prompt in enumerate(prompts) for index in asked[prompt]]
        below.sort(key=lambda one: len(pairs[one[1]][1]))
        longest = len(pairs[below[-1][1]][1])
        most = min(tokens_at_once(network.device), LOGITS_AT_ONCE // network.config.vocabulary)
        count = max(1, most // longest)
        for first in range(0, len(below), count):
            rows, indices = zip(*below[first : first + count], strict=True)
            targets = [list(pairs[index][1]) for index in indices]
            answers = _score(network, memory.rows(torch.tensor(rows, device=network.device)), targets)
            for index, likelihood in zip(indices, answers, strict=True):
                found[index] = likelihood
    return [likelihood for likelihood in found if likelihood is not None]


@torch.inference_mode()
def write_targets(
    network: EncoderDecoder, prompts: Sequence[Ids], limits: Sequence[int], *, end_id: int
) -> list[list[int]]:
    """Return the greedy answer to every prompt, up to its limit, to the context, and up to but not including the end.

    Raises UserError for an empty prompt.
    """
    written: list[list[int]] = [[] for _ in prompts]
    for going, memory, cache in _begin(network, prompts, limits, 1):
        left = [min(limits[index], network.config.context) for index in going]
        newest = torch.full((len(going),), network.start_id, device=network.device)
        while going:
            newest = network.decode(newest[:, None], memory, cache)[:, -1].argmax(dim=-1)
            kept = []
            for row, (index, token) in enumerate(zip(going, newest.tolist(), strict=True)):
                if token != end_id:
                    written[index].append(token)
                    if len(written[index]) < left[row]:
                        kept.append(row)
            if len(kept) < len(going):
                rows = torch.tensor(kept, dtype=torch.long, device=network.device)
                going, left = [going[row] for row in kept], [left[row] for row in kept]
                if going:
                    memory, newest = memory.rows(rows), newest[rows]
                    cache.keep(rows)
    return written


@torch.inference_mode()
def search_targets(
    network: EncoderDecoder, prompts: Sequence[Ids], limits: Sequence[int], *, beams: int, end_id: int
) -> list[list[int]]:
    """Return the most probable answer to every prompt that ``beams`` beams find (`generation.beam_search`).

    Raises UserError for an empty prompt, and for a number of beams out of range.
    """
    check_beams(beams)  # before there is a cache for so many
    written: list[list[int]] = [[] for _ in prompts]
    for indices, memory, cache in _begin(network, prompts, limits, beams):
        held = [memory]

        def step(parents: torch.Tensor, tokens: torch.Tensor, held: list[Any] = held, cache: Any = cache) -> Any:
            parents, tokens = parents.to(network.device), tokens.to(network.device)
            held[0] = held[0].rows(parents)
            cache.keep(parents)
            return network.decode(tokens[:, None], held[0], cache)[:, -1]

        start = torch.full((len(indices), 1), network.start_id, device=network.device)
        logits = network.decode(start, memory, cache)[:, -1]
        own = [min(limits[index], network.config.context) for index in indices]
        for index, ids in zip(indices, beam_search(logits, step, own, beams, end_id=end_id), strict=True):
            written[index] = ids
    return written


def _begin(
    network: EncoderDecoder, prompts: Sequence[Ids], limits: Sequence[int], beams: int
) -> Iterator[tuple[list[int], Any, Any]]:
    """Yield prompts that are answered together: their numbers, what was read of them, and a cache for ``beams``
    targets of each."""
    if not all(prompts):
        raise UserError("an empty prompt cannot be answered; give at least one token")
    most = min(ROWS_AT_ONCE, LOGITS_AT_ONCE // network.config.vocabulary) // beams
    numbers: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        numbers.setdefault(tuple(network.source(prompt)), []).append(index)
    for some in _alike(list(numbers), tokens_at_once(network.device), max(1, most)):
        memory = _encode(network, some)
        pairs = [(row, index) for row, prompt in enumerate(some) for index in numbers[prompt]]
        longest = min(network.config.context, max(limits[index] for _, index in pairs))
        rows = torch.tensor([row for row, _ in pairs], device=network.device)
        cache = network.new_cache(len(pairs) * beams, longest)
        cache.keep(torch.arange(len(pairs), device=network.device))
        yield [index for _, index in pairs], memory.rows(rows), cache


def _alike(prompts: list[tuple[int, ...]], tokens: int, most: int | None = None) -> Iterator[list[tuple[int, ...]]]:
    """Divide prompts into groups of similar length: so many tokens, padding included, and prompts at most."""
    group: list[tuple[int, ...]] = []
    for prompt in sorted(prompts, key=lambda prompt: -len(prompt)):
        if group and (len(group[0]) * (len(group) + 1) > tokens or len(group) == most):
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def _encode(network: EncoderDecoder, prompts: Sequence[Ids]) -> Any:
    ids_PS, lengths_P = _pad(prompts, network.device)
    return network.encode(ids_PS, lengths_P)


def _score(network: EncoderDecoder, memory: Any, targets: Sequence[list[int]]) -> Iterator[Likelihood]:
    """Yield the likelihood of one target for each row of the memory."""
    ids_NT, lengths_N = _pad(targets, network.device)
    start_N1 = torch.full((len(targets), 1), network.start_id, device=network.device)
    logits_NTV = network.decode(torch.cat((start_N1, ids_NT[:, :-1]), dim=1), memory).float()
    logprobs_NT = logits_NTV.gather(2, ids_NT[..., None])[..., 0] - logits_NTV.logsumexp(dim=-1)
    hits_NT = logits_NTV.argmax(dim=-1) == ids_NT
    for logprobs, hits, length in zip(logprobs_NT.tolist(), hits_NT.tolist(), lengths_N.tolist(), strict=True):
        yield Likelihood(tuple(logprobs[:length]), tuple(hits[:length]))


def _pad(sequences: Sequence[Ids], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sequences as one tensor, padded with 0 at their ends, and their lengths."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=device)
    return ids, torch.tensor([len(ids) for ids in sequences], device=device)
