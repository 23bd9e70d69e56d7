"""What the files of a model in Hugging Face's layout say without being loaded. No torch here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergence.models.family import Reads

__all__ = ["architecture", "multiplied_parameters", "reads_and_context", "stored_parameters"]

HALF = 2  # bytes of a number in half precision, the smallest that weights are kept in here
TABLES = ("embed_tokens", "wte", "embed_in", "word_embeddings", "shared")  # of the tokens that are read
HEADS = ("lm_head", "embed_out", "decoder.weight")  # of those that are written, where they have a matrix of their own
MOST_HEADER = 2**27  # bytes; a longer one is damage


def architecture(folder: Path) -> str | None:
    """Return what kind of model a folder says it holds, for example ``llama``; None where it does not say."""
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = document.get("model_type", document.get("family")) if isinstance(document, dict) else None
    return known if isinstance(known, str) and known else None


def reads_and_context(folder: Path) -> tuple[Reads, int | None]:
    """Return how the model in a folder is asked, and the most tokens it reads at once where its file says so."""
    document: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    made_for = [name for name in document.get("architectures") or [] if isinstance(name, str)]
    reads: Reads = "causal"
    if document.get("is_encoder_decoder") or any(name.endswith("ForConditionalGeneration") for name in made_for):
        reads = "pairs"
    elif any(name.endswith("ForMaskedLM") or name == "BertForPreTraining" for name in made_for):
        reads = "masked"
    known = (document.get(key) for key in ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len"))
    return reads, next((size for size in known if isinstance(size, int) and size > 0), None)


def stored_parameters(folder: Path) -> float | None:
    """Return how many numbers the weights in a folder hold, at most; None where they cannot be read.

    The header of a safetensors file names every tensor with its shape. Of pickle files the size alone is known.
    """
    files = _weights(folder)
    if not files:
        pickles = [path.stat().st_size for path in folder.glob("pytorch_model*.bin")]
        return sum(pickles) / HALF if pickles else None
    try:
        return float(sum(size for file in files for size in _sizes(file).values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def multiplied_parameters(folder: Path) -> float | None:
    """Return how many of the stored numbers are factors of a matrix product: all but the table of the tokens that are
    read, which is one where it is also that of the tokens that are written. None where the files cannot be read."""
    try:
        sizes = {name: size for file in _weights(folder) for name, size in _sizes(file).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if not sizes:
        return None
    apart = any(head in name for name in sizes for head in HEADS)
    return float(sum(size for name, size in sizes.items() if not (apart and any(part in name for part in TABLES))))


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _sizes(file: Path) -> dict[str, int]:
    """Return how many numbers every tensor of a safetensors file has."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError("this is no header")
        header = json.loads(content.read(length))
    return {name: math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
