"""A tokenizer of transformers with the methods of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

from emergence.core.errors import UserError

__all__ = ["SEPARATOR", "HuggingFaceTokenizer"]

#: Key of ``tokenizer_config.json`` by which our exports say what stands between examples.
SEPARATOR = "example_separator"
START = "\n"  # a text never stands at the start of a prompt, where some tokenizers put a space before it


@final
class HuggingFaceTokenizer:
    """Text to token ids and back, by a tokenizer of transformers.

    ``begin_id`` stands before every document, ``end_id`` after it. Between the examples of a prompt stands
    ``separator_id``: a line's end, which a model knows from text, or what the model's `SEPARATOR` says. ``mask_id``
    hides a token, where there is one. Encoder-decoder models read and write ``whole`` texts: those are encoded as at
    their start, and end with ``end_id``.
    """

    def __init__(self, inner: Any, *, masked: bool = False, whole: bool = False) -> None:
        """Wrap ``inner``; the examples of a ``masked`` model stand apart as its sequences do, by their end.

        Raises UserError where it has no token that ends a document, or hides a token of a masked model.
        """
        self._inner, self._masked = inner, masked
        # Tokenizers of encoders have a token for the class before a sequence, and a separator after it.
        end = _first(inner.eos_token_id, inner.sep_token_id)
        mask = inner.mask_token_id
        for name, known in (("eos_token", end), ("mask_token", mask if masked else 0)):
            if known is None:
                raise UserError(
                    f"the tokenizer of {inner.name_or_path} has no {name.replace('eos', 'end').replace('_', ' ')}; "
                    f"set {name} in its tokenizer_config.json"
                )
        assert end is not None
        self.end_id: int = end
        begin = _first(inner.bos_token_id, inner.cls_token_id)
        self.begin_id: int = end if begin is None else begin
        self.mask_id: int | None = None if mask is None else int(mask)
        unknown = inner.unk_token_id
        self.unknown_id: int | None = None if unknown in (None, self.end_id, self.begin_id) else int(unknown)
        self.vocabulary_size: int = len(inner)
        self._start = self._plain([START])[0]
        self._adds_space = not whole and self._differs_at_start()
        self.separator_id: int = self.end_id if whole else self._separator()
        self.identity: str = hashlib.sha256(self._describe().encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``; no special token is added, and no space before it."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of every text."""
        if not texts:
            return []
        if not self._adds_space:
            return self._plain(texts)
        return [ids[len(self._start) :] for ids in self._plain([START + text for text in texts])]

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the token ids of ``text`` as in `encode` and, for each, the characters that it stands for: from the
        first to the one behind the last. Raises UserError for a tokenizer that does not know them."""
        if not self._inner.is_fast:
            raise UserError(
                f"the tokenizer of {self._inner.name_or_path} does not say where its tokens stand in a text"
            )
        shift = len(START) if self._adds_space else 0
        found = self._inner(
            START * bool(shift) + text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        lost = len(self._start) if shift else 0
        spans = [(max(0, first - shift), max(0, last - shift)) for first, last in found["offset_mapping"][lost:]]
        return list(found["input_ids"][lost:]), spans

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids`` without special tokens."""
        text: str = self._inner.decode(
            [int(i) for i in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def utf8_bytes(self, ids: Iterable[int]) -> int:
        """Return how many bytes of text the ids stand for; half a character at an end counts as U+FFFD."""
        return len(self.decode(ids).encode())

    def save(self, folder: Path) -> None:
        """Write the tokenizer to a folder in Hugging Face's layout."""
        self._inner.save_pretrained(folder)

    def around(self) -> tuple[list[int], list[int]]:
        """Return the special tokens that stand before and behind a whole text."""
        text = self._plain(["a"])[0]
        with_them: list[int] = self._inner("a", verbose=False)["input_ids"]
        at = next(i for i in range(len(with_them)) if with_them[i : i + len(text)] == text)
        return with_them[:at], with_them[at + len(text) :]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids as the tokenizer itself gives them."""
        found: list[list[int]] = self._inner(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def _differs_at_start(self) -> bool:
        """Say whether a text has other tokens at the very start than after `START`, and those can be told apart."""
        alone, after = self._plain(["4a", START + "4a"])
        return after != [*self._start, *alone] and after[: len(self._start)] == self._start

    def _separator(self) -> int:
        named = self._inner.init_kwargs.get(SEPARATOR)
        if named is not None:
            return int(self._inner.convert_tokens_to_ids(named))
        if self._masked:
            return self.end_id
        line = self._plain(["\n"])[0]
        known = len(line) > 0 and line[-1] not in (self.end_id, self._inner.unk_token_id)
        return int(line[-1]) if known else self.end_id

    def _describe(self) -> str:
        """Return all that decides which ids a text gets."""
        backend = getattr(self._inner, "backend_tokenizer", None)
        content = backend.to_str() if backend is not None else json.dumps(self._inner.get_vocab(), sort_keys=True)
        ends = [type(self._inner).__name__, self.begin_id, self.end_id, self.separator_id]
        return json.dumps([*ends, content])

    def __repr__(self) -> str:
        return f"HuggingFaceTokenizer(vocabulary_size={self.vocabulary_size}, identity={self.identity[:12]})"


def _first(*ids: int | None) -> int | None:
    """Return the first id that there is."""
    return next((int(known) for known in ids if known is not None), None)
