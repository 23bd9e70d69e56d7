"""LoRA, AdaLoRA and prefixes as the library `peft` writes and reads them: ``adapter_config.json`` and
``adapter_model.safetensors``.

`peft` itself is not needed. What it can write and this project cannot do (DoRA, trained biases, whole layers) is
refused by name.

Shapes: C adapted parts of a matrix [R, D], r rank; L blocks, G heads, P positions, K head width of a prefix.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from emergence.core.adapter_settings import AdaLoRASettings, LoRASettings, PrefixSettings
from emergence.core.errors import UserError
from emergence.core.store import write_json, writing
from emergence.models.adapters.attach import Adapter, attach
from emergence.models.adapters.peft_names import from_halves, theirs, to_halves, turned
from emergence.models.adapters.prefix import Prefixes
from emergence.models.adapters.sites import Site, matrices
from emergence.models.adapters.weights import Shape, Weights
from emergence.models.gpt_network import GPTNetwork
from emergence.models.trunk import module_of

__all__ = ["read_peft", "write_peft"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BEFORE = "base_model.model."
#: Settings of `peft` that change what an adapter computes, and the values that leave it what we compute.
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "alpha_pattern": ({}, None),
    "trainable_token_indices": (None, []),
    "target_parameters": (None, []),
    "lora_bias": (False, None),
    "layer_replication": (None, []),
    "prefix_projection": (False, None),
}
TASKS = {"causal": "CAUSAL_LM", "pairs": "SEQ_2_SEQ_LM"}


def write_peft(folder: Path, adapter: Adapter, *, base: str | None = None) -> Path:
    """Write an adapter to ``folder`` so that `peft` reads it beside its base as transformers loads that; return it.

    ``base`` is where `peft` looks for the base: a folder or a name on the hub. Raises UserError for a method or a
    family that it does not know, and where the folder cannot be written.
    """
    from safetensors.torch import save_file

    if isinstance(adapter.method, Weights):
        document, tensors = _weights_document(adapter, adapter.method), _weights_tensors(adapter, adapter.method)
    elif isinstance(adapter.method, Prefixes):
        document, tensors = _prefix(adapter, adapter.method)
    else:
        raise UserError(
            f"peft has no adapter like this one ({adapter.settings.method}); save it in this project's own layout"
        )
    document |= {"base_model_name_or_path": base, "inference_mode": True}
    try:
        with writing(folder / WEIGHTS) as temporary:
            kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(kept, temporary, metadata={"format": "pt"})
        write_json(folder / CONFIG, document)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder


def _weights_document(adapter: Adapter, weights: Weights) -> dict[str, Any]:
    settings = adapter.settings
    names = sorted({name.name for site in weights.sites for name in _chosen(adapter.network, site).values()})
    if any(name.endswith("mixer.out_proj") for name in names):
        raise UserError(
            "peft adapts no out_proj of Mamba, whose kernels read that themselves; leave it out of the targets to "
            "write for peft, for example targets: [in_proj, x_proj] (of the family mamba: [into, select])"
        )
    document: dict[str, Any] = {
        "task_type": TASKS.get(adapter.network.reads),
        "target_modules": names,
        "lora_alpha": settings.alpha if isinstance(settings, LoRASettings | AdaLoRASettings) else None,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(turned(adapter.network, site) for site in weights.sites),
    }
    if isinstance(settings, AdaLoRASettings):
        more = {"init_r": settings.rank, "target_r": settings.target_rank, "total_step": 1}
        return {"peft_type": "ADALORA", **more, "orth_reg_weight": settings.orthogonality, **document}
    assert isinstance(settings, LoRASettings)
    ranks = {
        name.name: weights.shapes[site.name].rank
        for site in weights.sites
        for name in _chosen(adapter.network, site).values()
    }
    usual = settings.rank
    differing = {name: rank for name, rank in ranks.items() if rank != usual}
    return {"peft_type": "LORA", "r": usual, "rank_pattern": differing, **document}


def _chosen(network: Any, site: Site) -> dict[int, Any]:
    """Return the names there of those parts of a matrix that are adapted, by their place among the adapted ones."""
    names = theirs(network, site)
    return {place: names[part] for place, part in enumerate(site.chosen)}


def _weights_tensors(adapter: Adapter, weights: Weights) -> dict[str, torch.Tensor]:
    """Return the thin matrices by their names in the file."""
    network = adapter.network
    tensors: dict[str, torch.Tensor] = {}
    for site in weights.sites:
        added = weights.added[site.name]
        for place, name in _chosen(network, site).items():
            left, right = added.A[place], added.B[place]
            values = None if added.E is None else added.E[place]
            if values is not None:  # the file has one rank: what a matrix lacks is filled up with zeros
                assert isinstance(adapter.settings, AdaLoRASettings)
                lacking = adapter.settings.rank - len(left)
                left, right, values = (
                    F.pad(left, (0, 0, 0, lacking)),
                    F.pad(right, (0, lacking)),
                    F.pad(values, (0, lacking)),
                )
            right = to_halves(right, network.config.heads) if name.halves else right
            if values is None:
                tensors |= {f"{BEFORE}{name.name}.lora_A.weight": left, f"{BEFORE}{name.name}.lora_B.weight": right}
            else:
                tensors |= {f"{BEFORE}{name.name}.lora_A": left, f"{BEFORE}{name.name}.lora_B": right}
                tensors[f"{BEFORE}{name.name}.lora_E"] = values[:, None]
    return tensors


def _prefix(adapter: Adapter, prefixes: Prefixes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the configuration and the tensors of a prefix."""
    settings, network = adapter.settings, adapter.network
    assert isinstance(settings, PrefixSettings)
    if network.reads != "causal" or not settings.shifted:
        raise UserError(
            "peft puts prefixes before causal models whose tokens stand behind them; train one with shifted: true to "
            "write it for peft"
        )
    keys_values = prefixes.added["prefix"].keys_values.detach()
    L, _, G, P, K = keys_values.shape
    if isinstance(network, GPTNetwork):
        keys_values = torch.stack((_turn_keys(keys_values[:, 0], to_halves), keys_values[:, 1]), dim=1)
    flat = keys_values.permute(3, 0, 1, 2, 4).reshape(P, L * 2 * G * K)
    shape = {"num_layers": L, "num_attention_heads": G, "token_dim": G * K, "num_transformer_submodules": 1}
    document = {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": P, **shape}
    return document | {"prefix_projection": False, "encoder_hidden_size": G * K}, {"prompt_embeddings": flat}


def _turn_keys(keys_LGPK: torch.Tensor, order: Any) -> torch.Tensor:
    """Order the numbers of every key as queries and keys are ordered."""
    L, G, P, K = keys_LGPK.shape
    rows = keys_LGPK.permute(1, 3, 0, 2).reshape(G * K, L * P)
    ordered: torch.Tensor = order(rows, G)
    return ordered.view(G, K, L, P).permute(2, 0, 3, 1)


def read_peft(network: Any, folder: Path) -> Adapter:
    """Attach the adapter that `peft` wrote to ``folder`` to its base, as transformers or this project loads that.

    Raises UserError where there is none, it is of a kind that this project does not compute, or made for a model of
    another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no adapter that peft wrote ({error}); it has {CONFIG} and {WEIGHTS}"
        ) from error
    for key, plain in PLAIN.items():
        if document.get(key, plain[0]) not in plain:
            raise UserError(
                f"{folder / CONFIG}: '{key}' is {document[key]!r}, which is not supported; merge it in peft"
            )
    kind = document.get("peft_type")
    if kind == "PREFIX_TUNING":
        return _read_prefix(network, document, tensors)
    if kind not in ("LORA", "ADALORA"):
        raise UserError(
            f"{folder / CONFIG}: adapters of the kind {kind} are not supported (LORA, ADALORA, PREFIX_TUNING are)"
        )
    return _read_weights(network, document, tensors, singular=kind == "ADALORA")


def _read_weights(
    network: Any, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], *, singular: bool
) -> Adapter:
    end = "" if singular else ".weight"
    heads = getattr(network.config, "heads", 1)
    left = {name.removeprefix(BEFORE): tensor for name, tensor in tensors.items()}
    usual = int(document["init_r"] if singular else document["r"])
    alpha = float(document["lora_alpha"])
    root = bool(document.get("use_rslora"))  # Kalajdzievski 2023, arXiv 2312.03732
    targets: list[str] = []
    shapes: dict[str, Shape] = {}
    state: dict[str, torch.Tensor] = {}
    for site in matrices(network):
        names = _named(network, site)
        there = [place for place, name in enumerate(names) if f"{name.name}.lora_A{end}" in left]
        if not there:
            continue
        parts: dict[str, list[torch.Tensor]] = {"A": [], "B": [], "E": []}
        for place in there:
            name = names[place]
            parts["A"].append(left.pop(f"{name.name}.lora_A{end}"))
            right = left.pop(f"{name.name}.lora_B{end}")
            parts["B"].append(from_halves(right, heads) if name.halves else right)
            if singular:
                parts["E"].append(left.pop(f"{name.name}.lora_E")[:, 0])
        rank = max(len(part) for part in parts["A"])
        scales = [_ada_scale(alpha, usual) if singular else _scale(alpha, len(part), root=root) for part in parts["A"]]
        shapes[site.name] = Shape(rank, scales[0])
        for key, values in parts.items():
            if key == "B":
                values = [value * (scale / scales[0]) for value, scale in zip(values, scales, strict=True)]
            if values:
                state[f"{site.name}.{key}"] = _stacked(values, key, rank)
        above = site.name.rpartition(".")[0]
        whole = len(there) == len(site.parts)
        targets += [site.name] if whole else [f"{above}.{site.parts[place]}" for place in there]
    if left or not targets:
        missing = next(iter(left), "any matrix")
        raise UserError(
            f"the adapter is made for another model: this one has nothing called {missing.split('.lora_')[0]}"
        )
    if singular:
        target = min(int(document.get("target_r") or usual), usual)
        settings: LoRASettings | AdaLoRASettings = AdaLoRASettings(
            rank=usual, target_rank=target, alpha=alpha, targets=tuple(targets)
        )
    else:
        settings = LoRASettings(rank=usual, alpha=alpha * (math.sqrt(usual) if root else 1), targets=tuple(targets))
    adapter = attach(network, settings, torch.Generator().manual_seed(0), shapes=shapes)
    return _filled(adapter, state)


def _named(network: Any, site: Site) -> Any:
    """Return the names of the parts of a matrix, none where transformers does not know it."""
    try:
        return theirs(network, site)
    except KeyError:
        return ()


def _scale(alpha: float, rank: int, *, root: bool) -> float:
    return alpha / (math.sqrt(rank) if root else rank)


def _ada_scale(alpha: float, rank: int) -> float:
    return alpha / (rank + 1e-5)  # so `peft` divides, where a matrix may have lost all its rank


def _stacked(values: list[torch.Tensor], key: str, rank: int) -> torch.Tensor:
    """Stack the thin matrices of the parts of one matrix; those of less rank are filled up with zeros, which add
    nothing."""
    if key == "B":
        filled = [F.pad(value, (0, rank - value.shape[1])) for value in values]
    else:
        filled = [F.pad(value, (0, 0) * (value.dim() - 1) + (0, rank - len(value))) for value in values]
    if len({value.shape for value in filled}) > 1:
        raise UserError("the adapter is made for another model: queries, keys and values differ in their width")
    return torch.stack(filled)


def _read_prefix(network: Any, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Adapter:
    flat = tensors["prompt_embeddings"]
    L, G, P = (int(document[key]) for key in ("num_layers", "num_attention_heads", "num_virtual_tokens"))
    keys_values = flat.view(P, L, 2, G, -1).permute(1, 2, 3, 0, 4)
    if isinstance(module_of(network), GPTNetwork):
        keys_values = torch.stack((_turn_keys(keys_values[:, 0], from_halves), keys_values[:, 1]), dim=1)
    adapter = attach(network, PrefixSettings(length=P, shifted=True), torch.Generator().manual_seed(0))
    return _filled(adapter, {"prefix": keys_values})


def _filled(adapter: Adapter, state: dict[str, torch.Tensor]) -> Adapter:
    try:
        adapter.load_state(state)
    except UserError:
        adapter.detach()
        raise
    return adapter
