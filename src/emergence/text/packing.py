"""Packing a corpus once into a memory-mapped token file, which is reused as long as nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.text.tokenizers import Tokenizer

__all__ = ["PackedTokens", "open_packed", "pack"]

#: Part of the fingerprint: raise it when the layout of the file changes, and old files are packed again.
_FORMAT = 1
_BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class PackedTokens:
    """A packed corpus: the tokens of every document, each document followed by the end token."""

    path: Path
    dtype: str  # "<u2" or "<u4"
    count: int  # tokens, the end tokens included
    documents: int
    characters: int  # of the text as it was read, folded if it was, so that a loss can be given per character
    utf8_bytes: int  # likewise per byte
    unknown: int  # tokens that stand for a character outside the vocabulary
    fingerprint: str  # of the documents and the tokenizer
    sha256: str  # of the token file

    @cached_property
    def tokens(self) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
        """The tokens, shape (count,), mapped from the file and read-only."""
        mapped: npt.NDArray[Any] = np.memmap(self.path, dtype=self.dtype, mode="r", shape=(self.count,))
        return mapped

    def __len__(self) -> int:
        return self.count

    def __getstate__(self) -> dict[str, Any]:
        # A pickled memory map carries the whole file; a worker process maps it again instead.
        return {key: value for key, value in self.__dict__.items() if key != "tokens"}


def pack(documents: Sequence[str], tokenizer: Tokenizer, path: Path) -> PackedTokens:
    """Return ``documents`` as a token file at ``path``, with a sealed JSON of the same name beside it.

    A file that was packed from the same documents with the same tokenizer, and is intact, is opened and not written
    again. Raises UserError where there is no document.
    """
    if not documents:
        raise UserError("there is no document to pack; add text to the corpus")
    fingerprint = _fingerprint(documents, tokenizer)
    try:
        found = open_packed(path)
        if found.fingerprint == fingerprint:
            return found
    except DamagedFileError:
        pass
    dtype = "<u2" if tokenizer.vocabulary_size <= 1 << 16 else "<u4"
    digest = hashlib.sha256()
    count = unknown = characters = utf8_bytes = 0
    with writing(path) as temporary, temporary.open("wb") as file:
        for batch in _batches(documents):
            arrays = tokenizer.encode_arrays(batch)
            for text in map(tokenizer.fold, batch):
                characters += len(text)
                utf8_bytes += len(text.encode())
            if tokenizer.unknown_id is not None:
                unknown += sum(int(np.count_nonzero(ids == tokenizer.unknown_id)) for ids in arrays)
            end = np.asarray([tokenizer.end_id], dtype=dtype)
            tokens = np.concatenate([part.astype(dtype) for ids in arrays for part in (ids, end)])
            content = tokens.tobytes()
            file.write(content)
            digest.update(content)
            count += len(tokens)
    packed = PackedTokens(
        path=path,
        dtype=dtype,
        count=count,
        documents=len(documents),
        characters=characters,
        utf8_bytes=utf8_bytes,
        unknown=unknown,
        fingerprint=fingerprint,
        sha256=digest.hexdigest(),
    )
    write_sealed(
        _seal_of(path), {"format": _FORMAT} | {key: value for key, value in packed.__dict__.items() if key != "path"}
    )
    return packed


def open_packed(path: Path) -> PackedTokens:
    """Return the packed corpus at ``path``; raises DamagedFileError when it is missing, truncated or altered."""
    facts = read_sealed(_seal_of(path))
    if facts.pop("format", None) != _FORMAT:
        raise DamagedFileError(f"{path}: packed by another version")
    packed = PackedTokens(path=path, **facts)
    try:
        size = path.stat().st_size
        if size != packed.count * np.dtype(packed.dtype).itemsize or sha256(path) != packed.sha256:
            raise DamagedFileError(f"{path}: the content does not match its checksum")
    except OSError as error:
        raise DamagedFileError(f"{path}: {error.strerror}") from error
    return packed


def _seal_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _fingerprint(documents: Sequence[str], tokenizer: Tokenizer) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {tokenizer.identity}".encode())
    for text in documents:
        content = text.encode("utf-8", errors="surrogatepass")
        digest.update(len(content).to_bytes(8, "little"))  # else "ab", "c" and "a", "bc" would be the same corpus
        digest.update(content)
    return digest.hexdigest()


def _batches(documents: Sequence[str]) -> Iterator[list[str]]:
    """Yield the documents in groups of a few million characters, so that memory stays bounded by the longest one."""
    batch: list[str] = []
    characters = 0
    for text in documents:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
