"""Scores over seeds, and which variant is chosen: planted truths, and no look at the test set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from emergence.analysis.adapted import best_tuned, compressed_models, over_seeds, tuned_models
from emergence.analysis.records import scores_of_records
from emergence.core.adaptation import AdaptationFile, AdaptedScore, CompressedRecord, TunedRecord

SHARES = st.floats(0, 1, allow_nan=False)


def tuned(
    variant: str = "tuned",
    seed: int = 0,
    score: float = 0.5,
    validation: float | dict[str, float] | None = 0.5,
    loss: float = 1.0,
    **changes: Any,
) -> TunedRecord:
    """Return a record of a classifier; ``validation`` None: it diverged."""
    done = validation is not None
    values: dict[str, Any] = {
        "name": f"{variant}-{seed}",
        "task": "mood",
        "kind": "classification",
        "family": "gpt",
        "model": "R01",
        "seed": seed,
        "variant": variant,
        "examples": 100,
        "status": "done" if done else "diverged",
        "params": 1e4 if done else None,
        "scores": (AdaptedScore(test="test", metric="accuracy", score=score, error=0.02, n=400),) if done else (),
        "validation": validation if isinstance(validation, dict) else {"accuracy": validation, "loss": loss},
        "flops": 1e9,
    }
    if not done:
        values["validation"] = {}
    return TunedRecord(**values | changes)


def chosen(*records: TunedRecord) -> list[str]:
    return [way.variant for way in tuned_models(AdaptationFile(tuned=records)) if way.chosen]


def test_the_interval_joins_seeds_and_examples() -> None:
    found = over_seeds([0.6, 0.7, 0.8], [0.03, 0.04, 0.05])
    luck = t.ppf(0.95, 2) * 0.1 / math.sqrt(3)
    half = math.hypot(luck, 1.6448536 * math.sqrt((0.03**2 + 0.04**2 + 0.05**2) / 3))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    alone = over_seeds([0.7], [0.05])
    assert (alone.low, alone.high) == pytest.approx((0.7 - 1.6448536 * 0.05, 0.7 + 1.6448536 * 0.05))
    unknown = over_seeds([0.7], [None])
    assert (unknown.estimate, unknown.low, unknown.high) == (0.7, None, None)
    with pytest.raises(ValueError, match="no seeds"):
        over_seeds([], [])


def test_nine_in_ten_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside, repeats = 0, 400
    for _ in range(repeats):
        shared = rng.normal(0, 0.02)  # all seeds answer the same test examples
        values = 0.5 + shared + rng.normal(0, 0.03, 3)
        found = over_seeds(values.tolist(), [0.02] * 3)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.5 <= found.high
    assert 0.87 <= inside / repeats <= 0.97


@given(st.lists(st.tuples(SHARES, st.none() | st.floats(0, 0.2)), min_size=2, max_size=6))
def test_an_interval_holds_its_mean_and_stays_a_share(seeds: list[tuple[float, float | None]]) -> None:
    found = over_seeds([score for score, _ in seeds], [error for _, error in seeds], "accuracy")
    assert found.estimate is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_all_right_is_not_certain() -> None:
    perfect = AdaptedScore(test="test", metric="accuracy", score=1.0, error=0.0, n=30)
    (way,) = tuned_models(AdaptationFile(tuned=(tuned(scores=(perfect,)),)))
    found = way.scores["test", 0, "accuracy"]
    assert found.high == 1.0
    assert found.low is not None
    assert 0.9 < found.low < 0.97


def test_validation_chooses_and_the_test_set_does_not() -> None:
    records = [tuned("better test", s, score=0.9, validation=0.6) for s in (0, 1)]
    records += [tuned("better validation", s, score=0.5, validation=0.7) for s in (0, 1)]
    assert chosen(*records) == ["better validation"]
    # The mean over seeds counts, not the luckiest seed.
    lucky = [tuned("lucky", 0, validation=0.95), tuned("lucky", 1, validation=0.3)]
    assert chosen(*records, *lucky) == ["better validation"]


def test_of_equal_validation_scores_the_smaller_loss_is_chosen() -> None:
    assert chosen(tuned("a", loss=0.9), tuned("b", loss=0.4), tuned("c", loss=0.7)) == ["b"]


def test_a_variant_of_which_a_seed_diverged_is_not_chosen() -> None:
    half = [tuned("half", 0, validation=0.99), tuned("half", 1, validation=None)]
    assert chosen(*half, tuned("whole", validation=0.5)) == ["whole"]
    ways = {way.variant: way for way in tuned_models(AdaptationFile(tuned=(*half, tuned("gone", validation=None))))}
    assert (ways["half"].seeds, ways["half"].diverged) == (1, 1)
    assert (ways["gone"].seeds, ways["gone"].diverged, ways["gone"].scores) == (0, 1, {})
    assert chosen(tuned("gone", validation=None)) == []


def test_an_error_is_chosen_for_being_small() -> None:
    few = {"kind": "regression", "scores": (AdaptedScore(test="test", metric="rmse", score=1.0, error=0.1, n=9),)}
    assert chosen(
        tuned("far", **few | {"validation": {"rmse": 2.0}}),
        tuned("near", **few | {"validation": {"rmse": 1.5}}),
    ) == ["near"]


def test_each_model_has_its_choice_and_the_best_of_all_is_found() -> None:
    records = [
        tuned("a", model="R00", validation=0.8, params=1e3),
        tuned("b", model="R00", validation=0.6, params=1e3),
        tuned("b", model="R01", validation=0.7),
        tuned("a", model="L01", family="lstm", validation=0.75),
        tuned("majority", baseline=True, family="majority", model="majority", validation=None, status="done"),
    ]
    ways = tuned_models(AdaptationFile(tuned=tuple(records)))
    assert [(w.model, w.variant) for w in ways if w.chosen] == [("R01", "b"), ("L01", "a"), ("R00", "a")]
    assert [w.baseline for w in ways] == [False, False, False, False, True]
    best = best_tuned(ways)
    assert best is not None
    assert (best.model, best.variant) == ("R00", "a")
    assert best_tuned([]) is None


def test_only_the_largest_number_of_examples_is_kept_where_that_is_asked() -> None:
    records = [tuned(asked=10, examples=10), tuned(asked=None, examples=700), tuned(asked=500, examples=500)]
    file = AdaptationFile(tuned=tuple(records))
    assert [way.examples for way in tuned_models(file, largest=True)] == [700]
    assert [way.examples for way in tuned_models(file)] == [700, 500, 10]
    assert all(way.chosen for way in tuned_models(file))  # one for each number


def test_compressed_models_go_from_most_bits_to_fewest() -> None:
    def one(method: str | None, level: str, bits: float | None, seed: int = 0, **changes: Any) -> CompressedRecord:
        scores = (AdaptedScore(test="copy", metric="exact_match", score=0.5, error=0.1, n=25, headline=True),)
        values = {"family": "gpt", "model": "R00", "seed": seed, "scores": scores, **changes}
        return CompressedRecord(name=f"{method}-{level}-{seed}", method=method, level=level, bits=bits, **values)

    records = [one("wanda", "0.9", 4.2), one("wanda", "0.5", 17.0), one(None, "", 32.0), one("wanda", "0.5", 17.2, 1)]
    records.append(one("wanda", "0.9", None, 1, status="diverged", scores=()))
    found = compressed_models(AdaptationFile(compressed=tuple(records)))
    assert [(m.method, m.level, m.bits, m.seeds) for m in found] == [
        (None, "", 32.0, 1),
        ("wanda", "0.5", pytest.approx(17.1), 2),
        ("wanda", "0.9", 4.2, 1),
    ]
    assert found[0].headlines == (("copy", 0, "exact_match"),)


def test_an_answer_without_tokens_has_no_length() -> None:
    records = pl.DataFrame(
        {
            "model": ["m"] * 3,
            "seed": [0] * 3,
            "step": [0] * 3,
            "shots": [0] * 3,
            "task": ["number", "number", "word"],
            "example": [0, 1, 0],
            "logprobs": [[], [], [-0.5, -0.5]],
            "score_exact_match": [1.0, 0.0, 1.0],
        },
        schema_overrides={"logprobs": pl.List(pl.Float64)},
    )
    table = scores_of_records(records, metrics=["exact_match"])
    assert dict(table.select("task", "answer_tokens").iter_rows()) == {"number": None, "word": 2.0}
