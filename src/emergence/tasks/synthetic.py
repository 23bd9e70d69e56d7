"""Labelled examples that a model wrote: a JSON-lines file to be looked at and trained on, and the seal that vouches for
it.

Beside ``NAME.jsonl`` stands ``NAME.json`` (`core.store.write_sealed`): the SHA-256 of the file, which model wrote it,
how it was asked, what was thrown away and why, and which held-out examples it has nothing in common with.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_bytes, write_sealed
from emergence.tasks.labelled_schema import Labelled, LabelledData

__all__ = ["Sieve", "held_out_fingerprint", "is_sealed", "letters_of", "read_about", "seal_of", "write_synthetic"]


def letters_of(example: Labelled) -> str:
    """Return the letters and digits of both texts, in small letters: what makes two texts the same here."""
    return "\n".join("".join(filter(str.isalnum, text.casefold())) for text in (example.text, example.second))


def held_out_fingerprint(validation: Iterable[Labelled], test: Iterable[Labelled]) -> str:
    """Return a hash of the examples of a split that nothing may be made from, whatever their order."""
    keys = sorted({letters_of(example) for part in (validation, test) for example in part})
    return hashlib.sha256("\x00".join(keys).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class Sieve:
    """Which written examples are kept: none that is empty, too short or long (in characters), known, or there twice.

    ``known`` are training examples and ``held_out`` those of validation and test sets: a copy of these would be a leak.
    ``thrown`` counts what was thrown away, by reason.
    """

    shortest: int = 1
    longest: int | None = None
    known: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    thrown: Counter[str] = field(default_factory=Counter)
    _written: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, data: LabelledData | None, *, shortest: int = 1, longest: int | None = None) -> Sieve:
        """Return the sieve that knows the examples of a data set."""
        if data is None:
            return cls(shortest, longest)
        tests = (example for examples in (data.validation, *data.tests.values()) for example in examples)
        return cls(shortest, longest, frozenset(map(letters_of, data.train)), frozenset(map(letters_of, tests)))

    def keep(self, example: Labelled) -> bool:
        """Say whether an example is kept, and count it if not."""
        reason = self._fault(example)
        if reason:
            self.thrown[reason] += 1
        else:
            self._written.add(letters_of(example))
        return not reason

    def _fault(self, example: Labelled) -> str:
        letters, length = letters_of(example), len(example.text)
        if not letters.strip():
            return "empty"
        if length < self.shortest:
            return "too short"
        if self.longest is not None and length > self.longest:
            return "too long"
        if letters in self.held_out:
            return "in a validation or test set"
        if letters in self.known:
            return "in the training set"
        return "written before" if letters in self._written else ""


def seal_of(path: Path) -> Path:
    """Return where the seal of a file of synthetic examples stands."""
    return path.with_suffix(".json")


def write_synthetic(path: Path, examples: Sequence[Labelled], source: str, about: Mapping[str, Any]) -> None:
    """Write the examples, an object on each line with ``text``, ``second``, ``label``, ``value`` or ``answer``, and
    ``source`` ("synthetic", "back-translation"). The seal with what is ``about`` them comes first: a file that is there
    has one."""
    lines = (json.dumps({**_row(example), "source": source}, ensure_ascii=False) for example in examples)
    content = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(content).hexdigest()
    write_sealed(seal_of(path), {**about, "source": source, "examples": len(examples), "sha256": digest})
    write_bytes(path, content)


def _row(example: Labelled) -> dict[str, Any]:
    row: dict[str, Any] = {"text": example.text}
    if example.second:
        row["second"] = example.second
    if example.answers:
        return row | {"answer": list(example.answers)}
    return row | ({"label": example.label} if example.value is None else {"value": example.value})


def is_sealed(seal: Path) -> bool:
    """Say whether a file is the sound seal of synthetic examples, be these there or not."""
    try:
        return "sha256" in read_sealed(seal)
    except DamagedFileError:
        return False


def read_about(path: Path) -> dict[str, Any]:
    """Return what the seal says of a file. Raises UserError where the seal is missing or does not fit the file."""
    try:
        about = read_sealed(seal_of(path))
    except DamagedFileError as error:
        raise UserError(
            f"{path} has no sound seal ({error}); synthetic examples are written by emergence synthesise or "
            "backtranslate: make them again, or name the file among files instead"
        ) from error
    if not path.is_file() or about.get("sha256") != sha256(path):
        raise UserError(f"{path} is not as it was written: its checksum differs from {seal_of(path)}; make it again")
    return about
