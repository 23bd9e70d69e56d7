"""Rows of token ids as the graphs that they describe (`text.graph_text` says how a graph is written).

Shapes: B rows, T positions, M positions that predict, G of them that answer a question, N nodes (letters).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emergence.core.errors import UserError
from emergence.text.graph_text import END_ID, FIRST_NODE_ID, GRAPH_NODES, QUESTION_ID

__all__ = ["Graphs", "read_graphs"]

NODES = len(GRAPH_NODES)


@dataclass(frozen=True)
class Graphs:
    """The graphs of G questions: which of the M positions ``places`` [G] answer them, the symmetric ``adjacency``
    [G, N, N] of zeros and ones without loops, and the nodes ``source`` [G] and ``target`` [G] that are asked about."""

    places: torch.Tensor
    adjacency: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor


def read_graphs(ids_BT: torch.Tensor, rows_M: torch.Tensor, positions_M: torch.Tensor) -> Graphs:
    """Return the graph of every position of ``positions`` (in its row of ``rows``) that ends a question.

    A row may hold several examples, each between end tokens; an answer sees its own alone, and nothing behind it.
    Raises UserError for a row that is no graph up to its questions. What follows a question is free.
    """
    t = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    nothing = torch.full_like(t, -1)
    ends, asks = ids_BT == END_ID, ids_BT == QUESTION_ID
    start = torch.where(ends, t, nothing).cummax(dim=1).values  # the end token before an example
    asked = torch.where(asks, t, nothing).cummax(dim=1).values  # its question mark, where that is behind ``start``
    _check(ids_BT, t, ends, asks, start, asked)
    answering = (asked > start) & (t - asked == 2)
    places = answering[rows_M, positions_M].nonzero()[:, 0]
    rows, last = rows_M[places], positions_M[places]
    first, mark = start[rows, last], asked[rows, last]
    own = ids_BT[rows]
    begins = (t > first[:, None]) & (t < mark[:, None]) & ((t - first[:, None]) % 2 == 1)
    graph, at = begins.nonzero(as_tuple=True)
    a, b = own[graph, at] - FIRST_NODE_ID, own[graph, at + 1] - FIRST_NODE_ID
    adjacency = torch.zeros(len(places), NODES, NODES, device=ids_BT.device)
    adjacency[graph, a, b] = 1.0
    adjacency[graph, b, a] = 1.0
    adjacency.diagonal(dim1=1, dim2=2).zero_()
    source, target = (ids_BT[rows, mark + k] - FIRST_NODE_ID for k in (1, 2))
    return Graphs(places, adjacency, source, target)


def _check(
    ids_BT: torch.Tensor,
    t: torch.Tensor,
    ends: torch.Tensor,
    asks: torch.Tensor,
    start: torch.Tensor,
    asked: torch.Tensor,
) -> None:
    """Raise UserError at the first token that has no place in a graph."""
    letters = (ids_BT >= FIRST_NODE_ID) & (ids_BT < FIRST_NODE_ID + NODES)
    edges = asked <= start
    read = t - start - 1  # letters of edges before a question mark
    before = torch.nn.functional.pad(asked, (1, 0), value=-1)[:, :-1]
    again = asks & (before > start)
    faults = (
        (edges & ~ends & ~letters, "an edge is two letters"),
        (asks & ~again & ((read % 2 == 1) | (read == 0)), "a question follows edges of two letters each"),
        (again, "there is one question to a graph"),
        (~edges & (t - asked <= 2) & (t > asked) & ~letters, "a question names two nodes"),
    )
    wrong = torch.stack([where for where, _ in faults])
    if bool(wrong.any()):
        kind, row, position = (int(i) for i in wrong.nonzero()[0])
        raise UserError(
            f"row {row} is no graph at token {position}: {faults[kind][1]}. The families gnn, gcn and gat read what "
            "the tasks reachability and shortest_path write, such as abbccd?ad; ask another family about other text"
        )
