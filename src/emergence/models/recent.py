"""The last tokens of every position: what networks that see a window of fixed length read, and what they keep.

Shapes: B rows, T new positions, W window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from emergence.models.state_cache import StateCache

__all__ = ["empty_cache", "windows"]

Ids = npt.NDArray[np.int64]


def windows(ids_BT: Ids, length: int, nothing: int, cache: StateCache | None = None) -> Ids:
    """Return the last ``length`` tokens at every position, its own the last: [B, T, W], a view that is not to be
    written.

    Places before the beginning of a row hold ``nothing``. With a cache the ids continue it, and it is brought up to
    date.
    """
    rows, keep = len(ids_BT), length - 1
    before = np.full((rows, keep), nothing, dtype=np.int64) if cache is None else cache.states[0].numpy()
    whole = np.concatenate([before, ids_BT], axis=1)
    if cache is not None:
        cache.states = [torch.from_numpy(whole[:, whole.shape[1] - keep :].copy())]
    return np.lib.stride_tricks.sliding_window_view(whole, length, axis=1)


def empty_cache(batch: int, length: int, nothing: int, prefix: StateCache | None) -> StateCache:
    """Return the cache of ``batch`` rows for windows of ``length``, which continue ``prefix`` or have read nothing."""
    first = torch.full((1, length - 1), nothing, dtype=torch.long)
    return StateCache.beginning(batch, (first,), prefix)
