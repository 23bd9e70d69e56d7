"""What the files of a model in Hugging Face's layout say without being loaded. No torch here."""

from __future__ import annotations

import json
import math
from pathlib import Path

__all__ = ["architecture", "stored_parameters"]

HALF = 2  # bytes of a number in half precision, the smallest that weights are kept in here
MOST_HEADER = 2**27  # bytes; a longer one is damage


def architecture(folder: Path) -> str | None:
    """Return what kind of model a folder says it holds, for example ``llama``; None where it does not say."""
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = document.get("model_type", document.get("family")) if isinstance(document, dict) else None
    return known if isinstance(known, str) and known else None


def stored_parameters(folder: Path) -> float | None:
    """Return how many numbers the weights in a folder hold, at most; None where they cannot be read.

    The header of a safetensors file names every tensor with its shape. Of pickle files the size alone is known.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.stat().st_size for path in folder.glob("pytorch_model*.bin")]
        return sum(pickles) / HALF if pickles else None
    try:
        return float(sum(map(_numbers, files)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _numbers(file: Path) -> int:
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError("this is no header")
        header = json.loads(content.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
