"""Whether the models of a study can be compressed as it asks, seen from their sizes alone. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emergence.compression import COMPRESSIBLE
from emergence.core.compression_settings import CompressionSettings
from emergence.core.errors import UserError
from emergence.study.rungs import Rung

__all__ = ["check_compression"]


def check_compression(compress: CompressionSettings | None, rungs: Sequence[Rung]) -> None:
    """Raise UserError where no family can be compressed, or a group or pattern does not divide a matrix of a rung."""
    if compress is None:
        return
    able = [rung for rung in rungs if rung.family in COMPRESSIBLE]
    if not able:
        raise UserError(
            f"compress: the family {rungs[0].family} has no matrices to compress; families that have: "
            f"{', '.join(COMPRESSIBLE)}"
        )
    for how in compress.levels:
        size = how.pattern[1] if how.pattern else how.group
        for rung in able:
            wrong = None if size is None else next((n for n in _inputs(rung.config) if n % size), None)
            if wrong is not None:
                what = f"compress: {how.method} takes" if how.pattern else "compress.group makes"
                raise UserError(
                    f"{what} groups of {size} inputs, but {rung.name} has matrices with {wrong}; choose rungs whose "
                    "sizes divide by it (vary: depth keeps a width), or leave it out"
                )


def _inputs(config: Any) -> Iterator[int]:
    """Yield the numbers of inputs that matrices of a configuration have, as far as its sizes say."""
    for name in ("width", "feed_forward", "inner", "rank", "latent"):
        size = getattr(config, name, None)
        if size is not None:
            yield int(size)
