"""What a report is made from, and the abilities found in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from emergence.analysis.curves import MIN_RUNGS
from emergence.core.adaptation import AdaptationFile
from emergence.core.carry_over import CarryOver
from emergence.core.collapse import Collapse
from emergence.core.forecasts import ForecastFile
from emergence.core.onset_shift import OnsetShift
from emergence.core.schema import ADAPTATIONS, PER_MODEL, SCORE_COLUMNS, Axis, Calibration, Verdict, VerdictName
from emergence.core.search import SearchRecord

__all__ = ["VERDICT_ORDER", "Ability", "ReportData", "ScalingFit", "complete", "find_abilities", "models_by_size"]

#: The most telling verdicts first: the order of cards and tables.
VERDICT_ORDER: tuple[VerdictName, ...] = (
    VerdictName.EMERGENT,
    VerdictName.SUDDEN,
    VerdictName.MIRAGE,
    VerdictName.INVERSE,
    VerdictName.UNDERPOWERED,
    VerdictName.GRADUAL,
    VerdictName.FLAT,
)
_AXIS_PREFERENCE: tuple[Axis, ...] = ("params", "flops", "loss", "examples", "bits", "training_tasks", "tokens")
_POLARS_TYPES: dict[type, type[pl.DataType]] = {str: pl.String, float: pl.Float64, int: pl.Int64, bool: pl.Boolean}


@dataclass(frozen=True)
class ScalingFit:
    """A straight line on logarithmic axes: ``y = coefficient * x ** -exponent``, with the exponent's 90 % interval.

    ``family`` is that of the models it was fitted to, None where there is only one.
    """

    metric: str
    family: str | None
    axis: Axis
    exponent: float
    low: float | None
    high: float | None
    coefficient: float
    r2: float | None


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows. ``ladder``, ``history``, ``samples``, ``scaling`` and ``facts`` exist only for a study
    that was run here."""

    title: str
    description: str
    verdicts: Sequence[Verdict]
    scores: pl.DataFrame  # completed scores table: all checkpoints, all seeds
    ladder: pl.DataFrame | None = None  # model, params, total_params, width, depth, heads, feed_forward, ...
    history: pl.DataFrame | None = None  # model, seed, step, tokens, flops, train_loss, validation_loss, seconds, ...
    samples: pl.DataFrame | None = (
        None  # model, seed, step, tokens, params, task, prompt, target, output, correct, logprob
    )
    scaling: Sequence[ScalingFit] = ()
    calibration: Sequence[Calibration] = ()
    collapses: Sequence[Collapse] = ()
    carry_overs: Sequence[CarryOver] = ()
    onset_shifts: Sequence[OnsetShift] = ()
    forecasts: ForecastFile | None = None
    search: SearchRecord | None = None
    adaptations: AdaptationFile | None = None  # what was fine-tuned and compressed
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Ability:
    """One headline metric of one task at one number of shots, in one family, with its verdicts along every axis."""

    key: str  # unique; safe in file names and HTML ids
    family: str
    task: str
    metric: str
    shots: int
    smooth: str | None
    title: str  # the task, with shots, metric and family only where they are needed to tell abilities apart
    verdicts: tuple[Verdict, ...]
    primary: Verdict | None  # along the most telling axis there is

    def along(self, axis: Axis) -> tuple[Verdict, ...]:
        """Return the verdicts along ``axis``; several on the axes of `PER_MODEL`, where each model has its own."""
        return tuple(verdict for verdict in self.verdicts if verdict.axis == axis)

    @property
    def other_axes(self) -> tuple[Verdict, ...]:
        """The verdicts along the axes that have one verdict for the whole ladder, without the primary one."""
        return tuple(
            v for axis in _AXIS_PREFERENCE for v in self.along(axis) if v.model is None and v is not self.primary
        )

    @property
    def by_model(self) -> tuple[Verdict, ...]:
        """The verdicts on single models: their training, and what was done to them after it."""
        return tuple(verdict for verdict in self.verdicts if verdict.model is not None)

    @property
    def of_models(self) -> dict[Axis, tuple[Verdict, ...]]:
        """`by_model` by axis, without an axis whose only verdict is the primary one."""
        found = {axis: self.along(axis) for axis in PER_MODEL}
        return {axis: verdicts for axis, verdicts in found.items() if verdicts and verdicts != (self.primary,)}


def complete(scores: pl.DataFrame) -> pl.DataFrame:
    """Return ``scores`` with every column of the scores table, in its type; what is absent is null."""
    columns = []
    for name, kind in SCORE_COLUMNS.items():
        source = pl.col(name) if name in scores.columns else pl.lit(None)
        columns.append(source.cast(_POLARS_TYPES[kind]).alias(name))
    frame = (
        scores.select(columns)
        if scores.width
        else pl.DataFrame(schema={n: _POLARS_TYPES[k] for n, k in SCORE_COLUMNS.items()})
    )
    return frame.with_columns(pl.col("family").fill_null(""), pl.col("shots").fill_null(0))


