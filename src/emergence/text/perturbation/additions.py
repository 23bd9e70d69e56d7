"""Something that has nothing to do with the rest: an address, a handle, a neutral sentence."""

from __future__ import annotations

import re

import numpy as np

from emergence.text.words import HAN

__all__ = ["NEUTRAL", "addition"]

#: Sentences without praise, blame or negation.
NEUTRAL = {
    "en": (
        "I read this on a Tuesday.",
        "The clock says four.",
        "There is a table in the kitchen.",
        "The bus stops at the corner.",
        "Posted from my phone.",
        "My cousin lives in the next street.",
    ),
    "zh": (
        "今天是星期二。",
        "现在四点钟。",
        "厨房里有一张桌子。",
        "公共汽车停在路口。",
        "发自我的手机。",
        "窗外有一棵树。",
    ),
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def addition(text: str, rng: np.random.Generator) -> str:
    """Put an address, a handle or a neutral sentence before or behind the text, which itself stays as it is."""
    chinese = re.search(f"[{HAN}]", text) is not None
    code = "".join(_LETTERS[int(i)] for i in rng.integers(len(_LETTERS), size=7))
    kind = int(rng.integers(3))
    sentences = NEUTRAL["zh" if chinese else "en"]
    extra = (f"https://t.co/{code}", f"@{code}", sentences[int(rng.integers(len(sentences)))])[kind]
    space = "" if chinese and kind == 2 else " "
    return extra + space + text if rng.integers(2) else text + space + extra
