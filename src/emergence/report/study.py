"""Reading a finished study's folder into what a report is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergence.analysis import Assessment, fit_power_law
from emergence.core.errors import UserError
from emergence.core.forecasts import ForecastFile
from emergence.core.schema import Axis
from emergence.core.search import SearchRecord
from emergence.core.store import DamagedFileError, read_sealed
from emergence.core.yaml import read_yaml
from emergence.models.checkpoint import read_config
from emergence.models.family import FAMILIES
from emergence.report.data import ReportData, ScalingFit
from emergence.study.adapted import read_adaptations
from emergence.study.folder import SOURCE

__all__ = ["read_study"]

SHOWN_EXAMPLES = 6  # of each task, at every checkpoint of every run


def read_study(path: Path) -> ReportData:
    """Return the report data of the study in ``path``; raise UserError when there is none, or it is not finished."""
    if not (path / "study.yaml").exists():
        raise UserError(f"{path} is not a study's folder: it has no study.yaml (a study's folder looks like runs/NAME)")
    if not (path / "verdicts.json").exists():
        raise UserError(
            f"the study in {path} is not finished; go on with it by `emergence run {path / 'study.yaml'} --out {path}`"
        )
    study, _ = read_yaml(path / "study.yaml")
    try:
        manifest = read_sealed(path / "manifest.json")
        found = Assessment.from_json(json.loads((path / "verdicts.json").read_bytes()))
        forecasts = path / "forecasts.json"
        forecast = ForecastFile.model_validate_json(forecasts.read_bytes()) if forecasts.exists() else None
        scores = pl.read_parquet(path / "scores.parquet", glob=False)
        history = _history(path)
        adaptations = read_adaptations(path)
        search = SearchRecord.model_validate(manifest["search"]) if "search" in manifest else None
    except (DamagedFileError, OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        fault = str(error).partition("\n")[0]
        raise UserError(f"the study in {path} is damaged ({fault}); run it again to mend it") from error
    return ReportData(
        title=study["name"],
        description=study["description"],
        verdicts=found.verdicts,
        calibration=found.calibration,
        collapses=found.collapses,
        carry_overs=found.carry_overs,
        onset_shifts=found.onset_shifts,
        forecasts=forecast,
        scores=scores,
        ladder=_ladder(path, study) if history is not None else _published_ladder(path),
        history=history,
        samples=_samples(path, scores),
        scaling=_scaling(history, scores) if history is not None and study["corpus"] else (),
        facts=_facts(study, manifest, history),
        search=search,
        adaptations=adaptations,
        notes=manifest.get("notes", []),
    )


def _history(path: Path) -> pl.DataFrame | None:
    """Return the histories of all runs, with ``model`` and ``seed``; None where nothing was trained."""
    frames = []
    for file in sorted((path / "models").glob("*/history.parquet")):
        model, _, seed = file.parent.name.rpartition("-s")
        frames.append(
            pl.read_parquet(file, glob=False).with_columns(
                pl.lit(model).alias("model"), pl.lit(int(seed)).alias("seed")
            )
        )
    if not frames:
        return None
    whole = pl.concat(frames, how="diagonal_relaxed")
    if "branch" in whole.columns:  # the training loss is that of the trunk
        whole = whole.with_columns(pl.when(pl.col("branch").is_null()).then(pl.col("train_loss")).alias("train_loss"))
    return whole


def _ladder(path: Path, study: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row per rung with its shape and size."""
    rows = []
    for folder in sorted((path / "models").glob("*-s0")):
        family, config = read_config(folder)
        rows.append(
            {
                "model": folder.name.removesuffix("-s0"),
                "params": config.non_embedding_parameters,
                "total_params": config.parameters,
                "width": config.width,
                "depth": config.depth,
                "heads": config.to_dict().get("heads"),
                "feed_forward": config.to_dict().get("feed_forward"),
                "flops_per_token": FAMILIES.load(family).training_passes
                * config.forward_flops(1, study["model"]["context"]),
                "replicas": study["replicas"],
            }
        )
    return pl.DataFrame(rows).select(pl.exclude(pl.Null))


def _published_ladder(path: Path) -> pl.DataFrame:
    """Return one row per model that was trained elsewhere, with its size."""
    runs: dict[str, dict[str, Any]] = {}
    for file in sorted((path / "models").glob(f"*/{SOURCE}")):
        asked = read_sealed(file)["checkpoints"]
        last = asked[max(asked, key=int)]
        rung = file.parent.name.rpartition("-s")[0]
        runs.setdefault(
            rung,
            {
                "model": rung,
                "params": last["non_embedding_parameters"],
                "total_params": last["parameters"],
                "replicas": 0,
            },
        )["replicas"] += 1
    return pl.DataFrame(list(runs.values()))


