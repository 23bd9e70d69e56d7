"""Rows of token ids that show what a model reads, made of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.text import LanguageTokenizer

__all__ = ["text_rows"]

MOST_TOKENS = 16384
LONGEST = 512  # tokens of a row: more of them show more than longer ones


def text_rows(texts: Sequence[str], tokenizer: LanguageTokenizer, context: int) -> list[list[int]]:
    """Return rows of one length, tiles of all texts behind one another, each text after the token that begins it.

    Raises UserError where there are no texts, or nothing in them.
    """
    if not texts:
        raise UserError("wanda is calibrated on text; name a file that shows what the model reads with --calibration")
    ids: list[int] = []
    for text in texts:
        ids += [tokenizer.begin_id, *tokenizer.encode(text)]
        if len(ids) >= MOST_TOKENS:
            break
    length = min(context, LONGEST, len(ids))
    if len(ids) <= len(texts) or length < 2:
        raise UserError("the calibration text is empty; give a few thousand tokens like those the model was trained on")
    return [ids[start : start + length] for start in range(0, min(len(ids), MOST_TOKENS) - length + 1, length)]
