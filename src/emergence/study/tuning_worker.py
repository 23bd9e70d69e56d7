"""One job of the stage `finetune`, in a worker: load the model, tune it, answer the test sets, and say what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import derive_seed, stream
from emergence.core.store import read_sealed
from emergence.evaluation.class_records import test_name
from emergence.study.stages import Report, finish_job
from emergence.tasks.catalogue import make_task
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_data import key_of
from emergence.tasks.task import GeneratedTask

__all__ = ["fit_baseline", "tune"]


def tune(job: dict[str, Any], report: Report) -> None:
    """Fine-tune the model of one run on one task; one that diverges is noted and gives no scores."""
    from emergence.evaluation.tuned import answer_tests
    from emergence.study.bases import load_base
    from emergence.training.finetuning.loop import DivergedError
    from emergence.training.finetuning.model import tune_network

    outcome: dict[str, Any] = {"task": job["task"], "variant": job["variant"], "notes": []}
    if read_sealed(Path(job["base"]) / "outcome.json")["status"] == "diverged":
        finish_job(job, report, {**outcome, "status": "diverged"}, None)
        return
    base = load_base(Path(job["base"]), allow_pickle=job["allow_pickle"])
    task = _task(job, job["task"])
    settings = FinetuneSettings.model_validate(job["settings"])
    seed = derive_seed(job["study_seed"], "fine-tuning", job["seed"])

    def progress(share: float, says: str) -> None:
        report({"event": "adapting", "share": share, "says": says})

    try:
        earlier = _learn_before(job, base, seed) if job["before"] else 0.0
        tuned = tune_network(
            base.network,
            base.tokenizer,
            task,
            settings,
            family=base.family,
            examples=job["examples"],
            seed=seed,
            progress=progress,
        )
    except DivergedError as error:
        outcome["notes"].append(f"{job['name']}: {error}")
        finish_job(job, report, {**outcome, "status": "diverged"}, None)
        return
    asked = {"examples": job["questions"], "seed": job["study_seed"]}
    records, reports = answer_tests(tuned.network, base.tokenizer, task, tuned.aim, **asked)
    outcome |= tuned.summary()
    outcome["notes"] += [*tuned.notes, *_leaks(task), *_learnt_before(job, task)]
    outcome["flops"] += earlier
    outcome |= {"status": "done", "reports": reports, "params": base.network.config.non_embedding_parameters}
    finish_job(job, report, outcome, records)


def fit_baseline(job: dict[str, Any], report: Report) -> None:
    """Fit a baseline to the same examples and answer the same test sets."""
    from emergence.evaluation.class_records import classified
    from emergence.tasks.baselines import make_baseline
    from emergence.training.finetuning.choosing import choose

    task = _task(job, job["task"])
    assert isinstance(task, LabelledTask)
    data = task.data()
    chosen = choose(data.train, job["examples"], derive_seed(job["study_seed"], "fine-tuning", job["seed"]))
    fitted = make_baseline(job["baseline"]).fit(chosen, data.labels)
    frames, reports = [], {}
    for name, examples in data.tests.items():
        logprobs_NC = np.log(np.maximum(fitted.predict_proba(examples), 1e-12))
        rng = stream(job["study_seed"], "report", task.name)
        frame, reports[name] = classified(task, name, examples, logprobs_NC, rng)
        frames.append(frame)
    outcome = {"task": job["task"], "variant": job["variant"], "notes": _leaks(task), "status": "done"}
    outcome |= {"examples": len(chosen), "reports": reports, "params": None, "flops": 0.0}
    finish_job(job, report, outcome, pl.concat(frames))


def _task(job: dict[str, Any], name: str) -> GeneratedTask:
    task = make_task(name, job["tasks"][name])
    assert isinstance(task, GeneratedTask)
    return task


def _leaks(task: GeneratedTask) -> list[str]:
    """Return what a report should say of a task's data."""
    return [f"{task.name}: {note}" for note in task.data().notes] if isinstance(task, LabelledTask) else []


def _learnt_before(job: dict[str, Any], task: GeneratedTask) -> list[str]:
    """Say how many examples of each test set were trained on, with their labels, in the tasks learnt before."""
    if not job["before"] or not isinstance(task, LabelledTask):
        return []
    others = [_task(job, name) for name in job["before"]["tasks"]]
    seen = {key_of(e) for other in others if isinstance(other, LabelledTask) for e in other.data().train}
    found = []
    for test, examples in task.data().tests.items():
        if known := sum(key_of(example) in seen for example in examples):
            names = ", ".join(job["before"]["tasks"])
            found.append(
                f"{test_name(task.name, test)}: {known:,} of {len(examples):,} examples are trained on in {names}, "
                f"learnt before: {job['name']} says nothing of them"
            )
    return found


def _learn_before(job: dict[str, Any], base: Any, seed: int) -> float:
    """Let the model learn the forerunners, all together or in turns, and return the FLOPs."""
    from emergence.training.finetuning.several import learn_together, reptile

    before = job["before"]
    tasks = [_task(job, name) for name in before["tasks"]]
    if not tasks:
        return 0.0
    learn = learn_together if before["method"] == "multitask" else reptile
    settings = FinetuneSettings.model_validate(before["settings"])
    return learn(base.network, base.tokenizer, tasks, settings, family=base.family, seed=seed)
