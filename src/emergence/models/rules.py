"""The family `rules`: what needs no learning. It has no sizes, no parameters, and knows the tasks of its study.

No torch here. The rules themselves are in `models/rules_answers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emergence.models.family import Family, Vary
from emergence.models.rules_answers import ANSWERS

__all__ = ["RULES", "RulesConfig", "size_for"]

BYTES = "latin-1"  # one character a byte, so that half a character can stand in a JSON file


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """What the rules are told of a study: the spelling of every token, one character a byte (nothing: a special token),
    and the options of the tasks, by name. Everything that counts is zero."""

    vocabulary: int
    context: int
    spellings: tuple[str, ...] = ()
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    width: int = 0
    depth: int = 0
    activations: float = 0.0
    non_embedding_parameters: int = 0
    parameters: int = 0

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs: there are none."""
        return 0.0

    def spelt(self) -> list[bytes]:
        """Return the bytes of text behind every token."""
        return [spelling.encode(BYTES) for spelling in self.spellings]

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return {
            "vocabulary": self.vocabulary,
            "context": self.context,
            "spellings": list(self.spellings),
            "tasks": {name: dict(options) for name, options in self.tasks.items()},
        }


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> RulesConfig:
    """Return the only configuration there is, whatever is asked."""
    return RulesConfig(vocabulary=vocabulary, context=context)


def _informed(config: RulesConfig, spellings: Sequence[bytes], tasks: Mapping[str, Mapping[str, Any]]) -> RulesConfig:
    return replace(config, spellings=tuple(spelling.decode(BYTES) for spelling in spellings), tasks=tasks)


def _from_dict(values: dict[str, Any]) -> RulesConfig:
    return RulesConfig(**{**values, "spellings": tuple(values["spellings"])})


RULES = Family(
    name="rules",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.rules_network:RulesNetwork",
    learner="nothing",
    training_passes=0.0,
    tasks=tuple(ANSWERS),
    sized=False,
    informed=_informed,
)
