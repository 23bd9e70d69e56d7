"""English as it is typed in haste: typos, letters of the wrong case, and no punctuation."""

from __future__ import annotations

import re

import numpy as np

from emergence.text.augmentation import is_negation
from emergence.text.perturbation.known_words import is_known
from emergence.text.words import HAN

__all__ = ["TYPO_SHARE", "case", "punctuation", "typos"]

TYPO_SHARE = 0.1  # of the words of three letters and more
_TRIES = 8

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Return for every letter those beside, above and below it on a QWERTY keyboard."""
    found: dict[str, str] = {}
    for row, keys in enumerate(_KEYS):
        for column, key in enumerate(keys):
            near = [(row, column - 1), (row, column + 1)]
            near += [(row - 1, column), (row - 1, column + 1), (row + 1, column - 1), (row + 1, column)]
            found[key] = "".join(_KEYS[r][c] for r, c in near if 0 <= r < len(_KEYS) and 0 <= c < len(_KEYS[r]))
    return found


_NEAR = _neighbours()
_LONG = re.compile(r"(?<![\w'’])[A-Za-z]{3,}(?![\w'’])")


def typos(text: str, rng: np.random.Generator) -> str:
    """Mistype one letter of each of n words: exchanged with the next, left out, doubled, or the key beside it.

    n is `TYPO_SHARE` of the words, at least 1. Negations are left alone, and no typo is a word of our lists (not in
    place of ton). The text is at most n edits away, an exchange counting as one.
    """
    words = [match for match in _LONG.finditer(text) if not is_negation(match[0])]
    n = max(1, round(TYPO_SHARE * len(words)))
    chosen = [words[int(i)] for i in rng.permutation(len(words))[:n]]
    for match in sorted(chosen, key=lambda match: -match.start()):
        text = text[: match.start()] + _mistyped(match[0], rng) + text[match.end() :]
    return text


def _mistyped(word: str, rng: np.random.Generator) -> str:
    for _ in range(_TRIES):
        place, way = int(rng.integers(len(word) - 1)), int(rng.integers(4))
        before, letter, behind = word[:place], word[place], word[place + 1 :]
        if way == 0:
            typed = before + behind[0] + letter + behind[1:]
        elif way == 1:
            typed = before + behind
        elif way == 2:
            typed = before + letter * 2 + behind
        else:
            near = _NEAR[letter.lower()]
            key = near[int(rng.integers(len(near)))]
            typed = before + (key.upper() if letter.isupper() else key) + behind
        if typed != word and not is_known(typed) and not is_negation(typed):
            return typed
    return word


def case(text: str, rng: np.random.Generator) -> str:
    """Write all of the text small, large, every word with a capital, or the case of each letter exchanged."""
    capitals = re.sub(r"(?<![^\W_])[^\W\d_]", lambda match: _upper(match[0]), _lower(text))
    exchanged = "".join(_lower(letter) if letter.isupper() else _upper(letter) for letter in text)
    options = [other for other in (_lower(text), _upper(text), capitals, exchanged) if other != text]
    return options[int(rng.integers(len(options)))] if options else text


def _lower(text: str) -> str:
    """Return small letters, except where one would become two."""
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)


def _upper(text: str) -> str:
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


_SENTENCE_MARKS = re.compile(r"[^\w\s]+")


def punctuation(text: str, rng: np.random.Generator) -> str:
    """Leave out all punctuation but what stands within a word or a number (don't, well-made, 3.5).

    Words that only a mark parted have a space between them, so that 不，好 does not become 不好.
    """
    kept: list[str] = []
    end = 0
    for match in _SENTENCE_MARKS.finditer(text):
        before, behind = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        within = len(match[0]) == 1 and _letter(before) and _letter(behind)
        if within and (match[0] in "'’-" or (match[0] in ".,:%/" and before.isdigit() and behind.isdigit())):
            continue
        kept += [text[end : match.start()], "" if _blank(before) or _blank(behind) else " "]
        end = match.end()
    bare = "".join([*kept, text[end:]])
    return re.sub(r" {2,}", " ", bare).strip() if bare.strip() else text


def _letter(character: str) -> bool:
    return bool(re.fullmatch(rf"(?![{HAN}_])\w", character))


def _blank(character: str) -> bool:
    return not character or character.isspace()
