"""A loaded model as a writer of texts: many prompts at once, and what it wrote behind each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.evaluation.engine import READERS
from emergence.generation import SamplingSettings
from emergence.text import LanguageTokenizer

__all__ = ["Writer", "Written"]


@dataclass(frozen=True)
class Written:
    """What a model wrote, and whether it came to an end by itself within the tokens it had."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Writer:
    """A network that writes, with its tokenizer; ``name`` stands in messages."""

    network: Any
    tokenizer: LanguageTokenizer
    name: str

    def check(self, *, drawing: bool) -> None:
        """Raise UserError for a network that does not write, or whose answers cannot be drawn at random."""
        reads = self.network.reads
        if reads not in ("causal", "pairs"):
            raise UserError(f"{self.name} cannot continue a prompt; name a causal or an encoder-decoder model")
        if drawing and READERS[reads].sample is None:
            raise UserError(
                f"{self.name} writes its most probable answer; leave temperature at 0, or take a causal one"
            )

    def unknown(self, text: str) -> list[str]:
        """Return the characters of a text that the tokenizer does not know."""
        unknown = self.tokenizer.unknown_id
        if unknown is None or unknown not in self.tokenizer.encode(text):
            return []
        return sorted({letter for letter in text if unknown in self.tokenizer.encode(letter)})

    def fits(self, prompt: str, max_tokens: int) -> bool:
        """Say whether the prompt, and beside it an answer of so many tokens, fit into the context."""
        length = 1 + len(self.tokenizer.encode(prompt))
        return length + (max_tokens if self.network.reads == "causal" else 0) <= int(self.network.config.context)

    def write(
        self, prompts: Sequence[str], settings: SamplingSettings, generator: torch.Generator | None
    ) -> list[Written]:
        """Return what the model writes behind every prompt: the most probable, or drawn where there is a
        temperature."""
        ids = [[self.tokenizer.begin_id, *self.tokenizer.encode(prompt)] for prompt in prompts]
        reader, end = READERS[self.network.reads], self.tokenizer.separator_id
        if settings.temperature:
            assert reader.sample is not None
            answers = reader.sample(self.network, ids, settings, end_id=end, generator=generator)
        else:
            answers = reader.write(self.network, ids, [settings.max_tokens] * len(ids), end_id=end)
        return [Written(self.tokenizer.decode(answer), len(answer) < settings.max_tokens) for answer in answers]
