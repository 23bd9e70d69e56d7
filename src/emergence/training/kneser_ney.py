"""From counts of n-grams to the tables of `models.ngram_network`: interpolated modified Kneser-Ney, pruned.

An n-gram of n tokens is one integer of n digits to the base ``vocabulary + 1``, its last token the lowest digit. So the
sorted n-grams of one order stand together by context (``key // base``), and leaving out the oldest token is ``key %
base ** (n - 1)``. The digit ``vocabulary`` is the beginning of a row.

Shapes: E n-grams of one order, C contexts of one order, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FALLBACK", "Counts", "Tables", "discounts", "estimate"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Counts = tuple[Ints, Ints]  # n-grams [E] in ascending order, and how often each was seen [E]

#: Discounts of counts 1, 2, and 3 or more where the text is too small or too regular to estimate them.
FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Tables:
    """Probabilities of single tokens [V]; and for the orders from 2 on n-grams [E], shares [E] and back-off weights
    [C]."""

    unigrams: Floats
    orders: list[tuple[Ints, Floats, Floats]]


def discounts(counts_E: Ints) -> tuple[float, float, float]:
    """Return what modified Kneser-Ney takes from counts of 1, 2, and 3 or more (Chen and Goodman 1999, doi
    10.1006/csla.1999.0128).

    ``D_i = i - (i + 1) Y n_(i+1) / n_i`` with ``Y = n_1 / (n_1 + 2 n_2)``, where n_i n-grams have the count i. It is
    `FALLBACK` where one of these is zero, or a discount is not between 0 and i.
    """
    n = np.bincount(np.minimum(counts_E, 5), minlength=6)[1:5].astype(float)
    if not n.all():
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    found = [i - (i + 1) * y * n[i] / n[i - 1] for i in (1, 2, 3)]
    if not all(0 < d < i for i, d in enumerate(found, start=1)):
        return FALLBACK
    return found[0], found[1], found[2]


def estimate(counts: Sequence[Counts], vocabulary: int, entries: int) -> Tables:
    """Return the tables of at most ``entries`` shares and back-off weights from the counts of orders 1, 2, ...

    The n-grams seen most often are kept, of equally frequent ones the shorter. With a kept n-gram every n-gram that is
    a part of it up to its end is kept, so that backing off always finds what it needs. Kneser and Ney replace the
    counts below the highest order by the number of different tokens to the left, because what is left of the higher
    order's mass is one discount for each of these. Where a longer n-gram is not kept, all of its mass is left, so it
    stands with its whole count (after Siivola, Hirsimäki and Virpioja 2007, IEEE Transactions on Audio, Speech, and
    Language Processing 15(5), 1617-1624):

    ``a(g) = c(g) - sum over kept v g of (c(v g) - 1)``

    which is the number of different tokens v where all are kept, and the count where none is. The share of a kept
    n-gram is ``(a - D(a)) / sum of a over its context``, and the back-off weight of a context is what its shares leave
    of one. Below single tokens stands the uniform distribution.
    """
    base = vocabulary + 1
    kept = _most_frequent(counts, base, entries)
    tables: list[tuple[Ints, Floats, Floats]] = []
    adjusted = counts[-1][1]
    for n in range(len(counts), 1, -1):
        keys, seen = counts[n - 1]
        tables.append(_table(keys, adjusted, kept[n - 1], base))
        lower_keys, lower_seen = counts[n - 2]
        own = kept[n - 1]
        places = np.searchsorted(lower_keys, keys[own] % base ** (n - 1))
        above = np.bincount(places, weights=seen[own] - 1, minlength=len(lower_keys)).astype(np.int64)
        adjusted = lower_seen - above
    return Tables(_unigrams(counts[0][0], adjusted, vocabulary), tables[::-1])


def _discounted(counts_E: Ints) -> npt.NDArray[np.float64]:
    off = np.array((0.0, *discounts(counts_E)))
    rest: npt.NDArray[np.float64] = counts_E - off[np.minimum(counts_E, 3)]
    return rest


def _unigrams(keys_E: Ints, counts_E: Ints, vocabulary: int) -> Floats:
    """Return the probability of every token, known or not."""
    probabilities = np.zeros(vocabulary)
    if len(keys_E):
        probabilities[keys_E] = _discounted(counts_E) / counts_E.sum()
    probabilities += (1 - probabilities.sum()) / vocabulary
    return probabilities.astype(np.float32)


def _table(keys_E: Ints, counts_E: Ints, kept_E: npt.NDArray[np.bool_], base: int) -> tuple[Ints, Floats, Floats]:
    """Return kept n-grams, their shares, and the back-off weights of their contexts."""
    if not kept_E.any():
        return keys_E[:0], np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32)
    starts = _group_starts(keys_E // base)
    sizes = np.diff(starts, append=len(keys_E))
    totals = np.add.reduceat(counts_E, starts)
    shares = np.where(kept_E, _discounted(counts_E) / np.repeat(totals, sizes), 0.0)
    left = 1 - np.add.reduceat(shares, starts)
    has_any = np.logical_or.reduceat(kept_E, starts)
    return keys_E[kept_E], shares[kept_E].astype(np.float32), left[has_any].astype(np.float32)


def _group_starts(sorted_E: Ints) -> Ints:
    """Return where each run of equal numbers begins."""
    return np.flatnonzero(np.diff(sorted_E, prepend=-1))


def _most_frequent(counts: Sequence[Counts], base: int, entries: int) -> list[npt.NDArray[np.bool_]]:
    """Say which n-grams of each order are kept; those of one token are not asked for."""
    sizes = [len(keys) for keys, _ in counts[1:]]
    seen = np.concatenate([seen for _, seen in counts[1:]])
    offsets = np.cumsum([0, *sizes])
    by_frequency = np.argsort(-seen, kind="stable")  # of equally frequent ones the shorter comes first
    rank = np.empty_like(by_frequency)
    rank[by_frequency] = np.arange(len(seen))
    # A number for every n-gram, and one more for the first of each context.
    numbers = np.ones(len(seen), dtype=np.int64)
    for (keys, _), offset in zip(counts[1:], offsets[:-1], strict=True):
        if len(keys):
            starts = _group_starts(keys // base)
            numbers[np.minimum.reduceat(rank[offset : offset + len(keys)], starts)] += 1
    room = np.searchsorted(np.cumsum(numbers), entries, side="right")
    kept = rank < room
    return [np.zeros(0, dtype=np.bool_), *np.split(kept, offsets[1:-1])]
