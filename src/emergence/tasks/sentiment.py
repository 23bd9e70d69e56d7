"""Sentiment of short sentences: praise and blame, turned by negations, weighed by intensifiers.

What a word means has to be learnt, what a negation does too; a lexicon with a rule for either is right every time
(`models/rules.py`), so that a network can be seen to reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from emergence.tasks.task import Example, GeneratedTask, Latents, TaskOptions, read_options
from emergence.text.sentiment import LEXICONS, PLAIN, Language

__all__ = ["NEGATIVE", "POSITIVE", "QUESTION", "Sentiment"]

QUESTION, POSITIVE, NEGATIVE = ":", "+", "-"

#: What is praised or blamed, what stands between it and the judgement, and how clauses are joined where they agree and
#: where they do not.
SUBJECTS: dict[Language, tuple[str, ...]] = {
    "en": ("the film", "the food", "the room", "the book", "the song", "the tea", "the trip", "the host"),
    "zh": ("电影", "饭菜", "房间", "小说", "歌曲", "茶水", "旅行", "主人"),
}
JOINTS: dict[Language, tuple[str, str, str]] = {"en": (" was", " and ", " but "), "zh": ("", "，而且", "，但")}
NEGATED: dict[Language, str] = {"en": "not", "zh": "并不"}


class SentimentOptions(TaskOptions):
    """``clauses`` judgements a sentence; the stronger ones decide. ``language`` is en or zh."""

    language: Language = "en"
    clauses: int = Field(1, ge=1, le=4)


class Sentiment(GeneratedTask):
    """``the food was not very good:`` wants ``-``. Sentences whose judgements cancel out are never drawn."""

    name = "sentiment"
    ends = False
    floor = 0.5

    options: SentimentOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(SentimentOptions, options, self.name)
        language = self.options.language
        self._lexicon = lexicon = LEXICONS[language]
        self._intensifiers = ("", *lexicon.intensifiers)
        self._strengths = np.array([PLAIN, *lexicon.intensifiers.values()])
        self._words = (*lexicon.positive, *lexicon.negative)
        written = (*SUBJECTS[language], *JOINTS[language], NEGATED[language], *self._intensifiers, *self._words)
        self.alphabet = "".join(sorted({*"".join(written), *(" " if lexicon.spaced else ""), QUESTION, "+", "-"}))

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return subject, negation, intensifier and word of every clause, [n, 4 clauses].

        Words of praise and of blame are equally likely, so that either answer is right half of the time.
        """
        sizes = [len(SUBJECTS[self.options.language]), 2, len(self._intensifiers), len(self._words)]
        kept: list[Latents] = []
        while sum(map(len, kept)) < n:
            batch = rng.integers(0, np.tile(sizes, self.options.clauses), size=(n, 4 * self.options.clauses))
            kept.append(batch[self._strength(batch) != 0])
        return np.concatenate(kept)[:n]

    def _strength(self, latents: Latents) -> Latents:
        """Return what the clauses add up to, [n]."""
        negated, intensifier, word = (latents[:, place::4] for place in (1, 2, 3))
        sign = np.where(word < len(self._lexicon.positive), 1, -1) * np.where(negated == 1, -1, 1)
        total: Latents = (sign * self._strengths[intensifier]).sum(axis=1)
        return total

    def write(self, latents: Latents) -> list[Example]:
        """Write the clauses, joined by "but" where the sentiment changes, and the sign of their sum."""
        targets = [POSITIVE if strength > 0 else NEGATIVE for strength in self._strength(latents).tolist()]
        return [
            Example(self._sentence(row) + QUESTION, target)
            for row, target in zip(latents.tolist(), targets, strict=True)
        ]

    def _sentence(self, row: list[int]) -> str:
        language = self.options.language
        is_, and_, but = JOINTS[language]
        space = " " if self._lexicon.spaced else ""
        text, before = "", None
        for k in range(0, len(row), 4):
            subject, negated, intensifier, word = row[k : k + 4]
            praise = (word < len(self._lexicon.positive)) != bool(negated)
            parts = (NEGATED[language] * negated, self._intensifiers[intensifier], self._words[word])
            clause = SUBJECTS[language][subject] + is_ + "".join(space + part for part in parts if part)
            text += clause if before is None else (and_ if praise == before else but) + clause
            before = praise
        return text
