"""Which words may stand for which: the built-in groups of synonyms, or a file of the user's."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emergence.core.errors import UserError

__all__ = ["Thesaurus", "own_thesaurus", "read_thesaurus"]

Groups = Iterable[tuple[str, ...]]


@dataclass(frozen=True)
class Thesaurus:
    """``words`` maps a word, in lower case, to its synonyms in the order of their groups."""

    words: Mapping[str, tuple[str, ...]]

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Return the synonyms of a word, spelt in capitals where it is; () where there are none."""
        found = self.words.get(word.lower(), ())
        return tuple(_as_spelt(word, synonym) for synonym in found)

    @functools.cached_property
    def longest(self) -> int:
        """The characters of the longest word."""
        return max(map(len, self.words), default=0)


def _as_spelt(word: str, synonym: str) -> str:
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym


@functools.cache
def own_thesaurus() -> Thesaurus:
    """Return the built-in synonyms, English and Chinese.

    A word that both Chinese scripts write alike stands in a group of each: its synonyms are those which both have, so
    that a text stays in its script.
    """
    from emergence.text.augmentation.chinese_groups import CHINESE_GROUPS
    from emergence.text.augmentation.english_groups import ENGLISH_GROUPS

    groups = [tuple(line.split()) for line in (ENGLISH_GROUPS + CHINESE_GROUPS).splitlines() if line]
    kept: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for word in group:
            others = kept.get(word, group)
            kept[word] = tuple(other for other in group if other != word and other in others)
    return Thesaurus(kept)


def read_thesaurus(path: Path) -> Thesaurus:
    """Return the synonyms of a file: ``.tsv`` or ``.txt`` with a group on each line, tabs between the words (a comma
    where there is no tab); or ``.json``, a list of groups, or an object from words to their synonyms.

    A word of several groups has the synonyms of all. Raises UserError for a file that cannot be read, a group of a
    single word, and a file without groups.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the lexicon {path}: {error.strerror}; correct the name") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the lexicon {path} is not UTF-8 at byte {error.start}; convert it") from error
    kept: dict[str, dict[str, None]] = {}
    for where, given in _json_groups(text, path) if path.suffix.lower() == ".json" else _lines(text):
        group = list(dict.fromkeys(" ".join(word.split()).lower() for word in given if word.strip()))
        if len(group) < 2:
            raise UserError(
                f"{path}, {where}: a group of synonyms has two words or more; put them on one line with tabs between"
            )
        for word in group:
            kept.setdefault(word, {}).update(dict.fromkeys(other for other in group if other != word))
    if not kept:
        raise UserError(
            f"the lexicon {path} holds no synonyms; give a line for each group, with tabs between the words"
        )
    return Thesaurus({word: tuple(synonyms) for word, synonyms in kept.items()})


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield f"line {number}", line.split("\t" if "\t" in line else ",")


def _json_groups(text: str, path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UserError(f"the lexicon {path} is not JSON: {error}; correct it") from error
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in pairs:
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise UserError(f"{path}, entry {key}: synonyms are a list of words; write [good, fine] or good: [fine]")
        yield f"entry {key}", [key, *value] if isinstance(key, str) else value
