"""What a study reads: its corpus, split, the tokenizer that serves corpus and tasks, and whether the questions fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emergence.core.errors import UserError
from emergence.core.settings import TEXT_TASKS, CorpusSettings, StudySettings, TokenizerSettings
from emergence.tasks.held_out import no_document_fits, whole_documents
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_data import folded
from emergence.tasks.task import GeneratedTask, Split, Task, TaskContext
from emergence.text import (
    Corpus,
    Summary,
    Tokenizer,
    build_tokenizer,
    distinct,
    folding_into,
    lines_of,
    open_packed,
    read_corpus,
    split_corpus,
    summarise,
)

__all__ = ["Texts", "check_questions", "read_texts", "study_context"]

LONGEST_TOKEN = 20  # characters; the mean over a text stays below


@dataclass(frozen=True)
class Texts:
    """The corpus, split, and the tokenizer that serves corpus and tasks."""

    tokenizer: Tokenizer
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    corpus: Corpus | None = None
    files: tuple[str, ...] = ()  # hashes of what the tasks read

    def summary(self) -> Summary | None:
        """Say what the corpus is about; None where there is none."""
        return summarise(self.corpus.documents, self.tokenizer) if self.corpus is not None else None

    @property
    def identity(self) -> str:
        """Hash of the tokenizer, of every document and of the tasks' files: what the models of a study have read."""
        digest = hashlib.sha256(self.tokenizer.identity.encode())
        for part in (self.training, self.validation):
            digest.update(str(len(part)).encode())
            for document in part:
                digest.update(hashlib.sha256(document.encode()).digest())
        for file in self.files:
            digest.update(file.encode())
        return digest.hexdigest()


def read_texts(study: StudySettings, tasks: dict[str, Task], given: Tokenizer | None = None) -> Texts:
    """Read and split the corpus, and build the tokenizer on its training part and on what the tasks write, unless one
    is ``given`` and the study asks for no other."""
    alphabet = "".join(sorted({character for task in tasks.values() for character in task.alphabet}))
    files = tuple(task.fingerprint for task in tasks.values() if isinstance(task, GeneratedTask) and task.fingerprint)
    if study.corpus is None:
        return Texts(given or build_tokenizer(TokenizerSettings(kind="char"), [], alphabet), files=files)
    fold = study.corpus.fold
    corpus = _corpus(study, study.corpus, tasks)
    if study.corpus.rows == "lines":
        corpus = lines_of(corpus)
    if fold is not None:  # a poem in both scripts must not be learnt in one and held out in the other
        corpus = distinct(corpus, folding_into(fold))
    training, validation = split_corpus(corpus, seed=study.seed)
    # A character that only the held-out part has would be unknown to every model; the alphabet is not a secret.
    everything = [*training, *validation] if study.corpus.tokenizer.kind == "char" else training
    plain = fold is None and study.corpus.tokenizer == TokenizerSettings()
    own = None if plain else build_tokenizer(study.corpus.tokenizer, everything, alphabet, fold=fold)
    tokenizer = own or given or build_tokenizer(study.corpus.tokenizer, everything, alphabet)
    for name, part in (("training", training), ("validation", validation)):
        if study.corpus.rows == "windows":
            _check_length(part, tokenizer, study.model.context, name)
    if study.corpus.rows != "windows" and any(task in TEXT_TASKS for task in tasks):
        _check_whole(validation, tokenizer, study.model.context)
    return Texts(tokenizer, tuple(training), tuple(validation), corpus, files)


def _corpus(study: StudySettings, settings: CorpusSettings, tasks: dict[str, Task]) -> Corpus:
    """Return what is read from files and from the training sets of labelled tasks; never from their other sets."""
    if not settings.files and not settings.tasks:
        raise UserError(
            f"study {study.name} needs texts: add corpus.files, for example --set corpus.files=my-texts/*.txt"
        )
    files = read_corpus(settings.files, None) if settings.files else Corpus((), ())
    texts: list[str] = []
    for name in settings.tasks:
        task = tasks.get(name)
        if not isinstance(task, LabelledTask):
            able = ", ".join(own for own, other in tasks.items() if isinstance(other, LabelledTask)) or "none"
            raise UserError(f"corpus.tasks names '{name}', which is no labelled task of this study (there is: {able})")
        texts += [text for example in task.data().train for text in (example.text, example.second)]
    held = _held_out(tasks)
    texts = [text for text in texts if folded(text) not in held]
    return Corpus(tuple(dict.fromkeys([*files.documents, *(text for text in texts if text.strip())])), files.files)


def _held_out(tasks: dict[str, Task]) -> set[str]:
    """Return the texts of validation and test of every labelled task: what one may train on can be another's test."""
    labelled = [task.data() for task in tasks.values() if isinstance(task, LabelledTask)]
    sets = [examples for data in labelled for examples in (data.validation, *data.tests.values())]
    return {folded(text) for examples in sets for example in examples for text in (example.text, example.second)}


def study_context(data: Path, tokenizer: Tokenizer, context: int, seed: int, split: Split = "test") -> TaskContext:
    """Return what tasks form their questions with, for models that a study trained on what is in its folder
    ``data``."""
    held_out = data / "corpus-validation.bin"
    return TaskContext(
        tokenizer=tokenizer,
        context=context,
        seed=seed,
        validation_tokens=open_packed(held_out).tokens if held_out.exists() else None,
        whole_documents=held_out.with_name("corpus-validation-rows.bin").exists(),
        split=split,
    )


def _check_length(documents: list[str], tokenizer: Tokenizer, context: int, name: str) -> None:
    """Raise UserError where a part of the corpus is smaller than a context; only small texts are counted exactly."""
    if sum(map(len, documents)) > LONGEST_TOKEN * (context + 1):
        return
    tokens = sum(len(ids) + 1 for ids in tokenizer.encode_arrays(documents))
    if tokens < context + 1:
        raise UserError(
            f"the {name} part of the corpus holds {tokens} tokens, but a context of {context} needs {context + 1}; "
            f"add text or lower model.context"
        )


def _check_whole(documents: list[str], tokenizer: Tokenizer, context: int) -> None:
    """Raise UserError where tasks that ask for whole documents will find none; the shortest are looked at first."""
    for document in sorted(documents, key=len):
        (ids,) = tokenizer.encode_arrays([document])
        if any(True for _ in whole_documents(np.append(ids, tokenizer.end_id), tokenizer.end_id, context)):
            return
    raise no_document_fits(context)


def check_questions(study: StudySettings, tasks: dict[str, Task], texts: Texts) -> None:
    """Form the questions of every generated task once, so that a task that is too small or too long fails here."""
    context = TaskContext(tokenizer=texts.tokenizer, context=study.model.context, seed=study.seed)
    if 0 not in study.evaluation.shots and not any(task.trains for task in tasks.values()):
        raise UserError("no task of this study takes worked examples; put 0 into evaluation.shots")
    for task in tasks.values():
        for shots in study.evaluation.shots:
            if task.trains:
                questions = task.questions(context, study.evaluation.examples, shots)
                _check_folding(task.name, (question.target for question in questions), texts.tokenizer)


def _check_folding(name: str, targets: Iterable[str], tokenizer: Tokenizer) -> None:
    """Raise UserError where folding leaves a model no way to write the right answer."""
    for target in targets:
        if tokenizer.fold(target) != target:
            raise UserError(
                f"corpus.fold turns {target!r}, an answer of the task {name}, into {tokenizer.fold(target)!r}; leave "
                "corpus.fold out, or fold the texts of the task too"
            )
