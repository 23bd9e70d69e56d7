"""What stands on a trunk: class logits, a number, or the two ends of a span.

Shapes: B rows, T positions, D width, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["PooledHead", "SpanHead"]


class PooledHead(nn.Module):
    """One vector per row from its hidden states, and ``outputs`` numbers from that: class logits, or a value.

    ``pooling`` is the mean over the row's positions or the last of them. The weights begin at zero, so that the first
    loss is that of guessing.
    """

    def __init__(self, width: int, outputs: int, pooling: Literal["mean", "last"], dropout: float) -> None:
        super().__init__()
        self.pooling, self.dropout = pooling, dropout
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states_BTD: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return [B, outputs]."""
        if self.pooling == "last":
            pooled = states_BTD[torch.arange(len(lengths_B)), lengths_B - 1]
        else:
            within = torch.arange(states_BTD.shape[1]) < lengths_B[:, None]
            pooled = (states_BTD * within.unsqueeze(-1)).sum(dim=1) / lengths_B[:, None]
        out: torch.Tensor = self.out(F.dropout(pooled, self.dropout, self.training))
        return out


class SpanHead(nn.Module):
    """Logits of every position being the first, and being the last, of an answer (Devlin et al. 2019, arXiv 1810.04805,
    section 4.2)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.out = nn.Linear(width, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states_BTD: torch.Tensor, allowed_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits [B, T] of both ends; minus infinity where no answer may be (``allowed``)."""
        logits_BT2 = self.out(F.dropout(states_BTD, self.dropout, self.training))
        logits_BT2 = logits_BT2.masked_fill(~allowed_BT.unsqueeze(-1), -torch.inf)
        first, last = logits_BT2.unbind(dim=-1)
        return first, last
