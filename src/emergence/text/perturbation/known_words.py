"""Words that a perturbation must not write by chance: those that a label may hang on, and the commonest others."""

from __future__ import annotations

import functools

from emergence.text.augmentation import own_thesaurus
from emergence.text.augmentation.cutting import CHINESE_NEGATIONS, ENGLISH_NEGATIONS, OPENING_NEGATIONS
from emergence.text.sentiment import LEXICONS
from emergence.text.stopwords import STOP_WORDS

__all__ = ["is_known", "telling_words"]


@functools.cache
def _known() -> frozenset[str]:
    english = LEXICONS["en"]
    telling = (*english.positive, *english.negative, *english.intensifiers, *english.breaks)
    return frozenset({*telling, *ENGLISH_NEGATIONS, *STOP_WORDS, *own_thesaurus().words})


def is_known(word: str) -> bool:
    """Say whether an English word is in one of our lists: sentiment, negations, synonyms, stop words."""
    return word.lower() in _known()


def telling_words(text: str) -> int:
    """Return how many Chinese negations, and words of praise, blame and degree, are written in a text."""
    return sum(map(text.count, _telling()))


@functools.cache
def _telling() -> tuple[str, ...]:
    chinese = LEXICONS["zh"]
    negations = CHINESE_NEGATIONS | OPENING_NEGATIONS
    listed = (word for word in own_thesaurus().words if len(word) > 1 and not word.isascii())
    return tuple({*chinese.positive, *chinese.negative, *chinese.intensifiers, *negations, *listed})
