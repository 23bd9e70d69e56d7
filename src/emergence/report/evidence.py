"""What stands behind one verdict, in words: candidate curves, measures with their reasons, replicas, the next scale."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergence.analysis.curves import CurveKey, curves
from emergence.analysis.measures import undefined_reason
from emergence.core.forecasts import Forecast
from emergence.core.schema import AbleShare, CurveFit, Interval, Verdict
from emergence.report.data import Ability, ReportData, complete
from emergence.report.numbers import axis_value, decimal, percent, significant
from emergence.report.texts import Texts

__all__ = [
    "Evidence",
    "Measure",
    "change_lines",
    "find_evidence",
    "next_cards",
    "next_forecasts",
    "next_lines",
    "resolution_line",
    "sorted_candidates",
]

_MEASURES = ("breakthroughness", "linearity", "emergence_score")


@dataclass(frozen=True)
class Measure:
    """A number about a curve; ``missing`` where ``value`` is the reason that there is none."""

    name: str
    value: str
    missing: bool = False


@dataclass(frozen=True)
class Evidence:
    """The texts that stand behind a verdict."""

    candidates: list[list[str]]  # curve, AICc, its distance from the best, held-out error
    unfitted: list[str]  # curves without either number
    measures: list[Measure]
    replicas: list[Measure]  # where half of the replicas have the ability, and over which stretch
    able: list[tuple[str, str, str]]  # place, count, share with its interval
    mixture: bool
    replicas_reason: str


def find_evidence(ability: Ability, data: ReportData, texts: Texts) -> Evidence | None:
    """Return what stands behind the primary verdict of ``ability``; None where it has none."""
    verdict = ability.primary
    if verdict is None:
        return None
    several = verdict.n_replicas >= 2 and bool(verdict.replicas.rungs)
    return Evidence(
        candidates=candidate_rows(verdict.models, texts),
        unfitted=[texts.method(fit.name) for fit in verdict.models if not _fitted(fit)],
        measures=_measures(verdict, data, texts),
        replicas=_replicas(verdict, texts) if several else [],
        able=[_able(rung, verdict, texts) for rung in verdict.replicas.rungs] if several else [],
        mixture=verdict.replicas.mixture is True,
        replicas_reason=(verdict.replicas.reason or "") if verdict.n_replicas >= 2 else "",
    )


def sorted_candidates(models: tuple[CurveFit, ...]) -> list[CurveFit]:
    """Return candidate curves with the least AICc first, then by held-out error; those without either last."""

    def rank(fit: CurveFit) -> tuple[bool, float, bool, float]:
        return (fit.aicc is None, fit.aicc or 0.0, fit.held_out_error is None, fit.held_out_error or 0.0)

    return sorted(models, key=rank)


def _fitted(fit: CurveFit) -> bool:
    return fit.aicc is not None or fit.held_out_error is not None


def candidate_rows(models: tuple[CurveFit, ...], texts: Texts) -> list[list[str]]:
    """Return one row of text per candidate curve that could be fitted, the best first."""
    ordered = [fit for fit in sorted_candidates(models) if _fitted(fit)]
    best = ordered[0].aicc if ordered else None
    return [
        [
            texts.method(fit.name),
            decimal(fit.aicc, 1),
            decimal(fit.aicc - best if fit.aicc is not None and best is not None else None, 1),
            decimal(fit.held_out_error),
        ]
        for fit in ordered
    ]


def resolution_line(verdict: Verdict, texts: Texts) -> str:
    """Return the finest step that a share of n examples can show; empty where the headline is no share."""
    if verdict.resolution is None:
        return ""
    return texts("resolution.line", share=percent(verdict.resolution), n=_examples(verdict))


def change_lines(verdict: Verdict, texts: Texts) -> list[str]:
    """Return one phrase per change point of a verdict."""
    return [
        texts(
            "changes.line",
            at=texts.place(point.at, verdict.axis),
            before=decimal(point.slope_before, 2),
            after=decimal(point.slope_after, 2),
        )
        for point in verdict.change_points
    ]


def next_forecasts(ability: Ability, data: ReportData, metric: str | None = None) -> list[Forecast]:
    """Return the forecasts for the next scale of an ability's headline metric, or of another ``metric`` of it."""
    if data.forecasts is None:
        return []
    wanted = (ability.family, ability.task, metric or ability.metric, ability.shots)
    return [f for f in data.forecasts.next if (f.family, f.task, f.metric, f.shots) == wanted]


def next_lines(forecasts: list[Forecast], texts: Texts) -> list[str]:
    """Return a caption per forecast for the next scale: place, method and score, or why no method is recommended."""
    lines = []
    for forecast in forecasts:
        chosen = forecast.prediction(forecast.recommended)
        whose = f"{forecast.model}: " if forecast.model else ""
        if chosen is None:
            why = forecast.recommendation or texts("interval.missing")
            lines.append(whose + texts("forecasts.unchosen", reason=why))
            continue
        at = texts.place(Interval(estimate=forecast.at), forecast.axis)
        lines.append(
            whose
            + texts("forecasts.caption", at=at, method=texts.method(chosen.method), score=texts.amount(chosen.score))
        )
    return lines


