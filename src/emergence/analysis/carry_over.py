r"""Does a threshold carry over from one family (or corpus, or number of shots) to another?

With :math:`\Delta = \log_{10} t_2 - \log_{10} t_1` and its bootstrap distribution from the resampled trends of both
groups (`emergence.analysis.crossings.fit_trend`), which are independent:

* *does not carry over*: the test of :math:`\Delta = 0` is significant after correction for the number of pairs, and the
  interval does not lie within the margin (a difference that is certain but smaller than the margin carries over);
* *carries over*: both one-sided tests against the margin of the axis (`MARGIN_DECADES`) are significant at 5 %, that
  is, the 90 % interval of :math:`\Delta` lies within the margin (Schuirmann 1987, doi:10.1007/BF01068419);
* otherwise the thresholds are not known well enough.

Shapes: B resamples, U points of the trend.
"""

# ruff: noqa: N815 (shape suffixes on attributes)

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis import wording
from emergence.analysis.bootstrap import interval_of
from emergence.analysis.crossings import Trend, crossing, first_crossing, fit_trend
from emergence.analysis.curves import MIN_RUNGS, Curve, curves
from emergence.analysis.gain import gain_test
from emergence.analysis.metrics import metric
from emergence.analysis.multiple import benjamini_hochberg
from emergence.analysis.noise import measure_noise
from emergence.analysis.student import student_quantile, student_tail
from emergence.core.carry_over import CarryOver
from emergence.core.errors import UserError
from emergence.core.schema import AXES, Axis, Interval
from emergence.core.seeds import stream

__all__ = ["MARGIN_DECADES", "carry_over", "crossing_draws"]

Array = NDArray[np.float64]
ALPHA = 0.05
#: A factor of two; of the loss what that makes by L ~ N^-0.076 (Kaplan et al. 2020, arXiv 2001.08361, eq. 1.1), and of
#: the bits a factor of 1.25: from 5 to 4 bits is a step that people care for.
MARGIN_DECADES: dict[Axis, float] = dict.fromkeys(AXES, 0.3) | {"loss": 0.3 * 0.076, "bits": 0.1}
HIDDEN = 0.05  # share of resamples in which the ladder does not show the crossing, above which it is not identified
RISE_LEVEL = 0.02
BETWEEN = ("family", "shots")


@dataclass(frozen=True)
class _Side:
    """One group's curve with the draws of its onset and threshold, or the reason why there are none."""

    curve: Curve
    degrees: float
    threshold: Interval
    onset: Interval
    threshold_B: Array | None
    onset_B: Array | None


def crossing_draws(trend: Trend, level: float) -> Array:
    """Return where each resampled trend first passes ``level``, B, in log10 of the axis (minus log10 for the loss).

    -inf where it is above at the smallest rung already and inf where it never gets there.
    """
    return first_crossing(trend.draws_BU, trend.x_U, level)


def carry_over(
    scores: pl.DataFrame,
    *,
    between: str = "family",
    axes: Sequence[Axis] = AXES,
    resamples: int = 1000,
    seed: int = 0,
) -> list[CarryOver]:
    """Compare the thresholds of every pair of families (or shots) that share a task and a headline metric.

    ``scores`` is a completed table (`emergence.analysis.normalise`); another corpus is another family. Thresholds are
    where the trend passes half of the way from floor to ceiling, onsets where it passes 5 % of it; the answer goes by
    the threshold. q-values are Benjamini and Hochberg's over the pairs of one axis. On the axes of `PER_MODEL` models
    are compared that have the same name in both groups. The same table, resamples and seed give the same answers.

    Raises UserError where ``between`` is no column that can tell groups apart, or an axis is unknown.
    """
    if between not in BETWEEN:
        raise UserError(f"thresholds are compared between {' or '.join(BETWEEN)}, not '{between}'")
    if unknown := [a for a in axes if a not in AXES]:
        raise UserError(f"unknown axis '{unknown[0]}' (known: {', '.join(AXES)})")
    found: list[CarryOver] = []
    for axis in axes:
        together: dict[tuple[str, ...], list[Curve]] = {}
        for key, curve in curves(scores, axis).items():
            known = metric(key.metric)
            if known is not None and known.role != "headline":
                continue
            fixed = str(key.shots) if between == "family" else key.family
            together.setdefault((key.task, key.metric, fixed, key.model or ""), []).append(curve)
        pairs: list[CarryOver] = []
        for _, members in sorted(together.items()):
            if len(members) < 2:
                continue
            sides = [_side(curve, resamples, seed) for curve in members]
            pairs.extend(_compare(a, b, between) for a, b in itertools.combinations(sides, 2))
        found.extend(_corrected(pairs))
    return found


def _side(curve: Curve, resamples: int, seed: int) -> _Side:
    key = curve.key

    def nothing(reason: str) -> _Side:
        missing = Interval(reason=reason)
        return _Side(curve, 1.0, missing, missing, None, None)

    if curve.floor is None or curve.ceiling is None:
        return nothing("the scores of guessing and of the best answer are not known")
    if curve.n_rungs < MIN_RUNGS:
        return nothing(f"fewer than {MIN_RUNGS} rungs")
    names = ("carry-over", key.family, key.model or "", key.task, key.metric, key.shots, key.axis)
    noise = measure_noise(curve)
    test = gain_test(curve, noise, stream(seed, *names, "gain"))
    if test.p >= RISE_LEVEL or not test.rises:
        return nothing("the score does not rise clearly")
    trend = fit_trend(curve, noise, resamples, stream(seed, *names, "trend"))
    way = curve.ceiling - curve.floor
    half, start = curve.floor + 0.5 * way, curve.floor + 0.05 * way
    threshold = crossing(curve, trend, half, "half of the way from its floor to its ceiling")
    onset = crossing(curve, trend, start, "5 % of the way from its floor to its ceiling")
    return _Side(
        curve, trend.noise.degrees, threshold, onset, _shown(crossing_draws(trend, half)),
        _shown(crossing_draws(trend, start)),
    )  # fmt: skip


