"""The teacher of a study: found and described before anything is spent (no torch here), loaded where it is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.published import split_revision
from emergence.core.store import DamagedFileError, sha256
from emergence.core.teacher_settings import TeacherSettings
from emergence.models.checkpoint import WEIGHTS, find_checkpoints, load_network, read_config
from emergence.models.exported import check_exported, is_exported, load_exported
from emergence.models.family import FAMILIES, Reads
from emergence.models.huggingface_files import (
    architecture,
    multiplied_parameters,
    reads_and_context,
    stored_parameters,
)
from emergence.models.huggingface_load import fetch, hub_name, is_huggingface, load_huggingface, pickled
from emergence.text import Tokenizer

if TYPE_CHECKING:
    from emergence.text import LanguageTokenizer
    from emergence.training.distillation import Teaching

__all__ = ["Teacher", "find_teacher", "load_teacher", "teaching_of"]

READS: Mapping[str, Reads] = {"masked_token": "masked", "pairs": "pairs", "evidence_bound": "latent"}


@dataclass(frozen=True)
class Teacher:
    """A trained model as its files describe it.

    ``objective`` is what it was trained for, ``family`` its own, or the architecture of one in Hugging Face's layout.
    ``context`` is the most tokens it reads at once, None where only the network knows. ``multiplied`` counts the
    parameters in matrix products, where the shape does not say more.
    """

    shown: str
    folder: str  # absolute
    step: int | None
    family: str
    own: bool
    reads: Reads
    objective: str
    context: int | None
    parameters: float
    multiplied: float
    identity: str  # of its weights

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass: by the formula of its family, or 2 N a token of N parameters that are
        multiplied (Kaplan et al. 2020, arXiv 2001.08361, table 1, without attention)."""
        if not self.own:
            return 2.0 * self.multiplied * tokens
        flops: float = _shape(self.folder).forward_flops(tokens, length, predicted)
        return flops

    def bytes_beside(self, tokens: int, vocabulary: int) -> float:
        """Estimate the memory that it takes in the process of its students: its weights, what it says about the
        ``tokens`` of a step, and the softened form of that, 4 bytes a number."""
        return 4.0 * (self.parameters + 4 * tokens * vocabulary)

    def tokenizer(self) -> Tokenizer | None:
        """Return its tokenizer where it is one of ours, or can be read as one: its end token then has our name."""
        try:
            return Tokenizer.load(Path(self.folder))
        except UserError:
            if self.own:
                raise
            return None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for a worker."""
        return asdict(self)


@lru_cache(maxsize=4)
def _shape(folder: str) -> Any:
    return read_config(Path(folder))[1]


def find_teacher(settings: TeacherSettings) -> Teacher:
    """Return the teacher that a study names; raise UserError where there is none, or it is damaged.

    A model on the hub is downloaded, unless it was before.
    """
    name = settings.model
    folder = Path(name)
    if not folder.is_dir():
        known, revision = split_revision(name)
        if not hub_name(known):
            raise UserError(
                f"training.teacher.model: {name} is not a folder; give the folder of a run, for example "
                "runs/NAME/models/R05-s0, or the name owner/model of a model on the hub"
            )
        folder = fetch(known, revision)
    elif not is_huggingface(folder):
        return _find_own(folder, settings)
    if settings.step is not None:
        raise UserError(
            f"training.teacher.step: {name} has no steps; leave step out (a hub's revision is name@revision)"
        )
    return _find_published(name, folder)


def _find_own(folder: Path, settings: TeacherSettings) -> Teacher:
    """Describe a run of ours, or an exported model."""
    family, config = read_config(folder)
    if is_exported(folder):
        step = check_exported(folder)
        if settings.step not in (None, step):
            raise UserError(f"training.teacher.step: {folder} holds step {step} alone; leave step out")
        identity = sha256(folder / WEIGHTS)
    else:
        step, identity = _sound_step(folder, settings.step)
    objective = FAMILIES.load(family).objective
    return Teacher(
        shown=f"{settings.model} at step {step}",
        folder=str(folder.resolve()),
        step=step,
        family=family,
        own=True,
        reads=READS.get(objective, "causal"),
        objective=objective,
        context=config.context,
        parameters=float(config.parameters),
        multiplied=float(config.parameters),
        identity=identity,
    )


def _sound_step(folder: Path, asked: int | None) -> tuple[int, str]:
    """Return the step of the checkpoint that is meant, the last sound one by default, and the hash of its weights."""
    found = find_checkpoints(folder)
    for checkpoint in reversed(found):
        if asked not in (None, checkpoint.step):
            continue
        try:
            return checkpoint.step, checkpoint.state()["files"][WEIGHTS]
        except DamagedFileError:
            continue
    there = ", ".join(str(checkpoint.step) for checkpoint in found) or "none"
    which = "" if asked is None else f" of step {asked}"
    raise UserError(f"training.teacher: {folder} has no sound checkpoint{which} (it has {there})")


def _find_published(name: str, folder: Path) -> Teacher:
    """Describe a model in Hugging Face's layout."""
    if pickled(folder):
        raise UserError(
            f"training.teacher: {name} holds its weights as pickle files alone, which can run code when they are read; "
            "convert them to safetensors"
        )
    reads, context = reads_and_context(folder)
    parameters, multiplied = stored_parameters(folder), multiplied_parameters(folder)
    if parameters is None or multiplied is None:
        raise UserError(f"training.teacher: the weights in {folder} cannot be read; restore its safetensors files")
    parts = [*sorted(folder.glob("*.safetensors")), folder / "config.json", folder / "tokenizer.json"]
    digests = [sha256(part) for part in parts if part.exists()]
    return Teacher(
        shown=name,
        folder=str(folder.resolve()),
        step=None,
        family=architecture(folder) or "model",
        own=False,
        reads=reads,
        objective={"causal": "next_token", "masked": "masked_token", "pairs": "pairs"}[reads],
        context=context,
        parameters=parameters,
        multiplied=multiplied,
        identity=hashlib.sha256(json.dumps(digests).encode()).hexdigest(),
    )


@lru_cache(maxsize=1)
def load_teacher(teacher: Teacher) -> tuple[Any, LanguageTokenizer]:
    """Return network, in evaluation mode, and tokenizer of a teacher; a process keeps the last one it loaded."""
    folder = Path(teacher.folder)
    if not teacher.own:
        network, tokenizer, _ = load_huggingface(teacher.folder)
        return network, tokenizer
    network = load_exported(folder)[0] if is_exported(folder) else load_network(folder, teacher.step)[0]
    network.requires_grad_(requires_grad=False)
    return network, Tokenizer.load(folder)


def teaching_of(described: Mapping[str, Any]) -> Teaching:
    """Load the teacher of some runs from plain values; this imports torch.

    ``described`` is what `study.packing.describe_teaching` returns.
    """
    from emergence.training.distillation import Teaching

    teacher = Teacher(**described["teacher"])
    network, _ = load_teacher(teacher)
    return Teaching(network, described["temperature"], described["weight"], teacher.forward_flops)
