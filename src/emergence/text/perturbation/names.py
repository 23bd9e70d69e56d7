"""Names and places exchanged for others of the same list, after CheckList (Ribeiro et al. 2020, arXiv 2005.04118).

The lists are a file of the user's: a JSON object of lists, such as CheckList's own ``basic.json`` and ``names.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.text.perturbation.known_words import is_known

__all__ = ["NameLists", "names", "read_name_lists"]

#: Lists of CheckList's files that may be exchanged within. Its lists of religions and nationalities are not: what is
#: said of these may be what the label is about.
LISTS = ("male", "female", "men", "women", "country", "city", "last_name", "last")
#: A family name is known by the capital word before it; alone it may be any word that begins a sentence.
FAMILY = ("last_name", "last")
#: Names that are common words too, beside those in our lists.
_WORDS_TOO = """
may june april august mark bill grant hope joy grace faith rose dawn summer autumn ivy lily chance chase cash case
long young best price day little white black brown green gray king church law reading mobile orange self story words
star stone field fields hill wood woods rice cook baker hunter guy son man mann page lane west east north south will
art drew frank dick pat sue miles rich jack christian power winter gold bush hall ford major early
"""
_WORDS = frozenset(_WORDS_TOO.split())


@dataclass(frozen=True)
class NameLists:
    """``list_of`` says in which list a name is, the first that has it; ``lists`` are their names in order."""

    lists: Mapping[str, tuple[str, ...]]
    list_of: Mapping[str, str]

    @property
    def most_words(self) -> int:
        """The words of the longest name."""
        return max(name.count(" ") for name in self.list_of) + 1


def read_name_lists(path: Path) -> NameLists:
    """Return the lists of a file: those in `LISTS`, or all where it has none of these.

    Names that are words too are left out. Raises UserError for a file that cannot be read or has no list of names.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read the name lists {path}: {error.strerror}; correct the name") from error
    except ValueError as error:
        raise UserError(f"the name lists {path} are not JSON: {error}; give an object of lists") from error
    given = document if isinstance(document, dict) else {}
    chosen = [key for key in LISTS if key in given] or list(given)
    lists: dict[str, tuple[str, ...]] = {}
    list_of: dict[str, str] = {}
    for key in chosen:
        value = given[key]
        if isinstance(value, list) and len(value) > 1 and all(isinstance(name, str) for name in value):
            fit = dict.fromkeys(name for name in value if _is_name(name))
            lists[key] = tuple(fit)
            for name in fit:
                list_of.setdefault(name, key)
    if not list_of:
        raise UserError(f'{path} has no list of names; give {{"city": ["Oslo", "Lima"], "female": [...]}}')
    return NameLists(lists, list_of)


def _is_name(name: str) -> bool:
    return len(name) > 2 and name[0].isupper() and not is_known(name) and name.lower() not in _WORDS


_CAPITALS = re.compile(r"(?<![\w'’-])[^\W\d_a-z][^\W\d_]*(?: [^\W\d_a-z][^\W\d_]*)*(?![\w-])")
_CAPITAL_BEFORE = re.compile(r"[A-Z]\w*\.? $")


def names(text: str, rng: np.random.Generator, lists: NameLists) -> str:
    """Exchange every name for another of its list; the same name for the same one, wherever it stands.

    What a name becomes follows from it and one number of ``rng``: two texts of a pair, read with equal generators,
    stay about the same persons.
    """
    seed = int(rng.integers(2**62))
    most = lists.most_words

    def exchanged(match: re.Match[str]) -> str:
        words, result, i = match[0].split(" "), [], 0
        while i < len(words):
            before = i > 0 or bool(_CAPITAL_BEFORE.search(text, max(0, match.start() - 40), match.start()))
            for n in range(min(most, len(words) - i), 0, -1):
                name = " ".join(words[i : i + n])
                key = lists.list_of.get(name)
                if key is not None and (key not in FAMILY or before):
                    result.append(_other(name, lists.lists[key], seed))
                    i += n
                    break
            else:
                result.append(words[i])
                i += 1
        return " ".join(result)

    return _CAPITALS.sub(exchanged, text)


def _other(name: str, options: tuple[str, ...], seed: int) -> str:
    if len(options) < 2:
        return name
    place = int(stream(seed, "name", name).integers(len(options) - 1))
    return options[place] if options[place] != name else options[-1]
