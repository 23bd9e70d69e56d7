"""The stage `compress` of a study: every trained model is compressed at every level and asked every task again.

Its records give rows of two kinds: a point of the model's curve along ``bits`` (those stored for a weight of its
matrices), of which the untouched model is part for every method, and a point of the ladder of models compressed alike
(axis ``params``), so that it shows where an ability appears at each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from emergence.compression import COMPRESSIBLE
from emergence.core.compression_settings import Compression, CompressionSettings
from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.store import read_sealed
from emergence.evaluation.scores import score_records
from emergence.models.family import FAMILIES
from emergence.study.folder import records_file
from emergence.study.plan import Job, Plan
from emergence.study.published import PublishedPlan, PublishedRun
from emergence.study.rungs import can_do
from emergence.study.stages import Answered, AnyPlan, Report, StageJob, finish_job
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask, TaskContext

__all__ = ["COMPRESSING", "Compressing"]

COPIES = 3  # of a model, in memory while one of them is compressed
UNKNOWN_COST = 1e12  # FLOPs of asking what cannot be counted beforehand
WHOLE = 32.0  # bits of a weight as it was trained
LESSONS = 512  # examples of each task, of which a model that was trained elsewhere reads as many as it needs


@final
class Compressing:
    """Compression as a stage (`study.stages.Stage`)."""

    doing = "compressing"

    def jobs(self, plan: AnyPlan) -> list[StageJob]:
        """Return a job for each model and level, and one for the model as it is."""
        asked = plan.study.compress
        if asked is None:
            return []
        if asked.calibrated and not isinstance(plan, Plan) and not any(_teaches(task) for task in plan.tasks.values()):
            raise UserError(
                "compress: wanda is calibrated on training examples, and no task of this study has any; add one, or "
                "choose other methods"
            )
        runs: list[Job | PublishedRun] = [*plan.jobs]
        able = [run for run in runs if isinstance(run, PublishedRun) or run.rung.family in COMPRESSIBLE]
        return [_job(plan, run, how, asked) for run in able for how in (None, *asked.levels)]

    def work(self, job: dict[str, Any], report: Report) -> None:
        """Compress a model, ask it everything, and leave its records; of the untouched one they are there."""
        from emergence.compression.compressing import compress_network
        from emergence.study.asking import Examiner
        from emergence.study.bases import load_base

        folder, run = Path(job["folder"]), Path(job["base"])
        outcome: dict[str, Any] = {"status": "done", "notes": [], "bits": WHOLE, "params": None}
        if read_sealed(run / "outcome.json")["status"] == "diverged":
            finish_job(job, report, {**outcome, "status": "diverged"}, None)
            return
        if job["how"] is None:
            records = pl.read_parquet(records_file(folder, run.name, job["step"]), glob=False)
            finish_job(job, report, outcome, records)
            return
        base = load_base(run, allow_pickle=job["allow_pickle"])
        network, how = base.network, Compression(**job["how"])
        context = _context(job, base.tokenizer, network.config.context)
        rows = _rows(job, context) if how.calibrated else []
        outcome["params"] = float(network.config.non_embedding_parameters)
        done = compress_network(network, how, rows, seed=job["study_seed"])
        outcome |= {"bits": done.bits, "all_bits": done.all_bits, "sparsity": done.sparsity}
        examiner = Examiner({**job, "rung": job["model"]}, context).of(run.name, job["seed"])
        finish_job(job, report, outcome, examiner.answers(network, job["step"]))

    def rows(self, plan: AnyPlan, outcomes: Sequence[Answered]) -> list[pl.DataFrame]:
        """Return the points of curves along bits, and of ladders compressed alike along parameters."""
        frames = []
        for job, outcome, records in outcomes:
            scores = score_records(records, plan.tasks)
            bits = pl.lit(float(outcome["bits"])).alias("bits")
            if job.values["how"] is None:
                assert plan.study.compress is not None
                for method in plan.study.compress.methods:
                    frames.append(scores.with_columns(pl.lit(f"{job.family} {method}").alias("family"), bits))
                continue
            how = Compression(**job.values["how"])
            family = f"{job.family} {how.method}"
            frames.append(scores.with_columns(pl.lit(family).alias("family"), bits))
            size = pl.lit(float(outcome["params"])).alias("params")
            frames.append(scores.with_columns(pl.lit(f"{family} {how.level}").alias("family"), size))
        # Two levels may come to the same in a small model, as shares of whole rows do: that is one point.
        together = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
        key = [name for name in _POINT if name in together.columns]
        return [together.unique(key, keep="first", maintain_order=True)] if frames else []


COMPRESSING = Compressing()
_POINT = ("family", "model", "seed", "step", "task", "metric", "shots", "bits", "params")


def _job(plan: AnyPlan, run: Job | PublishedRun, how: Compression | None, asked: CompressionSettings) -> StageJob:
    """Return the job of one model and level; None: as it is."""
    study = plan.study
    level = "untouched" if how is None else f"{how.method.replace(':', 'of')}-{how.level.replace(' ', '-')}"
    tasks = {task.name: task for task in study.tasks}
    values: dict[str, Any] = {
        "how": None if how is None else how.model_dump(mode="json"),
        "step": run.steps[-1],
        "rows": asked.rows if how is not None and how.calibrated else 0,
        "shots": list(study.evaluation.shots),
        "examples": study.evaluation.examples,
        "allow_pickle": study.model.allow_pickle,
        "sources": None,
    }
    if isinstance(run, PublishedRun) or isinstance(plan, PublishedPlan):
        assert isinstance(run, PublishedRun)
        rung, family, cost, memory = run.rung, run.family, UNKNOWN_COST, run.memory
    else:
        config, rung, family = run.rung.config, run.rung.name, run.rung.family
        tasks = {name: task for name, task in tasks.items() if can_do(FAMILIES.load(family), task.kind)}
        values |= {"sources": plan.sources, "batch_rows": plan.batch_rows, "data_seed": plan.seed_of(run.seed)}
        asks = len(tasks) * len(study.evaluation.shots) * study.evaluation.examples * study.model.context
        cost = config.forward_flops(asks, study.model.context)
        memory = run.rung.memory + COPIES * 4.0 * config.parameters
    values["tasks"] = {name: task.options for name, task in tasks.items()}
    return StageJob(
        name=f"{run.name}.{level}",
        stage="compress",
        run=run.name,
        model=rung,
        family=family,
        seed=run.seed,
        cost=0.0 if how is None else cost,
        memory=memory,
        values=values,
    )


def _context(job: dict[str, Any], tokenizer: Any, length: int) -> TaskContext:
    """Return what tasks form their questions with, as when the model was asked before."""
    from emergence.study.texts import study_context

    if job["sources"] is None:
        return TaskContext(tokenizer, length, job["study_seed"], truncates=True)
    return study_context(Path(job["folder"]) / "data", tokenizer, length, job["study_seed"])


def _rows(job: dict[str, Any], context: TaskContext) -> list[list[int]]:
    """Return calibration rows: of the data that the run was trained on, from its beginning; or, for a model that was
    trained elsewhere, training examples of the study's tasks."""
    from emergence.compression.calibration import text_rows
    from emergence.study.prepare import open_mixture

    if job["sources"] is None:
        texts = []
        for name, options in job["tasks"].items():
            task = make_task(name, options)
            if isinstance(task, GeneratedTask) and _teaches(task):
                lessons = task.lessons(stream(job["study_seed"], "calibration", name), LESSONS, "train")
                texts.append("\n".join(f"{lesson.prompt}{lesson.target}" for lesson in lessons))
        return text_rows(texts, context.tokenizer, context.context)[: job["rows"]]
    data = Path(job["folder"]) / "data"
    mixture = open_mixture(data, job["sources"], context.context, job["batch_rows"], job["data_seed"])
    inputs = mixture.draw(0, -(-job["rows"] // job["batch_rows"])).inputs
    rows: list[list[int]] = inputs.reshape(-1, inputs.shape[-1])[: job["rows"]].tolist()
    return rows


def _teaches(task: Any) -> bool:
    return isinstance(task, GeneratedTask) and task.trains
