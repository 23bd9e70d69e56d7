"""Adapted models over their seeds as plain values."""

from __future__ import annotations

from typing import Any

from emergence.analysis.adapted import VALIDATION, Place, compressed_models, tuned_models
from emergence.core.adaptation import AdaptationFile
from emergence.core.schema import Interval

__all__ = ["adaptation_document"]


def adaptation_document(file: AdaptationFile | None) -> dict[str, Any] | None:
    """Return every way of tuning and every level of compression with its mean scores over seeds; None for neither.

    The records of single seeds, with reports and histories, are in the study's ``adaptations.json``.
    """
    if file is None:
        return None
    tuned = [
        {
            "task": way.task,
            "family": way.family,
            "model": way.model,
            "params": way.params,
            "variant": way.variant,
            "before": way.before,
            "baseline": way.baseline,
            "examples": way.examples,
            "seeds": way.seeds,
            "diverged": way.diverged,
            "chosen": way.chosen,
            "scores": _scores(way.scores, "test"),
            "validation": None if way.validation is None else {VALIDATION[way.kind][0]: way.validation},
            "share": way.share,
            "flops": way.flops,
        }
        for way in tuned_models(file)
    ]
    compressed = [
        {
            "family": one.family,
            "model": one.model,
            "params": one.params,
            "method": one.method,
            "level": one.level or None,
            "bits": one.bits,
            "seeds": one.seeds,
            "scores": _scores(one.scores, "task"),
        }
        for one in compressed_models(file)
    ]
    return {"tuned": tuned, "compressed": compressed}


def _scores(scores: dict[Place, Interval], name: str) -> list[dict[str, Any]]:
    return [
        {name: test, "shots": shots, "metric": metric, **interval.model_dump(exclude={"reason"})}
        for (test, shots, metric), interval in scores.items()
    ]
