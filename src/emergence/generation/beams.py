"""Beam search: the most probable continuations that are found by going on with several at once.

It asks nothing of a network but a function that goes on by one token. Shapes: N texts, K beams, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from emergence.core.errors import UserError

__all__ = ["MOST_BEAMS", "Step", "beam_search", "check_beams"]

MOST_BEAMS = 64

#: Keeps the given rows (one may be kept several times), lets each read one token, and returns the logits [rows, V].
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class _Search:
    """What one text has come to: live beginnings with their log-probabilities, and the best that has ended."""

    limit: int
    live: list[tuple[float, list[int]]] = field(default_factory=lambda: [(0.0, [])])
    best: tuple[float, list[int]] = (-math.inf, [])

    @property
    def going(self) -> bool:
        """Whether a live beginning can still become the best: log-probabilities only fall."""
        return bool(self.live) and self.live[0][0] > self.best[0]


def check_beams(beams: int) -> None:
    """Raise UserError for a number of beams out of range."""
    if not 1 <= beams <= MOST_BEAMS:
        raise UserError(f"beams is {beams}; give a number from 1 (greedy) to {MOST_BEAMS}")


def beam_search(
    logits_NV: torch.Tensor, step: Step, limits: Sequence[int], beams: int, *, end_id: int
) -> list[list[int]]:
    """Return for each text the continuation of the highest log-probability that is found, without the end token.

    ``logits_NV`` predict the first token of each text. A continuation ends with ``end_id``, whose probability counts,
    or at its limit. Of every text the ``beams`` best beginnings go on (Lowerre 1976; as in Sutskever et al. 2014, arXiv
    1409.3215, section 3.2), until none can become better than the best that has ended. Nothing corrects for length, so
    that what is maximised is the probability itself. Raises UserError for a number of beams out of range.
    """
    check_beams(beams)
    searches = [_Search(limit) for limit in limits]
    rows = [(search, 0) for search in searches]
    logits = logits_NV
    while rows:
        parents, tokens = _go_on(searches, rows, logits, beams, end_id)
        rows = [(search, number) for search in searches if search.going for number in range(len(search.live))]
        if rows:
            logits = step(torch.tensor(parents), torch.tensor(tokens))
    return [search.best[1] for search in searches]


def _go_on(
    searches: Sequence[_Search], rows: Sequence[tuple[_Search, int]], logits: torch.Tensor, beams: int, end_id: int
) -> tuple[list[int], list[int]]:
    """Replace the live beginnings of every text by the best that are one token longer; return which row each of those
    that go on continues, and with which token."""
    # One more than the beams: the end may be among them.
    values, ids = logits.log_softmax(dim=-1).topk(min(beams + 1, logits.shape[-1]), dim=-1)
    longer: dict[int, list[tuple[float, int, int, list[int]]]] = {id(search): [] for search in searches}
    for row, ((search, number), logprobs, tokens) in enumerate(zip(rows, values.tolist(), ids.tolist(), strict=True)):
        total, written = search.live[number]
        longer[id(search)] += [(total + p, row, token, written) for p, token in zip(logprobs, tokens, strict=True)]
    parents: list[int] = []
    last: list[int] = []
    for search in searches:
        if not longer[id(search)]:
            continue
        kept: list[tuple[float, int, int, list[int]]] = []
        for total, row, token, written in sorted(longer[id(search)], key=lambda one: (-one[0], one[1], one[2])):
            whole = written if token == end_id else [*written, token]
            if token == end_id or len(whole) == search.limit:
                search.best = max(search.best, (total, whole), key=lambda one: one[0])
            elif len(kept) < beams:
                kept.append((total, row, token, whole))
        search.live = [(total, whole) for total, _, _, whole in kept]
        if search.going:
            parents += [row for _, row, _, _ in kept]
            last += [token for _, _, token, _ in kept]
    return parents, last
