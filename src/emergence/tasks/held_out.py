"""Held-out text as the models of a study were trained to read it: windows, or whole documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from emergence.core.errors import UserError
from emergence.tasks.task import TaskContext
from emergence.text import document_pieces

__all__ = ["held_out_texts", "no_document_fits", "whole_documents"]

LEAST_TOKENS = 4  # of a text that is asked for: something to read and something to predict


def held_out_texts(context: TaskContext, n: int, task: str) -> list[list[int]]:
    """Return the tokens of up to ``n`` texts, spread evenly over the held-out corpus.

    They are windows of one context; or, where training rows are documents, whole ones between two end tokens, without
    those that are longer than a context. Raises UserError where there is no corpus.
    """
    tokens = context.validation_tokens
    if tokens is None:
        raise UserError(f"the task '{task}' needs a corpus; add corpus: {{files: [...]}}")
    length = context.context
    if not context.whole_documents:
        n = min(n, (len(tokens) - 1) // length)
        starts = np.linspace(0, len(tokens) - length, max(n, 1)).astype(np.int64)
        return [tokens[start : start + length].tolist() for start in starts]
    whole = list(whole_documents(tokens, context.tokenizer.end_id, length))
    if not whole:
        raise no_document_fits(length)
    chosen = np.linspace(0, len(whole) - 1, min(n, len(whole))).astype(np.int64)
    return [whole[index].tolist() for index in chosen]


def whole_documents(
    tokens: npt.NDArray[np.integer[Any]], end_id: int, context: int
) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """Yield ``<end> document <end>`` for the documents of a packed corpus that can be asked for as a whole."""
    for piece in document_pieces(tokens, end_id, context):
        if len(piece) >= LEAST_TOKENS and piece[0] == end_id and piece[-1] == end_id:
            yield piece


def no_document_fits(context: int) -> UserError:
    """Return the fault of a held-out part in which every document is longer than a context."""
    return UserError(f"no held-out document fits into a context of {context}; raise model.context")
