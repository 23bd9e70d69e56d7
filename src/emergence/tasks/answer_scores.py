"""Scores of an answer in words: exact match and F1 as SQuAD has them, and ROUGE.

English is compared by words, Chinese by characters: which it is follows from the accepted answer.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from emergence.text.words import HAN

__all__ = ["answer_scores", "bare_answer", "rouge_scores"]

_HAN = re.compile(f"[{HAN}]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNITS = re.compile(f"[{HAN}]|[a-z0-9]+")


def bare_answer(text: str, *, chinese: bool = False) -> str:
    """Return an answer as it is compared: in lower case, without punctuation, its words or characters by spaces.

    English loses ASCII punctuation and the articles, as in the script of SQuAD v1.1 (Rajpurkar et al. 2016, arXiv
    1606.05250); Chinese loses all punctuation and every character is a word, as in that of MLQA (Lewis et al. 2020,
    arXiv 1910.07475).
    """
    text = text.lower()
    if not chinese:
        return " ".join(_ARTICLES.sub(" ", text.translate(_NO_PUNCTUATION)).split())
    kept = (c for c in text if not (c in string.punctuation or unicodedata.category(c).startswith("P")))
    return " ".join(_HAN.sub(r" \g<0> ", "".join(kept)).split())


def answer_scores(output: str, answers: Sequence[str]) -> dict[str, float]:
    """Return ``exact_match`` and ``f1`` (of words) of an answer, each the best over all accepted answers.

    Raises ValueError where none is accepted.
    """
    if not answers:
        raise ValueError("there is no accepted answer to compare with")
    exact, f1 = 0.0, 0.0
    for accepted in answers:
        chinese = _HAN.search(accepted) is not None
        given, wanted = (bare_answer(text, chinese=chinese) for text in (output, accepted))
        exact = max(exact, float(given == wanted))
        f1 = max(f1, _overlap(Counter(given.split()), Counter(wanted.split())))
    return {"exact_match": exact, "f1": f1}


def _overlap(given: Counter[str], wanted: Counter[str]) -> float:
    """Return the F1 of two bags."""
    common = (given & wanted).total()
    return _f1(common, given.total(), wanted.total())


def _f1(common: int, given: int, wanted: int) -> float:
    return 2 * common / (given + wanted) if common else 0.0


def rouge_scores(output: str, answers: Sequence[str]) -> dict[str, float]:
    """Return the F measures ``rouge_1``, ``rouge_2`` (n-grams in common) and ``rouge_l`` (longest common subsequence),
    each the best over all accepted answers (Lin 2004, aclanthology.org/W04-1013).

    Words are runs of ASCII letters and digits in lower case, without stemming, as in the package rouge_score; Chinese
    characters, which that drops, are words of their own. Raises ValueError where there is nothing to compare with.
    """
    if not answers:
        raise ValueError("there is no accepted answer to compare with")
    given = _UNITS.findall(output.lower())
    best = {"rouge_1": 0.0, "rouge_2": 0.0, "rouge_l": 0.0}
    for accepted in answers:
        wanted = _UNITS.findall(accepted.lower())
        scores = {f"rouge_{n}": _overlap(_grams(given, n), _grams(wanted, n)) for n in (1, 2)}
        scores["rouge_l"] = _f1(_common_subsequence(given, wanted), len(given), len(wanted))
        best = {name: max(best[name], score) for name, score in scores.items()}
    return best


def _grams(words: Sequence[str], n: int) -> Counter[str]:
    return Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table at once in the bits of an integer
    (Hyyrö 2004, Bit-parallel LCS-length computation revisited)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()
