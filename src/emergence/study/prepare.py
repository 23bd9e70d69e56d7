"""Everything the runs share, made once: the tokenizer, the packed corpus, and rows of worked examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.models.vectors import read_vectors, save_vectors
from emergence.study.coverage import note_unknown
from emergence.study.folder import StudyFolder, kept_embeddings
from emergence.study.lessons import Lessons, Written, read_written
from emergence.study.plan import Plan
from emergence.tasks.task import GeneratedTask
from emergence.text import open_packed, pack
from emergence.training.data import CorpusSource, Mixture, RowsSource, Source
from emergence.training.rows import map_rows, pack_documents, pack_rows

__all__ = ["open_mixture", "prepare"]

#: Rows of worked examples made at most; a longer training goes through them again in a new order.
MOST_ROW_TOKENS = 2**24
VALIDATION_ROWS = 512


def prepare(plan: Plan, folder: StudyFolder) -> None:
    """Write the tokenizer, packed texts and example rows, or reuse what is there; note what the tokenizer cannot write.

    Of what is trained on, a teacher may have written the answers and the texts (`study.lessons`).

    Raises UserError when the texts are not those this folder was begun with.
    """
    data, texts, context = folder.data, plan.texts, plan.study.model.context
    _same_texts(plan, folder)
    texts.tokenizer.save(data / "tokenizer.json")
    _remove_unread(plan, folder)
    taught = read_written(plan, folder)
    if texts.corpus is not None:
        training_documents = _written_texts(plan, taught) if "corpus" in taught else texts.training
        for name, documents in (("training", training_documents), ("validation", texts.validation)):
            packed = pack(documents, texts.tokenizer, data / f"corpus-{name}.bin")
            if plan.study.corpus is not None and plan.study.corpus.rows != "windows":
                rows_file = data / f"corpus-{name}-rows.bin"
                _, cut = pack_documents(packed, texts.tokenizer.end_id, rows_file, context=context)
                if cut:
                    long = f"longer than the context of {context} and cut into several rows"
                    folder.note(f"{cut:,} of {len(documents):,} {name} {plan.study.corpus.rows} are {long}")
    training = plan.study.training
    if training is not None and training.initialise_embeddings is not None:
        _keep_vectors(Path(training.initialise_embeddings), folder)
    for name in plan.sources:
        if name == "corpus":
            continue
        task = plan.tasks[name]
        assert isinstance(task, GeneratedTask)
        budget = min(plan.tokens * plan.sources[name], MOST_ROW_TOKENS)
        own = {"options": task.options.model_dump(), "seed": plan.study.seed}
        own |= {"data": task.fingerprint} if task.fingerprint else {}
        written = taught.get(name)
        for split, rows in (("train", max(1, round(budget / context))), ("validation", VALIDATION_ROWS)):
            maker = written if split == "train" and written is not None else task
            pack_rows(
                maker,
                texts.tokenizer,
                data / f"{name}-{split}.bin",
                split=split,
                rows=rows,
                context=context,
                rng=stream(plan.study.seed, name, split),
                identity=own | ({"teacher": maker.fingerprint} if isinstance(maker, Written) else {}),
            )
    for written in taught.values():
        if written.lost:
            folder.note(written.lost)
    note_unknown(plan, folder)
    folder.record_files(data)


def _written_texts(plan: Plan, taught: Lessons) -> tuple[str, ...]:
    """Return the texts that a teacher wrote in the place of the corpus; raise UserError where they are too few."""
    texts = tuple(taught["corpus"].texts)
    tokens = sum(len(ids) + 1 for ids in plan.texts.tokenizer.encode_arrays(texts))
    if tokens < plan.study.model.context + 1:
        raise UserError(
            f"the texts of the teacher hold {tokens} tokens, but a context of {plan.study.model.context} needs one "
            "more; raise training.teacher.texts"
        )
    return texts


def _remove_unread(plan: Plan, folder: StudyFolder) -> None:
    """Delete what the study does not read and an interrupted preparation with other settings left: what is there is
    what is trained on and asked."""
    unread = []
    if plan.texts.corpus is None:
        unread.append("corpus-*")
    elif plan.study.corpus is None or plan.study.corpus.rows == "windows":
        unread.append("corpus-*-rows.*")
    for path in [path for pattern in unread for path in folder.data.glob(pattern)]:
        folder.forget(path)
        path.unlink()


def _keep_vectors(run: Path, folder: StudyFolder) -> None:
    """Copy the token vectors of another run into the folder, so that they stay what they were when its first model was
    begun. Until then another run may be named."""
    if kept_embeddings(folder.path) is not None:
        return
    vectors, step = read_vectors(run)
    save_vectors(vectors, folder.embeddings)
    said = "every run begins with the token vectors of "
    events = folder.manifest["events"]
    folder.manifest["events"] = [event for event in events if not event.startswith(said)]
    folder.note(f"{said}{run} at step {step}, kept in data")


def _same_texts(plan: Plan, folder: StudyFolder) -> None:
    """Refuse texts or tasks that changed since the first run in this folder: its models read others."""
    before = folder.manifest.setdefault("texts", plan.texts.identity)
    if before == plan.texts.identity:
        return
    if (folder.path / "models").exists():
        raise UserError(
            f"the texts or tasks behind {folder.path} have changed since it was begun; choose another folder with --out"
        )
    folder.manifest["texts"] = plan.texts.identity


def open_mixture(data: Path, sources: dict[str, float], context: int, batch_rows: int, seed: int) -> Mixture:
    """Open what `prepare` wrote as the training stream of one run."""
    opened: list[Source] = []
    for name in sources:
        if name == "corpus" and (data / "corpus-training-rows.bin").exists():
            rows, held_out = (map_rows(data / f"corpus-{split}-rows.bin") for split in ("training", "validation"))
            opened.append(RowsSource(name, rows, held_out))
        elif name == "corpus":
            training: Any = open_packed(data / "corpus-training.bin").tokens
            validation: Any = open_packed(data / "corpus-validation.bin").tokens
            opened.append(CorpusSource(training, validation, context))
        else:
            rows, held_out = (map_rows(data / f"{name}-{split}.bin") for split in ("train", "validation"))
            opened.append(RowsSource(name, rows, held_out))
    return Mixture(opened, list(sources.values()), batch_rows, seed)
