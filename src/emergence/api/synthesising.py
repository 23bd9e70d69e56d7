"""Training examples that a model writes: what `em.synthesise` and `em.back_translate` do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.api.loading import load
from emergence.api.model import Model
from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.study.writing_texts import Writer
    from emergence.tasks.labelled_schema import LabelledData

__all__ = ["Written", "back_translate", "show_changes", "synthesise"]

LabelledTaskName = str | Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """Where the examples stand, how many, and ``notes`` on what was thrown away. ``made`` is False for a file that was
    there already, of the same request."""

    path: Path
    examples: int
    notes: tuple[str, ...]
    made: bool


def synthesise(
    model: Model | str | Path,
    out: str | Path,
    *,
    number: int,
    task: LabelledTaskName | None = None,
    labels: Sequence[str] = (),
    progress: Callable[[str], None] = lambda words: None,
    **settings: Any,
) -> Written:
    """Let a causal model write ``number`` texts of every class to the file ``out`` (JSON lines), which a labelled task
    reads as ``synthetic``.

    ``task`` (a name, or a mapping with its files) says which classes there are, which texts are shown and which must
    not come out; without one, ``labels`` are the classes. ``settings`` are those of
    `study.synthesis.SynthesisSettings`: template, shots, shortest, longest, temperature, top_k, top_p, max_tokens,
    seed. Where ``out`` is what this request made before, nothing is done. Raises UserError for wrong input.
    """
    from emergence.study.synthesis import SynthesisSettings
    from emergence.study.synthesis import synthesise as write

    asked = SynthesisSettings(number=number, labels=tuple(labels), **settings)
    data = None if task is None else _data(task)
    held = load(model) if not isinstance(model, Model) else model
    return _once(
        Path(out), "synthetic", _request([held], asked, data), lambda: write(_writer(held), data, asked, progress)
    )


def back_translate(
    there: Model | str | Path,
    back: Model | str | Path,
    out: str | Path,
    *,
    task: LabelledTaskName,
    there_prompt: str | None = None,
    back_prompt: str | None = None,
    progress: Callable[[str], None] = lambda words: None,
    **settings: Any,
) -> Written:
    """Translate the training texts of a labelled task with one model, and back with another (or the same), into the
    file ``out``, which the task reads as ``synthetic``.

    A prompt has ``{text}`` in it; by default it is that of the task `translation` (``{text}→``) for an own model, and
    the text alone for Hugging Face's. ``settings`` are those of `study.back_translation.BackTranslationSettings`:
    copies, temperature, top_k, top_p, max_tokens, limit, seed. Otherwise as `synthesise`.
    """
    from emergence.study.back_translation import BackTranslationSettings
    from emergence.study.back_translation import back_translate as write

    data = _data(task)
    first = load(there) if not isinstance(there, Model) else there
    second = load(back) if not isinstance(back, Model) else back
    asked = BackTranslationSettings(
        there=there_prompt or _prompt(first), back=back_prompt or _prompt(second), **settings
    )
    return _once(
        Path(out),
        "back-translation",
        _request([first, second], asked, data),
        lambda: write(_writer(first), _writer(second), data, asked, progress),
    )


def show_changes(
    texts: Sequence[str], *, share: float = 0.1, seed: int = 0, lexicon: str | Path | None = None
) -> dict[str, dict[str, str]]:
    """Return for every text what each way of augmentation and each perturbation makes of it; names where there is a
    ``lexicon`` of lists. Raises UserError for a share that is none and a file that cannot be read."""
    from emergence.core.augmentation_settings import AugmentationSettings
    from emergence.core.seeds import stream
    from emergence.text.augmentation import AUGMENTERS, make_augment
    from emergence.text.perturbation import PERTURBATIONS, make_perturb

    if not 0 < share <= 1:
        raise UserError(f"share is {share:g}; give a number above 0 and up to 1")
    ways = {name: make_augment(AugmentationSettings.model_validate({"name": name})) for name in AUGMENTERS}
    where = None if lexicon is None else Path(lexicon)
    perturbations = {n: make_perturb(n, where) for n in PERTURBATIONS if n != "names" or where is not None}
    return {
        text: {name: augment(text, stream(seed, "show", name, text), share) for name, augment in ways.items()}
        | {name: perturb(text, stream(seed, "show", name, text)) for name, perturb in perturbations.items()}
        for text in texts
    }


def _data(task: LabelledTaskName) -> LabelledData:
    from emergence.tasks.catalogue import make_task
    from emergence.tasks.labelled import LabelledTask

    options = {"name": task} if isinstance(task, str) else dict(task)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"a task has a name: {{name: classification, files: train.tsv}}; not {task!r}")
    made = make_task(name, options)
    if not isinstance(made, LabelledTask):
        raise UserError(f"the task {name} has no labelled examples; name one such as classification, with its files")
    return made.data()


def _writer(model: Model) -> Writer:
    from emergence.study.writing_texts import Writer

    return Writer(model.network, model.tokenizer, model.name)


def _prompt(model: Model) -> str:
    from emergence.text import Tokenizer

    return "{text}→" if isinstance(model.tokenizer, Tokenizer) else "{text}"


def _request(models: Sequence[Model], settings: Any, data: LabelledData | None) -> dict[str, Any]:
    """Return what decides the file: the weights of the models, the settings and the data."""
    named = [{"name": m.name, "step": m.step, "weights": m.network.fingerprint()} for m in models]
    return {"models": named, "asked": asdict(settings), "data": None if data is None else data.fingerprint}


def _once(path: Path, source: str, request: dict[str, Any], write: Callable[[], Any]) -> Written:
    from emergence.tasks.synthetic import is_sealed, read_about, seal_of, write_synthetic

    if path.suffix != ".jsonl":
        raise UserError(f"--out {path}: name a file that ends in .jsonl")
    seal = seal_of(path)
    if seal.exists() != path.exists() and not (seal.exists() and is_sealed(seal)):
        there = path if path.exists() else seal
        raise UserError(f"{there} is there already, and no command of this kind wrote it; name another file with --out")
    if path.exists():
        about = read_about(path)
        if about.get("request") != json.loads(json.dumps(request)):
            raise UserError(f"{path} was made by another request; name another file, or delete it and {seal}")
        return Written(path, about["examples"], tuple(about["notes"]), made=False)
    done = write()
    write_synthetic(path, done.examples, source, {**done.about, "request": request, "notes": list(done.notes)})
    return Written(path, len(done.examples), done.notes, made=True)
