"""An adapter alone on disk, in this project's layout, and the base it belongs to.

A folder holds ``adapter.safetensors``, and ``adapter.json`` (sealed), which is written last and says the settings, the
fingerprint of the base, the ranks of adapted matrices, and the checksum of the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from emergence.core.adapter_settings import AdapterSettings
from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.models.adapters.attach import Adapter, attach
from emergence.models.adapters.weights import Shape, Weights

__all__ = ["is_adapter", "load_adapter", "save_adapter"]

WEIGHTS, DESCRIPTION = "adapter.safetensors", "adapter.json"
_SETTINGS: TypeAdapter[Any] = TypeAdapter(AdapterSettings)


def save_adapter(folder: Path, adapter: Adapter, base_fingerprint: str) -> Path:
    """Write an adapter without its base to ``folder`` and return that.

    ``base_fingerprint`` is what ``network.fingerprint()`` returned before the adapter was attached. Raises UserError
    where the folder cannot be written.
    """
    from safetensors.torch import save_file

    shapes = adapter.method.shapes if isinstance(adapter.method, Weights) else None
    try:
        with writing(folder / WEIGHTS) as temporary:
            state = {name: tensor.cpu().contiguous() for name, tensor in adapter.state().items()}
            save_file(state, temporary, metadata={"format": "pt"})
        described: dict[str, Any] = {
            "settings": adapter.settings.model_dump(mode="json"),
            "base": base_fingerprint,
            "trainable": adapter.trainable_parameters,
            "weights": sha256(folder / WEIGHTS),
        }
        if shapes is not None:
            described["sites"] = {name: {"rank": s.rank, "scale": s.scale} for name, s in shapes.items()}
        write_sealed(folder / DESCRIPTION, described)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter in this project's layout."""
    return (folder / DESCRIPTION).exists()


def load_adapter(network: Any, folder: Path) -> Adapter:
    """Attach the adapter in ``folder`` to the network it was trained on, and return it.

    Raises UserError where there is none, a file is damaged, or the network is another: its fingerprint is compared.
    """
    from safetensors.torch import load_file

    if not is_adapter(folder):
        raise UserError(f"{folder} holds no adapter ({DESCRIPTION} is missing); name the folder that one was saved in")
    try:
        described = read_sealed(folder / DESCRIPTION)
    except DamagedFileError as error:
        raise UserError(f"{error}; save the adapter again") from error
    weights = folder / WEIGHTS
    if not weights.exists() or described["weights"] != sha256(weights):
        raise UserError(f"{weights}: the content does not match its checksum; save the adapter again")
    found = network.fingerprint()
    if described["base"] != found:
        raise UserError(
            f"{folder} was trained on a base with the hash {described['base'][:16]}, and this model's is "
            f"{found[:16]}; load the model it was trained on, without another adapter"
        )
    try:
        settings = _SETTINGS.validate_python(described["settings"])
    except ValidationError as error:
        raise UserError(f"{folder / DESCRIPTION} does not describe an adapter of this version: {error}") from error
    sites = described.get("sites")
    shapes = None if sites is None else {name: Shape(**shape) for name, shape in sites.items()}
    adapter = attach(network, settings, torch.Generator().manual_seed(0), shapes=shapes)
    adapter.load_state(load_file(weights))
    return adapter