def _samples(path: Path, scores: pl.DataFrame) -> pl.DataFrame:
    """Return the first few records of each task, of replica 0 of every rung at every checkpoint."""
    shown = (
        pl.scan_parquet(
            sorted((path / "records").glob("*-s0-*.parquet")), missing_columns="insert", extra_columns="ignore"
        )
        .filter((pl.col("seed") == 0) & (pl.col("example") < SHOWN_EXAMPLES) & pl.col("output").is_not_null())
        .collect()
    )
    correct = (
        pl.col("score_exact_match") == 1 if "score_exact_match" in shown.columns else pl.lit(None, dtype=pl.Boolean)
    )
    places = scores.select("model", "seed", "step", "tokens", "params").unique()
    return (
        shown.with_columns(correct.alias("correct"), pl.col("logprobs").list.sum().alias("logprob"))
        .join(places, on=["model", "seed", "step"])
        .select(
            "model",
            "seed",
            "step",
            "tokens",
            "params",
            "task",
            "shots",
            "prompt",
            "target",
            "output",
            "correct",
            "logprob",
        )
        .sort("task", "shots", "model", "step", "prompt")
    )


def _scaling(history: pl.DataFrame, scores: pl.DataFrame) -> Sequence[ScalingFit]:
    """Fit power laws to the validation loss of each family: of the finished rungs by parameters and FLOPs, of the
    largest by tokens."""
    # Adapted models share the names of the rungs that they were made of, and have no tokens of their own.
    places = scores.filter(pl.col("tokens").is_not_null()).select("model", "params", "family").unique()
    checked = history.filter(pl.col("validation_loss").is_not_null()).join(places, on="model")
    families = places["family"].unique(maintain_order=True).sort().to_list()
    fits = []
    for family in families:
        own = checked.filter(pl.col("family") == family)
        final = own.filter(pl.col("step") == pl.col("step").max().over("model", "seed"))
        largest = own.filter(pl.col("params") == pl.col("params").max())
        axes: list[tuple[Axis, pl.DataFrame]] = [("params", final), ("flops", final), ("tokens", largest)]
        for axis, rows in axes:
            means = rows.group_by(axis).agg(pl.col("validation_loss").mean()).sort(axis)
            if len(means) < 3:
                continue
            x, loss = means[axis].to_numpy(), means["validation_loss"].to_numpy()
            law = fit_power_law(x, loss)
            fits.append(
                ScalingFit(
                    metric="validation_loss",
                    family=family if len(families) > 1 else None,
                    axis=axis,
                    exponent=law.exponent.estimate or 0.0,
                    low=law.exponent.low,
                    high=law.exponent.high,
                    coefficient=law.factor,
                    r2=float(np.corrcoef(np.log(x), np.log(loss))[0, 1] ** 2),
                )
            )
    return fits


def _facts(study: Mapping[str, Any], manifest: Mapping[str, Any], history: pl.DataFrame | None) -> dict[str, str]:
    """Return what was run, on what and at what cost, in words."""
    hardware, versions = manifest["hardware"], manifest["versions"]
    work = "loading and evaluation" if history is None else "training and evaluation"
    return {
        "study": study["name"],
        "seed": str(study["seed"]),
        **(_published(study) if history is None else _training(study, history)),
        "wall-clock time": f"{manifest.get('seconds', 0.0):,.0f} s for {work}",
        "machine": f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB",
        "system": hardware["system"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "started": manifest["started"],
    }


def _published(study: Mapping[str, Any]) -> dict[str, str]:
    models = (f"{m['name']}@{m['revision']}" if "revision" in m else m["name"] for m in study["model"]["huggingface"])
    return {"models, trained elsewhere": ", ".join(models)}


def _training(study: Mapping[str, Any], history: pl.DataFrame) -> dict[str, str]:
    last = history.group_by("model", "seed").agg(pl.col("flops_spent", "seconds", "tokens").max())
    return {
        "runs": _runs(study, len(last)),
        **_reading(study["corpus"]),
        "training tokens per run": f"{last.select(pl.col('tokens').max()).item():,.0f}",
        "training FLOPs": f"{float(last['flops_spent'].sum()):.3g}",
        "training time": f"{float(last['seconds'].sum()):,.0f} s of one core each",
    }


def _reading(corpus: Mapping[str, Any] | None) -> dict[str, str]:
    """Return how the corpus was read, where there was one."""
    if corpus is None:
        return {}
    kind = corpus["tokenizer"]["kind"]
    bound = f" of at most {corpus['tokenizer']['vocabulary']:,} tokens" if kind in ("bpe", "word") else ""
    script = f", folded into {corpus['fold']} Chinese" if corpus.get("fold") else ""
    return {"tokenizer": f"{kind}{bound}{script}"}


def _runs(study: Mapping[str, Any], number: int) -> str:
    family = study["model"]["family"]
    families = "" if isinstance(family, str) else f" of {len(family)} families"
    return f"{number} ({number // study['replicas']} rungs{families} × {study['replicas']} replicas)"
