"""Replicas of one rung trained as one network: S models of one shape share every batched matrix product.

All parameters lie in two flat tensors [S, P], one of the matrices that decay and one of the rest, and the network's
parameters are views into them. Clipping, the optimiser and its state are then a handful of passes over flat memory,
whatever the number of parameters, and each replica keeps its own slice of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.models.family import FAMILIES, ModelConfig, build_network
from emergence.models.vectors import begin_with, load_vectors
from emergence.training.batch import LANES, Batch
from emergence.training.objectives import OBJECTIVES, Objective
from emergence.training.schedule import width_scale

__all__ = ["MOMENTS", "Stack"]

MOMENTS = ("exp_avg", "exp_avg_sq")
BETAS, EPSILON = (0.9, 0.95), 1e-10


class Stack:
    """Networks that start from their seeds, with AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101).

    Every parameter takes ``learning_rate * width_scale(width)`` times the factor of the step. Matrices inside the
    network decay, by ``weight_decay`` divided by the same scale, so that weights shrink equally fast along the ladder;
    embeddings and norms do not. ``embeddings`` is a file of token vectors that every replica begins with
    (`models.vectors`). ``objective`` takes the place of the family's own.
    """

    def __init__(
        self,
        family: str,
        config: ModelConfig,
        seeds: Sequence[int],
        *,
        learning_rate: float,
        weight_decay: float,
        clip: float,
        stacked: bool,
        embeddings: str | None = None,
        objective: Objective | None = None,
    ) -> None:
        if len(seeds) > 1 and not stacked:
            raise ValueError("several replicas share a network only when they are stacked")
        self.size, self.stacked, self._clip, self._seeds = len(seeds), stacked, clip, tuple(seeds)
        self._objective = objective or OBJECTIVES.load(FAMILIES.load(family).objective)
        built = [
            build_network(family, config, torch.Generator().manual_seed(derive_seed(seed, "initial weights")))
            for seed in seeds
        ]
        if embeddings is not None:
            for network in built:
                begin_with(network, family, load_vectors(Path(embeddings)))
        self.network: nn.Module = built[0]
        self._one: nn.Module | None = build_network(family, config, torch.Generator()) if stacked else None
        shapes = {name: weight.shape for name, weight in built[0].named_parameters()}
        decaying = [name for name, shape in shapes.items() if len(shape) == 2 and "embedding" not in name]
        self._flats = [
            _Flat({name: shapes[name] for name in names}, self.size)
            for names in (decaying, [name for name in shapes if name not in decaying])
        ]
        for s, network in enumerate(built):
            self._write(s, {name: weight.detach() for name, weight in network.named_parameters()})
        scale = width_scale(config.width)
        self._rate = learning_rate * scale
        self._optimiser = torch.optim.AdamW(
            [
                {"params": [flat.values], "weight_decay": decay}
                for flat, decay in zip(self._flats, (weight_decay / scale, 0.0), strict=True)
            ],
            betas=BETAS,
            eps=EPSILON,
            fused=True,
        )
        for flat in self._flats:
            flat.attach(self.network, stacked=stacked)

    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Update every replica on its own rows and return the losses [S] before the update, in nats.

        ``factor`` multiplies the learning rate; what the objective draws at random depends on the number ``step``.
        """
        self.network.train()
        losses = self._objective.losses(self.network, batch, partial(_generator, self._seeds[0], step))
        found = torch.autograd.grad(losses.sum(), [view for flat in self._flats for view in flat.views])
        for flat in self._flats:
            flat.collect(found[: len(flat.views)])
            found = found[len(flat.views) :]
        # One norm after the other: a reduction over rows adds up differently where there is one row.
        decaying, others = (
            torch.stack([torch.linalg.vector_norm(row) for row in flat.gradients]) for flat in self._flats
        )
        shrink = (self._clip / (torch.hypot(decaying, others) + 1e-6)).clamp(max=1.0)
        for flat in self._flats:
            flat.gradients.mul_(shrink[:, None])
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * factor
        self._optimiser.step()
        return losses.detach().view(-1)

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the parameters of one replica by name."""
        return {name: part.clone() for flat in self._flats for name, part in flat.parts(flat.values, replica)}

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the optimiser's state of one replica: ``<parameter>.exp_avg`` and
        ``<parameter>.exp_avg_sq``."""
        return {
            f"{name}.{moment}": part.clone()
            for flat in self._flats
            for moment in MOMENTS
            for name, part in flat.parts(self._optimiser.state[flat.values][moment], replica)
        }

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Continue after ``step`` steps from what `weights` and `moments` returned for every replica.

        Raises UserError where the tensors are those of another network.
        """
        own_names = {name for flat in self._flats for name, _ in flat.parts(flat.values, 0)}
        if any(set(own) != own_names for own in weights):
            raise UserError("the checkpoints were written by another version of this network; choose another folder")
        for s, own in enumerate(weights):
            self._write(s, own)
        for flat in self._flats:
            state = {moment: torch.empty_like(flat.values) for moment in MOMENTS}
            for moment, whole in state.items():
                for s, own in enumerate(moments):
                    for name, part in flat.parts(whole, s):
                        part.copy_(own[f"{name}.{moment}"])
            self._optimiser.state[flat.values] = {"step": torch.tensor(float(step)), **state}

    def snapshot(self) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """Return a copy of all weights and of the optimiser's state, for `return_to`."""
        return [
            (flat.values.detach().clone(), {k: v.clone() for k, v in self._optimiser.state[flat.values].items()})
            for flat in self._flats
        ]

    @torch.no_grad()
    def return_to(self, snapshot: list[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> None:
        """Go back to a snapshot; it is used up."""
        for flat, (values, state) in zip(self._flats, snapshot, strict=True):
            flat.values.copy_(values)
            self._optimiser.state[flat.values] = state

    def alone(self, replica: int) -> nn.Module:
        """Return one replica as a network of its own, in evaluation mode; the next call may reuse it."""
        network = self.network
        if self._one is not None:
            network = self._one
            network.load_state_dict(self.weights(replica))
        return network.eval()

    @torch.no_grad()
    def _write(self, replica: int, weights: dict[str, torch.Tensor]) -> None:
        for flat in self._flats:
            for name, part in flat.parts(flat.values, replica):
                part.copy_(weights[name])


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "objective", step))


