"""What a corpus is about, before a model reads it: its size, its script, its words, and how long its tokens are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from emergence.core.errors import UserError
from emergence.text.bag import Bag, chinese_share
from emergence.text.tokenizers import Tokenizer

__all__ = ["Summary", "summarise"]

SAMPLE_CHARACTERS = 1_000_000
MOST_SHOWN = 12


@dataclass(frozen=True)
class Summary:
    """Sizes are of all documents; the rest is of some spread over them, at most a million characters, as a tokenizer
    that folds reads them."""

    documents: int
    characters: int
    chinese: float  # share of the characters that are no space
    characters_per_token: float
    unknown: float  # share of the tokens
    words: tuple[tuple[str, int], ...]  # the most frequent ones with their number, stop words left out
    pairs: tuple[tuple[str, int], ...]  # of words that follow one another, but for stop words
    missing: str | None  # why words could not be counted


def summarise(documents: Sequence[str], tokenizer: Tokenizer) -> Summary:
    """Return the summary of a corpus; raises ValueError where there is no document."""
    if not documents:
        raise ValueError("there is no document to summarise")
    sample = list(_spread(documents))
    ids = tokenizer.encode_batch(sample)
    tokens = max(1, sum(map(len, ids)))
    sample = [tokenizer.fold(text) for text in sample]
    try:
        found = [Bag((length, length)).count(sample).most_common(MOST_SHOWN) for length in (1, 2)]
        missing = None
    except UserError as error:
        found, missing = [[], []], str(error)
    return Summary(
        documents=len(documents),
        characters=sum(map(len, documents)),
        chinese=chinese_share("".join(sample)),
        characters_per_token=sum(map(len, sample)) / tokens,
        unknown=sum(one.count(tokenizer.unknown_id) for one in ids if tokenizer.unknown_id is not None) / tokens,
        words=tuple(found[0]),
        pairs=tuple(found[1]),
        missing=missing,
    )


def _spread(documents: Sequence[str]) -> Iterator[str]:
    """Yield documents at equal distances, the last one cut, up to `SAMPLE_CHARACTERS`."""
    left = SAMPLE_CHARACTERS
    for text in documents[:: max(1, round(sum(map(len, documents)) / SAMPLE_CHARACTERS))]:
        if left <= 0:
            return
        yield text[:left]
        left -= len(text)
