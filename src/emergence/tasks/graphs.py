"""Questions about a graph in the prompt: is there a way from one node to another, and how long is the shortest?

A graph consists of *strands*, paths of equal length. Two of their edges are replaced by a triangle (a *detour* of two
edges beside the direct one), and every further node is tied to an earlier one that is no matter which, so that strands
and detours grow trees. Edges between strands, or past an edge of a strand, there are none: along a strand, distances
are known. Nodes then get letters at random, and the edges, each written either way round, any order.

Nothing but the way itself gives the answer away. The nodes of the strands (with the trees on them) are exchangeable,
and so are their edges (with their detours): their joint distribution is the same whatever their places are. So two
questions about one graph look alike as long as one looks at nodes and edges of strands that are as many and as distinct
in both. A share of the answers that is right because of degrees, of sizes of components or of numbers of leaves is
therefore that of guessing; for `ShortestPath` with the exception of the distance 1, where both nodes share an edge.

The tasks are after Barceló et al. 2020 (ICLR, "The logical expressiveness of graph neural networks") and Loukas 2020
(arXiv 1907.03199): what message passing can know of a node is what is near it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from emergence.tasks.task import Example, GeneratedTask, Latents, TaskOptions, read_options
from emergence.text.graph_text import GRAPH_ALPHABET, GRAPH_NODES

__all__ = ["Reachability", "ShortestPath"]

DETOURS = 2
ROUNDS = 8  # of colour refinement; graphs that differ only later count as the same
BLOCK = 2000  # graphs whose colours stay in the processor's cache
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # SplitMix64's finaliser
INSIDE, OUTSIDE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


class GraphOptions(TaskOptions):
    """``distance`` is the one asked for, or the largest of them, and ``nodes`` the number of nodes of every graph."""

    distance: int = Field(4, ge=2, le=9)
    nodes: int = Field(24, ge=2, le=len(GRAPH_NODES))


class ReachabilityOptions(GraphOptions):
    """Two strands of ``distance`` edges, two detours, and at least two nodes more."""

    @model_validator(mode="after")
    def _room(self) -> ReachabilityOptions:
        _check_room(self, 2 * (self.distance + 1))
        return self


class ShortestPathOptions(GraphOptions):
    """One strand that goes on behind the largest ``distance``, two detours, and at least two nodes more."""

    @model_validator(mode="after")
    def _room(self) -> ShortestPathOptions:
        _check_room(self, self.distance + 2)
        return self


def _check_room(options: GraphOptions, strands: int) -> None:
    least = strands + DETOURS + 2
    if least > len(GRAPH_NODES):
        raise ValueError(f"distance {options.distance} needs {least} nodes and there are {len(GRAPH_NODES)} letters")
    if options.nodes < least:
        raise ValueError(f"nodes is {options.nodes} but distance {options.distance} needs {least} or more")


class _GraphTask(GeneratedTask):
    """Latents are the nodes of the edges, as letters are numbered, then source, target and answer: [n, 2 E + 3]."""

    alphabet = GRAPH_ALPHABET
    ends = False
    strands: ClassVar[int]

    options: GraphOptions

    @abstractmethod
    def length(self) -> int:
        """Number of nodes of a strand."""

    @abstractmethod
    def ask(self, rng: np.random.Generator, n: int) -> tuple[Latents, Latents, Latents]:
        """Return sources, targets [n] as numbers of nodes, those of the strands first, and answers [n]."""

    @property
    def edges(self) -> int:
        """Number of edges, the same in every example."""
        return self.options.nodes - self.strands + DETOURS

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return graphs with a question each; the graph does not depend on the question."""
        N, length = self.options.nodes, self.length()
        spine = np.array([(s * length + i, s * length + i + 1) for s in range(self.strands) for i in range(length - 1)])
        edges = np.empty((n, self.edges, 2), dtype=np.int64)
        edges[:, : len(spine)] = spine
        beside = spine[np.argsort(rng.random((n, len(spine))), axis=1)[:, :DETOURS]]
        at, node = len(spine), self.strands * length
        for k in range(DETOURS):
            for end in range(2):
                edges[:, at, 0], edges[:, at, 1] = beside[:, k, end], node
                at += 1
            node += 1
        while node < N:
            edges[:, at, 0], edges[:, at, 1] = rng.integers(0, node, size=n), node
            at, node = at + 1, node + 1
        edges = rng.permuted(edges, axis=2)
        order = np.argsort(rng.random((n, self.edges)), axis=1)
        edges = np.take_along_axis(edges, order[:, :, None], axis=1)
        letters = np.argsort(rng.random((n, len(GRAPH_NODES))), axis=1)[:, :N]
        source, target, answer = self.ask(rng, n)
        named = np.take_along_axis(letters, np.column_stack([edges.reshape(n, -1), source, target]), axis=1)
        return np.column_stack([named, answer])

    def identity(self, latents: Latents) -> Latents:
        """Return what is the same for isomorphic graphs, whatever is asked about them, [n, 1].

        The sum of hashed colours after `ROUNDS` rounds of colour refinement (Weisfeiler and Leman 1968). So no graph of
        the test is one of training under other letters, nor with another question; and since the question does not
        depend on the graph, held-out answers are as frequent as others.
        """
        return _colours(latents[:, :-3])[:, None]

    def write(self, latents: Latents) -> list[Example]:
        """Write the edges, a question mark, source and target; the answer follows."""
        names = np.array(list(GRAPH_NODES))
        prompts = ("".join(row) for row in names[latents[:, :-1]])
        cut = 2 * self.edges
        return [
            Example(f"{prompt[:cut]}?{prompt[cut:]}", str(answer))
            for prompt, answer in zip(prompts, latents[:, -1].tolist(), strict=True)
        ]


