"""Asking a masked language model: pseudo-log-likelihoods, and answers written by filling masks.

Such a network says what a hidden token is, given all others. It offers ``config`` with ``context`` and ``vocabulary``,
``mask_id``, ``device`` and a call ``network(ids [B, T], select=[M]) -> logits [M, V]``.

A sequence is the prompt, the answer, and the end token where it fits into the context: so rows of training look, and
so models of this kind elsewhere are read ([CLS] ... [SEP]). Rows of one length make a batch and none is padded, so that
an answer does not depend on what else is asked.

Shapes: B rows, T positions, V vocabulary, M hidden positions, N sequences of one length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from emergence.core.errors import UserError
from emergence.evaluation.requests import Likelihood
from emergence.generation.decoding import tokens_at_once

__all__ = ["fill_masks", "pseudo_log_likelihoods"]

LOGITS_AT_ONCE = 2**24


@torch.inference_mode()
def pseudo_log_likelihoods(
    network: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, end_id: int
) -> list[Likelihood]:
    """Return the pseudo-log-likelihood of each target given its prompt, both as token ids.

    ``log P(w_t | everything but w_t)`` of every target token w_t, which alone is hidden: the later tokens of the target
    are seen too (Salazar et al. 2020, arXiv 1910.14659, equation 1). The sum over a target is no probability: it is
    comparable between targets, not with what a causal model says. The prompt is never hidden.

    A pair longer than the context loses the start of its prompt. Raises UserError for an empty prompt or target, or
    a target that does not fit into the context.
    """
    context = network.config.context
    sequences = []
    for prompt, target in pairs:
        if not prompt or not target:
            raise UserError("a log-likelihood needs at least one token of prompt and one of target")
        if len(target) > context:
            raise UserError(f"a target of {len(target)} tokens does not fit into the context of {context}")
        close = [] if target[-1] == end_id else [end_id]
        sequences.append(_fitting(prompt, target, close, context))
    logprobs: list[list[float]] = [[] for _ in pairs]
    hits: list[list[bool]] = [[] for _ in pairs]
    for length, members in _by_length([ids for ids, _ in sequences]).items():
        ids_NT = np.array([sequences[i][0] for i in members], dtype=np.int64)
        first = np.array([sequences[i][1] for i in members])
        sizes = np.array([len(pairs[i][1]) for i in members])
        rows = np.repeat(np.arange(len(members)), sizes)  # one for each token of a target
        places = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes - first, sizes)
        count = _rows_at_once(network, length, 1)
        for start in range(0, len(rows), count):
            own, at = rows[start : start + count], places[start : start + count]
            each = np.arange(len(own))
            ids_BT = ids_NT[own]
            tokens_B = torch.from_numpy(ids_BT[each, at]).to(network.device)
            ids_BT[each, at] = network.mask_id
            select = torch.from_numpy(each * length + at).to(network.device)
            logits_BV = network(torch.from_numpy(ids_BT).to(network.device), select=select).float()
            found = logits_BV.log_softmax(dim=-1).gather(1, tokens_B[:, None])[:, 0].tolist()
            right = (logits_BV.argmax(dim=-1) == tokens_B).tolist()
            for row, logprob, hit in zip(own.tolist(), found, right, strict=True):
                logprobs[members[row]].append(logprob)
                hits[members[row]].append(hit)
    return [Likelihood(tuple(own), tuple(right)) for own, right in zip(logprobs, hits, strict=True)]


@dataclass(slots=True, eq=False)
class _Text:
    """A prompt with what was written after it, and how many tokens are still wanted."""

    ids: list[int]
    wanted: int
    written: list[int] = field(default_factory=list)


@torch.inference_mode()
def fill_masks(
    network: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int], *, end_id: int
) -> list[list[int]]:
    """Return an answer of ``limits`` tokens to every prompt, cut at the first end token.

    As many masks stand after the prompt, and one of them is filled in each pass: the place where the most probable
    token has the highest probability, the first of equals. This is what mask-predict (Ghazvininejad et al. 2019, arXiv
    1904.09324) does with as many passes as places, except that what was written is not taken back. Left to right would
    throw away what sets these models apart: the last digit of a sum can be certain while the first is not, and once it
    stands there it helps. The number of places tells the model how long the answer is.

    A text that would outgrow the context is written in pieces of half of it, each after what then fits before it.
    Raises UserError for an empty prompt.
    """
    if not all(prompts):
        raise UserError("an empty prompt cannot be continued; give at least one token")
    texts = [_Text(list(prompt), limit) for prompt, limit in zip(prompts, limits, strict=True)]
    going = texts
    while going:
        for text, piece in zip(going, _write_pieces(network, going, end_id), strict=True):
            ended = end_id in piece
            text.written += piece[: piece.index(end_id)] if ended else piece
            text.ids += piece
            text.wanted = 0 if ended else text.wanted - len(piece)
        going = [text for text in going if text.wanted]
    return [text.written for text in texts]


def _write_pieces(network: Any, texts: Sequence[_Text], end_id: int) -> list[list[int]]:
    """Return what comes next in every text: all that is wanted, or as much as half the context."""
    context, hidden = network.config.context, network.mask_id
    rows = []
    for text in texts:
        whole = len(text.ids) + text.wanted <= context
        piece = [hidden] * (text.wanted if whole else min(text.wanted, max(1, context // 2)))
        rows.append((*_fitting(text.ids, piece, [end_id] if len(piece) == text.wanted else [], context), len(piece)))
    pieces: list[list[int]] = [[] for _ in texts]
    for length, members in _by_length([ids for ids, _, _ in rows]).items():
        count = _rows_at_once(network, length, length)
        for start in range(0, len(members), count):
            own = members[start : start + count]
            ids_BT = torch.tensor([rows[i][0] for i in own], device=network.device)
            open_BT = torch.zeros(ids_BT.shape, dtype=torch.bool, device=network.device)
            for row, i in enumerate(own):
                open_BT[row, rows[i][1] : rows[i][1] + rows[i][2]] = True
            filled = _fill(network, ids_BT, open_BT).tolist()
            for row, i in enumerate(own):
                pieces[i] = filled[row][rows[i][1] : rows[i][1] + rows[i][2]]
    return pieces


def _fill(network: Any, ids_BT: torch.Tensor, open_BT: torch.Tensor) -> torch.Tensor:
    """Return the rows with every open place filled, one in each row per pass."""
    ids_BT = ids_BT.clone()
    while len(going := open_BT.any(dim=1).nonzero()[:, 0]):
        open_CT = open_BT[going]
        logits_MV = network(ids_BT[going], select=open_CT.flatten().nonzero()[:, 0]).float()
        logits_MV[:, network.mask_id] = -torch.inf  # the mask is no answer
        best_M = logits_MV.log_softmax(dim=-1).max(dim=-1)
        certain_CT = torch.full(open_CT.shape, -torch.inf, device=ids_BT.device)
        certain_CT[open_CT] = best_M.values
        tokens_CT = torch.zeros(open_CT.shape, dtype=ids_BT.dtype, device=ids_BT.device)
        tokens_CT[open_CT] = best_M.indices
        at = certain_CT.argmax(dim=1)
        ids_BT[going, at] = tokens_CT[torch.arange(len(going), device=at.device), at]
        open_BT[going, at] = False
    return ids_BT


def _fitting(prompt: Sequence[int], answer: Sequence[int], close: Sequence[int], context: int) -> tuple[list[int], int]:
    """Return prompt, answer and, where it fits, the end as one sequence, and where the answer begins in it. A prompt
    that is too long loses its start."""
    ids = [*prompt, *answer]
    if len(ids) + len(close) <= context:
        return [*ids, *close], len(prompt)
    ids = ids[-context:]
    return ids, len(ids) - len(answer)


def _by_length(sequences: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    """Return which sequences have which length."""
    found: dict[int, list[int]] = {}
    for index, ids in enumerate(sequences):
        found.setdefault(len(ids), []).append(index)
    return found


def _rows_at_once(network: Any, length: int, predicted: int) -> int:
    """Return how many rows of a length one pass reads, with so many predictions in each."""
    logits = LOGITS_AT_ONCE // (predicted * int(network.config.vocabulary))
    return max(1, min(tokens_at_once(network.device) // length, logits))
