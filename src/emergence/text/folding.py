"""Simplified and traditional Chinese folded into one script, by OpenCC."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING

from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.core.settings import Fold

__all__ = ["folding_fingerprint", "folding_into", "folding_version"]

#: OpenCC's own conversions: by phrases, then by characters (github.com/BYVoid/OpenCC).
_CONVERSIONS: dict[Fold, str] = {"simplified": "t2s", "traditional": "s2t"}
#: Every character of the main block apart: what the conversion does to it decides what a model reads.
_PROBE = "\n".join(map(chr, range(0x4E00, 0xA000)))


def folding_into(fold: Fold) -> Callable[[str], str]:
    """Return the function that writes a text in one script; what is not Chinese stays as it is.

    ``simplified`` joins characters, ``traditional`` must choose between them and can choose wrongly. A text that was
    folded is not folded again anywhere: to ``traditional`` that would change a few characters more.
    Raises UserError where OpenCC is missing.
    """
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise UserError(
            "folding simplified and traditional Chinese needs OpenCC; pip install 'emergence[chinese]'"
        ) from error
    convert: Callable[[str], str] = OpenCC(_CONVERSIONS[fold]).convert
    return convert


def folding_fingerprint(fold: Callable[[str], str]) -> str:
    """Return a hash of what the folding does to every common character: another release may do it otherwise."""
    return hashlib.sha256(fold(_PROBE).encode()).hexdigest()[:16]


def folding_version() -> str:
    """Return the version of OpenCC that is installed."""
    return metadata.version("opencc")
