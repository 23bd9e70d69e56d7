"""How a prefix tree of scoring requests becomes rows of tokens, and rows become the tensors of one forward pass.

Shapes: B rows, T positions of the longest, N predictions wanted, M positions that make them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from emergence.generation.prefixes import Group, Node, Sequences
from emergence.models.cache import Tree

__all__ = ["Batch", "Questions", "Reading", "Row", "batches", "collate", "lay_out"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """What is to be predicted: of sequence i the tokens after depth ``first[i]`` and later, into ``outputs[i]`` on."""

    sequences: Sequences
    first: Sequence[int]
    outputs: Sequence[int]


@dataclass(slots=True, eq=False)
class Segment:
    """Tokens ``start`` to ``stop`` of a sequence, standing in their row from ``at`` on; all below ends at ``end``."""

    sequence: int
    start: int
    stop: int
    at: int
    end: int
    above: Segment | None
    row: Row


@dataclass(slots=True, eq=False)
class Row:
    """Tokens in depth-first order, and ``wanted``: runs of predictions as (position in the row, output, count)."""

    size: int = 0
    segments: list[Segment] = field(default_factory=list)
    wanted: list[tuple[int, int, int]] = field(default_factory=list)
    stem: int = 0  # tokens at the start that follow one another

    def add(self, sequence: int, start: int, stop: int, above: Segment | None, end: int) -> Segment:
        """Put tokens behind the others of the row and return where they stand."""
        segment = Segment(sequence, start, stop, self.size, end, above, self)
        if self.size == self.stem and (above is None or not self.segments or above is self.segments[-1]):
            self.stem += stop - start
        self.segments.append(segment)
        self.size += stop - start
        return segment


@dataclass(frozen=True)
class Reading:
    """A group laid out: its shared beginning (None for the outermost, which has none), its rows, the longest first, and
    the groups that continue the beginning."""

    beginning: Row | None
    rows: list[Row]
    below: list[Reading]


def lay_out(group: Group, questions: Questions, above: Segment | None = None) -> Reading:
    """Lay out a group below the segment that its parent's beginning fills.

    Wanted predictions are noted where they are made, which may be in any beginning above.
    """
    if group.stop > group.start:
        above = Row().add(group.sequence, group.start, group.stop, above, group.stop - group.start)
        for sequence in group.ends:
            _want(sequence, group.stop, above, questions)
    rows = [_fill(node, above, group.stop, questions) for node in group.rows]
    below = [lay_out(lower, questions, above) for lower in group.groups]
    rows.sort(key=lambda row: row.size, reverse=True)
    return Reading(above.row if above is not None else None, rows, below)


def _fill(top: Node, above: Segment | None, start: int, questions: Questions) -> Row:
    """Return the row of a node and all below, from depth ``start`` on."""
    row = Row()
    stack: list[tuple[Node, Segment | None]] = [(top, above)]
    while stack:
        node, parent = stack.pop()
        first = start if node is top else node.start
        segment = row.add(node.sequence, first, node.stop, parent, row.size + node.size + node.start - first)
        for sequence in node.ends:
            _want(sequence, node.stop, segment, questions)
        stack.extend((child, segment) for child in reversed(node.children))
    return row


def _want(sequence: int, stop: int, segment: Segment | None, questions: Questions) -> None:
    """Note the predictions wanted of a sequence that ends at depth ``stop`` in ``segment``, along its path upwards."""
    first, output = questions.first[sequence], questions.outputs[sequence]
    while stop > first:
        assert segment is not None
        low = max(first, segment.start)
        if low < stop:
            segment.row.wanted.append((segment.at + low - segment.start, output + low - first, stop - low))
            stop = low
        segment = segment.above


def batches(rows: Sequence[Row], tokens: int, predictions: int) -> Iterator[list[Row]]:
    """Divide rows, the longest first, into batches of at most so many tokens, padding included, and predictions."""
    batch: list[Row] = []
    wanted = 0
    for row in rows:
        more = sum(count for _, _, count in row.wanted)
        if batch and ((len(batch) + 1) * batch[0].size > tokens or wanted + more > predictions):
            yield batch
            batch, wanted = [], 0
        batch.append(row)
        wanted += more
    if batch:
        yield batch


@dataclass(frozen=True)
class Batch:
    """One forward pass: token ids [B, T], how they branch, and the flat positions ``select`` [M] that predict.

    The prediction ``outputs[n]`` is made at ``select[source[n]]``; both have shape [N].
    """

    ids: torch.Tensor
    tree: Tree | None
    select: torch.Tensor
    source: torch.Tensor
    outputs: Ints


def collate(rows: Sequence[Row], sequences: Sequences, device: torch.device) -> Batch:
    """Return rows as tensors on ``device``. Padding stands after the last token that counts, where nothing sees it."""
    B, T = len(rows), max(row.size for row in rows)
    ids_BT = np.zeros((B, T), dtype=np.int64)
    branching = [row for row in rows if row.stem < row.size]
    depth_BT, end_BT = np.zeros((B, T), dtype=np.int64), np.full((B, T), T, dtype=np.int64)
    for b, row in enumerate(rows):
        origin = row.segments[0].start
        for segment in row.segments:
            here = slice(segment.at, segment.at + segment.stop - segment.start)
            ids_BT[b, here] = sequences.tokens(segment.sequence, segment.start, segment.stop)
            if branching:
                depth_BT[b, here] = np.arange(segment.start - origin, segment.stop - origin)
                end_BT[b, here] = segment.end
    tree = None
    if branching:
        stem = min(row.stem for row in branching)
        tree = Tree(torch.from_numpy(depth_BT).to(device), torch.from_numpy(end_BT).to(device), stem)
    runs = np.array([(b * T + at, out, count) for b, row in enumerate(rows) for at, out, count in row.wanted])
    starts, outputs, counts = runs.reshape(-1, 3).astype(np.int64).T
    select, source = np.unique(_runs(starts, counts), return_inverse=True)
    return Batch(
        torch.from_numpy(ids_BT).to(device),
        tree,
        torch.from_numpy(select).to(device),
        torch.from_numpy(source).to(device),
        _runs(outputs, counts),
    )


def _runs(starts: Ints, counts: Ints) -> Ints:
    """Return ``start, start + 1, ...`` for each start, as many as its count, one run after the other."""
    offsets: Ints = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return offsets + np.arange(len(offsets))
