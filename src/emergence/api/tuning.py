"""Fine-tuning one model on one task, and writing the folder in which the result is kept (`tuned`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.api.loading import load
from emergence.api.model import Model
from emergence.api.tuned import DESCRIPTION, HEAD, TunedModel, load_tuned
from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.store import sha256, write_sealed, writing

if TYPE_CHECKING:
    from emergence.tasks.labelled_schema import Labelled
    from emergence.tasks.task import GeneratedTask
    from emergence.training.finetuning.model import Tuned
    from emergence.training.finetuning.prepare import Teacher

__all__ = ["finetune"]


def finetune(
    model: Model | str | Path,
    task: str | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    examples: int | None = None,
    settings: Mapping[str, Any] | FinetuneSettings | None = None,
    teacher: TunedModel | str | Path | None = None,
    temperature: float = 2.0,
    teacher_weight: float = 0.5,
    questions: int = 512,
    seed: int = 0,
    progress: Callable[[str], None] = lambda words: None,
) -> TunedModel:
    """Fine-tune a model (or the one that a folder or name means) on a task, test it, and keep it in the folder ``out``.

    ``task`` is a name, or a mapping with ``name``, the kind as ``task`` where that differs, and its options, such as
    ``{"name": "classification", "files": "train.tsv"}``. ``examples`` of training are taken, all if None. ``settings``
    are those of `FinetuneSettings`. A ``teacher``, another model tuned for the same classes (or its folder), is learnt
    from beside the labels, at a ``temperature`` and with the share ``teacher_weight`` of the loss (Hinton et al.
    2015, arXiv 1503.02531). The network of a `Model` that is handed over is changed. Raises UserError for wrong input,
    for a folder that holds something, and for a loss that grows beyond bounds.
    """
    from emergence.evaluation.tuned import answer_tests
    from emergence.tasks.labelled import Labelled, LabelledTask
    from emergence.training.finetuning.model import tune_network
    from emergence.training.finetuning.writing import Answers

    if examples is not None and examples < 1:
        raise UserError(f"examples is {examples}; give 1 or more, or None for all")
    target = None if out is None else _new(Path(out))
    chosen = _settings(settings)
    made = _task(task)
    if not isinstance(model, Model):
        progress("loading the model")
        model = load(model)
    tuned = tune_network(
        model.network,
        model.tokenizer,
        made,
        chosen,
        family=model.family,
        examples=examples,
        seed=seed,
        teacher=None if teacher is None else _teacher(teacher, temperature, teacher_weight),
        progress=lambda share, says: progress(f"fine-tuning, {share:.0%}, validation {says}"),
    )
    progress("answering the test sets")
    _, reports = answer_tests(tuned.network, model.tokenizer, made, tuned.aim, examples=questions, seed=seed)
    labelled = made.data() if isinstance(made, LabelledTask) else None
    pairs = labelled is not None and any(example.second for example in labelled.train)
    kind = labelled.kind if labelled is not None else "generation"
    about = {
        **tuned.summary(),
        "task": made.name,
        "reports": reports,
        "notes": [*tuned.notes, *(labelled.notes if labelled is not None else ())],
        "pairs": pairs,
        "settings": chosen.model_dump(mode="json"),
        "seed": seed,
    }
    if isinstance(tuned.aim, Answers):
        shape = Labelled("{text}", "{second}" if pairs else "")
        about["template"] = made.template(shape).rstrip(" ") if isinstance(made, LabelledTask) else "{text}"
        about["longest_answer"] = max(len(example.target) for example in tuned.aim.train)
    about = json.loads(json.dumps(about))  # as it is when it was read from a file
    result = TunedModel(
        replace(model, network=tuned.network),
        kind,
        labelled.labels if labelled is not None else (),
        about,
        tuned.aim.head,
        getattr(tuned.aim, "centre", 0.0),
        getattr(tuned.aim, "spread", 1.0),
    )
    if target is not None:
        progress(f"writing {target}")
        _write(result, tuned, target)
    return result


def _teacher(teacher: TunedModel | str | Path, temperature: float, weight: float) -> Teacher:
    """Return what a tuned classifier says of examples."""
    import torch

    from emergence.training.finetuning.prepare import Teacher

    if not 0 <= weight <= 1 or not temperature > 0:
        raise UserError(
            f"teacher_weight ({weight:g}) is a share from 0 to 1, and temperature ({temperature:g}) above 0"
        )
    known = teacher if isinstance(teacher, TunedModel) else load_tuned(teacher)

    def says(examples: Sequence[Labelled]) -> torch.Tensor:
        found = known.predict([(e.text, e.second) if e.second else e.text for e in examples])
        return torch.tensor([[p.probabilities[c] for c in known.labels] for p in found if p.probabilities]).log()

    return Teacher(says, known.labels, temperature, weight)


def _settings(settings: Mapping[str, Any] | FinetuneSettings | None) -> FinetuneSettings:
    from pydantic import ValidationError

    if isinstance(settings, FinetuneSettings):
        return settings
    try:
        return FinetuneSettings.model_validate(dict(settings or {}))
    except ValidationError as error:
        from emergence.core.errors import nearest
        from emergence.core.faults import first_fault

        fault = first_fault(error)
        if fault.type == "extra_forbidden":
            known = nearest(fault.key, FinetuneSettings.model_fields)
            raise UserError(f"unknown setting '{fault.key}'{known}") from None
        raise UserError(fault.sentence) from None


def _task(task: str | Mapping[str, Any]) -> GeneratedTask:
    from emergence.tasks.catalogue import make_task
    from emergence.tasks.task import GeneratedTask

    options = {"name": task} if isinstance(task, str) else dict(task) if isinstance(task, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"a task is a name, or has one: {{name: classification, files: train.tsv}}; not {task!r}")
    made = make_task(name, options)
    if not isinstance(made, GeneratedTask):
        raise UserError(f"the task {name} has no training examples; choose another (emergence list tasks)")
    return made


def _new(folder: Path) -> Path:
    from emergence.models.exported import check_new

    check_new(folder)
    return folder


def _write(result: TunedModel, tuned: Tuned, folder: Path) -> None:
    """Keep the head and what changed of the model; ``finetune.json`` comes last."""
    from safetensors.torch import save_file

    from emergence.models.adapters.files import save_adapter

    kept = (
        "adapter" if tuned.adapter is not None else "base" if tuned.tuning.trainable == _size(result.head) else "model"
    )
    model = result.model
    if kept == "adapter":
        assert tuned.adapter is not None
        save_adapter(folder / "adapter", tuned.adapter, tuned.base)
    elif kept == "model":
        _write_model(model, folder / "model")
    if result.head is not None:
        with writing(folder / HEAD) as temporary:
            save_file({name: w.contiguous() for name, w in result.head.state_dict().items()}, temporary)
    described = {
        "kind": result.kind,
        "labels": list(result.labels),
        "centre": result.centre,
        "spread": result.spread,
        "kept": kept,
        "files": {str(path.relative_to(folder)): sha256(path) for path in _files(folder)},
        "base": {"path": str(model.path.resolve()), "name": model.name, "step": model.step, "fingerprint": tuned.base},
        "about": result.about,
    }
    write_sealed(folder / DESCRIPTION, described)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DESCRIPTION)


def _size(head: Any) -> int:
    return 0 if head is None else sum(parameter.numel() for parameter in head.parameters())


def _write_model(model: Model, folder: Path) -> None:
    from emergence.text import Tokenizer

    if isinstance(model.tokenizer, Tokenizer):
        from emergence.models.exported import write_exported

        write_exported(model.family, model.network, model.tokenizer, folder, step=model.step)
    else:
        from emergence.models.huggingface_load import quiet

        with quiet():
            model.network.module.save_pretrained(folder)
        theirs: Any = model.tokenizer
        theirs.save(folder)
