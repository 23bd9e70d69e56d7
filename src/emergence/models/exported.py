"""A model in a folder of its own, in this project's layout: for families that transformers does not have.

``config.json`` (sealed: the family, its shape, the step), ``model.safetensors`` and ``tokenizer.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.models.checkpoint import WEIGHTS, read_config
from emergence.models.family import build_network

if TYPE_CHECKING:
    from emergence.text import Tokenizer

__all__ = ["check_exported", "check_new", "is_exported", "load_exported", "write_exported"]


def check_new(folder: Path) -> None:
    """Raise UserError for a folder that holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; export to a new one")


def write_exported(family: str, network: Any, tokenizer: Tokenizer, folder: Path, *, step: int) -> Path:
    """Write a model to ``folder`` and return it; raise UserError when that holds something, or cannot be written."""
    from safetensors.torch import save_file

    check_new(folder)
    try:
        with writing(folder / WEIGHTS) as temporary:
            weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
            save_file(weights, temporary, metadata={"format": "pt"})
        tokenizer.save(folder / "tokenizer.json")
        described = {"family": family, "config": network.config.to_dict(), "step": step}
        write_sealed(folder / "config.json", {**described, "weights": sha256(folder / WEIGHTS)})
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder


def is_exported(folder: Path) -> bool:
    """Say whether a folder is one that `write_exported` wrote: its weights lie beside its configuration."""
    return (folder / WEIGHTS).exists() and not (folder / "checkpoints").exists()


def check_exported(folder: Path) -> int:
    """Return the step of the model in ``folder``; raise UserError where a file is damaged."""
    try:
        described = read_sealed(folder / "config.json")
    except DamagedFileError as error:  # between two readings
        raise UserError(f"{error}; export the model again") from error
    if described.get("weights") != sha256(folder / WEIGHTS):
        raise UserError(f"{folder / WEIGHTS}: the content does not match its checksum; export the model again")
    return int(described["step"])


def load_exported(folder: Path) -> tuple[Any, str, int]:
    """Return network, family and step of the model in ``folder``; raise UserError where a file is damaged."""
    import torch
    from safetensors.torch import load_file

    family, config = read_config(folder)
    step = check_exported(folder)
    network = build_network(family, config, torch.Generator().manual_seed(0))
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval(), family, step
