"""Words as tokens: Chinese is cut by `rjieba`, everything else at spaces, digits and punctuation.

`rjieba` is jieba's algorithm in Rust (github.com/messense/jieba-rs): the most probable path through the words of a
dictionary, and a hidden Markov model for words outside it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from itertools import chain
from typing import Any

import tokenizers as backend

from emergence.core.errors import UserError
from emergence.text.spelling import byte_letters, spell, unspell

__all__ = ["HAN", "WordTable", "choose_words", "cut_chinese", "cut_words", "cutting_version", "word_vocabulary"]

#: The characters of the script Han (Unicode 17), as the inside of a character class.
HAN = (
    "\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufa6d\ufa70-\ufad9\U00016fe2\U00016fe3\U00016ff0-\U00016ff6\U00020000-\U0003ffff"
)

#: A run of Chinese; otherwise GPT-2's pattern with every digit alone, as in our BPE (`text.tokenizers`).
_PATTERN = r"\p{Han}+|'(?:[sdmt]|ll|ve|re)| ?[\p{L}&&[^\p{Han}]]+|\p{N}| ?[^\s\p{L}\p{N}\p{Han}]+|\s+(?!\S)|\s+"
_CHINESE = re.compile(f"[{HAN}]")
PART = 1 << 16  # characters that are cut at once, at least
_SEEN_OFTEN = 2  # a word that occurs once is not worth a token, as in our BPE
_MOST_KEPT = 1_000_000  # spellings of words outside the vocabulary that are remembered


@cache
def cut_chinese() -> Callable[[str], list[str]]:
    """Return the function that cuts a run of Chinese into words. Raises UserError where `rjieba` is missing."""
    try:
        import rjieba
    except ImportError as error:
        raise UserError("cutting Chinese into words needs rjieba; pip install 'emergence[chinese]'") from error
    cut: Callable[[str], list[str]] = rjieba.cut
    return cut


def cutting_version() -> str:
    """Return the version of `rjieba` that is installed."""
    return metadata.version("rjieba")


@cache
def _splitter() -> Any:
    return backend.pre_tokenizers.Split(backend.Regex(_PATTERN), "isolated")


def cut_words(text: str) -> Iterator[str]:
    """Yield the words of ``text`` in order; joined they are the text again. A space belongs to the word after it.

    Raises TypeError for half of a surrogate pair.
    """
    cut = cut_chinese()
    for part in _parts(text):
        for piece, _ in _splitter().pre_tokenize_str(part):
            if len(piece) > 1 and _CHINESE.match(piece):
                yield from cut(piece)
            else:
                yield piece


def _parts(text: str) -> Iterator[str]:
    """Yield a long text in parts, so that its words are not all in memory at once.

    Before a line's end that follows no space a word always begins, and what follows does not change the one before.
    """
    start = 0
    while len(text) - start > PART:
        end = text.find("\n", start + PART)
        while end > 0 and text[end - 1].isspace():
            end = text.find("\n", end + 1)
        if end < 0:
            break
        yield text[start:end]
        start = end
    yield text[start:]


def choose_words(texts: Iterable[str], size: int) -> list[str]:
    """Return the ``size`` words and characters that save most tokens, the best first.

    A word saves its characters but one wherever it occurs, a character its bytes but one wherever it stands, in a word
    or alone; a single byte saves nothing and always has a token. What is seen once is left out. The result depends on
    the texts, not on their order.
    """
    words = Counter(chain.from_iterable(map(cut_words, texts)))
    saved: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            seen[character] += count
        if len(word) > 1 and count >= _SEEN_OFTEN:
            saved[word] = count * (len(word) - 1)
    for character, count in seen.items():
        if character >= "\x80" and count >= _SEEN_OFTEN:
            saved[character] = count * (len(character.encode()) - 1)
    return sorted(saved, key=lambda word: (-saved[word], word))[:size]


class WordTable:
    """Token ids of words by look-up; a word without a token is its characters, and a character without one its bytes.

    So every text has ids, and they decode to that text.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        """Take a byte-level vocabulary without special tokens; raises ValueError where it lacks a byte."""
        try:
            self._bytes = [vocabulary[letter] for letter in byte_letters()]
        except KeyError as error:
            raise ValueError(f"the vocabulary has no token for the byte {error}") from error
        self._known: dict[str, int] = {}
        for token, index in vocabulary.items():
            text = unspell(token)
            if text is not None:
                self._known[text] = index
        self._ids: dict[str, tuple[int, ...]] = {text: (index,) for text, index in self._known.items()}

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; raises TypeError for half of a surrogate pair."""
        ids = self._ids
        found: list[int] = []
        for word in cut_words(text):
            known = ids.get(word)
            found.extend(self._spelt(word) if known is None else known)
        return found

    def _spelt(self, word: str) -> tuple[int, ...]:
        ids: list[int] = []
        for character in word:
            known = self._known.get(character)
            if known is None:
                ids += [self._bytes[byte] for byte in character.encode()]
            else:
                ids.append(known)
        if len(self._ids) < _MOST_KEPT:
            self._ids[word] = tuple(ids)
        return tuple(ids)

    def fingerprint(self) -> str:
        """Return a hash of how the words of the vocabulary are cut: another release may cut them otherwise."""
        probe = "".join(sorted(self._known, key=self._known.__getitem__))
        return hashlib.sha256("\x00".join(cut_words(probe)).encode()).hexdigest()[:16]


def word_vocabulary(texts: Iterable[str], size: int, first: str) -> dict[str, int]:
    """Return a byte-level vocabulary of at most ``size`` tokens: ``first``, every byte, and the words chosen."""
    tokens = [first, *byte_letters()]
    tokens += [spell(word) for word in choose_words(texts, size - len(tokens))]
    return {token: index for index, token in enumerate(tokens)}
