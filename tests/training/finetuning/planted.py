"""Small networks, and texts whose answers are planted in them."""

from __future__ import annotations

import numpy as np
import torch

from emergence.core.settings import TokenizerSettings
from emergence.models.family import FAMILIES, build_network
from emergence.text import Tokenizer, build_tokenizer
from emergence.training.finetuning.aims import Classes
from emergence.training.finetuning.heads import PooledHead
from emergence.training.finetuning.rows import encode_rows

CONTEXT = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def letters() -> Tokenizer:
    """A character tokenizer of small letters."""
    return build_tokenizer(TokenizerSettings(kind="char"), [], LETTERS)


def network_of(family: str, tokenizer: Tokenizer, parameters: float = 20_000) -> torch.nn.Module:
    """An untrained network of a family."""
    config = FAMILIES.load(family).size(parameters, tokenizer.vocabulary_size, CONTEXT, "both")
    network: torch.nn.Module = build_network(family, config, torch.Generator().manual_seed(1))
    return network.eval()


def planted_texts(n: int, seed: int, classes: int = 2) -> tuple[list[tuple[str, str]], list[int]]:
    """Random texts whose class is which of the letters z, y, x ... stands in them."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n).tolist()
    texts = []
    for target in targets:
        body = [LETTERS[i] for i in rng.integers(0, 20, int(rng.integers(4, 12)))]
        body[int(rng.integers(len(body)))] = "zyxwv"[target]
        texts.append(("".join(body), ""))
    return texts, targets


def classes_of(
    network: torch.nn.Module, tokenizer: Tokenizer, n: int = 200, classes: int = 2, **options: object
) -> Classes:
    """The aim of saying which of the planted letters a text holds."""
    train, targets = planted_texts(n, 1, classes)
    held, held_targets = planted_texts(100, 2, classes)
    torch.manual_seed(0)
    return Classes(
        "planted",
        encode_rows(tokenizer, train, CONTEXT),
        targets,
        encode_rows(tokenizer, held, CONTEXT),
        held_targets,
        PooledHead(network.config.width, classes, "mean", 0.0),
        **options,  # type: ignore[arg-type]
    )
