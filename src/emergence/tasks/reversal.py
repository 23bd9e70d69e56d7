"""Reversal: write a random string backwards, a task in which the last that was read is the first to be written.

Sutskever et al. 2014 (arXiv 1409.3215) found that reading a source backwards helps a recurrent encoder; here the order
itself is what is to be learnt.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from pydantic import Field

from emergence.tasks.task import Example, GeneratedTask, Latents, TaskOptions, read_options

__all__ = ["Reversal"]

LETTERS = string.ascii_lowercase


class ReversalOptions(TaskOptions):
    """``length`` letters drawn from the first ``letters`` of the alphabet."""

    length: int = Field(8, ge=2, le=256)
    letters: int = Field(26, ge=2, le=26)


class Reversal(GeneratedTask):
    """``qwer<`` wants ``rewq``; every letter must be right."""

    name = "reversal"
    ends = False

    options: ReversalOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(ReversalOptions, options, self.name)
        self.alphabet = LETTERS[: self.options.letters] + "<"
        self.floor = self.options.letters**-self.options.length

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return letters as numbers, [n, length]."""
        return rng.integers(0, self.options.letters, size=(n, self.options.length))

    def write(self, latents: Latents) -> list[Example]:
        """Write the string, an arrow that points backwards, and the string from its end."""
        texts = ["".join(LETTERS[i] for i in row) for row in latents.tolist()]
        return [Example(text + "<", text[::-1]) for text in texts]
