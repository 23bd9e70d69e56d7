"""The model that a run ended with, loaded to be adapted: its own last checkpoint, or what was trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergence.core.published import split_revision
from emergence.core.store import read_sealed
from emergence.study.folder import SOURCE

__all__ = ["Base", "load_base"]


@dataclass(frozen=True)
class Base:
    """A network with its tokenizer. ``family`` is one of ours, or the architecture of a model trained elsewhere."""

    network: Any
    tokenizer: Any
    family: str


def load_base(run: Path, *, allow_pickle: bool = False) -> Base:
    """Return the model of a run's folder at its last step; raise UserError where it cannot be loaded."""
    if (run / SOURCE).exists():
        from emergence.models.huggingface_load import load_huggingface

        checkpoints = read_sealed(run / SOURCE)["checkpoints"]
        source = checkpoints[max(checkpoints, key=int)]["source"]
        name, revision = (source, None) if Path(source).is_dir() else split_revision(source)
        network, tokenizer, _ = load_huggingface(name, revision, allow_pickle=allow_pickle)
        return Base(network, tokenizer, network.config.family)
    from emergence.models.checkpoint import load_network, read_config
    from emergence.text import Tokenizer

    own, _ = load_network(run)
    return Base(own, Tokenizer.load(run / "tokenizer.json"), read_config(run)[0])
