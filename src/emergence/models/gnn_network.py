r"""The network of the families `gnn`, `gcn` and `gat`: message passing from the source of a question, read out at its
target.

It reads the same token ids as a language model does, and builds of them the graph (`graph_rows.read_graphs`); nodes are
letters and have no other features, so that neither their names nor the order of the edges matter. The source starts
from a learned vector and all other nodes from zero, the boundary condition of Zhu et al. 2021 (arXiv 2106.06935). After
L layers the prediction of the answer is made from the state of the target, and any other prediction from the token
before it.

**Threshold.** After L layers the state of a node is a function of the nodes within L edges of it, their degrees and
where the source is among them (by induction; Barceló et al. 2020, "The logical expressiveness of graph neural
networks", ICLR; Loukas 2020, arXiv 1907.03199, sets message passing equal to distributed computing in L rounds). The
target alone is read, so a source at distance d is

* out of sight where L < d: the target's state is exactly zero, as if there were no way, and the answers to
  ``reachability`` at distance d are right half the time, whatever is learnt;
* in sight where L >= d: there are weights (positive ones, for example) with which the state is zero if and only if
  there is no way of at most L edges.

So the threshold is at L = d. Reading the source's state too would not move it here, as the target is not marked; with
both marked and both read, balls would meet at half the distance.

Shapes: B rows, T positions, M positions that predict, G questions, N nodes, D width, K heads, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.fingerprint import fingerprint
from emergence.models.graph_rows import Graphs, read_graphs
from emergence.models.layers import rms_normalise
from emergence.models.products import linear
from emergence.models.state_cache import StateCache
from emergence.text.graph_text import QUESTION_ID

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.gnn import Aggregation, GNNConfig

__all__ = ["GNNNetwork"]

EPSILON = 1e-5  # of the normalisation
SLOPE = 0.2  # of attention's leaky ReLU, Velickovic et al. 2018


def between_nodes(adjacency: torch.Tensor, aggregation: Aggregation) -> torch.Tensor:
    """Return the weight [G, N, N] with which the state of a node (last) enters the message to another (middle).

    ``mean``: ``1 / |N(v)|`` for the neighbours. ``convolution``: ``D^-1/2 (A + I) D^-1/2`` with D the degrees of
    ``A + I`` (Kipf and Welling 2017, equation 2). ``attention``: zero for neighbours and the node itself and minus
    infinity elsewhere, to be added to the scores.
    """
    if aggregation == "mean":
        return adjacency / adjacency.sum(dim=-1, keepdim=True).clamp(min=1.0)
    looped = adjacency + torch.eye(adjacency.shape[-1], device=adjacency.device)
    if aggregation == "attention":
        return torch.where(looped > 0, 0.0, -torch.inf)
    root = looped.sum(dim=-1).rsqrt()
    return root[:, :, None] * looped * root[:, None, :]


class Layer(nn.Module):
    """``h + ReLU(messages)`` of normalised states n = h / rms(h): the residual form of Kipf and Welling 2017, appendix
    B, with the normalisation of Zhang and Sennrich 2019 (arXiv 1910.07467), so that a message does not fade on its way.

    Messages have no bias: what no message from the source has reached stays zero.

    * ``mean``: ``W_own n_v + W_near mean_{u in N(v)} n_u``
    * ``convolution``: ``W_near sum_{u in N(v) + v} n_u / sqrt(d_u d_v)``
    * ``attention``: ``sum_{u in N(v) + v} a_vu W_near n_u`` with ``a_vu = softmax_u LeakyReLU(p . W n_v + q . W n_u)``,
      for each of K heads with its part of the width (Velickovic et al. 2018, equations 3 to 5)
    """

    def __init__(self, config: GNNConfig) -> None:
        super().__init__()
        D = config.width
        self._aggregation, self._heads = config.aggregation, config.heads
        self.near = nn.Parameter(torch.empty(D, D))
        self.own = nn.Parameter(torch.empty(D, D)) if config.aggregation == "mean" else None
        self.scores = nn.Parameter(torch.empty(2, D)) if config.aggregation == "attention" else None  # p and q

    def forward(self, h: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Return the next states [G, N, D]."""
        n = rms_normalise(h, EPSILON)
        if self.own is not None:
            messages = linear(n, self.own) + linear(torch.bmm(between, n), self.near)
        elif self.scores is not None:
            messages = self._attend(linear(n, self.near), between)
        else:
            messages = linear(torch.bmm(between, n), self.near)
        return h + F.relu(messages)

    def _attend(self, z: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Mix the values z [G, N, D] of every node and its neighbours."""
        assert self.scores is not None
        G, N, D = z.shape
        parts = z.view(G, N, self._heads, D // self._heads)  # a batch without a question has G = 0
        to, of = (torch.einsum("gnkd,kd->gkn", parts, vector.view(self._heads, -1)) for vector in self.scores)
        scores = F.leaky_relu(to[:, :, :, None] + of[:, :, None, :], SLOPE) + between[:, None]
        mixed = scores.softmax(dim=-1) @ parts.transpose(1, 2)
        return mixed.transpose(1, 2).reshape(G, N, D)


class GNNNetwork(nn.Module):
    """Token ids [B, T] of rows that are graphs in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = False
    position_bytes = 8  # it keeps the ids

    def __init__(self, config: GNNConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.source = nn.Parameter(torch.empty(config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw weights: vectors of size one, matrices of variance 2 / D, which ReLUs keep (He et al. 2015, arXiv
        1502.01852), scores of variance 1 / D, and a head of zeros, so that the first loss is exactly ln V."""
        D = self.config.width
        self.embedding.weight.normal_(0.0, 1.0, generator=generator)
        self.source.normal_(0.0, 1.0, generator=generator)
        for name, weight in self.layers.named_parameters():
            weight.normal_(0.0, math.sqrt((1 if name.endswith("scores") else 2) / D), generator=generator)
        self.head.weight.zero_()

    def forward(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V]. Raises UserError for
        rows that are no graphs.
        """
        B, T = ids.shape
        flat = torch.arange(B * T, device=ids.device) if select is None else select
        rows, positions = flat // T, flat % T
        if cache is not None:
            ids, before = self._continue(ids, cache)
            positions = positions + before[rows]
        graphs = read_graphs(ids, rows, positions)
        # The name of the target must not matter: a question is read as its mark, and what came to the target.
        x = self.embedding(ids[rows, positions].index_fill(0, graphs.places, QUESTION_ID))
        x = x.index_add(0, graphs.places, self.reached(graphs))
        logits = linear(rms_normalise(x, EPSILON), self.head.weight)
        return logits if select is not None else logits.view(B, T, -1)

    def reached(self, graphs: Graphs) -> torch.Tensor:
        """Return the state [G, D] of the target of every question after all layers."""
        h = F.one_hot(graphs.source, graphs.adjacency.shape[-1])[..., None] * self.source
        between = between_nodes(graphs.adjacency, self.config.aggregation)
        for layer in self.layers:
            h = layer(h, between)
        return h[torch.arange(len(h), device=h.device), graphs.target]

    @staticmethod
    def _continue(ids: torch.Tensor, cache: StateCache) -> tuple[torch.Tensor, torch.Tensor]:
        """Put ids behind those in the cache; return whole rows and how many tokens [B] were there before."""
        read, before = cache.states
        at = before[:, None] + torch.arange(ids.shape[1], device=ids.device)
        cache.states = [read.scatter(1, at, ids), before + ids.shape[1]]
        return cache.states[0], before

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: StateCache | None = None, tree: Tree | None = None
    ) -> StateCache:
        """Return the ids [B, context] read so far, end tokens behind them, and their number [B], of rows that continue
        the shared prefix."""
        empty = torch.zeros(1, self.config.context, dtype=torch.long, device=self.device)
        return StateCache.beginning(batch, (empty, empty[:, 0]), prefix)
