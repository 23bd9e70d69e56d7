"""What can be asked of a model, and what it answers. No torch here, so that answers can be kept and read without it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emergence.core.errors import UserError

__all__ = ["Answer", "Continuation", "GenerateRequest", "Likelihood", "Request", "ScoreRequest"]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How probable is ``target`` after ``prompt``? Both are token ids; the answer is a `Likelihood`.

    With a ``source`` the model has read that text through its bottleneck, and nothing else.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    source: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """What does the model write after ``prompt``, greedily, up to ``max_tokens`` tokens or the end token?

    The answer is a `Continuation`. With a ``source`` the model has read that text through its bottleneck, and nothing
    else.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    source: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; ask for at least one")


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Natural-log probability of each target token, and whether it was the most probable one."""

    logprobs: tuple[float, ...]
    hits: tuple[bool, ...]

    @property
    def total(self) -> float:
        """Log probability of the whole target, in nats."""
        return math.fsum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The tokens written, without the end token."""

    ids: tuple[int, ...]


Request = ScoreRequest | GenerateRequest
Answer = Likelihood | Continuation
