"""Token vectors that go from one model to another: read from a run, and given to networks that begin with them.

Nothing here needs torch but `begin_with`, which is handed a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, writing
from emergence.models.checkpoint import WEIGHTS, find_checkpoints, read_config
from emergence.models.exported import check_exported, is_exported
from emergence.models.family import FAMILIES
from emergence.models.huggingface_load import is_huggingface

__all__ = ["Vectors", "begin_with", "load_vectors", "read_vectors", "save_vectors"]

Vectors = npt.NDArray[np.float32]
NAME = "vectors"


def read_vectors(run: Path) -> tuple[Vectors, int]:
    """Return the token vectors [V, D] of a run at its last sound checkpoint, or of an exported model, and that step.

    Raises UserError where the folder holds neither, no checkpoint, or a model without such vectors.
    """
    from safetensors.numpy import load_file

    if is_huggingface(run):
        raise UserError(
            f"{run} is a model in Hugging Face's layout, not a run of emergence; name the folder of a run, like "
            "runs/NAME/models/R00-s0"
        )
    family, _ = read_config(run)
    name = FAMILIES.load(family).embedding
    if name is None:
        able = ", ".join(other for other in FAMILIES if FAMILIES.load(other).embedding)
        raise UserError(f"{run} is of the family {family}, which has no token vectors; families that have: {able}")
    if is_exported(run):
        step = check_exported(run)
        return load_file(run / WEIGHTS)[name].astype(np.float32), step
    for checkpoint in reversed(find_checkpoints(run)):
        try:
            checkpoint.state()
        except DamagedFileError:
            continue
        return load_file(checkpoint.weights_file)[name].astype(np.float32), checkpoint.step
    raise UserError(f"{run} has no sound checkpoint; train it (again) with `emergence run`")


def save_vectors(vectors: Vectors, path: Path) -> None:
    """Write vectors to a safetensors file, atomically."""
    from safetensors.numpy import save_file

    with writing(path) as temporary:
        save_file({NAME: np.ascontiguousarray(vectors)}, temporary)


def load_vectors(path: Path) -> Vectors:
    """Return the vectors that `save_vectors` wrote."""
    from safetensors.numpy import load_file

    found: Vectors = load_file(path)[NAME]
    return found


def begin_with(network: Any, family: str, vectors: Vectors) -> None:
    """Put vectors in the place of a network's own, scaled to the root mean square of those, which its layers expect."""
    import torch

    name = FAMILIES.load(family).embedding
    if name is None:
        raise ValueError(f"the family {family} has no token vectors")
    own = network.get_parameter(name)
    with torch.no_grad():
        given = torch.from_numpy(vectors)
        own.copy_(given * (own.square().mean().sqrt() / given.square().mean().sqrt().clamp(min=1e-12)))
