"""The one sentence that says why: words a newcomer to the field understands."""

from __future__ import annotations

import numpy as np

from emergence.analysis.curves import Curve
from emergence.analysis.paired import SmoothReading
from emergence.core.schema import Axis, Interval

__all__ = [
    "AXIS_NAMES",
    "axis_value",
    "breaking",
    "emergent",
    "flat",
    "gradual",
    "inverse",
    "leaning",
    "mirage",
    "not_above",
    "sudden",
    "too_few_rungs",
    "unclear_few",
    "unclear_start",
    "unclear_zero",
    "unknown_floor",
    "untested_smooth",
]

_METRICS = {
    "exact_match": "exact match",
    "acc": "accuracy",
    "acc_norm": "length-normalised accuracy",
    "target_logprob": "the log-probability of the target",
    "target_prob": "the probability of the target",
    "f1": "F1",
    "bleu": "BLEU",
    "ppl": "the perplexity of the target",
    "brier": "the Brier score",
    "token_edit_distance": "the token edit distance",
}
AXIS_NAMES: dict[Axis, str] = {
    "params": "parameters",
    "tokens": "training tokens",
    "flops": "training FLOPs",
    "loss": "nats of loss",
    "examples": "fine-tuning examples",
    "bits": "bits per weight",
    "training_tasks": "training tasks",
}
#: How one goes up an axis, where it is not by scale.
_UPWARDS: dict[Axis, str] = {
    "examples": "with more fine-tuning examples",
    "bits": "with more bits per weight",
    "training_tasks": "with more training tasks",
}
_SMALL: tuple[Axis, ...] = ("examples", "bits", "training_tasks")  # numbers that are written out
SURVIVING = 0.9  # of the way from the floor to the score at the most bits: the ability is intact
GONE = 0.05  # of the way from floor to ceiling, as the onset


def metric_name(name: str) -> str:
    """Return the metric in words."""
    return _METRICS.get(name, name.replace("_", " "))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _title(curve: Curve) -> str:
    return _capital(metric_name(curve.key.metric))


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) >= 1e4 else f"{value:.2f}"


def axis_value(curve: Curve, rung: int) -> str:
    """Return the rung's position with its unit, for example "2.5e4 parameters"."""
    value = curve.to_axis(float(curve.x_K[rung]))
    return f"{_place(value, curve.key.axis)} {AXIS_NAMES[curve.key.axis]}"


def _place(value: float, axis: Axis) -> str:
    if axis == "loss":
        return f"{value:.2f}"
    if axis in _SMALL:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def _ends(curve: Curve) -> tuple[str, str]:
    shown = curve.shown_K
    return _number(float(shown[0])), _number(float(shown[-1]))


def _stay(curve: Curve, stretch: int) -> str:
    shown = curve.shown_K
    return (
        f"{_title(curve)} stays at its floor of {_number(curve.shown_floor)} up to "
        f"{axis_value(curve, stretch - 1)} and reaches {_number(float(shown[-1]))} at the top"
    )


def too_few_rungs(curve: Curve) -> str:
    """Return the sentence of the case "too few rungs"."""
    count = curve.n_rungs
    return (
        f"With {count} rung{'' if count == 1 else 's'} along this axis, flat and gradual cannot be told apart, nor any "
        "other course; three rungs are the least, and eight make most verdicts possible."
    )


def flat(curve: Curve, gain: Interval, *, uneven: bool = False) -> str:
    """Return the sentence of the case "flat"; ``uneven``: rungs differ by more than their noise."""
    name = _title(curve)
    low, high = _ends(curve)
    if gain.low is None or gain.high is None:
        return f"{name} is the same at every rung ({low})."
    trend = f"the trend gains {_number(gain.low)} to {_number(gain.high)}"
    if uneven:
        least, most = (_number(float(v)) for v in (curve.shown_K.min(), curve.shown_K.max()))
        return (
            f"{name} goes up and down between {least} and {most}, by more than its examples and replicas explain, but "
            f"not {_UPWARDS.get(curve.key.axis, 'with scale')}: {trend}."
        )
    return f"{name} goes from {low} to {high}, which measurement noise explains: {trend}."


def unclear_zero(curve: Curve, gain: Interval) -> str:
    """Return the sentence of the case "unclear zero"."""
    more = "more replicas" if curve.n_replicas < 3 else "more examples"
    low, high = _number(gain.low or 0.0), _number(gain.high or 0.0)
    return (
        "Flat and gradual are both open: the scores scatter so much that the gain could be anything from "
        f"{low} to {high}; {more} or more rungs would decide."
    )


def leaning(curve: Curve, gain: Interval, q: float) -> str:
    """Return the sentence of the case "leaning": a gain that the number of curves looked at leaves open."""
    more = "more replicas" if curve.n_replicas < 3 else "more examples"
    low, high = gain.low or 0.0, gain.high or 0.0
    other, least, most = ("gradual", low, high) if high > 0 else ("inverse", -high, -low)
    return (
        f"{_title(curve)} leans to a {'gain' if high > 0 else 'loss'} of {_number(least)} to {_number(most)}, which is "
        f"not clear (q = {q:.2g}, corrected for all curves looked at): flat and {other} are both open; {more} or more "
        "rungs would decide."
    )


