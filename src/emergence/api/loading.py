"""Loading a model, wherever it comes from: a run, an export, a compressed one, Hugging Face's layout."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emergence.api.model import Model
from emergence.core.errors import UserError
from emergence.core.published import split_revision

if TYPE_CHECKING:
    from emergence.compression.kernels import Kernels

__all__ = ["load"]


def load(
    path: str | Path,
    step: int | None = None,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    kernels: Kernels = "float",
) -> Model:
    """Return the model of a run's folder (``runs/NAME/models/R05-s0``), at its last checkpoint or at ``step``; or a
    causal, masked or encoder-decoder model in Hugging Face's layout, a folder or a name on the hub, there at
    ``revision`` (or ``name@revision``); or what `finetune` left of a model that was tuned to write.

    Of Hugging Face's layouts only safetensors are read, unless ``allow_pickle`` lets tensors be read from pickle files
    too, and no code that comes with a model is run. Of a model that was quantised to 8 bits, ``kernels`` may be
    ``int8`` (products in whole numbers, inputs rounded as they come) or ``auto`` (those that are faster so). Raises
    UserError when there is no model, or no sound checkpoint of that step.
    """
    from emergence.compression.stored import is_compressed
    from emergence.models.exported import is_exported
    from emergence.models.huggingface_load import hub_name, is_huggingface

    if isinstance(path, str) and not Path(path).is_dir():
        path, named = split_revision(path)
        if named is not None and revision not in (None, named):
            raise UserError(f"{path}@{named} names another revision than {revision}; give one of them")
        revision = revision or named
    folder = Path(path)
    if (folder / "finetune.json").exists():
        from emergence.api.tuned import tuned_to_write

        if step is not None or revision is not None:
            raise UserError(f"{folder} holds one fine-tuned model; leave out step and revision")
        return tuned_to_write(folder)
    if is_compressed(folder):
        if step is not None or revision is not None:
            raise UserError(f"{folder} holds one compressed model; leave out step and revision")
        return _load_compressed(folder, kernels)
    if kernels == "int8":
        raise UserError(f"{path} is not compressed; kernels: int8 are for models of `emergence compress --bits 8`")
    if (folder / "source.json").exists():
        if revision is not None:
            raise UserError(f"{folder} is the folder of a run; choose a checkpoint with step, not with revision")
        return _load_source(folder, step, allow_pickle=allow_pickle)
    if folder.is_dir() and not is_huggingface(folder):
        if revision is not None:
            raise UserError(f"{folder} is the folder of a run; choose a checkpoint with step, not with revision")
        return _load_exported(folder, step) if is_exported(folder) else _load_run(folder, step)
    if not folder.is_dir() and not (isinstance(path, str) and hub_name(path)):
        raise UserError(
            f"{folder} is not a folder; give the folder of a run, for example runs/NAME/models/R05-s0, or the name "
            "owner/model of a model on the hub"
        )
    if folder.is_dir() and revision is not None:
        raise UserError(f"{folder} is a folder and has no revisions; leave out {revision}")
    if step is not None:
        raise UserError(f"{path} has no steps; choose a version of a model on the hub with revision")
    return _load_huggingface(str(path), revision, allow_pickle=allow_pickle)


def _load_run(folder: Path, step: int | None) -> Model:
    from emergence.models.checkpoint import load_network, read_config
    from emergence.text import Tokenizer

    network, checkpoint = load_network(folder, step)
    family, _ = read_config(folder)
    rung, _, replica = folder.resolve().name.rpartition("-s")
    named = bool(rung) and replica.isdigit()
    return Model(
        network=network,
        tokenizer=Tokenizer.load(folder / "tokenizer.json"),
        path=folder,
        step=checkpoint.step,
        name=rung if named else folder.resolve().name,
        family=family,
        replica=int(replica) if named else 0,
    )


def _load_exported(folder: Path, step: int | None) -> Model:
    from emergence.models.exported import load_exported
    from emergence.text import Tokenizer

    network, family, reached = load_exported(folder)
    if step not in (None, reached):
        raise UserError(f"{folder} holds step {reached} alone, not {step}; take that from the folder of the run")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return Model(network, tokenizer, folder, reached, folder.resolve().name, family, replica=0)


def _load_compressed(folder: Path, kernels: Kernels) -> Model:
    from emergence.compression.kernels import use_kernels
    from emergence.compression.stored import load_compressed

    network, tokenizer, family, step, codes = load_compressed(folder)
    use_kernels(network, codes, kernels)
    return Model(network, tokenizer, folder, step, folder.resolve().name, family, replica=0)


def _load_source(folder: Path, step: int | None, *, allow_pickle: bool) -> Model:
    """Load the model, trained elsewhere, that a run of a study was asked of."""
    from emergence.core.store import DamagedFileError, read_sealed

    try:
        asked = read_sealed(folder / "source.json")["checkpoints"]
    except DamagedFileError as error:
        raise UserError(f"{error}; run the study again to mend it") from error
    chosen = max(map(int, asked)) if step is None else step
    if str(chosen) not in asked:
        raise UserError(f"{folder} has no step {chosen} (it has {', '.join(sorted(asked, key=int))})")
    source = asked[str(chosen)]["source"]
    name, revision = (source, None) if Path(source).is_dir() else split_revision(source)
    rung, _, replica = folder.resolve().name.rpartition("-s")
    found = _load_huggingface(name, revision, allow_pickle=allow_pickle)
    return replace(found, name=rung, replica=int(replica), step=chosen)


def _load_huggingface(name: str, revision: str | None, *, allow_pickle: bool) -> Model:
    from emergence.models.huggingface_load import load_huggingface, pickled

    network, tokenizer, folder = load_huggingface(name, revision, allow_pickle=allow_pickle)
    shown = folder.resolve().name if Path(name).is_dir() else name
    # Checkpoints of a ladder are revisions such as Pythia's "step3000" (Biderman et al. 2023, arXiv 2304.01373).
    numbered = re.fullmatch(r"step(\d+)", revision or "")
    return Model(
        network=network,
        tokenizer=tokenizer,
        path=folder,
        step=int(numbered[1]) if numbered else 0,
        name=shown,
        family=network.config.family,
        replica=0,
        pickled=pickled(folder),
    )
