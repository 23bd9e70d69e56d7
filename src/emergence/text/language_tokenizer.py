"""What tasks, evaluation and generation ask of a tokenizer, ours or another library's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = ["LanguageTokenizer"]


class LanguageTokenizer(Protocol):
    """Text to token ids and back."""

    begin_id: int  # stands before every document
    end_id: int  # stands after every document
    separator_id: int  # stands after every example of a prompt, and so after an answer
    unknown_id: int | None  # what cannot be written becomes this; None where everything can
    vocabulary_size: int
    identity: str  # SHA-256 of all that decides which ids a text gets

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``; no special token is added."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of every text."""

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the token ids of ``text`` and the characters that each stands for, from the first to the one behind
        the last."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids`` without special tokens."""

    def utf8_bytes(self, ids: Iterable[int]) -> int:
        """Return how many bytes of text the ids stand for."""
