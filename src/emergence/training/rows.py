"""Packing worked examples into rows of one context, with a mask on what is to be learnt. No torch here.

A row is ``<end> prompt answer <end> prompt answer <end> ...``: as many whole examples as fit, then padding with the end
token. Only answers and the end tokens after them are supervised. Rows are written once per study and memory-mapped
by every run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.text import document_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emergence.tasks.task import Example, Split
    from emergence.text import PackedTokens, Tokenizer

__all__ = ["Lessons", "Rows", "map_rows", "pack_documents", "pack_rows"]

CHUNK = 50_000  # examples written at a time, which bounds the memory


class Lessons(Protocol):
    """What rows are made of: a task, or what somebody wrote for one."""

    @property
    def name(self) -> str:
        """The name of the task."""

    def lessons(self, rng: np.random.Generator, n: int, split: Split) -> list[Example]:
        """Return up to ``n`` examples of one split; one without a prompt is text that is learnt whole."""


@dataclass(frozen=True)
class Rows:
    """Token rows [N, T + 1] and the mask [N, T] of the positions whose next token is supervised."""

    tokens: npt.NDArray[np.uint32]
    supervised: npt.NDArray[np.bool_]


def pack_rows(
    task: Lessons,
    tokenizer: Tokenizer,
    path: Path,
    *,
    split: Split,
    rows: int,
    context: int,
    rng: np.random.Generator,
    identity: Mapping[str, Any],
) -> Rows:
    """Write ``rows`` rows of freshly drawn examples to ``path``, or reuse them.

    ``identity`` is whatever decides the content besides the arguments (the task's options, the seed); a file made
    from the same is reused. Raises UserError when a single example is longer than the context.
    """
    fingerprint = hashlib.sha256(
        json.dumps([dict(identity), task.name, split, rows, context, tokenizer.identity], sort_keys=True).encode()
    ).hexdigest()
    existing = _open(path, fingerprint)
    if existing is not None:
        return existing
    tokens = np.full((rows, context + 1), tokenizer.end_id, dtype=np.uint32)
    supervised = np.zeros((rows, context), dtype=np.bool_)
    row, used = 0, 1
    while row < rows:
        examples = task.lessons(rng, CHUNK if rows > CHUNK // 8 else 4096, split)
        if not examples:
            raise UserError(f"task {task.name} has no examples for {split} with these options; make it larger")
        prompts = tokenizer.encode_batch([example.prompt for example in examples])
        answers = tokenizer.encode_batch([example.target for example in examples])
        for prompt, answer in zip(prompts, answers, strict=True):
            length = len(prompt) + len(answer) + 1
            if length > context:
                raise UserError(
                    f"one example of task {task.name} takes {length} tokens but model.context is {context}; "
                    "raise the context, or make the examples shorter by the task's options"
                )
            if used + length > context + 1:
                row, used = row + 1, 1
                if row == rows:
                    break
            tokens[row, used : used + len(prompt)] = prompt
            tokens[row, used + len(prompt) : used + length - 1] = answer
            supervised[row, used + len(prompt) - 1 : used + length - 1] = True
            used += length
    return _write(path, tokens, supervised, fingerprint)


def pack_documents(corpus: PackedTokens, end_id: int, path: Path, *, context: int) -> tuple[Rows, int]:
    """Write one row for each document of a packed corpus to ``path``, or reuse them; every token counts.

    A document longer than the context is cut into several rows: the second result is how many were.
    """
    fingerprint = hashlib.sha256(json.dumps(["documents", corpus.fingerprint, context]).encode()).hexdigest()
    existing = _open(path, fingerprint)
    pieces = list(document_pieces(corpus.tokens, end_id, context))
    cut = sum(len(piece) == context + 1 and piece[-1] != end_id and piece[0] == end_id for piece in pieces)
    if existing is not None:
        return existing, cut
    tokens = np.full((len(pieces), context + 1), end_id, dtype=np.uint32)
    supervised = np.zeros((len(pieces), context), dtype=np.bool_)
    for row, piece in enumerate(pieces):
        tokens[row, : len(piece)] = piece
        supervised[row, : len(piece) - 1] = True
    return _write(path, tokens, supervised, fingerprint), cut


def _write(path: Path, tokens: npt.NDArray[np.uint32], supervised: npt.NDArray[np.bool_], fingerprint: str) -> Rows:
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(tokens.tobytes())
        file.write(supervised.tobytes())
    rows, context = supervised.shape
    write_sealed(_card(path), {"fingerprint": fingerprint, "rows": rows, "context": context, "sha256": sha256(path)})
    opened = _open(path, fingerprint)
    assert opened is not None
    return opened


def _card(path: Path) -> Path:
    return path.with_suffix(".json")


def _open(path: Path, fingerprint: str) -> Rows | None:
    """Return the rows at ``path`` if they were made from the same things and are intact."""
    try:
        card = read_sealed(_card(path))
        if card["fingerprint"] != fingerprint or sha256(path) != card["sha256"]:
            return None
    except (DamagedFileError, OSError):
        return None
    return map_rows(path)


def map_rows(path: Path) -> Rows:
    """Memory-map rows that `pack_rows` wrote and checked."""
    card = read_sealed(_card(path))
    rows, context = int(card["rows"]), int(card["context"])
    tokens = np.memmap(path, dtype=np.uint32, mode="r", shape=(rows, context + 1))
    supervised = np.memmap(path, dtype=np.bool_, mode="r", offset=tokens.nbytes, shape=(rows, context))
    return Rows(tokens, supervised)
