"""Facts that result files leave out, with their sources: sizes of well-known models, chance levels of well-known tasks.

The tables are ``known/models.csv`` and ``known/tasks.csv``; every row names its source. What is not certain is empty.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

__all__ = [
    "UNNAMED_FAMILY",
    "ModelFacts",
    "ModelName",
    "TaskFacts",
    "known_models",
    "known_tasks",
    "model_facts",
    "read_name",
    "task_facts",
]

#: Family of models whose name states neither a known family nor a size: the rungs of one ladder.
UNNAMED_FAMILY = "ladder"

_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([kmbt])(\d)?(?![A-Za-z0-9])", re.IGNORECASE)
_UNIT = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_SEED = re.compile(r"[-_]seed[-_]?(\d+)$", re.IGNORECASE)
_STEP_FOLDER = re.compile(r"(?:global[-_]?step|step|checkpoint|iter)[-_=]?(\d+)", re.IGNORECASE)
_PRECISION = re.compile(r"[-_](?:bf16|fp16|fp32|float16|bfloat16|float32|hf)$")
_BIG_G = re.compile(r"^big-g[ _-](?:t=0[ _-])?(\d+[mb])(?:[ _-]t=0)?$")  # greedy decoding, the temperature of the paper
_PYTHIA_RELEASE = re.compile(r"^pythia-v1(?:\.1)?-")  # the released suite was called v1.1 while it was evaluated


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is published of one model. ``params`` leaves out token and position embeddings and the output head.

    What is not published is None.
    """

    model: str
    family: str
    params: int
    total_params: int | None
    layers: int | None
    width: int | None
    vocabulary: int | None
    tokens_per_step: int | None
    steps: int | None  # optimiser steps of the whole training
    train_tokens: int | None  # tokens seen by the last checkpoint
    source: str


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is known of a task under one metric: the score of guessing and the number of examples."""

    floor: float | None
    n: int | None
    source: str


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a model's name says: the canonical name, family, stated size in parameters, seed and training step."""

    model: str
    family: str
    size: float | None
    seed: int | None
    step: int | None


def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("emergence.analysis") / "known" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _count(text: str) -> int | None:
    return int(text) if text else None


@cache
def known_models() -> dict[str, ModelFacts]:
    """Return the table of models by canonical name."""
    return {
        row["model"]: ModelFacts(
            model=row["model"],
            family=row["family"],
            params=int(row["params"]),
            total_params=_count(row["total_params"]),
            layers=_count(row["layers"]),
            width=_count(row["width"]),
            vocabulary=_count(row["vocabulary"]),
            tokens_per_step=_count(row["tokens_per_step"]),
            steps=_count(row["steps"]),
            train_tokens=_count(row["train_tokens"]),
            source=row["source"],
        )
        for row in _rows("models.csv")
    }


@cache
def known_tasks() -> tuple[tuple[str, str, TaskFacts], ...]:
    """Return (task pattern, metric pattern, facts) in the order they are tried; alternatives are split already."""
    return tuple(
        (task, metric, TaskFacts(float(row["floor"]) if row["floor"] else None, _count(row["n"]), row["source"]))
        for row in _rows("tasks.csv")
        for task in row["task"].split("|")
        for metric in row["metric"].split("|")
    )


@cache
def task_facts(task: str, metric: str) -> TaskFacts | None:
    """Return what is known of ``task`` under ``metric`` (a filter after a comma is ignored), or None."""
    base = metric.partition(",")[0]
    for task_pattern, metric_pattern, facts in known_tasks():
        if fnmatchcase(task, task_pattern) and fnmatchcase(base, metric_pattern):
            return facts
    return None


@cache
def read_name(name: str) -> ModelName:
    """Take a name apart: organisation, path, release, precision, seed and checkpoint are not part of the model.

    ``EleutherAI/pythia-v1.1-1b-bf16`` is the model ``pythia-1b``; ``out/llama-7b-seed2/step500`` is ``llama-7b``, seed
    2, step 500. A precision is only dropped from a model of the table: elsewhere two precisions may be two models.
    """
    parts = [part for part in re.split(r"[/\\]|__", name.strip()) if part] or [name]
    step: int | None = None
    while len(parts) > 1 and (found := _STEP_FOLDER.fullmatch(parts[-1])):
        step = int(found[1])
        parts.pop()
    model = parts[-1]
    seed: int | None = None
    if found := _SEED.search(model):
        seed = int(found[1])
        model = model[: found.start()]
    known = known_models()
    plain = _BIG_G.sub(r"big-g-\1", _PYTHIA_RELEASE.sub("pythia-", model.lower()))
    for candidate in (plain, _PRECISION.sub("", plain)):
        if candidate in known:
            facts = known[candidate]
            return ModelName(facts.model, facts.family, float(facts.total_params or facts.params), seed, step)
    size_match = _SIZE.search(model)
    if size_match is None:
        return ModelName(model, UNNAMED_FAMILY, None, seed, step)
    number, unit, tenths = size_match.groups()
    size = float(f"{number}.{tenths}" if tenths and "." not in number else number) * _UNIT[unit.lower()]
    rest = model[: size_match.start()].rstrip("-_. ") + "-" + model[size_match.end() :].lstrip("-_. ")
    return ModelName(model, rest.strip("-_. ") or UNNAMED_FAMILY, size, seed, step)


def model_facts(name: str) -> ModelFacts | None:
    """Return the published facts of the model that ``name`` stands for, or None."""
    return known_models().get(read_name(name).model)
