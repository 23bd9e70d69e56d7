"""Bags of words: a text as the words and runs of words in it, without stop words.

A `Bag` is what ``CountVectorizer(analyzer=Bag())`` and ``TfidfVectorizer(analyzer=Bag())`` of scikit-learn take, and
counts by itself without it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from emergence.text.stopwords import STOP_WORDS
from emergence.text.words import HAN, cut_chinese

__all__ = ["Bag", "chinese_share"]

_CHINESE = re.compile(f"[{HAN}]+")
#: A run of Chinese, or letters, with an apostrophe inside as in "don't". Digits and punctuation are no words.
_WORD = re.compile(rf"[{HAN}]+|(?:(?![{HAN}])[^\W\d_])+(?:['’](?:(?![{HAN}])[^\W\d_])+)*")


@dataclass(frozen=True)
class Bag:
    """Counts runs of ``ngrams[0]`` to ``ngrams[1]`` words, in lower case, their words joined by a space.

    Stop words are taken out first, so that the words of a run may have had some between them (scikit-learn does it so).
    """

    ngrams: tuple[int, int] = (1, 1)
    stop_words: frozenset[str] = STOP_WORDS

    def __post_init__(self) -> None:
        shortest, longest = self.ngrams
        if not 1 <= shortest <= longest:
            raise ValueError(f"ngrams are (shortest, longest) with 1 <= shortest <= longest, not {self.ngrams}")

    def __call__(self, text: str) -> list[str]:
        """Return the runs of words of ``text``, shortest first; raises UserError where Chinese cannot be cut."""
        words = [word for word in _words(text) if word not in self.stop_words]
        shortest, longest = self.ngrams
        return [
            " ".join(words[start : start + length])
            for length in range(shortest, longest + 1)
            for start in range(len(words) - length + 1)
        ]

    def count(self, texts: Iterable[str]) -> Counter[str]:
        """Return how often every run of words occurs in all texts together."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(self(text))
        return counts


def _words(text: str) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(text):
        if _CHINESE.match(word):
            found += cut_chinese()(word)
        else:
            found.append(word.lower().replace("’", "'"))
    return found


def chinese_share(text: str) -> float:
    """Return the share of Chinese among the characters of ``text`` that are no space; 0 where there are none."""
    letters = sum(not character.isspace() for character in text)
    return sum(map(len, _CHINESE.findall(text))) / letters if letters else 0.0