def unclear_few(curve: Curve, *, rises: bool) -> str:
    """Return the sentence of the case "unclear few"."""
    low, high = _ends(curve)
    other = "gradual" if rises else "inverse"
    return (
        f"{_title(curve)} goes steadily from {low} to {high}, but {curve.n_rungs} rungs could do so by chance if runs "
        f"of different size differ more than replicas do: flat and {other} are both open; more rungs would decide."
    )


def gradual(curve: Curve) -> str:
    """Return the sentence of the case "gradual"."""
    low, high = _ends(curve)
    name = _title(curve)
    course = "improves from" if curve.turned else "climbs from"
    return f"{name} {course} {low} to {high}, and does so from the foot of the ladder on: no stretch is on the floor."


def smooth_only(curve: Curve) -> str:
    """Return the sentence of the case "smooth only"."""
    low, high = _ends(curve)
    return (
        f"{_title(curve)} improves from {low} to {high}; it is a smooth metric without a headline "
        "beside it, so only the direction is judged."
    )


def inverse(curve: Curve) -> str:
    """Return the sentence of the case "inverse"."""
    low, high = _ends(curve)
    name = _title(curve)
    return (
        f"{name} gets worse {_UPWARDS.get(curve.key.axis, 'with scale')}, from {low} to {high}, by more than the noise."
    )


def unclear_start(curve: Curve) -> str:
    """Return the sentence of the case "unclear start"."""
    return (
        f"{_title(curve)} rises, but whether it stays on its floor first (sudden) or climbs from "
        "the foot (gradual) is open; more rungs at the foot, or more examples there, would decide."
    )


def not_above(curve: Curve, stretch: int) -> str:
    """Return the sentence of the case "not above"."""
    shown = curve.shown_K
    return (
        f"{_title(curve)} has left its floor of {_number(curve.shown_floor)} but reaches "
        f"only {_number(float(shown[-1]))} at the top: flat and sudden are both open until larger rungs decide."
    )


def unknown_floor(curve: Curve) -> str:
    """Return the sentence of the case "unknown floor"."""
    return (
        f"{_title(curve)} rises, but the score of guessing is not known, so gradual and sudden "
        "are both open; give the column 'floor'."
    )


def sudden(curve: Curve, stretch: int, smooth: str | None, why: str) -> str:
    """Return the sentence of the case "sudden"."""
    if smooth is None:
        why_open = "there is no smooth metric beside it to tell a new ability from an effect of the metric"
        return f"{_stay(curve, stretch)}; {why_open}."
    return f"{_stay(curve, stretch)}; {metric_name(smooth)} does not decide, for {why}."


def mirage(curve: Curve, stretch: int, smooth: str, explained: Interval) -> str:
    """Return the sentence of the case "mirage"."""
    share = (
        ""
        if explained.estimate is None
        else f" and the metric's formula turns it into {100 * explained.estimate:.0f} % of the rise"
    )
    return (
        f"{_stay(curve, stretch)}, while {metric_name(smooth)} improves steadily before, its own law forecasts the rest"
        f"{share}: the jump is made by the metric."
    )


def emergent(curve: Curve, stretch: int, smooth: str, z: float) -> str:
    """Return the sentence of the case "emergent"."""
    return (
        f"{_stay(curve, stretch)}, and {metric_name(smooth)} breaks as well: it lies {z:.1f} standard deviations "
        "better than what it did before forecasts."
    )


def untested_smooth(curve: Curve, stretch: int, paired: SmoothReading) -> str:
    """Return the sentence of the case "untested smooth"."""
    few = paired.before < 4
    wanted = "more rungs below the onset" if few else "more replicas" if curve.n_replicas < 3 else "more examples"
    why = (
        "lies better than its forecast, but not clearly so"
        if paired.may_break
        else "is forecast too loosely by the rungs before the onset to notice a break"
    )
    return (
        f"{_stay(curve, stretch)}; mirage and emergent are both open, since {metric_name(paired.metric)} {why}; "
        f"{wanted} would decide."
    )


def breaking(curve: Curve, threshold: Interval) -> str:
    """Return where an ability that compression takes away breaks, read from the most bits down; "" where it does not.

    It survives down to the last rung from the top that keeps nine tenths of what the most bits have, breaks where it is
    half of the way from floor to ceiling (``threshold``), and is gone from the first rung on that is on the floor, as
    are all with fewer bits.
    """
    if curve.floor is None or curve.ceiling is None:
        return ""
    y, way = curve.mean_K, curve.ceiling - curve.floor
    intact = y >= curve.floor + SURVIVING * (y[-1] - curve.floor)
    gone = y < curve.floor + GONE * way
    if y[-1] < curve.floor + GONE * way:
        return ""
    last = curve.n_rungs - int(np.argmin(intact[::-1])) if not intact.all() else 0
    worn = last == curve.n_rungs - 1
    said = [f"is worn at {axis_value(curve, last - 1)}" if worn else f"survives down to {axis_value(curve, last)}"]
    if threshold.estimate is not None:
        reach = (
            ""
            if threshold.low is None or threshold.high is None
            else f" ({_place(threshold.low, 'bits')} to {_place(threshold.high, 'bits')})"
        )
        said.append(f"breaks at about {_place(threshold.estimate, 'bits')}{reach}")
    first = int(np.argmin(gone)) if gone.any() and not gone.all() else 0
    if first:
        said.append(f"is gone at {axis_value(curve, first - 1)} and below")
    elif last:
        said.append(f"is not wholly gone at {axis_value(curve, 0)}")
    listed = said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1]
    return f"{_title(curve)} {listed}. "
