"""Loading the models that somebody else trained, one after another, and asking each what the study asks.

A run's folder keeps ``source.json``: for every step where the model came from, what changes with its files, its shape
and the fingerprint of its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emergence.core.store import DamagedFileError, read_sealed, write_sealed
from emergence.study.folder import SOURCE, StudyFolder, records_file
from emergence.study.published import PublishedPlan, PublishedRun

__all__ = ["ask_published", "describe_asking", "forget_changed"]


def describe_asking(plan: PublishedPlan, folder: StudyFolder, run: PublishedRun) -> dict[str, Any]:
    """Return a run as plain values, for the worker that will load and ask its models."""
    study = plan.study
    return {
        "name": run.name,
        "memory": run.memory,
        "folder": str(folder.path.resolve()),
        "rung": run.rung,
        "runs": [run.name],
        "replica": run.seed,
        "checkpoints": [{**asdict(checkpoint), "shown": checkpoint.shown} for checkpoint in run.checkpoints],
        "allow_pickle": study.model.allow_pickle,
        "study_seed": study.seed,
        "tasks": {task.name: task.options for task in study.tasks},
        "shots": list(study.evaluation.shots),
        "examples": study.evaluation.examples,
    }


def forget_changed(folder: StudyFolder, run: PublishedRun) -> None:
    """Delete the records of models whose files have changed since they were asked, so that they are asked again."""
    known = _known(folder.run(run.name))
    for checkpoint in run.checkpoints:
        before = known.get(str(checkpoint.step))
        records = folder.records(run.name, checkpoint.step)
        if records.exists() and (before is None or before["stamp"] != checkpoint.stamp):
            folder.forget(records)
            records.unlink()
            folder.note(f"{checkpoint.shown} was asked again: its files have changed, or {SOURCE} was lost")


def ask_published(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Ask every model of a run whose records are missing, and leave an ``outcome.json``.

    ``job`` is what `describe_asking` returns. Raises UserError for a model that cannot be loaded or asked.
    """
    from emergence.models.huggingface_load import load_huggingface, pickled
    from emergence.study.asking import Examiner
    from emergence.tasks.task import TaskContext

    folder, name = Path(job["folder"]), job["runs"][0]
    run = folder / "models" / name
    known, notes = _known(run), []
    for done, checkpoint in enumerate(job["checkpoints"]):
        step = checkpoint["step"]
        report({"event": "evaluating", "run": name, "step": step})
        if not records_file(folder, name, step).exists():
            network: Any  # what its kind of reader asks of it
            network, tokenizer, home = load_huggingface(
                checkpoint["name"], checkpoint["revision"], allow_pickle=job["allow_pickle"]
            )
            shape = network.config
            known[str(step)] = {
                "source": checkpoint["source"],
                "stamp": checkpoint["stamp"],
                "architecture": shape.family,
                "vocabulary": shape.vocabulary,
                "context": shape.context,
                "parameters": shape.parameters,
                "non_embedding_parameters": shape.non_embedding_parameters,
                "weights": network.fingerprint(),
                "pickled": pickled(home),
            }
            write_sealed(run / SOURCE, {"checkpoints": known})
            context = TaskContext(tokenizer, shape.context, job["study_seed"], truncates=True)
            Examiner(job, context).of(name, job["replica"]).examine(network, step)
        if known[str(step)]["pickled"]:
            notes.append(f"{checkpoint['shown']} was read from pickle files: their tensors alone, and no code was run")
        report({"event": "asked", "run": name, "share": (done + 1) / len(job["checkpoints"])})
    (run / "failure.txt").unlink(missing_ok=True)
    write_sealed(run / "outcome.json", {"status": "done", "notes": notes})
    report({"event": "finished", "run": name, "status": "done"})


def _known(run: Path) -> dict[str, Any]:
    """Return what is known of the models that a run was asked of, by step."""
    try:
        known: dict[str, Any] = read_sealed(run / SOURCE)["checkpoints"]
    except DamagedFileError:
        return {}
    return known