def _colours(ends: Latents) -> Latents:
    """Return a hash [n] of each graph, given the ends [n, 2 E] of its edges, that renaming and reordering leave."""
    N = len(GRAPH_NODES)
    hashes = [np.empty(0, dtype=np.uint64)]
    for first in range(0, len(ends), BLOCK):
        block = ends[first : first + BLOCK]
        numbers = np.ascontiguousarray((block + N * np.arange(len(block))[:, None]).T)
        colour = np.zeros(len(block) * N, dtype=np.uint64)
        for _ in range(ROUNDS):
            own, near = _mix(colour + INSIDE), _mix(colour + OUTSIDE)
            for a, b in zip(numbers[::2], numbers[1::2], strict=True):  # an edge of every graph: no number twice
                own[a] += near[b]
                own[b] += near[a]
            colour = own
        hashes.append(_mix(colour).reshape(-1, N).sum(axis=1, dtype=np.uint64))
    return np.concatenate(hashes).view(np.int64)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return each number well mixed."""
    state = (state ^ (state >> np.uint64(30))) * MIX[0]
    state = (state ^ (state >> np.uint64(27))) * MIX[1]
    return state ^ (state >> np.uint64(31))


class Reachability(_GraphTask):
    """``…?ad`` asks whether there is a way from a to d: 1 or 0, and chance is one in two.

    There are two strands. The source begins one of them; a target that can be reached ends it, ``distance`` edges away,
    and one that cannot ends the other. Whoever sees the nodes less than ``distance`` steps from the target, or those r
    steps from the source and r' from the target where r + r' + 1 is below the distance, and how many edges each has,
    sees distinct nodes and edges of strands in both cases, and so has no better chance than one in two.
    """

    name = "reachability"
    floor = 0.5
    strands = 2

    options: ReachabilityOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(ReachabilityOptions, options, self.name)

    def length(self) -> int:
        """``distance`` edges, which is one node more."""
        return self.options.distance + 1

    def ask(self, rng: np.random.Generator, n: int) -> tuple[Latents, Latents, Latents]:
        """Ask from the beginning of the first strand to the end of the first (1) or of the second (0)."""
        answer = rng.integers(0, 2, size=n)
        return np.zeros(n, dtype=np.int64), (2 - answer) * self.length() - 1, answer


class ShortestPath(_GraphTask):
    """``…?ad`` asks how many edges the shortest way from a to d has: 1 to ``distance``, each as often.

    The target begins the strand and the source lies on it, never at its end. Whoever sees L steps from the target sees
    no more of sources further away than that they are, so the best share of right answers is
    ``min(1, (L + 1) / distance)``: the distances up to L, and a guess among the others. For a text reader the floor is
    one in ``distance``.
    """

    name = "shortest_path"
    strands = 1

    options: ShortestPathOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(ShortestPathOptions, options, self.name)
        self.floor = 1 / self.options.distance

    def length(self) -> int:
        """The largest distance, its two ends, and one node behind."""
        return self.options.distance + 2

    def ask(self, rng: np.random.Generator, n: int) -> tuple[Latents, Latents, Latents]:
        """Ask from a node of the strand to its beginning."""
        answer = rng.integers(1, self.options.distance + 1, size=n)
        return answer, np.zeros(n, dtype=np.int64), answer
