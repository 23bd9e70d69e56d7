"""The four ways of Wei and Zou 2019 (arXiv 1901.11196, EDA): synonyms, deletion, swap and insertion.

Where we differ: negations and whatever holds a digit are never changed, moved or removed, and words are swapped and
inserted only within their stretch (`cutting`), so that what is negated stays negated; EDA protects neither. EDA
exchanges every occurrence of a chosen word and passes over stop words; here a word is one occurrence, and words that
the thesaurus does not hold are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.catalogue import Catalogue
from emergence.text.augmentation.cutting import Cutter, CutText
from emergence.text.augmentation.thesaurus import own_thesaurus, read_thesaurus

__all__ = ["AUGMENTERS", "Augment", "deletion", "insertion", "make_augment", "swap", "synonyms"]

#: ``augment(text, rng, share)``: the text with that share of its words changed.
Augment = Callable[[str, np.random.Generator, float], str]
Way = Callable[[Cutter, str, np.random.Generator, float], str]

AUGMENTERS: Catalogue[Way] = Catalogue("augmenter")
AUGMENTERS.add("synonyms", "emergence.text.augmentation.ways:synonyms", "words replaced by words of their group")
AUGMENTERS.add("deletion", "emergence.text.augmentation.ways:deletion", "words left out, each with the same chance")
AUGMENTERS.add("swap", "emergence.text.augmentation.ways:swap", "two words of a stretch exchanged")
AUGMENTERS.add("insertion", "emergence.text.augmentation.ways:insertion", "a synonym of one of its words put in")


#: What begins with the sound of a vowel: an unusual, an honest; but a useful, a unique.
_AN = re.compile(r"[aeio]|u(?!s[aeu]|ni[^mn])|hon(?:est|o)|hour", re.IGNORECASE)
_ARTICLE = re.compile(r"(?<!\w)an?$", re.IGNORECASE)


def make_augment(settings: AugmentationSettings) -> Augment:
    """Return the way that the settings name, with their lexicon. Raises UserError for a file that cannot be read."""
    thesaurus = own_thesaurus() if settings.lexicon is None else read_thesaurus(Path(settings.lexicon))
    cutter, way = Cutter(thesaurus, settings.chinese), AUGMENTERS.load(settings.name)
    return lambda text, rng, share: way(cutter, text, rng, share)


def synonyms(cutter: Cutter, text: str, rng: np.random.Generator, share: float) -> str:
    """Replace n words that have synonyms by one of these each; n is ``share`` of all words, at least 1.

    The letter of a before it follows: a good, an excellent.
    """
    cut = cutter.cut(text)
    known = [place for place in cut.words if cutter.thesaurus.synonyms(cut.pieces[place])]
    for place in _chosen(known, _count(cut, share), rng):
        options = cutter.thesaurus.synonyms(cut.pieces[place])
        cut.pieces[place] = options[int(rng.integers(len(options)))]
        _mend_article(cut.pieces, place)
    return "".join(cut.pieces)


def deletion(cutter: Cutter, text: str, rng: np.random.Generator, share: float) -> str:
    """Leave out each word with the chance ``share``; one word always stays."""
    cut = cutter.cut(text)
    gone = rng.random(len(cut.words)) < share
    if len(gone) and gone.all():
        gone[int(rng.integers(len(gone)))] = False
    for place in (place for place, out in zip(cut.words, gone, strict=True) if out):
        cut.pieces[place] = ""
        _close_gap(cut.pieces, place)
    return "".join(cut.pieces)


def swap(cutter: Cutter, text: str, rng: np.random.Generator, share: float) -> str:
    """Exchange n times two words of the same stretch; n is ``share`` of all words, at least 1."""
    cut = cutter.cut(text)
    stretches = [members for members in _by_stretch(cut).values() if len(members) > 1]
    if not stretches:
        return text
    sizes = np.array([len(members) for members in stretches])
    for _ in range(_count(cut, share)):
        members = stretches[int(rng.choice(len(stretches), p=sizes / sizes.sum()))]
        one, other = (members[int(i)] for i in rng.choice(len(members), size=2, replace=False))
        cut.pieces[one], cut.pieces[other] = cut.pieces[other], cut.pieces[one]
    return "".join(cut.pieces)


def insertion(cutter: Cutter, text: str, rng: np.random.Generator, share: float) -> str:
    """Put n times a synonym of a word of the text before a word of its stretch; n is ``share`` of all words, at least
    1."""
    cut = cutter.cut(text)
    known = [i for i, place in enumerate(cut.words) if cutter.thesaurus.synonyms(cut.pieces[place])]
    if not known:
        return text
    original = list(cut.pieces)
    members = _by_stretch(cut)
    for _ in range(_count(cut, share)):
        one = known[int(rng.integers(len(known)))]
        options = cutter.thesaurus.synonyms(original[cut.words[one]].lower())
        word = options[int(rng.integers(len(options)))]
        inside = members[cut.stretches[one]]
        place = inside[int(rng.integers(len(inside)))]
        cut.pieces[place] = word + (" " if word.isascii() else "") + cut.pieces[place]
        _mend_article(cut.pieces, place)
    return "".join(cut.pieces)


def _count(cut: CutText, share: float) -> int:
    return max(1, round(share * len(cut.words))) if share else 0


def _chosen(places: list[int], n: int, rng: np.random.Generator) -> list[int]:
    return [places[int(i)] for i in rng.permutation(len(places))[:n]]


def _by_stretch(cut: CutText) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, stretch in zip(cut.words, cut.stretches, strict=True):
        found.setdefault(stretch, []).append(place)
    return found


def _mend_article(pieces: list[str], place: int) -> None:
    article = _ARTICLE.search(pieces[place - 2]) if place >= 2 and pieces[place - 1].isspace() else None
    if article:
        bare = pieces[place - 2][: article.start() + 1]
        pieces[place - 2] = bare + ("n" if _AN.match(pieces[place]) else "")


def _close_gap(pieces: list[str], place: int) -> None:
    """Leave one space where two would stand beside the word that is gone, and none at the text's beginning."""
    before = next((p for p in range(place - 1, -1, -1) if pieces[p]), None)
    behind = next((p for p in range(place + 1, len(pieces)) if pieces[p]), None)
    if behind is not None and pieces[behind] == " " and (before is None or pieces[before].isspace()):
        pieces[behind] = ""
    elif behind is None and before is not None and pieces[before] == " ":
        pieces[before] = ""