def models_by_size(scores: pl.DataFrame, family: str | None = None) -> list[tuple[str, float | None]]:
    """Return the models and their parameter counts, smallest first; those of unknown size come first, by name."""
    rows = scores if family is None else scores.filter(pl.col("family") == family)
    sizes = rows.group_by("model").agg(pl.col("params").mean()).sort("params", "model", nulls_last=False)
    return [(str(model), size) for model, size in sizes.iter_rows()]


def find_abilities(data: ReportData) -> list[Ability]:
    """Return the abilities of a report: the most telling verdict first, then the larger gain, then by name.

    An ability is every curve that has a verdict, and every headline metric in the scores that has none. Points of
    adapted models that are too few for a curve are left to the tables of adaptations.
    """
    scores = everything = complete(data.scores)
    if data.adaptations is not None:
        scores = _with_curves(everything)
    hidden = set(everything["family"]) - set(scores["family"])
    grouped: dict[tuple[str, str, str, int], list[Verdict]] = {}
    for verdict in data.verdicts:
        if verdict.family in hidden:
            continue
        grouped.setdefault((verdict.family, verdict.task, verdict.metric, verdict.shots), []).append(verdict)
    curves = scores.select("family", "task", "metric", "shots", "role").unique(maintain_order=True)
    smooth: dict[tuple[str, str, int], list[str]] = {}
    for family, task, metric, shots, role in curves.iter_rows():
        if role == "smooth":
            smooth.setdefault((family, task, shots), []).append(metric)
    for family, task, metric, shots, role in curves.iter_rows():
        alone = (family, task, shots) not in smooth or role == "headline"
        if alone and (role != "smooth"):
            grouped.setdefault((family, task, metric, shots), [])
    sizes = dict(models_by_size(scores))
    found = [_ability(key, verdicts, list(grouped), smooth, sizes) for key, verdicts in grouped.items()]
    found.sort(key=lambda ability: (_rank(ability.primary), _natural(ability.title)))
    return _with_unique_keys(found)


def _with_curves(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the scores without those of adapted models, which saw no training of their own, that nowhere make a
    curve."""
    adapted = pl.col("tokens").is_null().all().over("family")
    long = pl.lit(False)
    for axis in ("params", *ADAPTATIONS):
        curve = ["family", *(["model"] if axis in ADAPTATIONS else [])]
        long = long | (pl.col(axis).drop_nulls().n_unique().over(curve) >= MIN_RUNGS).any().over("family")
    return scores.filter(~adapted | long)


def _ability(
    key: tuple[str, str, str, int],
    verdicts: list[Verdict],
    everything: list[tuple[str, str, str, int]],
    smooth: dict[tuple[str, str, int], list[str]],
    sizes: dict[str, float | None],
) -> Ability:
    family, task, metric, shots = key
    primary = min(verdicts, key=lambda v: _preference(v, sizes), default=None)
    named = next((v.smooth_metric for v in verdicts if v.smooth_metric), None)
    paired = named or next((name for name in smooth.get((family, task, shots), ()) if name != metric), None)
    same_task = [other for other in everything if other[1] == task]
    title = task
    if len({other[2] for other in same_task}) > 1:
        title += f" · {metric}"
    if len({other[3] for other in everything}) > 1:
        title += f" · {shots}-shot"
    if len({other[0] for other in everything}) > 1:
        title += f" · {family}"
    return Ability("", family, task, metric, shots, paired, title, tuple(verdicts), primary)


def _preference(verdict: Verdict, sizes: dict[str, float | None]) -> tuple[int, float]:
    """Sort the whole ladder before single models, and large models before small ones."""
    return _AXIS_PREFERENCE.index(verdict.axis), -(sizes.get(verdict.model or "") or 0.0)


def _rank(verdict: Verdict | None) -> tuple[int, float]:
    if verdict is None:
        return len(VERDICT_ORDER), 0.0
    return VERDICT_ORDER.index(verdict.verdict), -round(abs(verdict.gain.estimate or 0.0), 3)


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort ``task_9`` before ``task_10``."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", text)]


def _with_unique_keys(abilities: list[Ability]) -> list[Ability]:
    seen: Counter[str] = Counter()
    result = []
    for ability in abilities:
        slug = re.sub(r"[^\w]+", "-", ability.title.lower()).strip("-")[:80] or "ability"
        seen[slug] += 1
        key = slug if seen[slug] == 1 else f"{slug}--{seen[slug]}"
        result.append(
            Ability(
                key,
                ability.family,
                ability.task,
                ability.metric,
                ability.shots,
                ability.smooth,
                ability.title,
                ability.verdicts,
                ability.primary,
            )
        )
    return result
