"""Keys and values of what a network has read: where the next tokens stand, and what they attend to.

Shapes: B batch, H heads, T new positions, S all positions so far, K head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["KeyValueCache"]


class KeyValueCache:
    """Keys and values of every block for the positions read so far, preallocated to ``length`` positions."""

    def __init__(self, depth: int, batch: int, heads: int, length: int, head_width: int, like: torch.Tensor) -> None:
        shape = (depth, 2, batch, heads, length, head_width)
        self.store = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.position = 0

    def positions(self, T: int) -> slice:
        """Return where the next T tokens stand in their sequences."""
        return slice(self.position, self.position + T)

    def attend(self, block: int, q_BHTK: torch.Tensor, k_BHTK: torch.Tensor, v_BHTK: torch.Tensor) -> torch.Tensor:
        """Keep the keys and values of T new tokens and return what each mixes from those up to itself, [B, H, T, K]."""
        T, end = q_BHTK.shape[2], self.position + q_BHTK.shape[2]
        self.store[block, 0, :, :, self.position : end] = k_BHTK
        self.store[block, 1, :, :, self.position : end] = v_BHTK
        k_BHSK, v_BHSK = self.store[block, 0, :, :, :end], self.store[block, 1, :, :, :end]
        mask = None
        if T > 1 and self.position > 0:
            mask = torch.ones(T, end, dtype=torch.bool, device=q_BHTK.device).tril(end - T)
        causal = T > 1 and mask is None
        return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=mask, is_causal=causal)

    def advance(self, T: int) -> None:
        """Count T tokens as read; called once all blocks have attended."""
        self.position += T

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the sequences at the given row indices."""
        self.store = self.store[:, :, rows].contiguous()
