"""Greedy decoding and sampling: how the next token is chosen. Shapes: B rows, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from emergence.core.errors import UserError
from emergence.generation.decoding import decode
from emergence.models.family import LanguageModel

__all__ = ["SamplingSettings", "generate", "most_probable", "pick_token"]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """``temperature`` 0 is greedy; ``top_k`` and ``top_p`` (Holtzman et al. 2019, arXiv 1904.09751) cut the tail
    before sampling."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; ask for at least one")
        if self.temperature != 0 and not 1e-3 <= self.temperature <= 1e3:
            raise UserError(f"temperature is {self.temperature:g}; give 0 (greedy) or a number from 0.001 to 1000")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}; give 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p:g}; give a share above 0 and up to 1")


def generate(
    network: LanguageModel,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    *,
    end_id: int,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Return the continuation of every prompt, up to but not including the end token.

    A continuation that outgrows the context goes on from the later half of what was read and written. Raises
    UserError for an empty prompt, and ValueError when sampling is asked for without a generator.
    """
    if settings.temperature > 0 and generator is None:
        raise ValueError("sampling needs a generator")
    limits = [settings.max_tokens] * len(prompts)
    return decode(network, prompts, limits, partial(pick_token, settings, generator), end_id=end_id)


def most_probable(logits_BV: torch.Tensor) -> torch.Tensor:
    """Return the most probable token of every row."""
    return logits_BV.argmax(dim=-1)


def pick_token(settings: SamplingSettings, generator: torch.Generator | None, logits_BV: torch.Tensor) -> torch.Tensor:
    """Return one token per row: the most probable one, or one drawn from the (cut) distribution."""
    if settings.temperature == 0:
        return most_probable(logits_BV)
    logits_BV = logits_BV / settings.temperature
    if settings.top_k is not None and settings.top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(settings.top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, float("-inf"))
    if settings.top_p is not None:
        ordered, order = logits_BV.sort(descending=True)
        share = ordered.softmax(dim=-1)
        beyond = share.cumsum(dim=-1) - share >= settings.top_p
        logits_BV = logits_BV.masked_fill(beyond.scatter(1, order, beyond), float("-inf"))
    shares_BV = logits_BV.softmax(dim=-1).to(generator.device if generator is not None else logits_BV.device)
    return torch.multinomial(shares_BV, 1, generator=generator)[:, 0]
