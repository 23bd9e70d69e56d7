"""A made-up study: eight rungs, three replicas, eight checkpoints, two generated tasks and text."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from emergence.core.schema import (
    Axis,
    Bimodality,
    CurveFit,
    Interval,
    Surprise,
    Verdict,
    VerdictName,
)
from emergence.report import ReportData, ScalingFit

EVIL = "</script><script>alert(1)</script>"
_TOKENS = 2e6
_TEXT = (
    "the river ran under the bridge and the old man watched it go until the light had left the water. "
    "春眠不觉晓，处处闻啼鸟。"
)


def verdict(task: str, name: VerdictName = VerdictName.EMERGENT, axis: Axis = "params", **changes: Any) -> Verdict:
    """Return a verdict with plausible numbers."""
    places = {"params": 4e4, "tokens": 7e5, "flops": 4e11, "loss": 1.9}
    scale = (places | {"examples": 300.0, "bits": 3.2, "training_tasks": 3.0})[axis]
    shown = name in (VerdictName.EMERGENT, VerdictName.MIRAGE, VerdictName.SUDDEN)
    missing = Interval(reason="the curve has no foot on its floor")
    values: dict[str, Any] = {
        "family": "gpt",
        "model": None,
        "task": task,
        "metric": "exact_match",
        "shots": 0,
        "axis": axis,
        "verdict": name,
        "reason": {
            VerdictName.EMERGENT: "Exact match stays at guessing up to 27k parameters and reaches 0.93 at the top; the "
            "log-likelihood breaks at the same place, and what came before does not forecast it.",
            VerdictName.MIRAGE: "Exact match looks sudden, but the log-likelihood rises steadily from the smallest "
            "model on and reproduces 94 % of the jump through the length of the answer.",
            VerdictName.GRADUAL: "The gain of 0.41 begins with the smallest model; there is no stretch on the floor.",
        }.get(name, "The gain cannot be told from zero."),
        "gain": Interval(estimate=0.9134, low=0.874, high=0.941),
        "onset": Interval(estimate=scale, low=scale / 1.4, high=scale * 1.3) if shown else missing,
        "threshold": Interval(estimate=scale * 2.2, low=scale * 1.7, high=scale * 2.9) if shown else missing,
        "width_decades": Interval(estimate=0.6, low=0.4, high=0.8),
        "surprise": Surprise(z=8.2, at=scale * 2),
        "breakthroughness": 2.1,
        "linearity": 0.2,
        "emergence_score": 12.0,
        "smooth_metric": "target_logprob",
        "smooth_verdict": VerdictName.EMERGENT if name == VerdictName.EMERGENT else VerdictName.GRADUAL,
        "explained_by_metric": Interval(estimate=0.31, low=0.2, high=0.44),
        "bimodal": Bimodality(dip=0.08, p=0.4),
        "models": (CurveFit(name="logistic", parameters={"midpoint": 4.9}, aicc=-31.0, held_out_error=0.04),),
        "n_rungs": 8,
        "n_replicas": 3,
        "q_value": 0.001,
    }
    return Verdict(**{**values, **changes})


def study(
    *,
    rungs: int = 8,
    seeds: int = 3,
    checkpoints: int = 8,
    tasks: tuple[str, ...] = ("addition", "recall"),
    text: bool = True,
    prompts: int = 3,
) -> ReportData:
    """Return a report on a study that never ran."""
    rng = np.random.default_rng(5)
    sizes = np.geomspace(3e3, 1e6, rungs)
    scores: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for rung, params in enumerate(sizes):
        for seed in range(seeds):
            for step, tokens in enumerate(np.geomspace(_TOKENS / 200, _TOKENS, checkpoints), start=1):
                loss = 1.2 + 2.6 * (params / 3e3) ** -0.12 * (tokens / 1e4) ** -0.11 + rng.normal(0, 0.008)
                flops = 6 * params * tokens
                where = {
                    "model": f"R{rung:02d}",
                    "seed": seed,
                    "step": step * 10,
                    "tokens": tokens,
                    "params": float(params),
                }
                history.append(
                    {
                        **where,
                        "flops": flops,
                        "flops_spent": flops,
                        "train_loss": loss - 0.02 + rng.normal(0, 0.02),
                        "validation_loss": loss,
                    }
                )
                for index, task in enumerate(tasks):
                    chance = 1 / (
                        1
                        + math.exp(
                            -(math.log(params * tokens**0.8) - 21.8 - 0.5 * (index % 3) + rng.normal(0, 0.3))
                            * (1.9 - 0.5 * (index % 3))
                        )
                    )
                    for metric, role, score, floor in (
                        ("exact_match", "headline", rng.binomial(512, 0.01 + 0.98 * chance) / 512, 0.01),
                        ("target_logprob", "smooth", -2.3 * (1 - chance) - 0.02 - abs(rng.normal(0, 0.02)), -2.3),
                    ):
                        scores.append(
                            {
                                **where,
                                "family": "gpt",
                                "flops": flops,
                                "loss": loss,
                                "task": task,
                                "metric": metric,
                                "shots": 0,
                                "score": score,
                                "stderr": 0.02,
                                "n": 512,
                                "floor": floor,
                                "ceiling": 1.0 if role == "headline" else 0.0,
                                "higher_is_better": True,
                                "role": role,
                                "answer_tokens": 3.0,
                            }
                        )
                    if seed == 0:
                        for prompt in range(prompts):
                            a, b = 12 + 7 * prompt, 30 + 11 * prompt
                            right = bool(rng.random() < chance)
                            output = str(a + b) if right else str(rng.integers(10, 99))
                            samples.append(
                                {
                                    **where,
                                    "task": task,
                                    "prompt": f"{a}+{b}=",
                                    "target": str(a + b),
                                    "output": output,
                                    "correct": right,
                                    "logprob": -0.2 if right else -3.1,
                                }
                            )
                if text and seed == 0:
                    letters = list(_TEXT)
                    noise = max(0.0, 0.75 - 0.09 * rung - 0.05 * step)
                    garbled = "".join(
                        str(rng.choice(list("etaoin shrdlu"))) if rng.random() < noise else letter for letter in letters
                    )
                    for opening in ("Once upon a time", "It was a dark night,\nand"):
                        samples.append(
                            {
                                **where,
                                "task": "text",
                                "prompt": opening,
                                "target": None,
                                "output": " " + garbled,
                                "correct": None,
                                "logprob": None,
                            }
                        )
    names = (VerdictName.EMERGENT, VerdictName.MIRAGE, VerdictName.GRADUAL, VerdictName.FLAT)
    verdicts = []
    for index, task in enumerate(tasks):
        name = names[index % len(names)]
        verdicts += [verdict(task, name, axis) for axis in ("params", "flops", "loss")]
        verdicts += [
            verdict(task, name if rung > rungs // 2 else VerdictName.FLAT, "tokens", model=f"R{rung:02d}")
            for rung in range(rungs)
        ]
    frame = pl.DataFrame(history)
    ladder = frame.group_by("model").agg(pl.col("params").mean()).sort("params")
    ladder = ladder.with_columns(
        (pl.col("params") * 1.2).alias("total_params"),
        (pl.col("params") ** 0.4).cast(pl.Int64).alias("width"),
        pl.lit(4).alias("depth"),
        pl.lit(2).alias("heads"),
        pl.lit(64).alias("feed_forward"),
        (pl.col("params") * 6).alias("flops_per_token"),
        pl.lit(seeds).alias("replicas"),
    )
    return ReportData(
        title="quickstart",
        description="Does two-digit addition appear at once or little by little, in models of 3k to 1M parameters?",
        verdicts=verdicts,
        scores=pl.DataFrame(scores),
        ladder=ladder,
        history=frame.with_columns(
            pl.lit(3e-3).alias("learning_rate"),
            (pl.col("flops") / 2e10).alias("seconds"),
            pl.lit(45_000.0).alias("tokens_per_second"),
            pl.lit(0.31).alias("utilisation"),
        ),
        samples=pl.DataFrame(samples, infer_schema_length=None),
        scaling=[_line(frame, axis) for axis in ("params", "tokens", "flops")],
        facts={
            "Machine": "2 cores, x86-64",
            "Version": "emergence 0.1.0, torch 2.8.0",
            "Command": "emergence run quickstart",
            "Date": "2025-01-31",
        },
        notes=["R05-s1 diverged at step 1200."],
    )


def _line(history: pl.DataFrame, axis: Axis) -> ScalingFit:
    last = history.filter(pl.col("tokens") == pl.col("tokens").max()) if axis != "tokens" else history
    slope, intercept = np.polyfit(np.log(last[axis].to_numpy()), np.log(last["validation_loss"].to_numpy()), 1)
    return ScalingFit("validation_loss", None, axis, -slope, -slope * 0.9, -slope * 1.1, math.exp(intercept), 0.97)


def outside(*, tasks: int = 3, models: int = 6) -> ReportData:
    """Return a report on results from elsewhere: no ladder, history or samples, one axis, one seed unknown."""
    rng = np.random.default_rng(7)
    names = list(VerdictName)
    scores, verdicts = [], []
    for task in range(tasks):
        for index, params in enumerate(np.geomspace(7e7, 1.2e10, models)):
            scores.append(
                {
                    "model": f"pythia-{params / 1e6:.0f}m",
                    "family": "pythia",
                    "params": params,
                    "task": f"task_{task}",
                    "metric": "acc",
                    "score": 0.25 + 0.1 * index * rng.random(),
                    "stderr": 0.012,
                    "role": "headline",
                    "floor": 0.25,
                    "ceiling": 1.0,
                }
            )
        scale = {
            "threshold": Interval(estimate=3e9, low=1e9, high=6e9),
            "onset": Interval(estimate=1.2e9, low=6e8, high=2e9),
        }
        verdicts.append(
            verdict(
                f"task_{task}",
                names[task % len(names)],
                family="pythia",
                metric="acc",
                smooth_metric=None,
                smooth_verdict=None,
                explained_by_metric=Interval(reason="no smooth metric"),
                **scale,
            )
        )
    return ReportData(
        title="pythia",
        description="",
        verdicts=verdicts,
        scores=pl.DataFrame(scores),
        facts={"Source": "results/*.json"},
    )


def hostile() -> ReportData:
    """Return a report whose every text tries to leave its place."""
    data = study(rungs=3, seeds=2, checkpoints=3, tasks=(EVIL,), text=True)
    assert data.samples is not None
    texts = pl.lit(EVIL + " `|` \x1b[31m {{ 7*7 }} \u2028")
    samples = data.samples.with_columns(texts.alias("output"), texts.alias("prompt"))
    models = {"R00": EVIL, "R01": "<b>R01</b>"}
    return replace(
        data,
        title=EVIL,
        description=EVIL,
        verdicts=[v.model_copy(update={"reason": EVIL, "family": EVIL}) for v in data.verdicts],
        scores=data.scores.with_columns(pl.lit(EVIL).alias("family"), pl.col("model").replace(models)),
        samples=samples.with_columns(pl.col("model").replace(models)),
        facts={EVIL: EVIL},
        notes=[EVIL],
    )
