"""The training stream: which rows make up step t, as a pure function of the seed and t.

Nothing is remembered between steps, so a run that is resumed at step t sees exactly what an uninterrupted one sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emergence.core.seeds import stream
from emergence.training.rows import Rows

__all__ = ["CorpusSource", "Draw", "Mixture", "RowsSource", "Source"]


Edges = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The rows of some steps: inputs and next tokens [K, B, T], and the mask of the positions that count.

    ``most`` [K] bounds the number of these positions whatever the seed: stacked replicas are padded to it, so that the
    bits of one do not depend on the others.
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    supervised: npt.NDArray[np.bool_]
    most: npt.NDArray[np.int64]


class Source(Protocol):
    """An endless stream of rows, known by their numbers."""

    name: str
    most: int  # positions that count in a row

    def rows(self, edges: Edges, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return token rows [N, T + 1] and their masks [N, T] of successive steps; step k takes the rows number
        ``edges[k]`` to ``edges[k + 1] - 1``."""

    def validation(self, limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return fixed held-out rows of at most ``limit`` tokens, spread evenly."""


class RowsSource:
    """Packed examples, in a new seeded order every epoch."""

    def __init__(self, name: str, train: Rows, held_out: Rows) -> None:
        self.name, self._train, self._held_out = name, train, held_out
        self.most = int(train.supervised.sum(axis=1).max())
        self._orders: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    def _order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        if (seed, epoch) not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key[1] >= epoch - 1}
            self._orders[seed, epoch] = stream(seed, self.name, "epoch", epoch).permutation(len(self._train.tokens))
        return self._orders[seed, epoch]

    def rows(self, edges: Edges, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the next rows of the shuffled epochs."""
        size = len(self._train.tokens)
        numbers = np.arange(edges[0], edges[-1])
        epochs = numbers // size
        picks = np.empty_like(numbers)
        for epoch in np.unique(epochs).tolist():
            picks[epochs == epoch] = self._order(seed, epoch)[numbers[epochs == epoch] % size]
        return self._train.tokens[picks], self._train.supervised[picks]

    def validation(self, limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return held-out rows from the start of the held-out file."""
        n = max(1, min(len(self._held_out.tokens), limit // self._held_out.supervised.shape[1]))
        # Copied, as torch does not like memory that it must not write to.
        return self._held_out.tokens[:n], np.array(self._held_out.supervised[:n])


class CorpusSource:
    """Random windows of packed text, drawn independently for every row number."""

    name = "corpus"

    def __init__(self, train: npt.NDArray[Any], held_out: npt.NDArray[Any], context: int) -> None:
        self._train, self._held_out, self._context = train, held_out, context
        self.most = context

    def _windows(self, tokens: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        windows: npt.NDArray[Any] = tokens[starts[:, None] + np.arange(self._context + 1)]
        return windows

    def rows(self, edges: Edges, seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return windows whose starts depend on the seed and on the number of the first row of their step."""
        last = len(self._train) - self._context
        steps = itertools.pairwise(edges.tolist())
        starts = np.concatenate([stream(seed, self.name, a).integers(0, last, size=b - a) for a, b in steps])
        return self._windows(self._train, starts), np.ones((len(starts), self._context), dtype=np.bool_)

    def validation(self, limit: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return windows that tile the held-out text, or as many of them as the limit allows, evenly spread."""
        tiles = max(1, (len(self._held_out) - 1) // self._context)
        n = max(1, min(tiles, limit // self._context))
        starts = np.linspace(0, (tiles - 1) * self._context, n).astype(np.int64)
        return self._windows(self._held_out, starts), np.ones((n, self._context), dtype=np.bool_)


class Mixture:
    """Sources in fixed proportions: after any number of steps each has given its share to within one row."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], batch_rows: int, seed: int) -> None:
        total = sum(weights)
        self._sources = list(sources)
        self._weights = [weight / total for weight in weights]
        self._batch_rows, self._seed = batch_rows, seed

    def _given(self, step: int) -> list[int]:
        """Return how many rows each source has given before ``step``."""
        rows = step * self._batch_rows
        edges = [0, *(round(rows * share) for share in np.cumsum(self._weights))]
        edges[-1] = rows
        return [after - before for before, after in itertools.pairwise(edges)]

    def draw(self, first: int, count: int) -> Draw:
        """Return the rows of ``count`` steps from step ``first`` on, counted from 0."""
        edges = np.array([self._given(step) for step in range(first, first + count + 1)])
        given = np.diff(edges, axis=0)
        parts = [source.rows(own, self._seed) for source, own in zip(self._sources, edges.T, strict=True)]
        tokens, mask = (np.concatenate(part) for part in zip(*parts, strict=True))
        steps = np.concatenate([np.repeat(np.arange(count), own) for own in given.T])
        order = np.argsort(steps, kind="stable").reshape(count, self._batch_rows)
        return _draw(tokens[order], mask[order], given @ np.array([source.most for source in self._sources]))

    def validation(self, limit: int) -> list[tuple[str, float, Draw]]:
        """Return the name, weight and held-out rows of every source, as those of one step."""
        found = []
        for source, weight in zip(self._sources, self._weights, strict=True):
            rows, mask = source.validation(limit)
            found.append((source.name, weight, _draw(rows[None], mask[None], np.zeros(1, dtype=np.int64))))
        return found


def _draw(tokens: npt.NDArray[Any], mask: npt.NDArray[np.bool_], most: npt.NDArray[np.int64]) -> Draw:
    ids = tokens.astype(np.int64)
    return Draw(ids[..., :-1], ids[..., 1:], mask, most)
