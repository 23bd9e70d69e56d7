"""Small networks of every family with drawn weights, and one whose inputs are told by hooks."""

from __future__ import annotations

from typing import Any

import torch

from emergence.models.family import build_network, ladder

VOCABULARY = 30


def build(family: str, parameters: float = 8000, vocabulary: int = VOCABULARY, context: int = 16) -> Any:
    """Return a network of the family; what starts at zero is drawn too."""
    config = ladder(family, [parameters], vocabulary=vocabulary, context=context)[0]
    generator = torch.Generator().manual_seed(1)
    network = build_network(family, config, generator)
    for weight in network.parameters():
        if weight.dim() == 2 and bool((weight == 0).any()):
            weight.data.normal_(0.0, 0.3, generator=generator)
    return network.eval()


def rows(count: int = 40, length: int = 16, vocabulary: int = VOCABULARY) -> list[list[int]]:
    """Return random rows of token ids."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, vocabulary, (count, length), generator=generator).tolist()
