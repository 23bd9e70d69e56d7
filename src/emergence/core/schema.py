"""What the rooms hand to each other: records, scores and verdicts, with their columns and their meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "ADAPTATIONS",
    "AXES",
    "HARD_REQUIRED",
    "PER_MODEL",
    "RECORD_COLUMNS",
    "SCHEMA_VERSION",
    "SCORE_COLUMNS",
    "AbleShare",
    "Axis",
    "Bimodality",
    "Calibration",
    "ChangePoint",
    "CurveFit",
    "Frozen",
    "Interval",
    "ReplicaReading",
    "Surprise",
    "Verdict",
    "VerdictName",
]

SCHEMA_VERSION = 1

Axis = Literal["params", "tokens", "flops", "loss", "examples", "bits", "training_tasks"]
AXES: tuple[Axis, ...] = ("params", "tokens", "flops", "loss", "examples", "bits", "training_tasks")
#: What was done to a model after pre-training. A row with a value on one of these is of an adapted model: it is a point
#: of that model's own curve, and of no ladder.
ADAPTATIONS: tuple[Axis, ...] = ("examples", "bits", "training_tasks")
#: Along these there is one curve for each model.
PER_MODEL: tuple[Axis, ...] = ("tokens", *ADAPTATIONS)

#: The scores table: one row per model x task x metric x shots. Only `HARD_REQUIRED` and one axis must be present.
SCORE_COLUMNS: dict[str, type] = {
    "model": str,  # name of the model or of the rung; replicas of a rung share it and differ in `seed`
    "family": str,
    "params": float,  # non-embedding parameters
    "tokens": float,  # training tokens seen
    "flops": float,  # training floating-point operations
    "loss": float,  # validation loss, nats per token
    "examples": float,  # of fine-tuning; 0 of a model that was not fine-tuned
    "bits": float,  # stored per weight after compression; 32 as trained
    "training_tasks": float,  # tasks trained on; 0 before any
    "seed": int,
    "step": int,
    "task": str,
    "metric": str,
    "shots": int,
    "score": float,
    "stderr": float,
    "n": int,  # examples behind the score
    "floor": float,  # the score of guessing
    "ceiling": float,
    "higher_is_better": bool,
    "role": str,  # "headline" or "smooth"
    "answer_tokens": float,  # length L of the exact-match law
}
HARD_REQUIRED = ("model", "task", "metric", "score")

#: One row per evaluated example. Beside these, every metric has a column ``score_<metric>`` (null where it does not
#: apply).
RECORD_COLUMNS: dict[str, type] = {
    "model": str,  # rung, for example "R03"
    "seed": int,
    "step": int,
    "task": str,
    "shots": int,
    "example": int,
    "prompt": str,
    "target": str,
    "output": str,  # continuation by the model; null where the task asks for none
    "logprobs": list,  # natural-log probability of each target token, teacher-forced
    "truncated": int,  # tokens cut from the start of the prompt, because the whole did not fit into the context
}


class VerdictName(StrEnum):
    """The seven answers."""

    FLAT = "flat"
    GRADUAL = "gradual"
    INVERSE = "inverse"
    MIRAGE = "mirage"
    EMERGENT = "emergent"
    SUDDEN = "sudden"
    UNDERPOWERED = "underpowered"


class Frozen(BaseModel):
    """What all types of files have in common: they do not change, and know neither other keys nor infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interval(Frozen):
    """An estimate with its 90 % interval; all three are None, with a reason, where the data do not determine it."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Surprise(Frozen):
    """How far the scores from the onset on lie from what the rungs before it forecast, in forecast standard
    deviations."""

    z: float | None = None
    at: float | None = None  # position on the axis of the largest deviation
    reason: str | None = None


class Bimodality(Frozen):
    """Hartigan's dip over the replicas of a rung, with its p-value."""

    dip: float | None = None
    p: float | None = None
    reason: str | None = None


class AbleShare(Frozen):
    """How many of a rung's replicas have the ability (their score is past half of the way from floor to ceiling)."""

    at: float  # position on the axis
    able: int
    replicas: int
    share: Interval


class ReplicaReading(Frozen):
    """The ability as a probability: which share of the replicas has it, and where on the axis half of them do."""

    rungs: tuple[AbleShare, ...] = ()
    threshold: Interval = Interval()  # where half of the replicas have the ability
    width_decades: Interval = Interval()  # 10-90 % of the replicas
    mixture: bool | None = None  # replicas fall into two groups around the threshold: the mean's slope is a mixture
    reason: str | None = None


class ChangePoint(Frozen):
    """A place along training where the pace of a score changes."""

    at: Interval  # on the axis' own scale
    slope_before: float  # score per decade of the axis
    slope_after: float
    p: float  # of no change here, given the other change points


class CurveFit(Frozen):
    """One candidate curve fitted to a table of scores."""

    name: str
    parameters: dict[str, float]
    aicc: float | None
    held_out_error: float | None  # root mean squared error on the held-out rungs, in units of the score


class Calibration(Frozen):
    """How often the procedure itself errs on ladders simulated in the image of a table, where the truth is known."""

    axis: Axis
    null: Literal["no trend", "steady law"]
    claim: str  # the verdicts that would be false: "gradual, inverse, mirage, sudden or emergent"
    simulated: int  # curves
    false_alarms: int
    rate: Interval
    verdicts: dict[str, int]  # what the simulated curves were called


class Verdict(Frozen):
    """What the evidence says of one task x metric x shots along one axis."""

    family: str
    model: str | None  # whose curve it is on the axes of `PER_MODEL`; None where the ladder is the axis
    task: str
    metric: str
    shots: int
    axis: Axis
    verdict: VerdictName
    reason: str  # one sentence in plain words
    gain: Interval
    onset: Interval  # on the axis' own scale
    threshold: Interval
    width_decades: Interval
    surprise: Surprise
    breakthroughness: float | None
    linearity: float | None
    emergence_score: float | None
    smooth_metric: str | None
    smooth_verdict: VerdictName | None
    explained_by_metric: Interval
    bimodal: Bimodality
    replicas: ReplicaReading = ReplicaReading()
    change_points: tuple[ChangePoint, ...] = ()  # on the axis `tokens`
    resolution: float | None = None  # 1/n: the smallest step that a share of n (independent) examples can show
    models: tuple[CurveFit, ...]
    n_rungs: int
    n_replicas: int
    q_value: float | None
