"""A small `gpt` whose answers differ from question to question."""

from __future__ import annotations

import torch

from emergence.models.family import build_network
from emergence.models.gpt import GPTConfig


def tiny_network(config: GPTConfig) -> torch.nn.Module:
    """Return the network in evaluation mode, with an output head that does not begin at zero."""
    built: torch.nn.Module = build_network("gpt", config, torch.Generator().manual_seed(3))
    with torch.no_grad():
        built.head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(4))
    return built.eval()
