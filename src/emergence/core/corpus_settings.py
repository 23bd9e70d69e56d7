"""What text a study reads, and how text becomes tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from emergence.core.schema import Frozen

__all__ = ["CorpusSettings", "Fold", "TokenizerSettings"]

Fold = Literal["simplified", "traditional"]


class TokenizerSettings(Frozen):
    """How text becomes tokens. ``vocabulary`` bounds ``bpe`` and ``word``."""

    kind: Literal["byte", "char", "bpe", "word"] = "char"
    vocabulary: Annotated[int, Field(ge=260, le=1_000_000)] = 4096


class CorpusSettings(Frozen):
    """Text files (globs allowed) and the training texts of labelled ``tasks``, without their labels; the tokenizer
    trained on them, and the script that Chinese is folded into first.

    A training row is a window of the text wherever it begins, or (``rows``) one whole document or line: what a model of
    sentences learns. Longer ones are cut into several rows.
    """

    files: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    fold: Fold | None = None
    rows: Literal["windows", "documents", "lines"] = "windows"
    tokenizer: TokenizerSettings = TokenizerSettings()

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
