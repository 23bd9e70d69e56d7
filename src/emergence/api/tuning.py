"""Fine-tuning one model on one task, and the folder in which the result is kept.

A folder holds a sealed ``finetune.json``, written last; ``head.safetensors`` where there is a head; and what changed of
the model: ``model`` (all of it), ``adapter`` (that alone), or nothing where all of it was frozen. In the last two cases
the base is needed beside it, and recognised by the hash of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.api.loading import load
from emergence.api.model import Model
from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing

if TYPE_CHECKING:
    from emergence.tasks.labelled_schema import Labelled
    from emergence.tasks.task import GeneratedTask
    from emergence.training.finetuning.model import Tuned
    from emergence.training.finetuning.prepare import Teacher

__all__ = ["Prediction", "TunedModel", "finetune", "load_tuned"]

DESCRIPTION, HEAD = "finetune.json", "head.safetensors"


@dataclass(frozen=True)
class Prediction:
    """What a tuned model says of a text: a class with the probability of each, a value, or an answer."""

    answer: str
    value: float | None = None
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned model: the ``model`` itself, what it was tuned for, and what it scored on the test sets.

    ``about`` holds what `finetune` found: examples, steps, validation, history, share of the parameters that learnt,
    FLOPs, and ``reports`` by name of the test set.
    """

    model: Model
    kind: str
    labels: tuple[str, ...]
    about: dict[str, Any]
    head: Any = None
    centre: float = 0.0
    spread: float = 1.0

    def predict(self, texts: Sequence[str | tuple[str, str]]) -> list[Prediction]:
        """Return a prediction for each text, or pair of texts (premise and hypothesis; passage and question).

        Raises UserError for a pair, or a single text, where the task has the other.
        """
        import torch

        pairs = [(text, "") if isinstance(text, str) else (text[0], text[1]) for text in texts]
        wrong = next((pair for pair in pairs if bool(pair[1]) != self.about["pairs"]), None)
        if wrong is not None and self.kind != "generation":
            raise UserError(
                "this model reads two texts at once; give pairs"
                if self.about["pairs"]
                else "this model reads one text; give single ones"
            )
        if self.kind == "generation":
            return [Prediction(self.model.generate(first)) for first, _ in pairs]
        with torch.inference_mode():
            return self._through_head(pairs)

    def _through_head(self, pairs: Sequence[tuple[str, str]]) -> list[Prediction]:
        from emergence.models.trunk import hidden_states
        from emergence.training.finetuning.rows import encode_rows, pad
        from emergence.training.finetuning.spans import answer_passages, encode_passages

        network, tokenizer = self.model.network, self.model.tokenizer
        context = network.config.context
        if self.kind == "span":
            passages = encode_passages(tokenizer, [(text, question, None, "") for text, question in pairs], context)
            return [Prediction(answer) for answer, _ in answer_passages(network, self.head, passages)]
        found = []
        for row in encode_rows(tokenizer, pairs, context).ids:
            ids_BT, lengths_B = pad([row])
            (logits,) = self.head(hidden_states(network, ids_BT, lengths_B), lengths_B)
            if self.kind == "regression":
                value = float(logits[0]) * self.spread + self.centre
                found.append(Prediction(f"{value:g}", value=value))
            else:
                shares = dict(zip(self.labels, logits.softmax(dim=-1).tolist(), strict=True))
                found.append(Prediction(max(shares, key=lambda label: shares[label]), probabilities=shares))
        return found


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
    from emergence.tasks.labelled import LabelledTask
    from emergence.training.finetuning.model import tune_network

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
    kind = labelled.kind if labelled is not None else "generation"
    about = {
        **tuned.summary(),
        "task": made.name,
        "reports": reports,
        "notes": [*tuned.notes, *(labelled.notes if labelled is not None else ())],
        "pairs": labelled is not None and any(example.second for example in labelled.train),
        "settings": chosen.model_dump(mode="json"),
    }
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


def load_tuned(folder: str | Path, base: Model | str | Path | None = None) -> TunedModel:
    """Return the fine-tuned model in a folder that `finetune` wrote. ``base`` is the model it was tuned from, where its
    own place is another now.

    Raises UserError where the folder holds none, a file is damaged, or the base is another model.
    """
    from emergence.models.adapters.files import load_adapter

    home = Path(folder)
    described = _read(home)
    if described["kept"] == "model":
        model = load(home / "model")
    else:
        model = base if isinstance(base, Model) else load(described["base"]["path"] if base is None else base)
        if described["kept"] == "adapter":
            load_adapter(model.network, home / "adapter")
        elif model.network.fingerprint() != described["base"]["fingerprint"]:
            raise UserError(
                f"{home} was tuned from a base with the hash {described['base']['fingerprint'][:16]}, and that of "
                f"{model.path} is {model.network.fingerprint()[:16]}; name the right one as base"
            )
    model = replace(model, name=home.resolve().name)
    kept = {name: described[name] for name in ("kind", "about", "centre", "spread")}
    return TunedModel(model, labels=tuple(described["labels"]), head=_head(home, described, model), **kept)


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

        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            raise UserError(f"unknown setting '{key}'{nearest(key, FinetuneSettings.model_fields)}") from None
        message = fault["msg"].removeprefix("Value error, ")
        raise UserError(f"{key}: {message}" if key else message) from None


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
    digest = None
    if result.head is not None:
        with writing(folder / HEAD) as temporary:
            save_file({name: w.contiguous() for name, w in result.head.state_dict().items()}, temporary)
        digest = sha256(folder / HEAD)
    described = {
        "kind": result.kind,
        "labels": list(result.labels),
        "centre": result.centre,
        "spread": result.spread,
        "kept": kept,
        "head": digest,
        "base": {"path": str(model.path.resolve()), "name": model.name, "step": model.step, "fingerprint": tuned.base},
        "about": result.about,
    }
    write_sealed(folder / DESCRIPTION, described)


def _size(head: Any) -> int:
    return 0 if head is None else sum(parameter.numel() for parameter in head.parameters())


def _write_model(model: Model, folder: Path) -> None:
    from emergence.text import Tokenizer

    if isinstance(model.tokenizer, Tokenizer):
        from emergence.models.exported import write_exported

        write_exported(model.family, model.network, model.tokenizer, folder, step=model.step)
    else:
        model.network.module.save_pretrained(folder)
        theirs: Any = model.tokenizer
        theirs.save(folder)


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / DESCRIPTION).exists():
        raise UserError(
            f"{folder} holds no fine-tuned model ({DESCRIPTION} is missing); name a folder that `emergence finetune "
            "--out` wrote"
        )
    try:
        described: dict[str, Any] = read_sealed(folder / DESCRIPTION)
    except DamagedFileError as error:
        raise UserError(f"{error}; fine-tune again") from error
    if described["head"] is not None and (not (folder / HEAD).exists() or sha256(folder / HEAD) != described["head"]):
        raise UserError(f"{folder / HEAD}: the content does not match its checksum; fine-tune again")
    return described


def _head(folder: Path, described: dict[str, Any], model: Model) -> Any:
    if described["head"] is None:
        return None
    from safetensors.torch import load_file

    from emergence.training.finetuning.heads import PooledHead, SpanHead
    from emergence.training.finetuning.model import hidden_width

    width = hidden_width(model.network)
    settings = FinetuneSettings.model_validate(described["about"]["settings"])
    if described["kind"] == "span":
        head: Any = SpanHead(width, settings.dropout)
    else:
        head = PooledHead(width, max(1, len(described["labels"])), settings.pooling, settings.dropout)
    head.load_state_dict(load_file(folder / HEAD))
    return head.eval()
