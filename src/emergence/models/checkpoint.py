"""Checkpoint files: safetensors weights and optimiser state, and a sealed ``state.json`` that vouches for both.

``state.json`` is written last and holds the SHA-256 of the other files: a checkpoint without it does not exist, and
one with a flipped byte is noticed. A run's folder holds ``config.json``, ``tokenizer.json`` and
``checkpoints/000123/``.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.models.family import FAMILIES, ModelConfig, build_network

if TYPE_CHECKING:
    import torch

__all__ = [
    "Checkpoint",
    "find_checkpoints",
    "last_step",
    "load_network",
    "read_config",
    "save_checkpoint",
    "write_config",
]

WEIGHTS, OPTIMISER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk."""

    step: int
    folder: Path

    def state(self) -> dict[str, Any]:
        """Return the state after checking every file's checksum; raise DamagedFileError where one does not hold."""
        state = read_sealed(self.folder / STATE)
        for name, digest in state["files"].items():
            path = self.folder / name
            if not path.exists():
                raise DamagedFileError(f"{path} is missing")
            if sha256(path) != digest:
                raise DamagedFileError(f"{path}: the content does not match its checksum")
        return state

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the model's tensors by name."""
        from safetensors.torch import load_file

        return dict(load_file(self.weights_file))

    @property
    def weights_file(self) -> Path:
        """The safetensors file of the weights."""
        return self.folder / WEIGHTS

    def optimiser(self) -> dict[str, torch.Tensor] | None:
        """Return the optimiser's tensors by name, or None where they were not kept."""
        from safetensors.torch import load_file

        kept = OPTIMISER in read_sealed(self.folder / STATE)["files"]
        return dict(load_file(self.folder / OPTIMISER)) if kept else None

    def drop_optimiser(self) -> None:
        """Delete the optimiser state: the checkpoint can still be evaluated, but not trained on."""
        path = self.folder / OPTIMISER
        if path.exists():
            state = read_sealed(self.folder / STATE)
            state["files"].pop(OPTIMISER, None)
            write_sealed(self.folder / STATE, state)
            path.unlink()

    def delete(self) -> None:
        """Remove the checkpoint; the state goes first, so that a half-removed one does not exist."""
        (self.folder / STATE).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def save_checkpoint(
    run: Path, step: int, weights: dict[str, torch.Tensor], optimiser: dict[str, torch.Tensor] | None
) -> Checkpoint:
    """Write the checkpoint of ``step`` below the run's folder and return it; without ``optimiser`` it can be evaluated
    but not trained on."""
    from safetensors.torch import save_file

    folder = run / "checkpoints" / f"{step:06d}"
    files = {}
    for name, tensors in ((WEIGHTS, weights), (OPTIMISER, optimiser)):
        if tensors is None:
            continue
        with writing(folder / name) as temporary:
            save_file(tensors, temporary)
        files[name] = sha256(folder / name)
    write_sealed(folder / STATE, {"step": step, "files": files})
    return Checkpoint(step, folder)


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run, earliest first; their content is not checked yet."""
    folders = [path.parent for path in (run / "checkpoints").glob("*/" + STATE) if path.parent.name.isdigit()]
    return sorted((Checkpoint(int(folder.name), folder) for folder in folders), key=lambda c: c.step)


def last_step(run: Path) -> int:
    """Return the step that a run has reached; 0 where it has no checkpoint."""
    return max((int(path.parent.name) for path in run.glob("**/checkpoints/[0-9]*/" + STATE)), default=0)


def write_config(run: Path, family: str, config: ModelConfig) -> None:
    """Write ``config.json``: the family and the shape of the run's model."""
    write_sealed(run / "config.json", {"family": family, "config": config.to_dict()})


def read_config(run: Path) -> tuple[str, Any]:
    """Return the family and the configuration of a run; raise UserError when the folder holds no model."""
    try:
        document = read_sealed(run / "config.json")
        return document["family"], FAMILIES.load(document["family"]).config_from(document["config"])
    except DamagedFileError as error:
        if not (run / "config.json").exists():
            raise UserError(
                f"{run} is not a model folder: it has no config.json (one looks like runs/NAME/models/R05-s0)"
            ) from None
        raise UserError(f"{error}; train the run again or restore the file") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{run / 'config.json'} does not describe a model of this project: {error}") from None


def load_network(run: Path, step: int | None = None) -> tuple[Any, Checkpoint]:
    """Return the network of a run at ``step`` (the last sound checkpoint by default), in evaluation mode."""
    import torch

    family, config = read_config(run)
    found = find_checkpoints(run)
    if step is not None:
        chosen = [checkpoint for checkpoint in found if checkpoint.step == step]
        if not chosen:
            raise UserError(
                f"{run} has no checkpoint of step {step} (it has {', '.join(str(c.step) for c in found) or 'none'})"
            )
        found = chosen
    for checkpoint in reversed(found):
        try:
            checkpoint.state()
        except DamagedFileError:
            continue
        network = build_network(family, config, torch.Generator().manual_seed(0))
        network.load_state_dict(checkpoint.weights())
        return network.eval(), checkpoint
    raise UserError(f"{run} has no sound checkpoint; train it (again) with `emergence run`")
