"""Small whole numbers side by side in bytes, and sparse matrices as a bitmap with what is not zero."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["pack_bits", "pack_sparse", "unpack_bits", "unpack_sparse"]


def pack_bits(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return codes below ``2^bits`` as bytes, the lowest bit first and no bit between them: two of 4 bits to a byte."""
    flat = codes.reshape(-1).to(torch.uint8).numpy()
    each = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(each.reshape(-1), bitorder="little"))


def unpack_bits(packed: torch.Tensor, bits: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the codes that `pack_bits` packed, as uint8 of the given shape."""
    count = int(np.prod(shape))
    each = np.unpackbits(packed.numpy(), count=count * bits, bitorder="little").reshape(count, bits)
    return torch.from_numpy(np.packbits(each, axis=1, bitorder="little").reshape(shape))


def pack_sparse(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one bit for every weight, packed, and the weights that are not zero, in order."""
    there = weight != 0
    return pack_bits(there, 1), weight[there].contiguous()


def unpack_sparse(bitmap: torch.Tensor, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the matrix that `pack_sparse` packed; its zeros are positive ones."""
    there = unpack_bits(bitmap, 1, shape).bool()
    return torch.zeros(shape, dtype=values.dtype).masked_scatter_(there, values)
