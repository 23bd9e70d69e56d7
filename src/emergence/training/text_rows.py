"""Telling rows of text from rows of worked examples, by what counts in them."""

from __future__ import annotations

import torch

__all__ = ["text_lengths"]


def text_lengths(supervised_BT: torch.Tensor) -> torch.Tensor:
    """Return how many positions of every row are text, [B]; 0 for rows of worked examples.

    ``supervised`` [B, T] says of which positions the next token counts. A row is text where these are one run from the
    first position on: all of them in a window, and as many as a whole line or document has before its padding. A
    prompt does not count, and examples without one are text (`tasks.task.GeneratedTask.lessons`).
    """
    length_B = supervised_BT.sum(dim=1)
    gap_B = (supervised_BT[:, 1:] & ~supervised_BT[:, :-1]).any(dim=1)
    return torch.where(supervised_BT[:, 0] & ~gap_B, length_B, torch.zeros_like(length_B))
