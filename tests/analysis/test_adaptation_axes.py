"""Curves along fine-tuning examples, bits per weight and training tasks: one for each model, judged like any other."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from emergence.analysis.carry_over import carry_over
from emergence.analysis.collapse import loss_collapse
from emergence.analysis.curves import curves, ladder, rows_along
from emergence.analysis.forecasting import forecast_table
from emergence.analysis.records import scores_of_records
from emergence.analysis.table import normalise
from emergence.analysis.verdict import judge
from emergence.cli.main import AXIS_NAMES
from emergence.core.errors import UserError
from emergence.core.forecasts import FORECAST_AXES
from emergence.core.schema import ADAPTATIONS, AXES, PER_MODEL, Axis, Verdict
from emergence.study.findings import ask_forecasts

EXAMPLES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
BITS = (2.0, 2.5, 3.0, 3.5, 4.5, 6.0, 8.0, 32.0)
LENGTH = 4.0  # tokens of the answer

Loss = Callable[[float], float]


def breaks(at: float, width: float = 0.3) -> Loss:
    """Return a loss that breaks at ``at``: emergent."""
    return lambda x: 0.02 + 2.28 / (1 + math.exp(min(50.0, (math.log10(x) - math.log10(at)) * 4.4 / width)))


def steady(low: float, high: float) -> Loss:
    """Return a power law of the loss: a mirage."""
    return lambda x: 2.3 * (0.05 / 2.3) ** (math.log10(x / low) / math.log10(high / low))


def climbs(low: float, high: float) -> Loss:
    """Return a loss whose exact match climbs from 0.15 to 0.9: gradual."""
    return lambda x: -math.log(0.15 + 0.75 * math.log10(x / low) / math.log10(high / low)) / LENGTH


def planted(
    axis: Axis,
    places: tuple[float, ...],
    loss: Loss,
    *,
    seeds: int = 3,
    models: tuple[str, ...] = ("gpt-R05",),
    family: str = "gpt tuned",
    smooth: bool = True,
    stream: int = 0,
) -> pl.DataFrame:
    rng = np.random.default_rng([stream, AXES.index(axis), len(places), seeds])
    rows: list[dict[str, Any]] = []
    n, shape = 200, 2 * LENGTH
    for model in models:
        for seed in range(seeds):
            for place in places:
                own = loss(place) * math.exp(0.03 * rng.normal())
                hit = rng.binomial(n, math.exp(-LENGTH * own)) / n
                base = {"model": model, "family": family, "seed": seed, "task": "t", axis: place, "n": n}
                base |= {"answer_tokens": LENGTH}
                error = math.sqrt(hit * (1 - hit) / (n - 1))
                rows.append(base | {"metric": "exact_match", "score": hit, "stderr": error, "floor": 0.0})
                if smooth:
                    logprob = -own * rng.gamma(shape * n, 1 / (shape * n))
                    error = -logprob / math.sqrt(shape * n)
                    rows.append(base | {"metric": "target_logprob", "score": logprob, "stderr": error, "floor": None})
    return normalise(rows)


def verdict(table: pl.DataFrame, axis: Axis) -> Verdict:
    (found,) = judge(table, axes=(axis,), resamples=200, candidates=False)
    return found


def test_the_axes_are_named_once_and_everywhere() -> None:
    assert AXIS_NAMES == AXES
    assert ("tokens", *ADAPTATIONS) == PER_MODEL
    assert set(AXES) - set(FORECAST_AXES) == {"bits", "training_tasks"}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("wanted", "loss"),
    [
        ("flat", lambda x: 0.6),
        ("gradual", climbs(10, 30000)),
        ("emergent", breaks(1500)),
        ("mirage", steady(10, 30000)),
    ],
)
def test_a_planted_learning_curve_is_called_what_it_is(wanted: str, loss: Loss, seeds: int) -> None:
    found = verdict(planted("examples", EXAMPLES, loss, seeds=seeds), "examples")
    assert found.verdict.value == wanted
    assert found.model == "gpt-R05"
    assert (found.n_rungs, found.n_replicas) == (8, seeds)


def test_few_points_are_never_called_what_they_are_not() -> None:
    for axis, places, loss, sound in (
        ("examples", (10.0, 100.0, 1000.0), lambda x: 0.6, {"flat"}),
        ("examples", (10.0, 100.0, 1000.0), steady(10, 1000), {"underpowered", "gradual", "mirage"}),
        ("training_tasks", (1.0, 2.0, 4.0, 8.0, 16.0), climbs(1, 16), {"gradual"}),
        ("training_tasks", (1.0, 2.0, 4.0, 8.0, 16.0), breaks(5), {"underpowered", "emergent", "sudden"}),
        ("examples", (10.0, 1000.0), climbs(10, 1000), {"underpowered"}),
    ):
        table = planted(axis, places, loss)  # type: ignore[arg-type]
        assert verdict(table, axis).verdict.value in sound  # type: ignore[arg-type]


@pytest.mark.parametrize("smooth", [False, True])
def test_where_compression_breaks_an_ability_is_said(smooth: bool) -> None:
    places = (2.0, 3.0, 4.5, 8.0, 32.0)
    found = verdict(planted("bits", places, breaks(3.6, 0.08), smooth=smooth, family="gpt wanda"), "bits")
    assert found.verdict.value in (("emergent", "underpowered") if smooth else ("sudden",))
    assert found.threshold.estimate is not None
    assert 3 < found.threshold.estimate < 4.5
    assert found.reason.startswith("Exact match survives down to 4.5 bits per weight, breaks at about ")
    assert "is gone at 3 bits per weight and below." in found.reason


def test_an_ability_that_compression_spares_or_wears_is_told_apart() -> None:
    spared = verdict(planted("bits", BITS, lambda x: 0.02), "bits")
    assert spared.verdict.value == "flat"
    assert spared.reason.startswith("Exact match survives down to 2 bits per weight. ")
    worn = verdict(planted("bits", BITS, climbs(2, 32)), "bits")
    assert worn.verdict.value == "gradual"
    assert "is worn at 8 bits per weight" in worn.reason
    assert "not wholly gone at 2 bits per weight" in worn.reason
    assert "survives" not in worn.reason
    absent = verdict(planted("bits", BITS, lambda x: 2.3), "bits")
    assert absent.verdict.value == "flat"
    assert "survives" not in absent.reason


def test_points_of_one_model_are_separate_adaptations() -> None:
    table = planted("examples", EXAMPLES, breaks(1500), models=("a", "b"))
    found = curves(table, "examples")
    assert sorted({str(key.model) for key in found}) == ["a", "b"]
    assert not any(curve.trajectories for curve in found.values())
    assert all(curve.n_rungs == 8 for curve in found.values())


def test_no_examples_is_kept_in_the_table_and_left_out_of_the_fit() -> None:
    table = planted("examples", (0.0, *EXAMPLES), lambda x: 0.6)
    assert rows_along(table, "examples")["examples"].min() == 0
    assert all(curve.n_rungs == 8 for curve in curves(table, "examples").values())


def test_one_table_holds_ladders_and_adapted_models() -> None:
    sizes = pl.concat(
        [planted("params", (1e4 * 2**k,), breaks(3e5), models=(f"gpt-R{k:02d}",), family="gpt") for k in range(8)]
    )
    both = normalise(pl.concat([sizes, planted("bits", BITS, breaks(3.8, 0.1), family="gpt wanda")]))
    assert judge(both, axes=("params",), resamples=100) == judge(sizes, axes=("params",), resamples=100)
    assert {found.axis for found in judge(both, resamples=50, candidates=False)} == {"params", "bits"}
    assert ladder(both).height == sizes.height


def test_adapted_models_with_a_size_are_on_no_ladder() -> None:
    table = planted("examples", EXAMPLES, breaks(1500)).with_columns(params=pl.lit(1e6), loss=pl.lit(2.0))
    assert curves(table, "params") == {}
    assert loss_collapse(table) == []


def test_nothing_is_completed_from_the_name_of_an_adapted_model() -> None:
    table = planted("bits", BITS, breaks(3.8), models=("pythia-1b",), family="pythia pruned")
    assert table.select("params", "tokens", "flops").null_count().row(0) == (table.height,) * 3


def test_the_same_model_in_two_families_is_no_duplicate_and_one_twice_is() -> None:
    wanda = planted("bits", BITS, breaks(3.8), family="gpt wanda")
    normalise(pl.concat([wanda, planted("bits", BITS, breaks(5), family="gpt magnitude")]))
    with pytest.raises(UserError, match=r"duplicate of row 1 \(model gpt-R05, bits 2"):
        normalise(pl.concat([wanda, wanda]))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"examples": -1.0}, "column 'examples'.*cannot be negative"),
        ({"bits": 0.0}, "column 'bits'.*more than zero bits"),
        ({"training_tasks": -2.0}, "column 'training_tasks'.*cannot be negative"),
        ({"examples": 10.0, "bits": 4.0}, "column 'bits': 4, and the column 'examples' has a value too"),
    ],
)
def test_a_place_that_cannot_be_is_refused(values: dict[str, float], wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        normalise([{"model": "m", "task": "t", "metric": "exact_match", "score": 0.5, **values}])


def test_compressions_are_compared_model_by_model() -> None:
    pair = [
        planted("bits", BITS, breaks(at, 0.1), family=f"gpt {name}", models=("a", "b"), smooth=False)
        for name, at in (("wanda", 3.6), ("magnitude", 5.0))
    ]
    found = carry_over(pl.concat(pair), axes=("bits",), resamples=200)
    assert [one.model for one in found] == ["a", "b"]
    assert [one.carries for one in found] == [False, False]
    assert "bits per weight" in found[0].reason


def test_the_next_decade_of_examples_is_forecast_and_fewer_bits_are_not() -> None:
    table = planted("examples", EXAMPLES, climbs(10, 30000), smooth=False)
    made = forecast_table(table, axes=("examples",), resamples=50, now=datetime.now(UTC))
    assert {forecast.model for forecast in made.next} == {"gpt-R05"}
    assert made.next[0].at > 30000
    assert made.held_out[0].at == pytest.approx(30000)
    with pytest.raises(UserError, match="bits"):
        forecast_table(planted("bits", BITS, breaks(4)), axes=("bits",), now=datetime.now(UTC))
    asked = {"hold_out": 1, "above": None, "resamples": 100, "seed": 0, "now": datetime.now(UTC)}
    request = ask_forecasts(AXES, **asked)  # type: ignore[arg-type]
    assert request is not None
    assert tuple(request.axes) == ("params", "flops", "loss", "examples")
    assert ask_forecasts(("bits", "training_tasks"), **asked) is None  # type: ignore[arg-type]
    with pytest.raises(UserError, match="nothing is forecast along bits"):
        ask_forecasts(AXES, **asked | {"above": {"bits": 4.0}})  # type: ignore[arg-type]


def test_records_of_adapted_models_are_scored_apart() -> None:
    records = pl.DataFrame(
        {"model": ["m"] * 4, "seed": [0] * 4, "task": ["t"] * 4, "bits": [4.0, 4.0, 8.0, 8.0]}
        | {"score_exact_match": [0.0, 0.0, 1.0, 1.0]}
    )
    scores = scores_of_records(records, metrics=["exact_match"])
    assert dict(scores.select("bits", "score").iter_rows()) == {4.0: 0.0, 8.0: 1.0}