def _shown(draws_B: Array) -> Array | None:
    """Return the draws in which the ladder shows the crossing, or None where too many do not."""
    inside = np.isfinite(draws_B)
    return draws_B[inside] if float(np.mean(~inside)) <= HIDDEN else None


def _compare(first: _Side, second: _Side, between: str) -> CarryOver:
    a, b = first.curve.key, second.curve.key
    names = (a.family, b.family) if between == "family" else (str(a.shots), str(b.shots))
    difference, p = _difference(first.threshold_B, second.threshold_B, first, second)
    onset, _ = _difference(first.onset_B, second.onset_B, first, second)
    return CarryOver(
        between=between,
        first=names[0],
        second=names[1],
        model=a.model,
        task=a.task,
        metric=a.metric,
        shots=a.shots if between == "family" else None,
        axis=a.axis,
        first_threshold=first.threshold,
        second_threshold=second.threshold,
        difference_decades=difference,
        onset_difference_decades=onset,
        carries=None,
        p=p,
        q_value=None,
        reason=_missing(first, second, names) if p is None else "",
    )


def _missing(first: _Side, second: _Side, names: tuple[str, str]) -> str:
    """Return which of the two groups has no threshold to compare, and why."""
    for side, name in ((first, names[0]), (second, names[1])):
        if side.threshold_B is None:
            return f"Nothing can be said, because of {name}: {side.threshold.reason or 'its threshold is not shown'}."
    raise ValueError("both groups have a threshold")


def _difference(
    first_B: Array | None, second_B: Array | None, first: _Side, second: _Side
) -> tuple[Interval, float | None]:
    """Return the difference of two crossings in decades, and the p-value of none.

    The interval joins the bootstrap's percentiles with Student's, of the Welch-Satterthwaite degrees of freedom: the
    bootstrap of few rungs is a little narrow. The position is minus log10 on the loss, so the sign turns over there.
    """
    if first_B is None or second_B is None:
        return Interval(reason="not both ladders show the crossing"), None
    sign = -1.0 if first.curve.key.axis == "loss" else 1.0
    size = min(first_B.size, second_B.size)
    draws = sign * (second_B[:size] - first_B[:size])
    middle, low, high = interval_of(draws)
    parts = (float(np.var(first_B)), float(np.var(second_B)))
    spread = math.sqrt(sum(parts))
    shares = sum(v**2 / max(1.0, s.degrees) for v, s in zip(parts, (first, second), strict=True))
    degrees = sum(parts) ** 2 / shares if shares > 0 else math.inf
    reach = student_quantile(0.95, degrees) * spread if math.isfinite(degrees) else 0.0
    by_draws = 2 * (1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))) / (1 + draws.size)
    by_student = 2 * student_tail(abs(middle) / spread, degrees) if spread > 0 else float(middle == 0)
    interval = Interval(estimate=middle, low=min(low, middle - reach), high=max(high, middle + reach))
    # The bootstrap counts no further than its resamples go; beyond that Student's tail goes on.
    floor_of_draws = 4 / (1 + draws.size)
    return interval, float(min(1.0, by_student if by_draws <= floor_of_draws else max(by_draws, by_student)))


def _corrected(pairs: list[CarryOver]) -> list[CarryOver]:
    """Return the pairs with their q-value, answer and sentence."""
    tested = [i for i, pair in enumerate(pairs) if pair.p is not None]
    q_values = benjamini_hochberg([p for i in tested if (p := pairs[i].p) is not None])
    answered = list(pairs)
    for i, q in zip(tested, q_values, strict=True):
        answered[i] = _answer(pairs[i], q)
    return answered


def _answer(pair: CarryOver, q: float) -> CarryOver:
    gap = pair.difference_decades
    assert gap.estimate is not None
    assert gap.low is not None
    assert gap.high is not None
    factor, low, high = (10.0**v for v in (gap.estimate, gap.low, gap.high))
    stated = (
        f"{pair.second} passes its threshold at {factor:.3g} times the {wording.AXIS_NAMES[pair.axis]} of {pair.first}"
    )
    stated += f" (90 % interval {low:.3g} to {high:.3g}"
    margin = MARGIN_DECADES[pair.axis]
    within = max(abs(gap.low), abs(gap.high)) < margin
    carries: bool | None
    if q < ALPHA and not within:
        carries, sentence = False, f"The threshold does not carry over: {stated}, q = {q:.2g})."
    elif within:
        carries, sentence = True, f"The threshold carries over: {stated}, within a factor of {10**margin:.3g})."
    else:
        carries = None
        sentence = f"Whether the threshold carries over stays open: {stated}), too wide to tell."
    return pair.model_copy(update={"carries": carries, "q_value": q, "reason": sentence})
