"""What a teacher of kind ``sequence`` writes for its students (Kim and Rush 2016, arXiv 1606.07947, section 3.2).

Answers to the training prompts of every task, and texts in the place of a corpus, in ``data/teacher/``. They are
written once for all students by the study's workers, some at a time, so that an interruption costs little; each file
says by whom and for what it was written, and carries its own checksum. Held-out examples and texts stay the true ones.

Of a corpus whose rows are windows the teacher is given a few characters from a random place, and goes on: a window
begins anywhere. Where rows are documents or lines it writes from nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.store import DamagedFileError, read_sealed
from emergence.study.folder import StudyFolder
from emergence.study.machine import WORKER_BYTES
from emergence.study.plan import Plan
from emergence.tasks.task import Example, GeneratedTask, Split

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CORPUS", "Lessons", "Written", "lessons_to_write", "read_written", "written_flops"]

TEXTS_AT_ONCE = 1024
CORPUS = "corpus"  # the name of that source
BEGINNING = 16  # characters of true text that a window goes on from


@final
class Written:
    """What a teacher wrote for one source, as far as a student's tokenizer can write it; and what was ``lost``, in
    words."""

    def __init__(self, source: str, examples: list[Example], fingerprint: str, lost: str) -> None:
        self.name, self.examples, self.fingerprint, self.lost = source, examples, fingerprint, lost

    def lessons(self, rng: np.random.Generator, n: int, split: Split) -> list[Example]:
        """Return up to ``n`` of the examples, in random order."""
        return [self.examples[index] for index in rng.permutation(len(self.examples))[:n].tolist()]

    @property
    def texts(self) -> list[str]:
        """What was written, without what it was written after."""
        return [example.target for example in self.examples]


Lessons = dict[str, Written]


def lessons_to_write(plan: Plan, folder: StudyFolder) -> list[dict[str, Any]]:
    """Return what a teacher has still to write, as jobs for workers; nothing where there is no such teacher.

    Raises UserError for a teacher that was trained on since the first run in the folder.
    """
    if plan.teacher is None:
        return []
    _check_same(plan, folder)
    settings = plan.teacher_settings
    assert settings is not None
    if settings.kind != "sequence":
        return []
    return [job for source in plan.sources for job in _jobs(plan, folder, source) if _read(job) is None]


def read_written(plan: Plan, folder: StudyFolder) -> Lessons:
    """Return what the teacher wrote, by source; empty where it writes nothing.

    Raises UserError where a student's tokenizer can write none of it, and DamagedFileError where it is not there.
    """
    settings = plan.teacher_settings
    if plan.teacher is None or settings is None or settings.kind != "sequence":
        return {}
    return {source: _gather(plan, folder, source) for source in plan.sources}


def written_flops(plan: Plan, folder: StudyFolder) -> float:
    """Return the FLOPs by which the teacher wrote everything; 0 where it writes nothing."""
    settings = plan.teacher_settings
    if plan.teacher is None or settings is None or settings.kind != "sequence":
        return 0.0
    jobs = [job for source in plan.sources for job in _jobs(plan, folder, source)]
    return float(sum(found["flops"] for job in jobs if (found := _read(job)) is not None))


def _check_same(plan: Plan, folder: StudyFolder) -> None:
    """Refuse a teacher that is not the one which the models in the folder were begun with."""
    assert plan.teacher is not None
    described = {"shown": plan.teacher.shown, "identity": plan.teacher.identity}
    before = folder.manifest.get("teacher", described)
    if before["identity"] != described["identity"] and (folder.path / "models").exists():
        raise UserError(
            f"the teacher {plan.teacher.shown} is not the one that the models in {folder.path} were begun with "
            f"({before['shown']}); give its step, or choose another folder with --out"
        )
    folder.manifest["teacher"] = described


def _jobs(plan: Plan, folder: StudyFolder, source: str) -> list[dict[str, Any]]:
    """Return the jobs of one source, those that are done too."""
    teacher, settings, task = plan.teacher, plan.teacher_settings, plan.tasks.get(source)
    assert teacher is not None
    assert settings is not None
    options: dict[str, Any] = {}
    data = ""
    if isinstance(task, GeneratedTask):
        options, data = next(own.options for own in plan.study.tasks if own.name == source), task.fingerprint
    asked = settings.model_dump(exclude={"model", "step"})
    what = {"source": source, "options": options, "settings": asked, "seed": plan.study.seed}
    jobs = []
    for part in range(-(-settings.number // TEXTS_AT_ONCE)):
        count = min(TEXTS_AT_ONCE, settings.number - part * TEXTS_AT_ONCE)
        own = {**what, "part": part, "count": count, "context": plan.study.model.context}
        own["beginnings"] = _beginnings(plan, part, count) if source == CORPUS else []
        described = json.dumps([own, data, teacher.identity], sort_keys=True)
        jobs.append(
            {
                **own,
                "name": f"teacher-{source}-{part:04d}",
                "runs": [],
                "memory": WORKER_BYTES + 8 * teacher.parameters,
                "folder": str(folder.path.resolve()),
                "path": str((folder.data / "teacher" / f"{source}-{part:04d}.json").resolve()),
                "teacher": teacher.to_dict(),
                "settings": {**asked, "model": settings.model},
                "fingerprint": hashlib.sha256(described.encode()).hexdigest(),
                "lesson": True,
            }
        )
    return jobs


def _read(job: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a job left, None where it is not there, or was written for something else."""
    try:
        found = read_sealed(Path(job["path"]))
    except DamagedFileError:
        return None
    return found if found["fingerprint"] == job["fingerprint"] else None


def _gather(plan: Plan, folder: StudyFolder, source: str) -> Written:
    examples: list[Example] = []
    jobs = _jobs(plan, folder, source)
    for job in jobs:
        found = _read(job)
        if found is None:
            raise DamagedFileError(f"{job['path']} is missing or damaged; run the study again")
        prompts = found["prompts"] or [""] * len(found["texts"])
        examples += [Example(prompt, text) for prompt, text in zip(prompts, found["texts"], strict=True)]
    tokenizer = plan.texts.tokenizer
    ids = tokenizer.encode_batch([example.target for example in examples])
    kept = [example for example, own in zip(examples, ids, strict=True) if tokenizer.unknown_id not in own]
    lost = len(examples) - len(kept)
    said = f"{lost:,} texts of the teacher for {source} were left out: the students' tokenizer cannot write them"
    if source == CORPUS:
        kept = [example for example in kept if example.target.strip()]
    if not kept:
        raise UserError(
            f"the teacher {plan.teacher.shown if plan.teacher else ''} wrote nothing for {source} that the students' "
            "tokenizer can write; choose another teacher, or another corpus.tokenizer"
        )
    digest = hashlib.sha256("".join(job["fingerprint"] for job in jobs).encode()).hexdigest()
    return Written(source, kept, digest, said if lost else "")


def _beginnings(plan: Plan, part: int, count: int) -> list[str]:
    """Return what texts of a corpus go on from: characters from random places of its training part, or nothing."""
    corpus = plan.study.corpus
    if corpus is None or corpus.rows != "windows":
        return [""] * count
    rng = stream(plan.study.seed, "teacher", "beginnings", part)
    documents = plan.texts.training
    chosen = rng.choice(len(documents), size=count, p=_shares(documents))
    starts = [int(rng.integers(0, max(1, len(documents[index]) - BEGINNING))) for index in chosen]
    return [documents[index][start : start + BEGINNING] for index, start in zip(chosen, starts, strict=True)]


def _shares(documents: Sequence[str]) -> list[float]:
    total = sum(map(len, documents))
    return [len(document) / total for document in documents]
