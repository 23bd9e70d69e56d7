"""Documents one by one, and lines as documents."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emergence.text import Corpus, document_pieces, lines_of

END = 7


@given(st.lists(st.lists(st.integers(0, 6), max_size=20), min_size=1, max_size=8), st.integers(1, 9))
def test_pieces_predict_every_token_once(documents: list[list[int]], context: int) -> None:
    packed = np.array([token for document in documents for token in (*document, END)])
    pieces = [piece.tolist() for piece in document_pieces(packed, END, context)]
    assert [token for piece in pieces for token in piece[1:]] == packed.tolist()
    assert all(2 <= len(piece) <= context + 1 for piece in pieces)
    assert sum(piece[0] == END for piece in pieces) == len(documents)
    for before, after in itertools.pairwise(pieces):
        assert after[0] == before[-1]  # the end of a document, or the token that was cut at


def test_lines_become_documents_each_once() -> None:
    corpus = Corpus(documents=("one\n\n two \none", "three\ntwo"), files=())
    assert lines_of(corpus).documents == ("one", "two", "three")
