"""Documents one by one out of a packed corpus, cut where they are longer than a model sees at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["document_pieces"]


def document_pieces(
    tokens: npt.NDArray[np.integer[Any]], end_id: int, context: int
) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """Yield ``<end> document <end>`` for every document of a packed corpus, in pieces of at most ``context + 1``.

    A piece goes on with the last token of the one before, so that every token but the first is predicted once.
    """
    begin = np.asarray([end_id], dtype=tokens.dtype)
    first = 0
    for end in np.flatnonzero(tokens == end_id).tolist():
        document = np.concatenate([begin, tokens[first : end + 1]])
        first = end + 1
        for start in range(0, len(document) - 1, context):
            yield document[start : start + context + 1]
