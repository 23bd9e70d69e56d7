"""Byte, character, byte-level BPE and word tokenizers, kept as `tokenizer.json`.

Every kind is a BPE model of the `tokenizers` library: all but `bpe` are BPE without a single merge, so one file format
serves them. Without merges a token is a table look-up, which NumPy does some two hundred times faster than the library;
the ids are the same. Other libraries read the files too, unless words are cut by `rjieba` or text is folded by OpenCC,
which no section of the format can say: such a file says so, and they refuse it (`text.extras`).

The only special token is `END_TOKEN`: begin, end, separator and padding in one. It has an id but no spelling, so a
corpus that contains the letters ``<|endoftext|>`` is encoded as those letters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import tokenizers as backend

from emergence.core.errors import UserError
from emergence.core.store import write_bytes
from emergence.text.extras import make_extras, take_extras
from emergence.text.folding import folding_into
from emergence.text.spelling import byte_letters
from emergence.text.words import word_vocabulary

if TYPE_CHECKING:
    from emergence.core.settings import Fold, TokenizerSettings

__all__ = ["END_TOKEN", "UNKNOWN_TOKEN", "Tokenizer", "build_tokenizer"]

END_TOKEN = "<|endoftext|>"
UNKNOWN_TOKEN = "<|unk|>"

#: GPT-2's pattern (Radford et al. 2019), but each digit stands alone: how a number is spelt then depends on nothing but
#: its digits, and the length of an arithmetic answer in tokens is its length in digits.
_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Ids = npt.NDArray[np.uint32]


@final
class Tokenizer:
    """Text to token ids and back. ``fold`` writes a text as `encode` reads it; only `corpus.fold` makes it do anything.

    ``needs`` names what must be installed beside the `tokenizers` library, and what no other program knows of the file.
    """

    def __init__(self, serialised: str) -> None:
        """Make a tokenizer from the content of a ``tokenizer.json``; raises ValueError when it is none of ours, and
        UserError when a library that it needs is missing or cuts or folds text otherwise than when it was made."""
        plain, self._extras = take_extras(serialised)
        try:
            self._inner = backend.Tokenizer.from_str(plain)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"this is not a tokenizer.json: {error}") from error
        self._inner.no_truncation()
        self._inner.no_padding()
        self._inner.encode_special_tokens = (
            True  # not part of the file: the letters of a special token are mere letters
        )
        end = self._inner.token_to_id(END_TOKEN)
        if end is None:
            raise ValueError(f"the tokenizer has no token {END_TOKEN}")
        self.end_id = self.begin_id = self.separator_id = int(end)
        content: dict[str, Any] = json.loads(self._inner.to_str())
        unknown = content["model"].get("unk_token")
        self.unknown_id: int | None = self._inner.token_to_id(unknown) if unknown else content["model"].get("unk_id")
        self.vocabulary_size: int = max(self._inner.get_vocab().values()) + 1
        self.needs = self._extras.needs
        self.identity: str = hashlib.sha256(self._extras.identify(self._inner.to_str()).encode()).hexdigest()
        self.fold: Callable[[str], str] = self._extras.folding()
        self._words = self._extras.word_table(_without_end(content["model"]["vocab"]))
        self._bytes, self._characters = _tables(content, self.unknown_id) if self._words is None else (None, None)
        self._sizes = _byte_sizes(self._inner, content, self.vocabulary_size)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``; no special token is added."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of every text."""
        if self._bytes is None and self._characters is None:
            return self._encode_slowly(texts)
        return [ids.tolist() for ids in self.encode_arrays(texts)]

    def encode_arrays(self, texts: Sequence[str]) -> list[Ids]:
        """Return the token ids of every text as arrays, which for a large text is much faster than lists."""
        try:
            if self._bytes is not None:
                return [self._bytes[np.frombuffer(self.fold(text).encode(), dtype=np.uint8)] for text in texts]
            if self._characters is not None:
                return [_look_up(self._characters, self.fold(text)) for text in texts]
        except UnicodeEncodeError as error:
            raise _surrogate() from error
        return [np.asarray(ids, dtype=np.uint32) for ids in self._encode_slowly(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids`` without end tokens; bytes that are not UTF-8 become U+FFFD. Of a text's own ids it
        is that text, folded if the tokenizer folds."""
        text: str = self._inner.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def utf8_bytes(self, ids: Iterable[int]) -> int:
        """Return how many bytes of text the ids stand for; a token may be half a character, a special one is none."""
        return int(self._sizes[list(ids)].sum())

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the token ids of ``text`` and, for each, the characters of the folded text that it stands for: from
        the first to the one behind the last. Tokens that share a character both have it."""
        ids = self.encode(text)
        ends = np.cumsum(self._sizes[ids]) if ids else np.zeros(0, dtype=np.int64)
        folded = self.fold(text)
        starts_at = np.cumsum([0, *(len(character.encode()) for character in folded)])  # of each character, in bytes
        if self.unknown_id is not None and self.unknown_id in ids:  # one token stands for one character there
            return ids, [(place, place + 1) for place in range(len(ids))]
        first = np.searchsorted(starts_at, ends - self._sizes[ids], side="right") - 1 if ids else ends
        last = np.searchsorted(starts_at, ends, side="left")
        return ids, list(zip(first.tolist(), last.tolist(), strict=True))

    def spellings(self) -> list[bytes]:
        """Return the bytes of text behind every id: none for a special token, those of U+FFFD for the unknown one."""
        content = json.loads(self._inner.to_str())
        special = {token["id"] for token in content["added_tokens"] if token["special"]}
        byte_level = (content["decoder"] or {}).get("type") == "ByteLevel"
        values = {letter: byte for byte, letter in enumerate(byte_letters())}
        found = [b""] * self.vocabulary_size
        for token, index in self._inner.get_vocab().items():
            if index == self.unknown_id:
                found[index] = "\ufffd".encode()
            elif index not in special:
                found[index] = bytes(values[letter] for letter in token) if byte_level else token.encode()
        return found

    def save(self, path: Path, *, more: Sequence[str] = ()) -> None:
        """Write the tokenizer to ``path`` (usually ``tokenizer.json``), atomically; for other libraries with ``more``
        special tokens, whose ids follow on those that are there."""
        inner = self._inner
        if more:
            inner = backend.Tokenizer.from_str(inner.to_str())
            inner.add_special_tokens([backend.AddedToken(token, special=True, normalized=False) for token in more])
        write_bytes(path, self._extras.put_into(inner.to_str(pretty=True)).encode())

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a ``tokenizer.json``, or the one in the folder ``path``; raises UserError when there is none of ours."""
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the tokenizer {file}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{file}: {error}; restore the file or build the tokenizer again") from error

    def _encode_slowly(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            folded = [self.fold(text) for text in texts]
            if self._words is not None:
                return [self._words.encode(text) for text in folded]
            encodings = self._inner.encode_batch_fast(folded, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise _surrogate() from error
        return [encoding.ids for encoding in encodings]

    def _serialised(self, *, pretty: bool = False) -> str:
        return self._extras.put_into(self._inner.to_str(pretty=pretty))

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[str]]:
        # Pickled through the constructor: the library's own pickle forgets `encode_special_tokens`.
        return Tokenizer, (self._serialised(),)

    def __repr__(self) -> str:
        return f"Tokenizer(vocabulary_size={self.vocabulary_size}, identity={self.identity[:12]})"


def build_tokenizer(
    settings: TokenizerSettings, texts: Iterable[str], alphabet: str = "", *, fold: Fold | None = None
) -> Tokenizer:
    """Return the tokenizer that ``settings`` ask for, learnt from ``texts``.

    ``byte`` has the 256 bytes, each with its own value as its id, and needs no text. ``char`` has one token for each
    character (code point) of the texts and of ``alphabet``, and one for every other. ``bpe`` is byte-level BPE
    (Sennrich et al. 2016, arXiv 1508.07909; Radford et al. 2019) with at most ``settings.vocabulary`` tokens; pairs
    seen once are not merged, so a small corpus gives fewer. ``word`` has the bytes and the words and characters that
    save most tokens (`text.words`), as many in all. With ``fold`` every text is folded into one script before it is
    read, here and ever after. The result depends on the texts, not on their order.
    Raises UserError where a character tokenizer is given no character, and where a library is missing.
    """
    if fold is not None:
        # A letter alone may be folded otherwise than in a phrase: both are known.
        texts, alphabet = map(folding_into(fold), texts), alphabet + folding_into(fold)(alphabet)
    try:
        inner = _build(settings, texts, alphabet)
    except (TypeError, UnicodeEncodeError) as error:
        raise _surrogate() from error
    inner.add_special_tokens([backend.AddedToken(END_TOKEN, special=True, normalized=False)])
    extras = make_extras(fold, _without_end(inner.get_vocab()) if settings.kind == "word" else None)
    return Tokenizer(extras.put_into(inner.to_str()))


def _build(settings: TokenizerSettings, texts: Iterable[str], alphabet: str) -> Any:
    """Return the library's part of a tokenizer; raises TypeError or UnicodeEncodeError for half a surrogate pair."""
    if settings.kind == "byte":
        letters = byte_letters()
        inner = _without_merges({letter: byte for byte, letter in enumerate(letters)} | {END_TOKEN: len(letters)})
        inner.pre_tokenizer = backend.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = backend.decoders.ByteLevel()
    elif settings.kind == "char":
        characters = sorted(set(alphabet).union(*map(set, texts)))
        if not characters:
            raise UserError(
                "a character tokenizer needs text to learn from; name a corpus or use the tokenizer kind byte"
            )
        if any("\ud800" <= character <= "\udfff" for character in characters):
            raise _surrogate()
        vocabulary = [END_TOKEN, UNKNOWN_TOKEN, *characters]
        inner = _without_merges({token: index for index, token in enumerate(vocabulary)}, unk_token=UNKNOWN_TOKEN)
        inner.decoder = backend.decoders.Fuse()
    elif settings.kind == "word":
        inner = _without_merges(word_vocabulary(texts, settings.vocabulary, END_TOKEN))
        inner.decoder = backend.decoders.ByteLevel()
    else:
        inner = _train_bpe(texts, settings.vocabulary)
    return inner


def _without_end(vocabulary: dict[str, int]) -> dict[str, int]:
    return {token: index for token, index in vocabulary.items() if token != END_TOKEN}


def _without_merges(vocabulary: dict[str, int], **options: Any) -> Any:
    return backend.Tokenizer(backend.models.BPE(vocab=vocabulary, merges=[], **options))


def _train_bpe(texts: Iterable[str], vocabulary: int) -> Any:
    inner = backend.Tokenizer(backend.models.BPE())
    inner.pre_tokenizer = backend.pre_tokenizers.Sequence(
        [
            backend.pre_tokenizers.Split(backend.Regex(_PATTERN), "isolated"),
            backend.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = backend.decoders.ByteLevel()
    trainer = backend.trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END_TOKEN],
        initial_alphabet=backend.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return inner


def _tables(content: dict[str, Any], unknown_id: int | None) -> tuple[Ids | None, Ids | None]:
    """Return the table from bytes, or from code points, that equals the tokenizer; (None, None) if none does."""
    model = content["model"]
    tokenwise = (
        model["type"] == "BPE"
        and not model["merges"]
        and content["normalizer"] is None
        and all(token["special"] for token in content["added_tokens"])
        and not any(
            model.get(option)
            for option in ("byte_fallback", "continuing_subword_prefix", "dropout", "end_of_word_suffix", "fuse_unk")
        )
    )
    if not tokenwise:
        return None, None
    vocabulary, before = model["vocab"], content["pre_tokenizer"]
    if before is None and unknown_id is not None:
        known = {ord(token): index for token, index in vocabulary.items() if len(token) == 1}
        characters = np.full(max(known, default=0) + 2, unknown_id, dtype=np.uint32)
        characters[list(known)] = list(known.values())
        return None, characters
    if before is not None and before["type"] == "ByteLevel" and not before["add_prefix_space"]:
        letters = byte_letters()
        if all(letter in vocabulary for letter in letters):
            return np.asarray([vocabulary[letter] for letter in letters], dtype=np.uint32), None
    return None, None


def _byte_sizes(inner: Any, content: dict[str, Any], size: int) -> npt.NDArray[np.int64]:
    """Return the bytes of text behind every id. Byte-level tokens are spelt with one letter a byte."""
    byte_level = (content["decoder"] or {}).get("type") == "ByteLevel"
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    sizes = np.zeros(size, dtype=np.int64)
    for token, index in inner.get_vocab().items():
        if index not in special:
            sizes[index] = len(token) if byte_level else len(token.encode())
    return sizes


def _look_up(table: Ids, text: str) -> Ids:
    """Return the entry of every code point; the last entry of the table serves all that lie beyond it."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    found: Ids = table[np.minimum(points, len(table) - 1)]
    return found


def _surrogate() -> UserError:
    return UserError("the text holds half of a surrogate pair (U+D800 to U+DFFF), which is no character; remove it")
