"""Which parameters learn, and at which rate: freezing from the bottom, rates by depth, and the optimisers.

Every optimiser is torch's own; what differs between them is the rate that suits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.models.trunk import depths, module_of
from emergence.training.schedule import width_scale

__all__ = ["base_rate", "make_optimiser", "set_learning"]

#: Learning rates at a width of 64 of what was trained before and of an adapter, and of a new head at every width.
BASE_RATE, ADAPTER_RATE, HEAD_RATE = 0.002, 0.006, 0.005
#: What suits the other optimisers, as multiples of that of Adam: SGD's steps have the size of the gradient.
RATES = {"adamw": 1.0, "adam": 1.0, "rmsprop": 0.5, "sgd": 30.0}
MOMENTUM = 0.9


def set_learning(network: Any, settings: FinetuneSettings) -> dict[str, nn.Parameter]:
    """Let the gradients of a network reach what the settings do not freeze, and return that by name.

    Raises UserError where there are fewer depths than are to be frozen.
    """
    module = module_of(network)
    depth = depths(network)
    last = max(depth.values())
    if settings.freeze != "all" and settings.freeze > last:
        raise UserError(f"freeze is {settings.freeze}, but the model has {last} depths below its head; or say all")
    learning = {}
    for name, parameter in module.named_parameters():
        learns = settings.freeze != "all" and depth[name] >= settings.freeze
        parameter.requires_grad_(learns)
        if learns:
            learning[name] = parameter
    return learning


def base_rate(settings: FinetuneSettings) -> float:
    """Return the learning rate at a width of 64 that settings mean."""
    if settings.learning_rate != "auto":
        return settings.learning_rate
    return RATES[settings.optimiser] * (BASE_RATE if settings.adapter is None else ADAPTER_RATE)


def make_optimiser(
    network: Any,
    learning: Mapping[str, nn.Parameter],
    heads: list[nn.Parameter],
    width: int,
    settings: FinetuneSettings,
) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters ``learning`` of a network of some width and of its ``heads``.

    Matrices decay, all else does not. Each group keeps its rate as ``base``, for the schedule to multiply.
    """
    base = base_rate(settings)
    # Narrow networks did not bear a higher rate of their adapters (banking77 at a width of 24).
    scale = width_scale(width) if settings.adapter is None else min(1.0, width_scale(width))
    depth = depths(network) if learning else {}
    last = max(depth.values(), default=0)
    groups = []
    for name, parameter in learning.items():
        below = last - depth.get(name, last)
        groups.append((parameter, base * scale * settings.layer_decay**below))
    head_rate = RATES[settings.optimiser] * HEAD_RATE if settings.learning_rate == "auto" else base
    groups += [(parameter, head_rate) for parameter in heads]
    described = [
        {
            "params": [parameter],
            "lr": rate,
            "base": rate,
            "weight_decay": settings.weight_decay if parameter.dim() > 1 else 0.0,
        }
        for parameter, rate in groups
    ]
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(described)
    if settings.optimiser == "adam":
        return torch.optim.Adam(described)
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(described)
    return torch.optim.SGD(described, momentum=MOMENTUM)
