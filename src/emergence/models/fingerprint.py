"""What tells two networks apart: the weights they have now, not the files they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["fingerprint"]


def fingerprint(weights: Mapping[str, torch.Tensor], description: str) -> str:
    """Return the SHA-256 of a description and of every tensor with its name, type and shape."""
    import torch

    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        if flat.numel() < 2:  # its stride may be anything, and then its bytes cannot be looked at
            flat = flat.clone(memory_format=torch.contiguous_format)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
