"""`judge`: from a completed score table to one verdict per family, task, headline metric, shots and axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from emergence.analysis import wording
from emergence.analysis.bimodality import bimodality
from emergence.analysis.candidates import ALL, LEVEL, fit_models
from emergence.analysis.cases import Case, find_cases, random_stream, roles
from emergence.analysis.change_points import find_change_points
from emergence.analysis.crossings import Trend, crossing, fit_trend, rise_width
from emergence.analysis.curves import MIN_RUNGS, Curve, curves
from emergence.analysis.decision import ALPHA, Decision, decide
from emergence.analysis.gain import gain_test
from emergence.analysis.measures import breakthroughness, emergence_score, linearity
from emergence.analysis.multiple import benjamini_hochberg
from emergence.analysis.noise import measure_noise
from emergence.analysis.paired import choose_smooth
from emergence.analysis.replicas import read_replicas
from emergence.core.schema import AXES, Axis, ChangePoint, Interval, Surprise, Verdict, VerdictName

__all__ = ["find_axis_cases", "judge", "judge_cases", "weigh_gains"]

SAME = 1e-12  # rung means that differ by less are equal
TOGETHER = 128  # curves judged at a time


def judge(
    scores: pl.DataFrame,
    *,
    axes: Sequence[Axis] = AXES,
    resamples: int = 1000,
    seed: int = 0,
    candidates: bool = True,
) -> list[Verdict]:
    """Return the verdicts on a completed score table (`emergence.analysis.normalise`), in a fixed order.

    On `params`, `flops` and `loss` a curve has one point per model and seed, its last checkpoint; on `tokens` there is
    one curve per model, over its checkpoints, and on `examples`, `bits` and `training_tasks` one per model too, over
    its adaptations. A task with smooth metrics alone has these judged, as flat, gradual or
    inverse. q-values are Benjamini and Hochberg's over all curves of an axis, of the test that the trend gains nothing.
    ``candidates``: fit the candidate curves too (`Verdict.models`), which decide nothing and take most of the time
    where there are few curves. Axes without values give no verdict. The same table, resamples and seed give the same
    verdicts, whatever the order of the rows.
    """
    found = (judge_cases(find_axis_cases(scores, axis), resamples, seed, candidates=candidates) for axis in axes)
    return [verdict for verdicts in found for verdict in verdicts]


def find_axis_cases(scores: pl.DataFrame, axis: Axis) -> list[Case]:
    """Return the curves of a completed score table along one axis that get a verdict."""
    return find_cases(curves(scores, axis).values(), roles(scores))


def judge_cases(cases: Sequence[Case], resamples: int, seed: int, *, candidates: bool = True) -> list[Verdict]:
    """Return the verdicts of the curves of one axis; what was found on the way stays in the cases."""
    weigh_gains(cases, seed)
    verdicts: list[Verdict] = []
    for start in range(0, len(cases), TOGETHER):
        verdicts += _judge_some(cases[start : start + TOGETHER], resamples, seed, candidates)
    return verdicts


def _judge_some(cases: Sequence[Case], resamples: int, seed: int, candidates: bool) -> list[Verdict]:
    """Judge tested curves; the resampled trends, by far the largest thing there is, are forgotten afterwards."""
    moving: list[Case] = []
    level: list[Case] = []
    for case in cases:
        if case.q is not None and float(np.ptp(case.curve.mean_K)) > SAME:
            rng = random_stream(seed, case.curve.key, "trend")
            rises_or_falls = case.q < ALPHA
            case.trend = fit_trend(case.curve, case.noise, resamples, rng, with_levels=rises_or_falls)
            (moving if rises_or_falls else level).append(case)
    for group, families in ((moving, ALL), (level, LEVEL)) if candidates else ():
        fitted = fit_models([(case.curve, case.trend.noise) for case in group if case.trend], families)
        for case, models in zip(group, fitted, strict=True):
            case.models = models
    verdicts = [_verdict(case, decide(case, resamples, seed)) for case in cases]
    for case in cases:
        case.trend = None if case.trend is None else case.trend.without_draws()
    return verdicts


def weigh_gains(cases: Sequence[Case], seed: int) -> None:
    """Test every curve for a gain and correct for their number."""
    tested = [case for case in cases if case.curve.n_rungs >= MIN_RUNGS]
    for case in tested:
        case.test = gain_test(case.curve, case.noise, random_stream(seed, case.curve.key, "gain"))
    for case, q in zip(tested, benjamini_hochberg([c.test.p for c in tested if c.test]), strict=True):
        case.q = q


def _smooth_verdict(smooth: Iterable[Curve], seed: int) -> tuple[str | None, VerdictName | None]:
    chosen = choose_smooth(smooth)
    if chosen is None:
        return None, None
    if chosen.n_rungs < MIN_RUNGS:
        return chosen.key.metric, VerdictName.UNDERPOWERED
    test = gain_test(chosen, measure_noise(chosen), random_stream(seed, chosen.key, "gain"))
    if test.p >= ALPHA:
        return chosen.key.metric, VerdictName.FLAT
    return chosen.key.metric, VerdictName.GRADUAL if test.rises else VerdictName.INVERSE


def _verdict(case: Case, decision: Decision) -> Verdict:
    """Return the verdict with everything else that is known of the curve."""
    curve, key, trend, name = case.curve, case.curve.key, case.trend, decision.name
    paired = decision.paired
    smooth_metric, smooth_verdict = _smooth_verdict(case.smooth, 0)
    nothing = Interval(reason=_why_no_level(curve, name))
    same = Interval(estimate=0, low=0, high=0)
    onset = threshold = width = nothing
    if decision.levels and trend is not None and curve.floor is not None and curve.ceiling is not None:
        way = curve.ceiling - curve.floor
        onset = crossing(curve, trend, curve.floor + 0.05 * way, "5 % of the way from its floor to its ceiling")
        threshold = crossing(curve, trend, curve.floor + 0.5 * way, "half of the way from its floor to its ceiling")
        width = rise_width(trend)
    shown = [float(v) for v in curve.shown_K]
    resolution = 1 / float(np.nanmedian(curve.n_KR) * curve.design_effect) if curve.share else None
    return Verdict(
        family=key.family,
        model=key.model,
        task=key.task,
        metric=key.metric,
        shots=key.shots,
        axis=key.axis,
        verdict=name,
        reason=(wording.breaking(curve, threshold) if key.axis == "bits" else "") + decision.reason,
        gain=trend.gain if trend is not None else same if case.test is not None else nothing,
        onset=onset,
        threshold=threshold,
        width_decades=width,
        surprise=paired.surprise
        if paired is not None
        else Surprise(reason="the headline does not look emergent" if smooth_metric else "no smooth metric"),
        breakthroughness=breakthroughness(shown),
        linearity=linearity(shown),
        emergence_score=emergence_score(shown),
        smooth_metric=smooth_metric,
        smooth_verdict=smooth_verdict,
        explained_by_metric=decision.explained
        or Interval(reason="asked only where the headline looks emergent and has a smooth metric"),
        bimodal=bimodality(curve.y_KR, resolution or 0.0),
        replicas=read_replicas(curve),
        change_points=_change_points(case, trend),
        resolution=resolution,
        models=case.models,
        n_rungs=curve.n_rungs,
        n_replicas=curve.n_replicas,
        q_value=case.q,
    )


def _why_no_level(curve: Curve, name: VerdictName) -> str:
    """Return why a curve has no onset and no threshold."""
    if curve.n_rungs < MIN_RUNGS:
        return "fewer than three rungs"
    if name in (VerdictName.FLAT, VerdictName.UNDERPOWERED, VerdictName.INVERSE):
        return f"asked only of a score that rises, and the verdict is {name.value}"
    return "the score of guessing is not known; give the column 'floor'"


def _change_points(case: Case, trend: Trend | None) -> tuple[ChangePoint, ...]:
    """Return where the pace of a score changes along training; of a score that does not move nowhere."""
    curve = case.curve
    if curve.key.axis != "tokens" or trend is None or case.q is None or case.q >= ALPHA:
        return ()
    return find_change_points(curve, case.noise, random_stream(0, curve.key, "change points"))
