"""Scores of classes and of answers agree with scikit-learn, SciPy, rouge_score and SQuAD's own rules."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.tasks.answer_scores import answer_scores, bare_answer, rouge_scores
from emergence.tasks.label_scores import (
    accuracy,
    calibration_error,
    class_scores,
    classification_report,
    confusion_matrix,
    macro_f1,
    regression_scores,
    roc_auc,
)

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def predictions(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    scores = rng.normal(size=(n, classes)) + np.eye(classes)[truth]
    # Rounded, so that some scores are equal.
    probabilities = np.round(np.exp(scores), 1) + 0.1
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(8, 60))
def test_a_report_agrees_with_scikit_learn(seed: int, classes: int, n: int) -> None:
    truth, probabilities = predictions(seed, n, classes)
    called = probabilities.argmax(axis=1)
    labels = [f"c{k}" for k in range(classes)]
    report = classification_report(truth, probabilities, labels, np.random.default_rng(0), resamples=100)
    assert report.n == n
    assert report.accuracy == accuracy(truth, called) == pytest.approx(metrics.accuracy_score(truth, called))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(truth, called, average="macro"))
    assert np.array_equal(report.confusion, metrics.confusion_matrix(truth, called, labels=range(classes)))
    expected = metrics.precision_recall_fscore_support(truth, called, labels=range(classes), zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        own = [getattr(one, name) for one in report.classes]
        assert [np.nan if v is None else v for v in own] == pytest.approx(values, nan_ok=True)
    if classes == 2:
        assert report.roc_auc == pytest.approx(metrics.roc_auc_score(truth, probabilities[:, 1]))
    else:
        assert report.roc_auc == pytest.approx(
            metrics.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        )
    assert report.majority == np.bincount(truth).max() / n
    assert json.loads(json.dumps(report.to_dict()))["classes"][0]["label"] == "c0"


def test_undefined_is_not_zero() -> None:
    confusion = confusion_matrix([0, 0, 1], [1, 1, 1], 4)
    never_called, usual, absent, _ = class_scores(confusion, "abcd")
    assert (never_called.precision, never_called.recall, never_called.f1) == (None, 0.0, 0.0)
    assert usual.precision == pytest.approx(1 / 3)
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (None, None, None, 0)
    assert macro_f1(confusion) == pytest.approx((0 + 0.5) / 2)
    assert roc_auc([0, 0, 0], [[0.5, 0.5]] * 3) is None
    assert regression_scores([1, 2, 3], [2, 2, 2]).pearson is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(300):
        truth = rng.integers(0, 2, 200)
        called = np.where(rng.random(200) < 0.8, truth, 1 - truth)
        report = classification_report(truth, np.eye(2)[called], ["a", "b"], rng, resamples=200)
        low, high = report.accuracy_interval
        inside += low <= 0.8 <= high
        assert report.macro_f1_interval[0] <= report.macro_f1 <= report.macro_f1_interval[1]
    assert inside / 300 == pytest.approx(0.9, abs=0.05)


def test_intervals_depend_on_the_generator_alone() -> None:
    truth, probabilities = predictions(1, 60, 3)
    first, again, other = (
        classification_report(truth, probabilities, "abc", np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.accuracy_interval != other.accuracy_interval or first.macro_f1_interval != other.macro_f1_interval


def test_calibration_error() -> None:
    """Two bins, worked out by hand; and predictions that are as sure as they are right have none."""
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]]
    expected = 0.5 * abs(0.5 - 0.9) + 0.5 * abs(1.0 - 0.625)
    assert calibration_error([0, 1, 1, 1], probabilities, bins=3) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 40_000)
    truth = (rng.random(40_000) > sure).astype(int)
    assert calibration_error(truth, np.stack([sure, 1 - sure], axis=1)) < 0.01
    assert calibration_error([0], [[1.0, 0.0]]) == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40))
def test_numbers_agree_with_scipy(seed: int, n: int) -> None:
    from scipy import stats

    rng = np.random.default_rng(seed)
    truth = np.round(rng.normal(size=n), 1)
    predicted = np.round(truth + rng.normal(size=n), 1)
    scores = regression_scores(truth, predicted)
    if np.ptp(truth) and np.ptp(predicted):
        assert scores.pearson == pytest.approx(stats.pearsonr(truth, predicted).statistic)
        assert scores.spearman == pytest.approx(stats.spearmanr(truth, predicted).statistic)
    assert scores.rmse == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert scores.mae == pytest.approx(metrics.mean_absolute_error(truth, predicted))


def test_arrays_that_do_not_fit_are_refused() -> None:
    for truth, called in (([], []), ([0, 1], [0])):
        with pytest.raises(ValueError, match="two rows of the same length"):
            accuracy(truth, called)
        with pytest.raises(ValueError, match="two rows of the same length"):
            regression_scores(truth, called)
    with pytest.raises(ValueError, match="classes are numbered from 0 to 1; given 0 to 2"):
        confusion_matrix([0, 2], [0, 0], 2)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="probabilities of 3 classes are N x 3"):
        classification_report([0], [[0.5, 0.5]], "abc", rng)
    with pytest.raises(ValueError, match="finite"):
        classification_report([0], [[np.nan, 0.5]], "ab", rng)


@pytest.mark.parametrize(
    ("output", "answers", "exact", "f1"),
    [  # the first five by the rules of SQuAD's script, the others by those of MLQA's
        ("The  Broncos!", ["Broncos"], 1.0, 1.0),
        ("a Denver-Broncos team", ["Denver Broncos"], 0.0, 0.0),
        ("Denver Broncos team", ["Broncos", "Denver Broncos"], 0.0, 0.8),
        ("", ["the"], 1.0, 0.0),
        ("in 24 games", ["24"], 0.0, 0.5),
        ("三百零八分。", ["三百零八分"], 1.0, 1.0),
        ("308 分", ["308分"], 1.0, 1.0),
        ("三百零七分", ["三百零八分"], 0.0, 0.8),
        ("the NFL，联盟", ["NFL 联盟"], 0.0, 6 / 7),
    ],
)
def test_answers_are_compared_as_squad_and_mlqa_do(output: str, answers: list[str], exact: float, f1: float) -> None:
    assert answer_scores(output, answers) == pytest.approx({"exact_match": exact, "f1": f1})


def test_bare_answers() -> None:
    assert bare_answer("The U.S. and a  Theory, an 'end'") == "us and theory end"
    assert bare_answer("《红楼梦》 Vol.2", chinese=True) == "红 楼 梦 vol2"


words = st.lists(st.sampled_from(["the", "Cat", "sat", "on", "mat.", "a-b", "9", "é", "running"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(words, words)
def test_rouge_agrees_with_the_package(first: list[str], second: list[str]) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge_score is not installed").RougeScorer
    expected = scorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False).score(" ".join(first), " ".join(second))
    own = rouge_scores(" ".join(second), [" ".join(first)])
    assert list(own.values()) == pytest.approx([value.fmeasure for value in expected.values()])


def test_rouge_of_chinese_and_of_several_summaries() -> None:
    own = rouge_scores("我爱北京", ["我很爱北京", "nothing"])
    assert own == pytest.approx({"rouge_1": 8 / 9, "rouge_2": 2 * 2 / (3 + 4), "rouge_l": 8 / 9})
    with pytest.raises(ValueError, match="no accepted answer"):
        rouge_scores("a", [])
