"""What token sequences have in common: their prefix tree, and which shared beginnings are worth reading once for all.

A prefix tree (radix tree; Morrison 1968, doi 10.1145/321479.321481) holds every token once that several sequences have
at the same place after the same tokens. Depth is counted in tokens from the start of the sequences. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

__all__ = ["Group", "Node", "Sequences", "group", "prefix_tree"]

MOST_NESTED = 16  # beginnings that are read once, within one another
LEAST_SAVED = 1 / 8  # of a branching row's tokens, that pay for the attention it wastes on tokens that are hidden

TokenIds = npt.NDArray[np.int32]


class Sequences:
    """Many token sequences in one array."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat: TokenIds = np.fromiter(chain.from_iterable(sequences), dtype=np.int32, count=self.lengths.sum())

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, index: int, start: int, stop: int) -> TokenIds:
        """Return the tokens of one sequence from depth ``start`` to ``stop``."""
        first = int(self.starts[index])
        return self.flat[first + start : first + stop]


@dataclass(slots=True, eq=False)
class Node:
    """Tokens ``start`` to ``stop`` of ``sequence``, shared by all sequences below."""

    sequence: int
    start: int
    stop: int
    children: list[Node] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # the sequences that end at ``stop``
    size: int = 0  # tokens of this node and all below
    height: int = 0  # tokens of the longest path from ``start`` down

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below, parents first, the longest path of each first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


def prefix_tree(sequences: Sequences) -> Node:
    """Return the root, which has no tokens, of the prefix tree of all sequences."""
    # In big-endian bytes the order of memory is that of the tokens, and comparing memory is fast.
    memory = sequences.flat.astype(">i4").tobytes()
    spans = zip((4 * sequences.starts).tolist(), (4 * (sequences.starts + sequences.lengths)).tolist(), strict=True)
    keys = [memory[first:last] for first, last in spans]
    root = Node(0, 0, 0)
    path = [root]
    previous: int | None = None
    for index in sorted(range(len(keys)), key=keys.__getitem__):
        length = int(sequences.lengths[index])
        shared = 0 if previous is None else _shared(sequences, previous, index)
        while path[-1].stop > shared:
            node = path.pop()
            if node.start < shared:
                upper = Node(node.sequence, node.start, shared, [node])
                node.start = shared
                path[-1].children[-1] = upper
                path.append(upper)
        if length > shared:
            leaf = Node(index, shared, length)
            path[-1].children.append(leaf)
            path.append(leaf)
        path[-1].ends.append(index)
        previous = index
    _measure(root)
    return root


def _shared(sequences: Sequences, first: int, second: int) -> int:
    """Return how many tokens two sequences have in common at their start."""
    most = int(min(sequences.lengths[first], sequences.lengths[second]))
    differ = sequences.tokens(first, 0, most) != sequences.tokens(second, 0, most)
    at = int(differ.argmax()) if most else 0
    return at if most and differ[at] else most


def _measure(root: Node) -> None:
    """Fill in sizes and heights, and put the longest path of every node first."""
    for node in reversed(list(root.walk())):
        own = node.stop - node.start
        node.size = own + sum(child.size for child in node.children)
        node.children.sort(key=lambda child: child.height, reverse=True)
        node.height = own + (node.children[0].height if node.children else 0)


@dataclass(slots=True, eq=False)
class Group:
    """A beginning that is read once, and what continues it: rows that hold a node and all below it, and longer shared
    beginnings.

    Of ``sequence`` the tokens ``start`` to ``stop`` are read, after the parent's; the outermost group reads none.
    """

    sequence: int
    start: int
    stop: int
    ends: list[int] = field(default_factory=list)  # the sequences that end at ``stop``
    rows: list[Node] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def group(root: Node, *, worth: int, branching: int) -> Group:
    """Divide a prefix tree into rows, reading a shared beginning once where that saves at least ``worth`` tokens.

    A row holds a node with all below it where the tokens beside its longest path are at most ``branching`` and sharing
    the node saves enough of reading it for each child; what stands above the node and was not read once is read by each
    row anew. With ``branching`` 0 every row is one path.
    """
    rows: dict[Node, int] = {}  # of a node and all below, if nothing above it is shared
    for node in reversed(list(root.walk())):
        packed = _is_row(node, node.start, branching)
        rows[node] = 1 if packed else sum(rows[child] for child in node.children) + bool(node.ends)
    outermost = Group(0, 0, 0, root.ends)
    stack = [(root, outermost, 0)]
    while stack:
        node, into, depth = stack.pop()
        if node is not root and _is_row(node, into.stop, branching):
            into.rows.append(node)
            continue
        saved = (node.stop - into.stop) * (rows[node] - 1)
        if node is not root and saved >= worth and depth < MOST_NESTED:
            lower = Group(node.sequence, into.stop, node.stop, node.ends)
            into.groups.append(lower)
            into, depth = lower, depth + 1
        elif node.ends and node is not root:
            own = node.stop - node.start
            into.rows.append(Node(node.sequence, node.start, node.stop, [], node.ends, own, own))
        stack.extend((child, into, depth) for child in reversed(node.children))
    return outermost


def _is_row(node: Node, start: int, branching: int) -> bool:
    """Say whether a node and all below make one row that reads from depth ``start`` on."""
    beside = node.size - node.height
    saved = (node.stop - start) * (len(node.children) - 1)
    return not beside or (beside <= branching and saved >= node.size * LEAST_SAVED)
