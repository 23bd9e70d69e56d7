"""How labelled training texts are multiplied: which way, how much of a text is changed, and how many copies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from emergence.core.schema import Frozen

__all__ = ["AugmentationSettings", "AugmenterName", "ChineseUnits"]

AugmenterName = Literal["synonyms", "deletion", "swap", "insertion"]
ChineseUnits = Literal["words", "characters"]

#: The ways that look words up.
LOOKING_UP: tuple[AugmenterName, ...] = ("synonyms", "insertion")


class AugmentationSettings(Frozen):
    """``copies`` changed texts of every example, beside the example itself.

    ``share`` is that of a text's words which are changed (Wei and Zou 2019, arXiv 1901.11196, call it alpha).
    ``lexicon`` is a file of synonyms in place of the built-in lists (`text.augmentation.thesaurus`). Chinese is
    changed by ``words`` (which needs rjieba) or by ``characters``.
    """

    name: AugmenterName
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    lexicon: str | None = None
    chinese: ChineseUnits = "words"

    @model_validator(mode="after")
    def _looks_up(self) -> AugmentationSettings:
        if self.lexicon is not None and self.name not in LOOKING_UP:
            raise ValueError(f"{self.name} looks no word up; leave out lexicon, or name {' or '.join(LOOKING_UP)}")
        return self
