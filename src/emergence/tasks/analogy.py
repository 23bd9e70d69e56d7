"""Analogies in a generated language whose words have a stem and an ending: a is to b as c is to what?

A word is one syllable of Hangul, which is one character: its consonant is the stem, its vowel the ending. A sentence
sets a word between a sign that goes with its ending and one that goes with its stem, so that what a word is shows in
its company alone (Harris 1954, doi 10.1080/00437956.1954.11659520), and what words have in common can be added up
(Mikolov et al. 2013, NAACL, "Linguistic regularities in continuous space word representations").
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from pydantic import Field

from emergence.tasks.task import Example, GeneratedTask, Latents, Split, TaskOptions, read_options

__all__ = ["Analogy"]

FIRST_SYLLABLE, CONSONANTS, VOWELS, FINALS = 0xAC00, 19, 21, 28


class AnalogyOptions(TaskOptions):
    """``stems`` times ``endings`` words. Of what is trained on, the share ``questions`` are questions with answers, the
    rest are sentences; with 0 a model has seen the language, but never a question."""

    stems: int = Field(12, ge=4, le=CONSONANTS)
    endings: int = Field(8, ge=4, le=VOWELS)
    questions: float = Field(0.5, ge=0, le=1)


class Analogy(GeneratedTask):
    """``가:거=나:`` wants ``너``; a sentence is ``a가A``.

    Questions about the same two stems and the same two endings, in whatever order, are one: all of them are held out,
    or none.
    """

    name = "analogy"
    ends = False

    options: AnalogyOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(AnalogyOptions, options, self.name)
        words = [self._word(s, e) for s in range(self.options.stems) for e in range(self.options.endings)]
        endings = string.ascii_lowercase[: self.options.endings]
        self.alphabet = "".join([*words, string.ascii_uppercase[: self.options.stems], endings, ":="])
        self.floor = 1 / len(words)

    @staticmethod
    def _word(stem: int, ending: int) -> str:
        return chr(FIRST_SYLLABLE + (stem * VOWELS + ending) * FINALS)

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return two different stems, two different endings, and which of them changes first, [n, 5]."""
        stems, endings = self.options.stems, self.options.endings
        first = rng.integers(0, [stems, endings], size=(n, 2))
        second = (first + rng.integers(1, [stems, endings], size=(n, 2))) % [stems, endings]
        return np.column_stack([first[:, 0], second[:, 0], first[:, 1], second[:, 1], rng.integers(0, 2, n)])

    def identity(self, latents: Latents) -> Latents:
        """Return the unordered stems and the unordered endings."""
        return np.concatenate([np.sort(latents[:, :2], axis=1), np.sort(latents[:, 2:4], axis=1)], axis=1)

    def write(self, latents: Latents) -> list[Example]:
        """Write three corners of the square that stems and endings span; the fourth is the answer."""
        result = []
        for s, t, e, f, turned in latents.tolist():
            b, c = (self._word(t, e), self._word(s, f)) if turned else (self._word(s, f), self._word(t, e))
            result.append(Example(f"{self._word(s, e)}:{b}={c}:", self._word(t, f)))
        return result

    def lessons(self, rng: np.random.Generator, n: int, split: Split) -> list[Example]:
        """Return sentences, which are answers to no question, and questions, in random order."""
        asked = rng.random(n) < self.options.questions
        questions = iter(self.examples(rng, int(asked.sum()), split) if asked.any() else [])
        drawn = rng.integers(0, [self.options.stems, self.options.endings], size=(n, 2)).tolist()
        sentences = (
            Example("", string.ascii_lowercase[e] + self._word(s, e) + string.ascii_uppercase[s]) for s, e in drawn
        )
        return [next(questions) if is_question else next(sentences) for is_question in asked.tolist()]
