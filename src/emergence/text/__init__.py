"""Text in, tokens out: tokenizers, corpora, and packing into memory-mapped token files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergence.text.bag import Bag
    from emergence.text.corpus import Corpus, distinct, lines_of, read_corpus, split_corpus
    from emergence.text.folding import folding_into
    from emergence.text.language_tokenizer import LanguageTokenizer
    from emergence.text.packing import PackedTokens, open_packed, pack
    from emergence.text.pieces import document_pieces
    from emergence.text.summary import Summary, summarise
    from emergence.text.tokenizers import END_TOKEN, UNKNOWN_TOKEN, Tokenizer, build_tokenizer

__all__ = [
    "END_TOKEN",
    "UNKNOWN_TOKEN",
    "Bag",
    "Corpus",
    "LanguageTokenizer",
    "PackedTokens",
    "Summary",
    "Tokenizer",
    "build_tokenizer",
    "distinct",
    "document_pieces",
    "folding_into",
    "lines_of",
    "open_packed",
    "pack",
    "read_corpus",
    "split_corpus",
    "summarise",
]

# Imported on first use: NumPy and the tokenizers library would slow the start of everything that names this room.
_HOMES = {
    "bag": ("Bag",),
    "corpus": ("Corpus", "distinct", "lines_of", "read_corpus", "split_corpus"),
    "folding": ("folding_into",),
    "language_tokenizer": ("LanguageTokenizer",),
    "packing": ("PackedTokens", "open_packed", "pack"),
    "pieces": ("document_pieces",),
    "summary": ("Summary", "summarise"),
    "tokenizers": ("END_TOKEN", "UNKNOWN_TOKEN", "Tokenizer", "build_tokenizer"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
