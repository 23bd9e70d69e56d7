"""A worker process: reads jobs from standard input, trains and evaluates, writes events to standard output, one JSON
a line.

Started as ``python -m emergence.study.worker`` by the executor, with one thread. When its parent is gone its
standard input closes, and it stops at once: whatever it was doing is as if it had been killed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.store import write_bytes, write_sealed
from emergence.study.packing import measure_here

__all__ = ["run_group"]

Report = Callable[[dict[str, Any]], None]


class _StoppedError(Exception):
    """The parent wants no more of this job."""


def run_group(job: dict[str, Any], report: Report) -> None:
    """Train the replicas of a group, evaluate every checkpoint, and leave an ``outcome.json`` for each.

    ``job`` is what `emergence.study.run.describe` writes. ``report`` receives progress events.
    """
    from emergence.models.checkpoint import find_checkpoints, load_network, write_config
    from emergence.models.family import FAMILIES
    from emergence.study.asking import Examiner
    from emergence.study.prepare import open_mixture
    from emergence.study.teacher import teaching_of
    from emergence.study.texts import study_context
    from emergence.text import Tokenizer
    from emergence.training.loop import RunSpec, train
    from emergence.training.schedule import Schedule

    folder = Path(job["folder"])
    values = job["spec"]
    config = FAMILIES.load(values["family"]).config_from(values["config"])
    schedule = Schedule(**{**values["schedule"], "checkpoints": tuple(values["schedule"]["checkpoints"])})
    spec = RunSpec(**{**values, "config": config, "seeds": tuple(values["seeds"]), "schedule": schedule})
    tokenizer = Tokenizer.load(folder / "data" / "tokenizer.json")
    examiner = Examiner(job, study_context(folder / "data", tokenizer, config.context, job["study_seed"], job["split"]))
    runs = [folder / "models" / name for name in job["runs"]]
    examiners = [examiner.of(name, replica) for name, replica in zip(job["runs"], job["replicas"], strict=True)]
    for run, own in zip(runs, examiners, strict=True):
        write_config(run, spec.family, config)
        tokenizer.save(run / "tokenizer.json")
        own.forget_unreachable(run, schedule.checkpoints)
    data = [open_mixture(folder / "data", job["sources"], config.context, job["batch_rows"], s) for s in spec.seeds]

    def at_checkpoint(replica: int, network: Any, step: int) -> None:
        report({"event": "evaluating", "run": job["runs"][replica], "step": step})
        examiners[replica].examine(network, step)

    def progress(share: float, losses: Sequence[float]) -> None:
        for name, loss in zip(job["runs"], losses, strict=True):
            report({"event": "training", "run": name, "share": share, "loss": loss})

    def examined(replica: int, step: int) -> None:
        report({"event": "examined", "run": job["runs"][replica], "step": step})

    kept = examined if job["watched"] else None
    teaching = None if job["teaching"] is None else teaching_of(job["teaching"])
    outcomes = train(spec, data, runs, at_checkpoint=at_checkpoint, progress=progress, kept=kept, teaching=teaching)
    for replica, (name, run, outcome) in enumerate(zip(job["runs"], runs, outcomes, strict=True)):
        notes = list(outcome.notes)
        if outcome.diverged is not None:
            notes.append(f"{name} diverged: {outcome.diverged}")
        else:
            for checkpoint in find_checkpoints(run):
                if checkpoint.step in schedule.checkpoints and examiners[replica].lacks(checkpoint.step):
                    at_checkpoint(replica, load_network(run, checkpoint.step)[0], checkpoint.step)
        (run / "failure.txt").unlink(missing_ok=True)
        status = "done" if outcome.diverged is None else "diverged"
        write_sealed(run / "outcome.json", {"status": status, "notes": notes})
        report({"event": "finished", "run": name, "status": status})


def main() -> None:
    """Serve jobs until standard input closes."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an event
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    stop = threading.Event()  # the job that goes on

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "stop" in message:
                stop.set()
            else:  # the one before is over
                stop.clear()
                jobs.put(message)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    import torch  # while the parent prepares the first job

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # A pass over every new tensor, to find faults alone.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    while True:
        job = jobs.get()
        if "measure" in job:
            events.write(json.dumps({"event": "measured", "seconds": measure_here(job["measure"])}) + "\n")
            continue

        def report(event: dict[str, Any], name: str = job["name"]) -> None:
            if stop.is_set():
                raise _StoppedError
            events.write(json.dumps({"job": name, **event}) + "\n")

        try:
            if "stage" in job:
                from emergence.study.stages import STAGES

                STAGES.load(job["stage"]).work(job, report)
            elif "lesson" in job:
                from emergence.study.writing import write_lesson

                write_lesson(job, report)
            elif "asks" in job:
                from emergence.study.asking_teacher import ask_teacher

                ask_teacher(job, report)
            elif "checkpoints" in job:
                from emergence.study.asking_published import ask_published

                ask_published(job, report)
            else:
                run_group(job, report)
            report({"event": "done"})
        except _StoppedError:
            events.write(json.dumps({"job": job["name"], "event": "stopped"}) + "\n")
        except BaseException as fault:
            homes = [Path(job["folder"]) / "models" / name for name in job["runs"]] or [Path(job["home"])]
            for home in homes:
                write_bytes(home / "failure.txt", traceback.format_exc().encode())
            wrong = isinstance(fault, UserError)
            reason = str(fault) if wrong else f"{type(fault).__name__}: {fault}"
            report({"event": "failed", "reason": reason, "wrong_input": wrong})


if __name__ == "__main__":
    main()
