"""Plain rows for networks of transformers that can hide no token from another: rows of one length are read together.

Shapes: B rows, T positions, V vocabulary, M selected positions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["PlainRows"]

#: Reads token ids [B, T] with a cache of transformers: logits [B, T, V], or [M, V] at selected positions.
Forward = Callable[[torch.Tensor, torch.Tensor | None, Any], torch.Tensor]


@dataclass
class _Rows:
    """Rows that have read equally many tokens, in one cache of transformers; entry i of it is row ``places[i]``."""

    places: list[int]
    cache: Any = None  # None until something is read
    prefix: Any = None  # the cache of a single row that they continue
    read: int = 0

    def begin(self, config: Any) -> Any:
        """Return the cache, made when the first tokens are read."""
        from transformers import DynamicCache

        if self.cache is None:
            if self.prefix is None:
                self.cache = DynamicCache(config=config)
            else:
                self.cache = copy.deepcopy(self.prefix)
                self.cache.reorder_cache(torch.zeros(len(self.places), dtype=torch.long))
        return self.cache


class PlainRows:
    """What a network has read of some rows; those of different length go through it one length at a time."""

    def __init__(self, config: Any, batch: int, prefix: PlainRows | None = None, *, one_by_one: bool = False) -> None:
        """Make a cache for ``batch`` rows that continue ``prefix``, the cache of a single row.

        ``one_by_one`` is for networks that can only go on by one token at a time.
        """
        before = prefix._groups[0] if prefix is not None else _Rows([0])
        self._config = config
        self._groups: list[_Rows] = [_Rows(list(range(batch)), None, before.cache, before.read)]
        self._count = batch
        self._one_by_one = one_by_one

    def read(self, forward: Forward, ids_BT: torch.Tensor, select: torch.Tensor | None) -> torch.Tensor:
        """Let every row read its T tokens and return logits [B, T, V], or [M, V] at the flat positions ``select``."""
        T = ids_BT.shape[1]
        alone = len(self._groups) == 1 and self._groups[0].places == list(range(self._count))
        parts = []
        for group in self._groups:
            cache = group.begin(self._config)
            ids = ids_BT if alone else ids_BT[group.places]
            if group.read and T > 1 and self._one_by_one:
                steps = [forward(ids[:, t : t + 1], None, cache) for t in range(T)]
                logits = torch.cat(steps, dim=1)
                parts.append(logits.flatten(0, 1)[select] if alone and select is not None else logits)
            else:
                parts.append(forward(ids, select if alone else None, cache))
            group.read += T
        if alone:
            return parts[0]
        places = torch.tensor([place for group in self._groups for place in group.places], device=ids_BT.device)
        logits_BTV = torch.cat(parts)[places.argsort()]
        return logits_BTV if select is None else logits_BTV.flatten(0, 1)[select]

    def trim(self, lengths_B: torch.Tensor) -> None:
        """Rows of a network without masks are not padded, so that there is nothing to forget."""
        raise NotImplementedError("rows that were padded need a network with masks")

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the given rows, in that order."""
        wanted = {row: place for place, row in enumerate(rows.tolist())}
        groups = []
        for group in self._groups:
            entries = [entry for entry, place in enumerate(group.places) if place in wanted]
            if not entries:
                continue
            if group.cache is not None and len(entries) < len(group.places):
                group.cache.reorder_cache(torch.tensor(entries))
            group.places = [wanted[group.places[entry]] for entry in entries]
            groups.append(group)
        self._groups, self._count = groups, len(wanted)

    def append(self, other: PlainRows) -> None:
        """Take over the rows of another cache with the same prefix, behind the own."""
        for group in other._groups:
            group.places = [self._count + place for place in group.places]
            self._groups.append(group)
        self._count += other._count
