"""Contractions written out, and written-out words contracted: isn't and is not."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

__all__ = ["contract", "contractions", "expand"]

_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}  # what stands before n't
_AUXILIARIES = (
    *("is", "are", "was", "were", "has", "have", "had", "does", "do", "did"),
    *("could", "would", "should", "must", "might", "need"),
)
_ENDINGS = {"m": "am", "re": "are", "ll": "will", "ve": "have"}
_SUBJECTS = {
    "m": ("i",),
    "re": ("you", "we", "they"),
    "ll": ("i", "you", "he", "she", "it", "we", "they"),
    "ve": ("i", "you", "we", "they"),
    "s": ("it", "that", "there", "here", "what", "he", "she"),
}
#: Behind these, 's is "is" and neither "has" nor a genitive.
_BEHIND = "a|an|the|not|so|too|very|really|quite|just|all|no|nothing|hard|easy|about|in|on|at|like|as|one|this|that"


def _any(words: tuple[str, ...]) -> str:
    return "|".join(words)


_NOT = re.compile(rf"(?<!\w)({_any(_AUXILIARIES)}|ca|wo|sha) ?n['’]t(?!\w)", re.IGNORECASE)
_END = {
    ending: re.compile(rf"(?<!\w)({_any(_SUBJECTS[ending])}) ?['’]{ending}(?!\w)", re.IGNORECASE) for ending in _ENDINGS
}
_IS = re.compile(rf"(?<!\w)({_any(_SUBJECTS['s'])}) ?['’]s(?= (?:{_BEHIND})\b)", re.IGNORECASE)
_CAN_NOT = re.compile(r"(?<!\w)(can)(?:not| not)(?= \w)", re.IGNORECASE)
_WILL_NOT = re.compile(r"(?<!\w)(wi)ll not(?= \w)", re.IGNORECASE)
_FULL_NOT = re.compile(rf"(?<!\w)({_any(_AUXILIARIES)}) not(?= \w)", re.IGNORECASE)
_FULL = {
    ending: re.compile(rf"(?<!\w)({_any(_SUBJECTS[ending])}) {word}(?= \w)", re.IGNORECASE)
    for ending, word in {**_ENDINGS, "s": "is"}.items()
}


def contractions(text: str, rng: np.random.Generator) -> str:
    """Write the contractions of a text out, or contract what can be; where it has both, one of the two by chance."""
    options = [other for other in (expand(text), contract(text)) if other != text]
    return options[int(rng.integers(len(options)))] if options else text


def expand(text: str) -> str:
    """Write contractions out; 'd, and 's where it may be has or a genitive, stay."""
    text = _NOT.sub(lambda match: _cased(match, _written_not(match[1])), text)
    for ending, pattern in _END.items():
        text = pattern.sub(_adding(" " + _ENDINGS[ending]), text)
    return _IS.sub(_adding(" is"), text)


def contract(text: str) -> str:
    """Contract what is written out, except at the end of a clause (yes, it is)."""
    text = _WILL_NOT.sub(lambda match: _cased(match, match[1][0] + "on't"), text)
    text = _FULL_NOT.sub(_adding("n't"), _CAN_NOT.sub(_adding("'t"), text))
    for ending, pattern in _FULL.items():
        text = pattern.sub(_adding("'" + ending), text)
    return text


def _written_not(stem: str) -> str:
    if stem.lower() == "ca":
        return stem + "nnot"
    whole = _IRREGULAR.get(stem.lower())
    return (stem if whole is None else stem[0] + whole[1:]) + " not"


def _adding(ending: str) -> Callable[[re.Match[str]], str]:
    return lambda match: _cased(match, match[1] + ending)


def _cased(match: re.Match[str], text: str) -> str:
    return text.upper() if len(match[1]) > 1 and match[1].isupper() else text
