"""Graphs in text, read another way than the library reads them."""

from __future__ import annotations

__all__ = ["distances", "neighbours"]


def neighbours(edges: str) -> dict[str, set[str]]:
    """Return the neighbours of every node of ``abbccd``."""
    found: dict[str, set[str]] = {}
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        found.setdefault(a, set()).add(b)
        found.setdefault(b, set()).add(a)
    return found


def distances(edges: str, source: str) -> dict[str, int]:
    """Return the distance of every node that can be reached from ``source``, by breadth-first search."""
    near = neighbours(edges)
    found, reached = {source: 0}, [source]
    for node in reached:
        for other in near[node] - set(found):
            found[other] = found[node] + 1
            reached.append(other)
    return found
