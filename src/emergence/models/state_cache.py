"""What a recurrent network keeps of the rows it has read: tensors of a fixed size, whatever was read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["StateCache"]


class StateCache:
    """The states of B rows; each is a tensor [B, ...], to be replaced by the network as it reads."""

    def __init__(self, states: Sequence[torch.Tensor]) -> None:
        self.states = list(states)

    @classmethod
    def beginning(cls, batch: int, first: Sequence[torch.Tensor], prefix: StateCache | None) -> StateCache:
        """Return the cache of ``batch`` rows that continue ``prefix``, the cache of a single row, or else the states
        ``first`` [1, ...] of a row that has read nothing."""
        start = first if prefix is None else prefix.states
        return cls([state.expand(batch, *state.shape[1:]).clone() for state in start])

    def trim(self, lengths_B: torch.Tensor) -> None:
        """A state cannot forget; rows of such a network are never padded."""
        raise NotImplementedError("rows that were padded need a network with masks")

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the given rows, in that order."""
        self.states = [state[rows.to(state.device)] for state in self.states]

    def append(self, other: StateCache) -> None:
        """Take over the rows of another cache of this network, behind the own."""
        self.states = [torch.cat(pair) for pair in zip(self.states, other.states, strict=True)]
