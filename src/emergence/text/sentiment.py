"""Words of praise and blame in English and Chinese, and how a sentence's sentiment is counted from them.

The lists are short and written for this project: what sentences of the task `sentiment` are made of, and what the
family `rules` looks up. How negation and intensifiers shift a word follows Polanyi and Zaenen 2006 (doi
10.1007/1-4020-4102-0_1), simplified: a negation turns the sign and keeps the strength.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["LEXICONS", "Language", "Lexicon"]

Language = Literal["en", "zh"]

PLAIN = 2  # the strength of a word that nothing strengthens or weakens


@dataclass(frozen=True)
class Lexicon:
    """The words of one language. ``intensifiers`` have the strength of the word behind them; words of ``breaks`` end
    the reach of a negation or an intensifier. ``spaced`` says whether words stand apart."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    negations: tuple[str, ...]
    intensifiers: dict[str, int]
    breaks: tuple[str, ...]
    spaced: bool

    def strength(self, text: str) -> int | None:
        """Return the sum of the strengths of the words of praise less those of blame; None where there is neither.

        A word counts `PLAIN`, or as its intensifier says; negations before it, back to the last word that counted or
        the last break, turn its sign, each once. Of words that begin at the same place the longest is meant.
        """
        total, sign, strength, found = 0, 1, PLAIN, False
        for match in self._words.finditer(text.lower()):
            word = match[0]
            if word in self.negations:
                sign = -sign
            elif word in self.intensifiers:
                strength = self.intensifiers[word]
            else:
                if word not in self.breaks:
                    total += sign * strength * (1 if word in self.positive else -1)
                    found = True
                sign, strength = 1, PLAIN
        return total if found else None

    @functools.cached_property
    def _words(self) -> re.Pattern[str]:
        words = {*self.positive, *self.negative, *self.negations, *self.intensifiers, *self.breaks}
        pattern = "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
        return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)" if self.spaced else pattern)


LEXICONS: dict[Language, Lexicon] = {
    "en": Lexicon(
        positive=(
            *("good", "great", "fine", "nice", "lovely", "clean", "warm", "kind", "bright", "fresh"),
            *("pleasant", "charming", "honest", "superb", "splendid", "tasty"),
        ),
        negative=(
            *("bad", "awful", "poor", "nasty", "ugly", "dirty", "cold", "rude", "dull", "stale"),
            *("boring", "dreadful", "clumsy", "horrid", "shabby", "bland"),
        ),
        negations=("not", "never", "hardly"),
        intensifiers={"very": 4, "really": 4, "quite": 3, "slightly": 1},
        breaks=("and", "but", ",", "."),
        spaced=True,
    ),
    "zh": Lexicon(
        positive=(
            *("好", "不错", "精彩", "美味", "干净", "温暖", "亲切", "漂亮", "新鲜", "舒服"),
            *("有趣", "可靠", "优雅", "明亮", "出色", "感人"),
        ),
        negative=(
            *("坏", "糟糕", "无聊", "难吃", "肮脏", "冷淡", "粗鲁", "丑陋", "陈旧", "难受"),
            *("沉闷", "拙劣", "俗气", "昏暗", "平庸", "烦人"),
        ),
        negations=("不", "并不", "没有"),
        intensifiers={"很": 4, "非常": 4, "比较": 3, "略微": 1},
        breaks=("但", "而且", "，", "。"),
        spaced=False,
    ),
}
