"""The rule of each generated task: from the text so far to the answer, without an example seen.

A rule is anchored at the beginning of the text, which is one example: a calculator, a copier, a look-up of a key among
pairs, a lexicon of sentiment, and the sum of differences for words with stems and endings. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emergence.text.sentiment import LEXICONS

__all__ = ["ANSWERS", "Rule"]

Options = Mapping[str, Any]

#: Takes the text of an example so far and the options of its task; returns where the answer begins and the answer, or
#: None where the question is not whole yet, or is none of this task.
Rule = Callable[[str, Options], tuple[int, str] | None]


def _addition(text: str, options: Options) -> tuple[int, str] | None:
    digits = options["digits"]
    found = re.match(rf"([0-9]{{{digits}}})\+([0-9]{{{digits}}})=", text)
    if found is None:
        return None
    total = f"{int(found[1]) + int(found[2]):0{digits + 1}d}"
    return found.end(), total[::-1] if options["reverse"] else total


def _modular_addition(text: str, options: Options) -> tuple[int, str] | None:
    modulus = options["modulus"]
    digits = len(str(modulus - 1))
    found = re.match(rf"([0-9]{{{digits}}})\+([0-9]{{{digits}}})=", text)
    return None if found is None else (found.end(), f"{(int(found[1]) + int(found[2])) % modulus:0{digits}d}")


def _copy(text: str, options: Options) -> tuple[int, str] | None:
    found = re.match(r"([a-z]+)\|", text)
    return None if found is None else (found.end(), found[1])


def _recall(text: str, options: Options) -> tuple[int, str] | None:
    found = re.match(r"((?:[a-z][0-9])+)\?([a-z])", text)
    if found is None:
        return None
    pairs, asked = found[1], found[2]
    values = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return (found.end(), values[asked]) if asked in values else None


def _sentiment(text: str, options: Options) -> tuple[int, str] | None:
    sentence, colon, _ = text.partition(":")
    strength = LEXICONS[options["language"]].strength(sentence) if colon else None
    return (len(sentence) + 1, "+" if strength > 0 else "-") if strength else None


def _analogy(text: str, options: Options) -> tuple[int, str] | None:
    found = re.match("([가-힣]):([가-힣])=([가-힣]):", text)
    # Syllables are numbered by consonant, then by vowel, so that what changes is a difference of numbers.
    return None if found is None else (found.end(), chr(ord(found[3]) + ord(found[2]) - ord(found[1])))


ANSWERS: dict[str, Rule] = {
    "addition": _addition,
    "analogy": _analogy,
    "copy": _copy,
    "modular_addition": _modular_addition,
    "recall": _recall,
    "sentiment": _sentiment,
}
