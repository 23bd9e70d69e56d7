"""What a ``tokenizer.json`` of ours says beyond the format of the `tokenizers` library: who cuts words, who folds text.

Such a file is laid out like any other, but its normaliser is ``{"type": "opencc", ...}``, or its pre-tokenizer is
``{"type": "rjieba", ...}``. Its ``version`` is not "1.0" but a sentence that says so: a library that does not know it
refuses the file with that sentence, where it would else give a model tokens that it never saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.text.folding import folding_fingerprint, folding_into, folding_version
from emergence.text.words import WordTable, cutting_version

if TYPE_CHECKING:
    from emergence.core.settings import Fold

__all__ = ["Extras", "make_extras", "take_extras"]

_FORMAT = "emergence 1"


@dataclass(frozen=True)
class Extras:
    """The sections ``normalizer`` and ``pre_tokenizer`` of a file, where the library does not know them.

    Both hold ``version``, of the library that the tokenizer was made with, and ``fingerprint``, of what it does.
    """

    normalizer: Mapping[str, str] | None = None
    pre_tokenizer: Mapping[str, str] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The libraries beside `tokenizers`."""
        sections = {"opencc": self.normalizer, "rjieba": self.pre_tokenizer}
        return tuple(library for library, section in sections.items() if section is not None)

    def folding(self) -> Callable[[str], str]:
        """Return what folds a text; raises UserError where OpenCC is missing or folds otherwise by now."""
        if self.normalizer is None:
            return _as_it_is
        fold = folding_into("traditional" if self.normalizer.get("fold") == "traditional" else "simplified")
        _check(self.normalizer, folding_fingerprint(fold), "opencc", folding_version())
        return fold

    def word_table(self, vocabulary: Mapping[str, int]) -> WordTable | None:
        """Return what cuts words; raises UserError where `rjieba` is missing or cuts otherwise by now, and ValueError
        for a vocabulary that lacks a byte."""
        if self.pre_tokenizer is None:
            return None
        table = WordTable(vocabulary)
        _check(self.pre_tokenizer, table.fingerprint(), "rjieba", cutting_version())
        return table

    def put_into(self, plain: str) -> str:
        """Return a file of the library with these sections; without any it stays what it is."""
        if not self.needs:
            return plain
        document = {
            **json.loads(plain),
            "version": f"{_FORMAT}: only emergence reads it, with {' and '.join(self.needs)}",
        }
        if self.normalizer is not None:
            document["normalizer"] = dict(self.normalizer)
        if self.pre_tokenizer is not None:
            document["pre_tokenizer"] = dict(self.pre_tokenizer)
        return json.dumps(document, ensure_ascii=False, indent=2 if "\n" in plain else None)

    def identify(self, plain: str) -> str:
        """Return all that decides which ids a text gets: another release that does the same changes nothing."""
        timeless = [
            None if section is None else {key: value for key, value in section.items() if key != "version"}
            for section in (self.normalizer, self.pre_tokenizer)
        ]
        return plain + json.dumps(timeless, sort_keys=True) if self.needs else plain


def make_extras(fold: Fold | None, words: Mapping[str, int] | None) -> Extras:
    """Return the sections of a new tokenizer; ``words`` is the vocabulary of one that cuts words, without its end
    token."""
    normalizer = pre_tokenizer = None
    if fold is not None:
        fingerprint = folding_fingerprint(folding_into(fold))
        normalizer = {"type": "opencc", "fold": fold, "version": folding_version(), "fingerprint": fingerprint}
    if words is not None:
        fingerprint = WordTable(words).fingerprint()
        pre_tokenizer = {"type": "rjieba", "version": cutting_version(), "fingerprint": fingerprint}
    return Extras(normalizer, pre_tokenizer)


def take_extras(serialised: str) -> tuple[str, Extras]:
    """Return a file as the library reads it, and the sections that it does not know.

    Raises ValueError for a file that another version of ours has written.
    """
    try:
        document = json.loads(serialised)
    except ValueError:
        return serialised, Extras()  # the library says what is wrong with it
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("emergence"):
        return serialised, Extras()
    if not version.startswith(f"{_FORMAT}:"):
        raise ValueError(f"this is a tokenizer of another version of emergence ({version})")
    found: dict[str, Any] = {}
    for name, kind in (("normalizer", "opencc"), ("pre_tokenizer", "rjieba")):
        section = document.get(name)
        if isinstance(section, dict) and section.get("type") == kind:
            found[name] = section
            document[name] = None
    return json.dumps({**document, "version": "1.0"}), Extras(**found)


def _check(section: Mapping[str, str], fingerprint: str, library: str, installed: str) -> None:
    if section.get("fingerprint") != fingerprint:
        made = section.get("version")
        raise UserError(
            f"the tokenizer was made with {library} {made}, and {installed} reads text otherwise; "
            f"pip install {library}=={made}"
        )


def _as_it_is(text: str) -> str:
    return text
