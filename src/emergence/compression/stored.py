"""A compressed model in a folder of its own: its matrices packed, everything else as it was.

``compressed.json`` (sealed: how, and the shape of every packed matrix), ``compressed.safetensors``, the configuration
and the tokenizer. Own families keep ``config.json`` and ``tokenizer.json`` as runs do, others theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from emergence.compression.compressing import Compressed
from emergence.compression.packing import pack_bits, pack_sparse, unpack_bits, unpack_sparse
from emergence.compression.quantising import Quantised
from emergence.core.compression_settings import compression
from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.models.exported import check_new
from emergence.models.family import build_network
from emergence.models.trunk import module_of
from emergence.text import Tokenizer

__all__ = ["is_compressed", "load_compressed", "write_compressed"]

WEIGHTS, ABOUT = "compressed.safetensors", "compressed.json"


def write_compressed(
    network: Any, done: Compressed, tokenizer: Any, folder: Path, *, family: str, step: int, source: str
) -> Path:
    """Write a network that `compress_network` changed to ``folder`` and return that.

    ``source`` names what it was made of. Raises UserError when the folder holds something, or cannot be written.
    """
    from safetensors.torch import save_file

    check_new(folder)
    tensors, shapes = _packed(network, done)
    own = isinstance(tokenizer, Tokenizer)
    try:
        with writing(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        if own:
            tokenizer.save(folder / "tokenizer.json")
            write_sealed(folder / "config.json", {"family": family, "config": network.config.to_dict(), "step": step})
        else:
            module: Any = module_of(network)
            module.config.save_pretrained(folder)
            if getattr(module, "generation_config", None) is not None:
                module.generation_config.save_pretrained(folder)
            tokenizer.save(folder)
        about = {
            "own": own,
            "step": step,
            "source": source,
            "how": done.how.model_dump(mode="json"),
            "bits": done.bits,
            "all_bits": done.all_bits,
            "sparsity": done.sparsity,
            "matrices": shapes,
            "weights": sha256(folder / WEIGHTS),
        }
        write_sealed(folder / ABOUT, about)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder


def is_compressed(folder: Path) -> bool:
    """Say whether a folder is one that `write_compressed` wrote."""
    return (folder / ABOUT).exists()


def load_compressed(folder: Path) -> tuple[Any, Any, str, int, dict[str, Quantised]]:
    """Return network, tokenizer, family and step of the model in ``folder``, and the codes of its matrices by name.

    The weights are those that the codes stand for, bit for bit those that the network had when it was written. Raises
    UserError where a file is damaged.
    """
    from safetensors.torch import load_file

    from emergence.models.checkpoint import read_config
    from emergence.models.huggingface_load import load_huggingface

    try:
        about = read_sealed(folder / ABOUT)
    except DamagedFileError as error:
        raise UserError(f"{error}; compress the model again") from error
    if not (folder / WEIGHTS).exists() or about["weights"] != sha256(folder / WEIGHTS):
        raise UserError(f"{folder / WEIGHTS}: the content does not match its checksum; compress the model again")
    weights, codes = _unpacked(load_file(folder / WEIGHTS), about)
    step = int(about["step"])
    if not about["own"]:
        network, tokenizer, _ = load_huggingface(str(folder), weights=weights)
        return network, tokenizer, network.config.family, step, codes
    family, config = read_config(folder)
    built = build_network(family, config, torch.Generator().manual_seed(0))
    built.load_state_dict(weights)
    return built.eval(), Tokenizer.load(folder / "tokenizer.json"), family, step, codes


def _packed(network: Any, done: Compressed) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors to store, tied ones once, and what is to be known of the packed ones."""
    matrices = {matrix.name: matrix for matrix in done.matrices}
    tensors: dict[str, torch.Tensor] = {}
    shapes: dict[str, Any] = {}
    there = {matrix.parameter.data_ptr() for matrix in done.matrices}
    for name, tensor in module_of(network).state_dict().items():
        if name not in matrices and tensor.data_ptr() not in there:
            there.add(tensor.data_ptr())
            tensors[name] = tensor.contiguous()
    for name, matrix in matrices.items():
        weight = matrix.weight
        codes = done.quantised.get(name)
        shapes[name] = {"shape": list(weight.shape), "transposed": matrix.transposed}
        if codes is None:
            tensors[f"{name}:bitmap"], tensors[f"{name}:values"] = pack_sparse(weight)
            continue
        shapes[name] |= {"bits": codes.bits}
        tensors[f"{name}:codes"] = pack_bits(codes.codes, codes.bits)
        tensors[f"{name}:steps"] = codes.steps.contiguous()
        if codes.zeros is not None:
            tensors[f"{name}:zeros"] = pack_bits(codes.zeros, codes.bits)
    return tensors, shapes


def _unpacked(
    tensors: dict[str, torch.Tensor], about: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Quantised]]:
    """Return what `_packed` packed: weights by name, and the codes of the quantised ones."""
    codes: dict[str, Quantised] = {}
    weights = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    compression(**about["how"])  # raises for a file of another version
    for name, known in about["matrices"].items():
        shape = tuple(known["shape"])
        if "bits" in known:
            bits, steps = int(known["bits"]), tensors[f"{name}:steps"]
            packed = tensors.get(f"{name}:zeros")
            zeros = None if packed is None else unpack_bits(packed, bits, tuple(steps.shape))
            codes[name] = Quantised(unpack_bits(tensors[f"{name}:codes"], bits, shape), steps, zeros, bits)
            weight = codes[name].weight()
        else:
            weight = unpack_sparse(tensors[f"{name}:bitmap"], tensors[f"{name}:values"], shape)
        weights[name] = weight.t().contiguous() if known["transposed"] else weight
    return weights, codes
