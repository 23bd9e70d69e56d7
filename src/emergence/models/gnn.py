"""The sizes of the families `gnn`, `gcn` and `gat`: message passing, with exact parameter and FLOP counts. No torch
here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary
from emergence.text.graph_text import GRAPH_NODES, GRAPH_VOCABULARY

__all__ = ["GAT", "GCN", "GNN", "Aggregation", "GNNConfig", "size_for"]

Aggregation = Literal["mean", "convolution", "attention"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share
DEPTH, WIDTH = 4, 32  # what stays where the other is the dial
WIDTH_OF_DEPTH = 8  # where both grow: as many layers as an eighth of the width
MOST_LAYERS = 64
MOST_HEADS = 8  # Velickovic et al. 2018
NODES = len(GRAPH_NODES)
PREDICTED = 2  # tokens of an example: its answer and the end behind it
NAMES: dict[Aggregation, str] = {"mean": "gnn", "convolution": "gcn", "attention": "gat"}


@dataclass(frozen=True, kw_only=True)
class GNNConfig:
    """Message passing on the graph that a row describes, read out at the node asked about (`gnn_network.GNNNetwork`).

    ``aggregation`` says how the states n of a node's neighbours are taken together, and ``matrices`` how many D x D
    matrices a layer has: ``mean`` (2) is the mean of Hamilton et al. 2017 (arXiv 1706.02216), ``convolution`` (1) that
    of Kipf and Welling 2017 (arXiv 1609.02907), ``attention`` (1) that of Velickovic et al. 2018 (arXiv 1710.10903).
    """

    vocabulary: int
    context: int
    width: int
    depth: int
    aggregation: Aggregation = "mean"

    @property
    def heads(self) -> int:
        """Attention heads: the most, up to 8, that divide the width and are a power of two."""
        return math.gcd(self.width, MOST_HEADS)

    @property
    def matrices(self) -> int:
        """Weight matrices of a layer."""
        return 2 if self.aggregation == "mean" else 1

    @property
    def activations(self) -> float:
        """About eight values of the width per layer and node, and the weights of attention, shared by the tokens of a
        row; and four of the vocabulary."""
        scores = 4.0 * self.heads * NODES if self.aggregation == "attention" else 0.0
        nodes = NODES * self.depth * (8.0 * self.width + scores) + NODES * NODES
        return nodes / self.context + 4.0 * self.vocabulary + 4.0 * self.width

    @property
    def non_embedding_parameters(self) -> int:
        """``L (m D^2)`` with m matrices in a layer; attention adds ``2 D`` a layer, a vector for either end."""
        D = self.width
        return self.depth * (self.matrices * D * D + (2 * D if self.aggregation == "attention" else 0))

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + 2 V D (input embedding and output head) + D (the source's
        mark)."""
        return self.non_embedding_parameters + (2 * self.vocabulary + 1) * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens in rows of ``length``, with G graphs in all.

        ``G L (2 m N D^2 + 2 N^2 D) + predicted 2 D V``: in every layer m matrices and one N x N matrix of weights
        between nodes meet the states of N nodes; all letters are nodes, those that have no edges too. The scores of
        attention are ``4 N D`` more. Of every example two tokens are ``predicted``, the answer and the end, so that G
        is half of them; where all are (the default), there is one graph a row. Weights between nodes that are not
        attention's need no gradient, so that a training step costs a little less than the three forward passes it
        counts for.
        """
        D = self.width
        whole = predicted is None or predicted >= tokens
        graphs = tokens / length if whole else predicted / PREDICTED  # type: ignore[operator]
        layer = 2.0 * self.matrices * NODES * D * D + 2.0 * NODES * NODES * D
        if self.aggregation == "attention":
            layer += 4.0 * NODES * D
        head = 2.0 * D * self.vocabulary * (tokens if predicted is None else predicted)
        return graphs * self.depth * layer + head

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(
    parameters: float, vocabulary: int, context: int, vary: Vary = "both", *, aggregation: Aggregation = "mean"
) -> GNNConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    The dial is the width, with about an eighth as many layers (``vary="both"``) or four (``"width"``), or the number of
    layers at width 32 (``"depth"``), each of the same size: a ladder with ``counts`` in steps of that has every depth
    from its smallest to its largest. Raises UserError where no configuration comes within 5 %, and for another
    vocabulary than that of the graph tasks, from which alone graphs can be read.
    """
    name = NAMES[aggregation]
    if vocabulary != GRAPH_VOCABULARY:
        raise UserError(
            f"the family {name} reads graphs as the tasks reachability and shortest_path write them, with "
            f"{GRAPH_VOCABULARY} tokens, not {vocabulary}; choose one of these tasks, or another family"
        )
    build = partial(GNNConfig, vocabulary=vocabulary, context=context, aggregation=aggregation)
    if vary == "depth":
        layer = build(width=WIDTH, depth=1).non_embedding_parameters
        candidates = [build(width=WIDTH, depth=max(1, round(parameters / layer)))]
    else:
        depths = [DEPTH] if vary == "width" else range(1, MOST_LAYERS + 1)
        matrices, vectors = build(width=1, depth=1).matrices, 2 if aggregation == "attention" else 0
        half = vectors / (2 * matrices)
        widths = [round(math.sqrt(parameters / (depth * matrices) + half * half) - half) for depth in depths]
        candidates = [build(width=max(1, width), depth=depth) for width, depth in zip(widths, depths, strict=True)]

    def error(config: GNNConfig) -> float:
        return abs(config.non_embedding_parameters / parameters - 1)

    near = [config for config in candidates if error(config) <= TOLERANCE]
    if not near:
        best = min(candidates, key=error)
        raise UserError(
            f"no {name} with vary: {vary} has {parameters:g} non-embedding parameters within {TOLERANCE:.0%}; the "
            f"nearest has {best.non_embedding_parameters:,}"
        )
    return min(near, key=lambda config: abs(math.log(config.depth * WIDTH_OF_DEPTH / config.width)))


def _from_dict(values: dict[str, Any]) -> GNNConfig:
    return GNNConfig(**values)


def _family(aggregation: Aggregation) -> Family:
    return Family(
        name=NAMES[aggregation],
        size=partial(size_for, aggregation=aggregation),
        config_from=_from_dict,
        network="emergence.models.gnn_network:GNNNetwork",
        tasks=("reachability", "shortest_path"),
        corpus=False,
    )


GNN, GCN, GAT = _family("mean"), _family("convolution"), _family("attention")
