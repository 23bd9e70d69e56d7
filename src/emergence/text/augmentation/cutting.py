"""A text cut into words that may be changed and all the rest, which is kept: negations, numbers, punctuation, spaces.

A *stretch* is what lies between two breaks: punctuation, "and", "but", or a negation. What a negation negates is the
stretch behind it, so that words which stay in their stretch stay negated, or not negated, as they were.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from emergence.core.augmentation_settings import ChineseUnits
from emergence.text.augmentation.thesaurus import Thesaurus, own_thesaurus
from emergence.text.sentiment import LEXICONS
from emergence.text.words import HAN, cut_chinese

__all__ = ["CutText", "Cutter", "is_negation"]

_MORE_NEGATIONS = """
no none nobody nothing nowhere neither nor cannot without barely scarcely rarely seldom
lack lacks lacked lacking fail fails failed dont doesnt didnt isnt wasnt arent cant wont
"""
#: Words that turn what is behind them; in English also every word that ends in n't.
ENGLISH_NEGATIONS = frozenset({*LEXICONS["en"].negations, *_MORE_NEGATIONS.split()})
#: Chinese negations are within words too (不好): a word with one of these characters is a negation.
CHINESE_NEGATIONS = frozenset({*"".join(LEXICONS["zh"].negations), *"没沒未勿"} - {"并", "有"})
#: These negate what they begin, but for words in which nobody hears them any more.
OPENING_NEGATIONS = frozenset("无無非莫否别別")
_FADED = frozenset({"无聊", "無聊", "非常", "非洲", "否则", "否則", "无论", "無論", "莫名", "别人", "別人"})
_BREAKS = frozenset(
    {"and", "but", "although", "though", "however", "yet", "or", "但", "但是", "而且", "可是", "却", "卻"}
)

#: A word with its apostrophes, hyphens, digits; a run of Chinese; one of anything else.
_PIECES = re.compile(rf"(?P<han>[{HAN}]+)|(?P<word>(?:(?![{HAN}])\w)+(?:['’.,:-](?:(?![{HAN}])\w)+)*)|\s+|.", re.DOTALL)
_BARE = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def is_negation(word: str) -> bool:
    """Say whether a word turns the sense of others: not, never, isn't, 不, 没有 ..."""
    bare = word.lower().replace("’", "'")
    if bare in ENGLISH_NEGATIONS or bare.endswith("n't"):
        return True
    return not CHINESE_NEGATIONS.isdisjoint(bare) or (bare[:1] in OPENING_NEGATIONS and bare not in _FADED)


@dataclass
class CutText:
    """``pieces``, which joined are the text. ``words`` are the places of those that may be changed, in order, and
    ``stretches`` says for each of these in which stretch it is."""

    pieces: list[str]
    words: list[int] = field(default_factory=list)
    stretches: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Cutter:
    """How texts are cut. Chinese is cut by rjieba, or into the thesaurus's longest words and single ``characters``."""

    thesaurus: Thesaurus = field(default_factory=own_thesaurus)
    chinese: ChineseUnits = "words"

    def cut(self, text: str) -> CutText:
        """Cut a text. Raises UserError where Chinese is to be cut into words and `rjieba` is missing."""
        found = CutText([])
        stretch = 0
        for match in _PIECES.finditer(text):
            for piece in self._chinese(match[0]) if match["han"] else (match[0],):
                if is_negation(piece):
                    stretch += 1
                elif match["han"] or (match["word"] and _BARE.fullmatch(piece)):
                    if piece.lower() in _BREAKS:
                        stretch += 1
                    else:
                        found.words.append(len(found.pieces))
                        found.stretches.append(stretch)
                elif not piece.isspace() and not match["word"]:
                    stretch += 1
                found.pieces.append(piece)
        return found

    def _chinese(self, run: str) -> list[str]:
        return cut_chinese()(run) if self.chinese == "words" else self._longest(run)

    def _longest(self, run: str) -> list[str]:
        pieces, start = [], 0
        while start < len(run):
            end = next(
                (e for e in range(min(len(run), start + self._reach), start + 1, -1) if run[start:e] in self._known),
                start + 1,
            )
            pieces.append(run[start:end])
            start = end
        return pieces

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset({*self.thesaurus.words, *LEXICONS["zh"].negations})

    @functools.cached_property
    def _reach(self) -> int:
        return max(map(len, self._known))
