"""What a study of models that somebody else trained will do: which are loaded, where they stand, what they are asked.

Nothing is loaded and no torch imported here. What a name says is looked up (`analysis.facts`); folders are looked into
for what can be refused at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emergence.analysis.facts import UNNAMED_FAMILY, model_facts, read_name
from emergence.core.errors import UserError
from emergence.core.published import MAIN, PublishedModel
from emergence.core.settings import StudySettings
from emergence.models.huggingface_files import architecture, stored_parameters
from emergence.models.huggingface_load import hub_name, is_huggingface, pickled
from emergence.study.machine import MEMORY_SHARE, WORKER_BYTES, machine_bytes, worker_count
from emergence.tasks.task import Task

__all__ = ["PublishedCheckpoint", "PublishedPlan", "PublishedRun", "plan_published"]

_STEP = re.compile(r"(?:global[-_]?step|step|checkpoint|iter)[-_=]?(\d+)", re.IGNORECASE)
_SEED = re.compile(r"[-_]seed[-_]?\d+$", re.IGNORECASE)
WEIGHT_BYTES = 4  # weights are read in float32


@dataclass(frozen=True)
class PublishedCheckpoint:
    """One model to load: where it is, and how far it was trained as far as that is known."""

    step: int
    name: str
    revision: str | None
    tokens: float | None
    flops: float | None
    loss: float | None
    source: str  # what it was when it was asked: the absolute folder, or the name and the revision
    stamp: str  # changes with the files of a folder; empty for a name on the hub

    @property
    def shown(self) -> str:
        """``name@revision``, or the name alone."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class PublishedRun:
    """The checkpoints of one model, earliest first."""

    name: str  # of its records: the rung with the seed
    rung: str
    seed: int
    family: str
    checkpoints: tuple[PublishedCheckpoint, ...]
    parameters: float | None  # all of them, as far as that is known before loading
    memory: float  # bytes

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps at which it is asked."""
        return tuple(checkpoint.step for checkpoint in self.checkpoints)

    @property
    def cost(self) -> float:
        """What asking it costs, in proportion; one of unknown size is taken for a large one."""
        return self.memory * len(self.checkpoints)


@dataclass(frozen=True)
class PublishedPlan:
    """Everything that follows from the settings alone, of a study of models that somebody else trained."""

    study: StudySettings
    tasks: dict[str, Task] = field(repr=False)
    runs: tuple[PublishedRun, ...]  # in the order of the study
    workers: int

    @property
    def jobs(self) -> list[PublishedRun]:
        """All runs, the most expensive first, so that none of them is left alone at the end."""
        return sorted(self.runs, key=lambda run: -run.cost)

    @property
    def shapes(self) -> dict[str, Any]:
        """What every run was asked of, by its name and step."""
        return {run.name: {str(c.step): c.source for c in run.checkpoints} for run in self.runs}

    @property
    def questions(self) -> int:
        """Questions that every checkpoint is asked, at most."""
        evaluation = self.study.evaluation
        return len(self.tasks) * len(evaluation.shots) * evaluation.examples


def plan_published(study: StudySettings, tasks: dict[str, Task]) -> PublishedPlan:
    """Derive the plan; raise UserError for a folder that holds no model, and for checkpoints that have no order."""
    if importlib.util.find_spec("transformers") is None:
        raise UserError("models in Hugging Face's layout need transformers; pip install 'emergence[huggingface]'")
    models = study.model.huggingface
    for model in models:
        _check(model, allow_pickle=study.model.allow_pickle)
    rungs, families = _rungs(models), _families(models)
    members: dict[tuple[str, int], list[PublishedModel]] = {}
    for model in models:
        known = read_name(model.name).seed or 0
        seed = known if model.seed is None else model.seed
        members.setdefault((rungs[model], seed), []).append(model)
    runs = tuple(_run(rung, seed, own, families) for (rung, seed), own in members.items())
    for run in runs:
        if run.parameters is not None and WEIGHT_BYTES * run.parameters > machine_bytes():
            raise UserError(
                f"{run.checkpoints[-1].name} has {run.parameters:,.0f} parameters, which take "
                f"{WEIGHT_BYTES * run.parameters / 2**30:.0f} GiB; this machine has {machine_bytes() / 2**30:.0f} GiB"
            )
    return PublishedPlan(study, tasks, runs, worker_count(study.execution, len(runs)))


def _check(model: PublishedModel, *, allow_pickle: bool) -> None:
    """Raise UserError for what is no model, as far as that can be seen without loading it."""
    folder = Path(model.name)
    if not folder.is_dir():
        if hub_name(model.name):
            return
        raise UserError(
            f"{model.name} is not a folder; give the folder of a model in Hugging Face's layout, or the name "
            "owner/model of a model on the hub"
        )
    if model.revision is not None:
        raise UserError(f"{model.shown}: a folder has no revisions; leave out the revision, or name the model's own")
    if not is_huggingface(folder):
        raise UserError(
            f"{folder} holds no model in Hugging Face's layout: it has no config.json that names a model_type "
            "(export a run's model with `emergence export`)"
        )
    if pickled(folder) and not allow_pickle:
        raise UserError(
            f"{folder} holds its weights as pickle files alone, which can run code when they are read; convert them to "
            "safetensors, or read nothing but their tensors with model.allow_pickle: true"
        )


def _rungs(models: Iterable[PublishedModel]) -> dict[PublishedModel, str]:
    """Return the name of every model's rung: as many parts of the model's name as tell it from the others."""
    parts = {model: _parts(model.name) for model in models if model.rung is None}
    distinct = set(parts.values())
    found = {model: str(model.rung) for model in models if model.rung is not None}
    for model, own in parts.items():
        length = next(
            (n for n in range(1, len(own)) if sum(other[-n:] == own[-n:] for other in distinct) == 1), len(own)
        )
        found[model] = re.sub(r"[^\w.-]+", "-", "-".join(own[-length:])).strip(".-") or "model"
    return found


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name without its training step and its seed, which do not make another model of it."""
    parts = [part for part in name.split("/") if part]
    while len(parts) > 1 and _STEP.fullmatch(parts[-1]):
        parts.pop()
    return (*parts[:-1], _SEED.sub("", parts[-1]) or parts[-1])


