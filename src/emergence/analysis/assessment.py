"""Everything that is found out about a completed score table, in one call: what `verdicts.json` holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from emergence.analysis.calibration import calibrate
from emergence.analysis.carry_over import carry_over
from emergence.analysis.collapse import loss_collapse
from emergence.analysis.onset_shift import onset_shift, tuned_rows
from emergence.analysis.verdict import find_axis_cases, judge_cases
from emergence.core.carry_over import CarryOver
from emergence.core.collapse import Collapse
from emergence.core.onset_shift import OnsetShift
from emergence.core.schema import AXES, SCHEMA_VERSION, Axis, Calibration, Verdict

__all__ = ["Assessment", "assess", "judge_axes"]


@dataclass(frozen=True)
class Assessment:
    """The verdicts, how often the procedure errs on tables like this one, and what holds across families."""

    verdicts: tuple[Verdict, ...]
    calibration: tuple[Calibration, ...] = ()
    collapses: tuple[Collapse, ...] = ()
    carry_overs: tuple[CarryOver, ...] = ()
    onset_shifts: tuple[OnsetShift, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what stands in ``verdicts.json``."""
        return {"schema_version": SCHEMA_VERSION} | {
            name: [item.model_dump(mode="json") for item in items]
            for name, items in (
                ("verdicts", self.verdicts),
                ("calibration", self.calibration),
                ("collapses", self.collapses),
                ("carry_overs", self.carry_overs),
                ("onset_shifts", self.onset_shifts),
            )
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Assessment:
        """Return the assessment in a ``verdicts.json``; raise pydantic's ValidationError where it is none."""
        return cls(
            tuple(Verdict.model_validate(item) for item in document["verdicts"]),
            tuple(Calibration.model_validate(item) for item in document.get("calibration", ())),
            tuple(Collapse.model_validate(item) for item in document.get("collapses", ())),
            tuple(CarryOver.model_validate(item) for item in document.get("carry_overs", ())),
            tuple(OnsetShift.model_validate(item) for item in document.get("onset_shifts", ())),
        )


NOTHING = Assessment(())
SHIFT_RESAMPLES = 400


def judge_axes(
    scores: pl.DataFrame,
    *,
    axes: Sequence[Axis] = AXES,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> Assessment:
    """Judge every curve of a completed table along each axis by itself, and calibrate the procedure on it."""
    verdicts: list[Verdict] = []
    calibration: list[Calibration] = []
    for axis in axes:
        cases = find_axis_cases(scores, axis)
        if not cases:
            continue
        progress(f"judging {len(cases)} curves along {axis}")
        verdicts += judge_cases(cases, resamples, seed)
        progress(f"calibrating on simulated ladders along {axis}")
        calibration += calibrate(cases, axis, seed)
    return Assessment(tuple(verdicts), tuple(calibration))


def assess(
    scores: pl.DataFrame,
    *,
    axes: Sequence[Axis] = AXES,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
    beside: tuple[Sequence[Axis], Callable[[], Assessment]] = ((), lambda: NOTHING),
) -> Assessment:
    """Judge a completed table along every axis, and compare families and sizes.

    ``progress`` is told in words what is being done. ``beside`` names axes that are judged elsewhere meanwhile, with
    what returns the result of `judge_axes` for them.
    """
    elsewhere, judged = beside
    own = judge_axes(
        scores,
        axes=[axis for axis in axes if axis not in elsewhere],
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    progress("comparing families and sizes")
    loss = "loss" in axes and bool(scores["loss"].is_finite().any())
    collapses = loss_collapse(scores, resamples=resamples, seed=seed) if loss else []
    across = [axis for axis in axes if axis != "tokens"]  # of every checkpointed model it would take too long
    carried = carry_over(scores, between="family", axes=across, resamples=resamples, seed=seed)
    tuned = tuned_rows(scores) if "params" in axes else scores.clear()
    shifts = onset_shift(tuned, resamples=min(resamples, SHIFT_RESAMPLES), seed=seed) if tuned.height else []
    others = judged()
    place = {axis: index for index, axis in enumerate(axes)}
    return Assessment(
        tuple(sorted((*own.verdicts, *others.verdicts), key=lambda verdict: place[verdict.axis])),
        tuple(sorted((*own.calibration, *others.calibration), key=lambda rate: place[rate.axis])),
        tuple(collapses),
        tuple(carried),
        tuple(shifts),
    )
