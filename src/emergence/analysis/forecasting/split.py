"""What a forecaster may see and what it is asked: fitted rungs on one side, targets on the other.

The scores of held-out rungs are cut out of the table before a curve is built, so no method can read them: a `Target`
carries where the rung lies, how many examples and replicas it has, and nothing of what was measured there.

Shapes: K rungs, R replicas, T targets.
"""

# ruff: noqa: N815 (shape suffixes on attributes)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emergence.analysis.curves import TIE_DECADES, Curve, CurveKey, curves, groups
from emergence.analysis.noise import Noise, measure_noise
from emergence.core.errors import UserError
from emergence.core.schema import PER_MODEL, Axis

__all__ = ["Case", "Target", "Truth", "ahead", "hold_out_rungs"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """One rung to forecast: ``x`` on the curve's scale, ``at`` on the axis' own, its design but not its score."""

    x: float
    at: float
    model: str | None = None
    n: float | None = None  # examples of one replica
    replicas: float = 1.0


@dataclass(frozen=True)
class Truth:
    """What was measured at a target, on the table's own scale."""

    score: float
    stderr: float | None


@dataclass(frozen=True)
class Case:
    """One curve up to its last fitted rung, the targets beyond it, and the truth there, kept apart."""

    curve: Curve
    noise: Noise
    loss_K: Array  # mean validation loss of each rung; NaN where unknown
    targets: tuple[Target, ...]
    truths: tuple[Truth, ...] = field(default=(), repr=False)

    @property
    def key(self) -> CurveKey:
        return self.curve.key

    def to_table(self, y: Array) -> Array:
        """Return scores of the curve's scale as they stand in the table."""
        return to_table(self.curve, y)


def to_table(curve: Curve, y: Array) -> Array:
    """Return scores of ``curve``'s scale (more is better, perplexities as logarithms) as they stand in the table."""
    shown = -y if curve.turned else y
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(shown) if curve.logarithm else shown, dtype=float)


@dataclass(frozen=True)
class _Rungs:
    """The rows of one curve and the position of each row's rung."""

    key: CurveKey
    rows: pl.DataFrame
    x: Array  # of each row: its rung's position on the curve's scale

    @property
    def positions(self) -> Array:
        """The distinct positions, ascending."""
        found = np.unique(self.x)
        return found[np.concatenate([[True], np.diff(found) > TIE_DECADES])] if found.size else found


def _rungs(scores: pl.DataFrame, axis: Axis) -> Iterator[_Rungs]:
    used = scores.filter(pl.col("role").is_not_null()) if "role" in scores.columns else scores
    for key, rows in groups(used, axis).items():
        x = np.log10(rows[axis].cast(pl.Float64).to_numpy())
        x = -x if axis == "loss" else x
        if axis not in PER_MODEL:
            _, owner = np.unique(rows["model"].to_numpy().astype(str), return_inverse=True)
            x = (np.bincount(owner, x) / np.bincount(owner))[owner]
        yield _Rungs(key, rows, np.asarray(x, dtype=float))


def _losses(rungs: _Rungs, curve: Curve) -> Array:
    """Return the mean loss of each rung of ``curve``, NaN where the table has none."""
    loss = rungs.rows["loss"].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(float)
    loss = np.where(loss > 0, loss, np.nan)
    found = np.full(curve.n_rungs, np.nan)
    for k, x in enumerate(curve.x_K):
        here = loss[(np.abs(rungs.x - x) <= 2 * TIE_DECADES) & np.isfinite(loss)]
        if here.size:
            found[k] = here.mean()
    return found


def _curves_of(parts: Sequence[_Rungs], axis: Axis) -> dict[CurveKey, Curve]:
    return curves(pl.concat([part.rows for part in parts]), axis) if parts else {}


def _part(rungs: _Rungs, kept: NDArray[np.bool_]) -> _Rungs:
    return _Rungs(rungs.key, rungs.rows.filter(pl.Series(kept)), rungs.x[kept])