def _run(rung: str, seed: int, models: list[PublishedModel], ladders: dict[PublishedModel, str]) -> PublishedRun:
    """Put the checkpoints of one model in order; raise UserError where two have the same step, or one has none."""
    families = {ladders[model] for model in models}
    if len(families) > 1:
        raise UserError(f"the models of rung {rung} belong to the families {', '.join(sorted(families))}; give one")
    steps: dict[int, PublishedCheckpoint] = {}
    for model in models:
        checkpoint = _checkpoint(model, alone=len(models) == 1)
        if checkpoint.step in steps:
            raise UserError(
                f"{steps[checkpoint.step].shown} and {checkpoint.shown} are both step {checkpoint.step} of {rung}; "
                "give each its step, or its rung, as in {name: …, step: 1000}"
            )
        steps[checkpoint.step] = checkpoint
    parameters = max((size for model in models if (size := _parameters(model)) is not None), default=None)
    room = MEMORY_SHARE * machine_bytes()
    memory = room if parameters is None else 2 * WORKER_BYTES + WEIGHT_BYTES * parameters
    checkpoints = tuple(steps[step] for step in sorted(steps))
    return PublishedRun(f"{rung}-s{seed}", rung, seed, families.pop(), checkpoints, parameters, memory)


def _families(models: Iterable[PublishedModel]) -> dict[PublishedModel, str]:
    """Return the ladder of every model: as the study says, else its name.

    Those whose names say nothing are one ladder, unless all of them are folders: then every architecture is one.
    """
    found = {model: model.family or read_name(model.name).family for model in models}
    unnamed = [model for model, family in found.items() if family == UNNAMED_FAMILY]
    kinds = {model: architecture(Path(model.name)) for model in unnamed}
    known = {model: kind for model, kind in kinds.items() if kind is not None}
    return found | known if len(known) == len(unnamed) else found


def _checkpoint(model: PublishedModel, *, alone: bool) -> PublishedCheckpoint:
    """Return where a model stands: what the study says of it, else what its name does.

    Checkpoints of a ladder are revisions such as Pythia's ``step3000`` (Biderman et al. 2023, arXiv 2304.01373), or
    folders such as ``checkpoint-500``.
    """
    facts = model_facts(model.name)
    last = (model.revision or MAIN) == MAIN and read_name(model.name).step is None
    numbered = _STEP.fullmatch(model.revision or "")
    step = model.step
    if step is None:
        step = int(numbered[1]) if numbered else read_name(model.name).step
    if step is None and last and facts is not None:
        step = facts.steps
    if step is None and (not alone or (facts is not None and not last)):
        raise UserError(
            f"{model.shown} does not say which step of the training it is; add it, as in "
            f"{{name: {model.name}, step: 1000}}"
        )
    tokens = model.tokens
    if tokens is None and facts is not None:
        if step is not None and facts.tokens_per_step is not None:
            tokens = float(step * facts.tokens_per_step)
        elif last and facts.train_tokens is not None:
            tokens = float(facts.train_tokens)
    folder = Path(model.name)
    local = folder.is_dir()
    source = str(folder.resolve()) if local else f"{model.name}@{model.revision or MAIN}"
    where = (model.name, model.revision, tokens, model.flops, model.loss, source, _stamp(folder) if local else "")
    return PublishedCheckpoint(step or 0, *where)


def _parameters(model: PublishedModel) -> float | None:
    """Return how many parameters a model has, embeddings included, where that is known before it is loaded."""
    folder = Path(model.name)
    if folder.is_dir():
        return stored_parameters(folder)
    facts = model_facts(model.name)
    if facts is not None and facts.total_params is not None:
        return float(facts.total_params)
    return read_name(model.name).size


def _stamp(folder: Path) -> str:
    """Return what changes with the files of a folder: their names, sizes and times."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    described = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()