def next_cards(forecasts: list[Forecast], texts: Texts) -> list[tuple[Interval, str]]:
    """Return the recommended forecasts for the next scale, each with its place and method in words."""
    found = []
    for forecast in forecasts:
        chosen = forecast.prediction(forecast.recommended)
        if chosen is not None and chosen.score.estimate is not None:
            at = texts.place(Interval(estimate=forecast.at), forecast.axis)
            found.append((chosen.score, texts("forecasts.card.at", at=at, method=texts.method(chosen.method))))
    return found


def _measures(verdict: Verdict, data: ReportData, texts: Texts) -> list[Measure]:
    missing = [name for name in _MEASURES if getattr(verdict, name) is None]
    shown = _shown_scores(verdict, data) if missing else None
    q_value = None if verdict.q_value is None else f"{significant(verdict.q_value, 2):g}"
    found = [Measure(texts("measure.q_value"), q_value or texts("q.none"), q_value is None)]
    if verdict.resolution is not None:
        value = texts("resolution.value", share=percent(verdict.resolution), n=_examples(verdict))
        found.append(Measure(texts("measure.resolution"), value))
    found.append(_interval("width_decades", verdict.width_decades, texts))
    surprise = verdict.surprise
    if surprise.z is not None:
        at = axis_value(surprise.at, verdict.axis)
        stated = texts("measure.surprise.value", z=decimal(surprise.z, 1), at=at)
        found.append(Measure(texts("measure.surprise"), stated))
    else:
        found.append(Measure(texts("measure.surprise"), surprise.reason or texts("measure.undefined"), missing=True))
    found.append(_interval("explained", verdict.explained_by_metric, texts))
    dip = verdict.bimodal
    if dip.dip is not None:
        stated = texts("measure.bimodal.value", dip=decimal(dip.dip), p=decimal(dip.p))
        found.append(Measure(texts("measure.bimodal"), stated))
    else:
        found.append(Measure(texts("measure.bimodal"), dip.reason or texts("measure.undefined"), missing=True))
    for name in _MEASURES:
        value = getattr(verdict, name)
        if value is not None:
            found.append(Measure(texts(f"measure.{name}"), decimal(value, 2)))
            continue
        reason = undefined_reason(shown, name) if shown is not None else None
        found.append(Measure(texts(f"measure.{name}"), reason or texts("measure.undefined"), missing=True))
    return found


def _interval(name: str, interval: Interval, texts: Texts) -> Measure:
    return Measure(texts(f"measure.{name}"), texts.amount(interval), interval.estimate is None)


def _shown_scores(verdict: Verdict, data: ReportData) -> list[float] | None:
    """Return the rung means of a verdict's curve, from which the measures of the literature are made."""
    rows = complete(data.scores).filter(
        (pl.col("task") == verdict.task) & (pl.col("metric") == verdict.metric) & (pl.col("shots") == verdict.shots)
    )
    if verdict.model is not None:
        rows = rows.filter(pl.col("model") == verdict.model)
    rows = rows.filter(pl.col("family") == verdict.family)
    if rows.is_empty():
        return None
    key = CurveKey(verdict.family, verdict.task, verdict.metric, verdict.shots, verdict.axis, verdict.model)
    curve = curves(rows, verdict.axis).get(key)
    return None if curve is None else [float(score) for score in curve.shown_K]


def _replicas(verdict: Verdict, texts: Texts) -> list[Measure]:
    reading = verdict.replicas
    half = Measure(
        texts("replicas.half"), texts.place(reading.threshold, verdict.axis), reading.threshold.estimate is None
    )
    width = reading.width_decades
    if width.estimate is not None:
        value, missing = texts("replicas.decades", width=texts.amount(width)), False
    elif width.high is not None:
        value, missing = texts("replicas.decades.below", high=decimal(width.high, 2)), False
    else:
        value, missing = width.reason or texts("interval.missing"), True
    return [half, Measure(texts("replicas.width"), value, missing)]


def _able(rung: AbleShare, verdict: Verdict, texts: Texts) -> tuple[str, str, str]:
    return (
        axis_value(rung.at, verdict.axis),
        texts("replicas.count", able=rung.able, replicas=rung.replicas),
        texts(
            "interval.plain",
            estimate=percent(rung.share.estimate),
            low=percent(rung.share.low),
            high=percent(rung.share.high),
        ),
    )


def _examples(verdict: Verdict) -> int:
    return round(1 / verdict.resolution) if verdict.resolution else 0
