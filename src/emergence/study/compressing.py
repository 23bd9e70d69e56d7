"""The stage `compress:` of a study: every trained model is compressed at every level and asked again.

Below the study's folder, ``compressed/R03-s1/`` has for each level a table of records and a sealed card that vouches
for it: how the model was compressed, of which weights, and the bits stored for a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import polars as pl

from emergence.compression import COMPRESSIBLE
from emergence.core.compression_settings import Compression, CompressionSettings
from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError, read_sealed, sha256, write_sealed, writing
from emergence.evaluation.scores import score_records
from emergence.models.checkpoint import STATE
from emergence.models.family import FAMILIES
from emergence.study.folder import StudyFolder
from emergence.study.rungs import Rung, can_do
from emergence.study.stages import Stage, StageScores

if TYPE_CHECKING:
    from emergence.study.plan import Job, Plan

__all__ = ["CompressStage", "check_compression"]

FOLDER = "compressed"
COPIES = 3  # of a model, in memory while one of them is compressed
WHOLE = 32.0  # bits of a weight as it was trained


def check_compression(compress: CompressionSettings | None, rungs: list[Rung]) -> None:
    """Raise UserError where no family can be compressed, or a group or pattern does not divide a matrix of a rung."""
    if compress is None:
        return
    able = [rung for rung in rungs if rung.family in COMPRESSIBLE]
    if not able:
        raise UserError(
            f"compress: the family {rungs[0].family} has no matrices to compress; families that have: "
            f"{', '.join(COMPRESSIBLE)}"
        )
    for how in compress.levels:
        size = how.pattern[1] if how.pattern else how.group
        for rung in able:
            wrong = None if size is None else next((n for n in _inputs(rung.config) if n % size), None)
            if wrong is not None:
                what = f"{how.method} takes" if how.pattern else "compress.group makes"
                raise UserError(
                    f"{what} groups of {size} inputs, but {rung.name} has matrices with {wrong}; choose rungs whose "
                    "sizes divide by it (vary: depth keeps a width), or leave it out"
                )


def _inputs(config: Any) -> Iterator[int]:
    """Yield the numbers of inputs that matrices of a configuration have, as far as sizes say."""
    for name in ("width", "feed_forward", "inner", "rank", "latent"):
        size = getattr(config, name, None)
        if size is not None:
            yield int(size)


@final
class CompressStage(Stage):
    """Pruned and quantised copies of the last checkpoint of every run."""

    name = "compress"

    def jobs(self, plan: Plan, folder: StudyFolder) -> list[dict[str, Any]]:
        """Return one job for each run that lacks a level."""
        return [self._job(plan, folder, job) for job in _runs(plan, folder) if _lacking(plan, folder, job)]

    def record(self, folder: StudyFolder, run: str) -> None:
        """Put the records and cards of a run into the manifest."""
        folder.record_files(folder.path / FOLDER / run)

    def scores(self, plan: Plan, folder: StudyFolder) -> StageScores:
        """Return two rows for each score of a compressed model: a point of its model's curve along ``bits``, which
        the untouched model is part of, and one of a ladder of models compressed alike along ``params``."""
        found: list[pl.DataFrame] = []
        for job in _runs(plan, folder):
            untouched = pl.read_parquet(folder.records(job.name, job.steps[-1]), glob=False)
            whole = score_records(untouched, plan.tasks)
            for method in _settings(plan).methods:
                found.append(_along_bits(whole, job, method, WHOLE))
            for how in _settings(plan).levels:
                records = pl.read_parquet(_records(folder.path, job.name, how), glob=False)
                scored = score_records(records, plan.tasks)
                card = read_sealed(_card(folder.path, job.name, how))
                found += [_along_bits(scored, job, how.method, card["bits"]), _along_params(scored, job, how)]
        unable = sorted({rung.family for rung in plan.rungs if rung.family not in COMPRESSIBLE})
        notes = [f"models of the family {family} have no matrices and were not compressed" for family in unable]
        return StageScores(tuple(found), tuple(notes))

    def work(self, job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
        """Compress the model of a run at every level that is missing, and ask it everything."""
        import copy

        from emergence.compression.compressing import compress_network
        from emergence.models.checkpoint import load_network
        from emergence.study.asking import Examiner
        from emergence.study.texts import study_context
        from emergence.text import Tokenizer

        folder, run, step = Path(job["folder"]), job["runs"][0], job["step"]
        network, _ = load_network(folder / "models" / run, step)
        tokenizer = Tokenizer.load(folder / "data" / "tokenizer.json")
        context = study_context(folder / "data", tokenizer, network.config.context, job["study_seed"])
        examiner = Examiner(job, context).of(run, job["replica"])
        rows = _calibration(job, network.config.context)
        for values in job["levels"]:
            how = Compression(**values)
            report({"event": "evaluating", "run": run, "step": step})
            smaller = copy.deepcopy(network)
            done = compress_network(smaller, how, rows if how.calibrated else (), seed=job["seed"])
            file = _records(folder, run, how)
            with writing(file) as temporary:
                examiner.answers(smaller, step).write_parquet(temporary)
            card = {"bits": done.bits, "all_bits": done.all_bits, "sparsity": done.sparsity, "records": sha256(file)}
            write_sealed(_card(folder, run, how), {**job["made_of"], "how": values, **card})
        (folder / "models" / run / "failure.txt").unlink(missing_ok=True)
        report({"event": "finished", "run": run, "status": "done"})

    def _job(self, plan: Plan, folder: StudyFolder, job: Job) -> dict[str, Any]:
        """Return what a worker needs to know to compress one run."""
        study, family = plan.study, FAMILIES.load(job.rung.family)
        return {
            "stage": self.name,
            "name": f"{job.name} compressed",
            "runs": [job.name],
            "memory": job.rung.memory + COPIES * 4.0 * job.rung.config.parameters,
            "folder": str(folder.path.resolve()),
            "rung": job.rung.name,
            "replica": job.seed,
            "step": job.steps[-1],
            "seed": plan.seed_of(job.seed),
            "study_seed": study.seed,
            "sources": plan.sources,
            "batch_rows": plan.batch_rows,
            "rows": _settings(plan).rows,
            "tasks": {task.name: task.options for task in study.tasks if can_do(family, task.kind)},
            "shots": list(study.evaluation.shots),
            "examples": study.evaluation.examples,
            "levels": [how.model_dump(mode="json") for how in _lacking(plan, folder, job)],
            "made_of": _made_of(plan, folder, job),
        }


def _settings(plan: Plan) -> CompressionSettings:
    assert plan.study.compress is not None
    return plan.study.compress


def _runs(plan: Plan, folder: StudyFolder) -> list[Job]:
    """Return the runs whose models can be compressed: those of able families that did not diverge."""
    jobs = [job for job in plan.jobs if job.rung.family in COMPRESSIBLE]
    return [job for job in jobs if read_sealed(folder.run(job.name) / "outcome.json")["status"] != "diverged"]


def _lacking(plan: Plan, folder: StudyFolder, job: Job) -> list[Compression]:
    """Return the levels of a run that are not there yet, or were made of other weights or in another way."""
    made_of = _made_of(plan, folder, job)
    return [how for how in _settings(plan).levels if not _is_made(folder, job, how, made_of)]


def _is_made(folder: StudyFolder, job: Job, how: Compression, made_of: dict[str, Any]) -> bool:
    file = _records(folder.path, job.name, how)
    try:
        card = read_sealed(_card(folder.path, job.name, how))
    except DamagedFileError:
        return False
    same = card["how"] == how.model_dump(mode="json") and all(card.get(key) == made_of[key] for key in made_of)
    return same and file.exists() and sha256(file) == card["records"]


def _made_of(plan: Plan, folder: StudyFolder, job: Job) -> dict[str, Any]:
    """Return what decides the compressed models of a run beside the way: its weights and the calibration rows."""
    checkpoint = folder.run(job.name) / "checkpoints" / f"{job.steps[-1]:06d}"
    return {"weights": read_sealed(checkpoint / STATE)["files"], "rows": _settings(plan).rows}


def _calibration(job: dict[str, Any], context: int) -> list[list[int]]:
    """Return rows of the data that the run was trained on, from its beginning."""
    from emergence.study.prepare import open_mixture

    mixture = open_mixture(Path(job["folder"]) / "data", job["sources"], context, job["batch_rows"], job["seed"])
    steps = -(-job["rows"] // job["batch_rows"])
    inputs = mixture.draw(0, steps).inputs
    rows: list[list[int]] = inputs.reshape(-1, inputs.shape[-1])[: job["rows"]].tolist()
    return rows


def _label(how: Compression) -> str:
    return f"{how.method.replace(':', 'of')}-{how.level.replace(' ', '-')}"


def _records(study: Path, run: str, how: Compression) -> Path:
    return study / FOLDER / run / f"{_label(how)}.parquet"


def _card(study: Path, run: str, how: Compression) -> Path:
    return study / FOLDER / run / f"{_label(how)}.json"


def _along_bits(scored: pl.DataFrame, job: Job, method: str, bits: float) -> pl.DataFrame:
    """Return scores as points along the bits of a weight; the model's name is not that of its training, so that no
    table takes one for the other."""
    return scored.with_columns(
        pl.lit(f"{job.rung.name} {method}").alias("model"),
        pl.lit(f"{job.rung.family} {method}").alias("family"),
        pl.lit(bits, dtype=pl.Float64).alias("bits"),
    )


def _along_params(scored: pl.DataFrame, job: Job, how: Compression) -> pl.DataFrame:
    """Return scores as those of one rung of a ladder of models compressed alike; parameters are those trained."""
    return scored.with_columns(
        pl.lit(f"{job.rung.name} {how.method} {how.level}").alias("model"),
        pl.lit(f"{job.rung.family} {how.method} {how.level}").alias("family"),
        pl.lit(float(job.rung.config.non_embedding_parameters)).alias("params"),
    )