class _Flat:
    """Parameters of S networks in one tensor [S, P], with their gradients in another."""

    def __init__(self, shapes: dict[str, torch.Size], size: int) -> None:
        self._shapes = shapes
        self._sizes = [math.prod(shape) for shape in shapes.values()]
        total = sum(self._sizes)
        self._sizes.append(-total % LANES)
        self.values = nn.Parameter(torch.zeros(size, sum(self._sizes)))
        self.gradients = torch.zeros_like(self.values)
        self.values.grad = self.gradients
        self._padding = torch.zeros(size, self._sizes[-1])
        self.views: list[nn.Parameter] = []

    def parts(self, whole: torch.Tensor, replica: int) -> list[tuple[str, torch.Tensor]]:
        """Return the views of one replica's parameters into ``whole`` [S, P], by name."""
        pieces = torch.split(whole.detach()[replica], self._sizes)
        return [(name, piece.view(shape)) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=False)]

    def attach(self, network: nn.Module, *, stacked: bool) -> None:
        """Make the network's parameters views of this storage, [S, ...] each where ``stacked``."""
        columns = torch.split(self.values.detach(), self._sizes, dim=1)
        for (name, shape), column in zip(self._shapes.items(), columns, strict=False):
            view = nn.Parameter(column.view(len(column), *shape) if stacked else column.view(shape))
            path, _, last = name.rpartition(".")
            setattr(network.get_submodule(path), last, view)
            self.views.append(view)

    def collect(self, gradients: Sequence[torch.Tensor]) -> None:
        """Take over the gradients of the views, in their order."""
        parts = [gradient.reshape(len(self.values), -1) for gradient in gradients]
        torch.cat([*parts, self._padding], dim=1, out=self.gradients)
