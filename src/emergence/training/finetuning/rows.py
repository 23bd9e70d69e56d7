"""Labelled texts as token rows: what the trunk reads of one text, or of two.

A row is ``<begin> text <separator>``, or ``<begin> first <separator> second <separator>``. What does not fit into the
context loses its end, the longer of two texts first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from emergence.text import LanguageTokenizer

__all__ = ["TextRows", "batch_numbers", "encode_rows", "pad"]


@dataclass(frozen=True)
class TextRows:
    """Token ids of every example, and how many examples lost their end.

    ``thinning`` is the share of the tokens that are left out of a row each time it is learnt from; ``marks``, which
    begin and end a text, stay.
    """

    ids: tuple[tuple[int, ...], ...]
    cut: int
    thinning: float = 0.0
    marks: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(map(len, self.ids))

    def learnt(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the rows with these numbers to learn from; torch's generator says which tokens are left out."""
        rows = [self.ids[number] for number in numbers]
        return [self._thinned(row) for row in rows] if self.thinning else rows

    def _thinned(self, row: tuple[int, ...]) -> tuple[int, ...]:
        kept = (torch.rand(len(row)) >= self.thinning).tolist()
        return tuple(token for token, stays in zip(row, kept, strict=True) if stays or token in self.marks)


def encode_rows(tokenizer: LanguageTokenizer, texts: Sequence[tuple[str, str]], context: int) -> TextRows:
    """Return the rows of texts, each with a second one or an empty string."""
    firsts = tokenizer.encode_batch([first for first, _ in texts])
    seconds = tokenizer.encode_batch([second for _, second in texts])
    begin, separator = tokenizer.begin_id, tokenizer.separator_id
    rows, cut = [], 0
    for (_, text), first, second in zip(texts, firsts, seconds, strict=True):
        room = context - (3 if text else 2)
        kept, other = _fit(len(first), len(second), room)
        cut += kept < len(first) or other < len(second)
        row = [begin, *first[:kept], separator]
        rows.append((*row, *second[:other], separator) if text else tuple(row))
    return TextRows(tuple(rows), cut, marks=frozenset((begin, separator)))


def _fit(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of two texts fit into ``room``; the longer one is shortened."""
    if first + second <= room:
        return first, second
    half = room // 2
    if second <= half:
        return room - second, second
    if first <= room - half:
        return first, room - first
    return room - half, half


def pad(rows: Sequence[Sequence[int]], filler: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as ids [B, T], filled up behind their end, and their lengths [B]."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), filler)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    return ids, lengths


def batch_numbers(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Return the numbers of the rows of every batch of an epoch, in random order.

    Rows of about the same length go together, a few batches at a time: less of a batch is then padding, and which rows
    meet stays a matter of chance.
    """
    order = rng.permutation(len(lengths))
    pool = 16 * size
    batches: list[list[int]] = []
    for first in range(0, len(order), pool):
        near = sorted(order[first : first + pool].tolist(), key=lambda number: lengths[number])
        batches += [near[start : start + size] for start in range(0, len(near), size)]
    return [batches[number] for number in rng.permutation(len(batches)).tolist()]
