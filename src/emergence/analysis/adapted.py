"""Fine-tuned and compressed models over their seeds: mean scores with intervals, and the variant that validation chose.

The interval of a mean over K seeds joins the luck of a seed and that of the test examples:

    mean ± √((t s / √K)² + z² e²)

where s is the standard deviation over seeds, t the 95 % quantile of Student's distribution with K - 1 degrees of
freedom, e² the mean squared standard error of a seed over the test examples, and z = 1.645. All seeds answer the same
test examples, so that e does not become less with more of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emergence.core.adaptation import AdaptationFile, AdaptedScore, CompressedRecord, TaskKind, TunedRecord
from emergence.core.schema import Interval

__all__ = [
    "VALIDATION",
    "Compressed",
    "Place",
    "Tuned",
    "best_tuned",
    "compressed_models",
    "over_seeds",
    "tuned_models",
]

#: What validation measures by the kind of a task, and whether more is better. Written answers are validated by their
#: loss, in nats per token.
VALIDATION: dict[TaskKind, tuple[str, bool]] = {
    "classification": ("accuracy", True),
    "span": ("f1", True),
    "regression": ("rmse", False),
    "generation": ("loss", False),
}
_RANGES = {"rmse": (0.0, math.inf), "spearman": (-1.0, 1.0), "bleu": (0.0, 100.0), "chrf": (0.0, 100.0)}
_SHARES = ("accuracy", "exact_match", "f1", "macro_f1", "roc_auc", "rouge_1", "rouge_2", "rouge_l", "token_accuracy")
_RANGES |= dict.fromkeys(_SHARES, (0.0, 1.0))
Place = tuple[str, int, str]  # test set or task, shots, metric


@dataclass(frozen=True)
class Tuned:
    """One way of tuning one model for one task, or a baseline, over its seeds; ``seeds`` of them came to an end.

    ``validation`` is the mean of what `VALIDATION` names. The variant that does best there, of one model on one number
    of examples, is ``chosen``; one of which a seed diverged is not.
    """

    task: str
    kind: TaskKind
    family: str
    model: str
    params: float | None
    variant: str
    before: int | None
    baseline: bool
    asked: int | None
    examples: int | None
    seeds: int
    diverged: int
    scores: dict[Place, Interval]
    validation: float | None
    share: float | None
    flops: float
    records: tuple[TunedRecord, ...]
    chosen: bool = False


@dataclass(frozen=True)
class Compressed:
    """One model at one level of one method over its seeds; without a ``method`` as it was."""

    family: str
    model: str
    params: float | None
    method: str | None
    level: str
    bits: float | None
    seeds: int
    scores: dict[Place, Interval]
    headlines: tuple[Place, ...]


def over_seeds(values: Sequence[float], errors: Sequence[float | None], metric: str = "") -> Interval:
    """Return the mean over seeds with its 90 % interval (see the top of this file), within what the metric can be.

    Of one seed whose error is not known there is no interval. Raises ValueError for no value at all.
    """
    from scipy.stats import norm, t

    if not values:
        raise ValueError("the mean over no seeds is not defined")
    mean, seeds = float(np.mean(values)), len(values)
    known = [error for error in errors if error is not None]
    if seeds == 1 and not known:
        return Interval(estimate=mean)
    luck = float(t.ppf(0.95, seeds - 1)) * float(np.std(values, ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    examples = float(norm.ppf(0.95)) * math.sqrt(sum(error**2 for error in known) / len(known)) if known else 0.0
    half = math.hypot(luck, examples)
    low, high = _RANGES.get(metric, (-math.inf, math.inf))
    return Interval(estimate=mean, low=min(mean, max(low, mean - half)), high=max(mean, min(high, mean + half)))


def tuned_models(file: AdaptationFile, *, largest: bool = False) -> list[Tuned]:
    """Return every way of tuning by task, largest model first, best validation first; the baselines of a task last.

    With ``largest`` only those on the largest number of examples of each task.
    """
    groups: dict[tuple[object, ...], list[TunedRecord]] = {}
    for one in file.tuned:
        groups.setdefault((one.task, one.family, one.model, one.variant, one.before, one.asked), []).append(one)
    ways = [_tuned(records) for records in groups.values()]
    if largest:
        most = {way.task: max(_amount(other) for other in ways if other.task == way.task) for way in ways}
        ways = [way for way in ways if _amount(way) == most[way.task]]
    tasks = list(dict.fromkeys(way.task for way in ways))
    sizes = {(w.family, w.model): w.params for w in ways if w.params is not None}
    ways = [replace(way, params=sizes.get((way.family, way.model))) for way in ways]
    ways.sort(
        key=lambda w: (tasks.index(w.task), -_amount(w), w.baseline, -(w.params or 0), w.family, w.model, _rank(w))
    )
    best: dict[tuple[object, ...], Tuned] = {}
    for way in ways:
        if not way.baseline and way.validation is not None and not way.diverged:
            best.setdefault((way.task, way.asked, way.family, way.model), way)
    kept = {id(way) for way in best.values()}
    return [replace(way, chosen=id(way) in kept) for way in ways]


def best_tuned(ways: Iterable[Tuned]) -> Tuned | None:
    """Return the one of all models that did best on the validation examples."""
    return min((way for way in ways if way.chosen), key=_rank, default=None)


def compressed_models(file: AdaptationFile) -> list[Compressed]:
    """Return every level of every model, largest model first; in it as it was, then by method from most bits on."""
    groups: dict[tuple[object, ...], list[CompressedRecord]] = {}
    for one in file.compressed:
        groups.setdefault((one.family, one.model, one.method, one.level), []).append(one)
    sizes = {(one.family, one.model): one.params for one in file.compressed if one.params is not None}
    found = []
    for records in groups.values():
        first = records[0]
        done = [one for one in records if one.status == "done"]
        bits = [one.bits for one in done if one.bits is not None]
        headlines = dict.fromkeys((s.test, s.shots, s.metric) for one in done for s in one.scores if s.headline)
        found.append(
            Compressed(
                first.family,
                first.model,
                sizes.get((first.family, first.model)),
                first.method,
                first.level,
                float(np.mean(bits)) if bits else None,
                len(done),
                _means([one.scores for one in done]),
                tuple(headlines),
            )
        )
    return sorted(
        found, key=lambda c: (-(c.params or 0), c.family, c.model, c.method is not None, c.method or "", -(c.bits or 0))
    )


def _tuned(records: Sequence[TunedRecord]) -> Tuned:
    first = records[0]
    done = [one for one in records if one.status == "done"]
    name, _ = VALIDATION[first.kind]
    validation = [one.validation[name] for one in done if name in one.validation]
    shares = [one.share for one in done if one.share is not None]
    return Tuned(
        first.task,
        first.kind,
        first.family,
        first.model,
        next((one.params for one in done if one.params is not None), None),
        first.variant,
        first.before,
        first.baseline,
        first.asked,
        next((one.examples for one in done), None),
        len(done),
        len(records) - len(done),
        _means([one.scores for one in done]),
        float(np.mean(validation)) if validation else None,
        float(np.mean(shares)) if shares else None,
        float(np.mean([one.flops for one in done])) if done else 0.0,
        tuple(records),
    )


def _means(scores: Sequence[Sequence[AdaptedScore]]) -> dict[Place, Interval]:
    """Return the mean of every score that all seeds have, or some: of a correlation a seed may have none."""
    found: dict[Place, list[AdaptedScore]] = {}
    for one in (one for own in scores for one in own):
        found.setdefault((one.test, one.shots, one.metric), []).append(one)
    return {
        place: over_seeds([one.score for one in own], [_error(one) for one in own], place[2])
        for place, own in found.items()
    }


def _error(one: AdaptedScore) -> float | None:
    """Return the standard error of a score. That of a share of right ones is at least what Agresti and Coull (1998, doi
    10.1080/00031305.1998.10480550) take: all of n right is not the certainty of being right."""
    if one.metric not in ("accuracy", "exact_match") or not one.n:
        return one.error
    z2 = 1.645**2
    share = (one.score * one.n + z2 / 2) / (one.n + z2)
    return max(one.error or 0.0, math.sqrt(share * (1 - share) / (one.n + z2)))


def _amount(way: Tuned) -> float:
    return math.inf if way.asked is None else way.asked


def _rank(way: Tuned) -> tuple[float, float]:
    """Sort the best validation score first, of equal ones that with the smaller loss; what has none comes last."""
    if way.validation is None:
        return math.inf, 0.0
    losses = [one.validation["loss"] for one in way.records if "loss" in one.validation]
    sign = -1.0 if VALIDATION[way.kind][1] else 1.0
    return sign * way.validation, float(np.mean(losses)) if losses else 0.0