def hold_out_rungs(scores: pl.DataFrame, axis: Axis, *, hold_out: int = 1, above: float | None = None) -> list[Case]:
    """Return every curve of a completed table without its top rungs, which become targets with their truth.

    Held out are the ``hold_out`` most able rungs of each curve or, with ``above``, every rung past that axis value (on
    `loss`: every rung with less loss). Curves of which nothing is left, or nothing is held out, are left out. Raises
    UserError where the request makes no sense, or leaves no curve at all.
    """
    if above is None and hold_out < 1:
        raise UserError(f"hold_out is {hold_out}; hold out at least one rung")
    if above is not None and not (np.isfinite(above) and above > 0):
        raise UserError(f"above is {above}; give a positive value of the axis '{axis}'")
    fitted, held = [], []
    for rungs in _rungs(scores, axis):
        positions = rungs.positions
        if above is not None:
            limit = -np.log10(above) if axis == "loss" else np.log10(above)
            later = rungs.x > limit + TIE_DECADES
        elif positions.size <= hold_out:
            continue
        else:
            later = rungs.x >= positions[-hold_out] - TIE_DECADES / 2
        if later.any() and not later.all():
            fitted.append(_part(rungs, ~later))
            held.append(_part(rungs, later))
    if not fitted and above is not None:
        raise UserError(f"no curve has rungs on both sides of {axis} = {above:g}; choose a value inside the ladder")
    seen, unseen = _curves_of(fitted, axis), _curves_of(held, axis)
    cases = []
    for low, high in zip(fitted, held, strict=True):
        if low.key not in seen or high.key not in unseen:
            continue  # no finite score on one side
        curve, answer = seen[low.key], unseen[low.key]
        targets, truths = [], []
        error_K = _errors(answer)
        for k in range(answer.n_rungs):
            here = np.abs(high.x - answer.x_K[k]) <= 2 * TIE_DECADES
            model = str(high.rows["model"].to_numpy()[here][0]) if here.any() else None
            n = answer.n_KR[k][np.isfinite(answer.n_KR[k])]
            n = n * answer.design_effect / curve.design_effect  # the answer's own design effect tells of its score
            targets.append(
                Target(
                    x=float(answer.x_K[k]),
                    at=answer.to_axis(float(answer.x_K[k])),
                    model=model,
                    n=float(n.mean()) if n.size else None,
                    replicas=float(np.isfinite(answer.y_KR[k]).sum()),
                )
            )
            truths.append(Truth(float(to_table(answer, answer.mean_K)[k]), error_K[k]))
        case = Case(curve, measure_noise(curve), _losses(low, curve), tuple(targets), tuple(truths))
        cases.append(case)
    return cases


def _errors(curve: Curve) -> list[float | None]:
    """Return the standard error of each rung's mean on the table's scale, None where nothing is known of it."""
    noise = measure_noise(curve)
    if not noise.example_errors_known and noise.degrees == 0:
        return [None] * curve.n_rungs
    error = np.sqrt(noise.measured_K)
    if curve.logarithm:
        error = error * to_table(curve, curve.mean_K)
    return [float(e) if np.isfinite(e) else None for e in error]


def ahead(scores: pl.DataFrame, axis: Axis, next_at: Sequence[float] | None = None) -> list[Case]:
    """Return every curve with all its rungs, and as targets the places ``next_at`` beyond them.

    Without ``next_at``: one geometric step of the curve's own ladder (the mean one) beyond its top. Of ``next_at``, a
    curve takes the values beyond its top rung; raises UserError where one is not positive or beyond no curve.
    """
    places = list(next_at) if next_at is not None else None
    if places is not None and not all(np.isfinite(v) and v > 0 for v in places):
        raise UserError(f"next_at holds {places}; give positive values of the axis '{axis}'")
    parts = list(_rungs(scores, axis))
    seen = _curves_of(parts, axis)
    cases, used = [], set()
    for part in parts:
        if part.key not in seen:
            continue
        curve = seen[part.key]
        top = float(curve.x_K[-1])
        if places is None:
            if curve.n_rungs < 2:
                continue
            ats = [curve.to_axis(top + (top - float(curve.x_K[0])) / (curve.n_rungs - 1))]
        else:
            ats = [v for v in places if (-np.log10(v) if axis == "loss" else np.log10(v)) > top + TIE_DECADES]
            used.update(ats)
        n = curve.n_KR[-1][np.isfinite(curve.n_KR[-1])]
        targets = tuple(
            Target(
                x=float(-np.log10(at) if axis == "loss" else np.log10(at)),
                at=float(at),
                n=float(n.mean()) if n.size else None,
                replicas=float(max(1, curve.n_replicas)),
            )
            for at in ats
        )
        if targets:
            cases.append(Case(curve, measure_noise(curve), _losses(part, curve), targets))
    missed = [v for v in places or [] if v not in used] if parts else []
    if missed:
        raise UserError(f"next_at: {missed[0]:g} is not beyond the most able rung of any curve on the axis '{axis}'")
    return cases
