"""Scores of predicted classes and numbers, from arrays: what a classification report is made of.

Shapes: N examples, C classes. ``truth_N`` and ``predicted_N`` hold numbers of classes; ``probabilities_NC`` sum to 1
over the classes. A score that the data do not determine is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "ClassScores",
    "ClassificationReport",
    "RegressionScores",
    "accuracy",
    "calibration_error",
    "class_scores",
    "classification_report",
    "confusion_matrix",
    "macro_f1",
    "regression_scores",
    "roc_auc",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
RESAMPLES = 1000


@dataclass(frozen=True)
class ClassScores:
    """What is known of one class. ``precision`` is None where nothing was called it, ``recall`` where nothing is it;
    ``f1`` is None where neither happens."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class ClassificationReport:
    """Everything about the predictions on one test set. Intervals are 90 % of a bootstrap over examples."""

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    majority: float  # the accuracy of always giving the largest class
    roc_auc: float | None
    calibration_error: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: what it is; columns: what it was called

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class RegressionScores:
    """How predicted numbers agree with the true ones. A correlation is None where either side is constant."""

    n: int
    pearson: float | None
    spearman: float | None
    rmse: float
    mae: float

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as what JSON can hold."""
        return asdict(self)


def accuracy(truth_N: npt.ArrayLike, predicted_N: npt.ArrayLike) -> float:
    """Return the share of right ones."""
    truth, predicted = _classes(truth_N, predicted_N)
    return float((truth == predicted).mean())


def confusion_matrix(truth_N: npt.ArrayLike, predicted_N: npt.ArrayLike, classes: int) -> Ints:
    """Return how often each class (row) was called each class (column), [C, C].

    Raises ValueError for arrays that are empty or of different length, and for a number that is no class.
    """
    truth, predicted = _classes(truth_N, predicted_N)
    both = np.concatenate([truth, predicted])
    if both.min() < 0 or both.max() >= classes:
        raise ValueError(f"classes are numbered from 0 to {classes - 1}; given {both.min()} to {both.max()}")
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion_CC: Ints, labels: Sequence[str]) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of each class."""
    right, called, true = np.diagonal(confusion_CC), confusion_CC.sum(axis=0), confusion_CC.sum(axis=1)
    return tuple(
        ClassScores(
            label,
            precision=float(r / c) if c else None,
            recall=float(r / t) if t else None,
            f1=float(2 * r / (c + t)) if c + t else None,
            support=int(t),
        )
        for label, r, c, t in zip(labels, right, called, true, strict=True)
    )


def macro_f1(confusion_CC: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the mean F1 of the classes that occur, as what is or as what was called, of one matrix or of many
    [..., C, C]: what scikit-learn's ``f1_score(average="macro")`` gives."""
    right = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    occurs = confusion_CC.sum(axis=-2) + confusion_CC.sum(axis=-1)
    f1 = 2 * right / np.maximum(occurs, 1)
    return np.asarray(f1.sum(axis=-1) / np.maximum((occurs > 0).sum(axis=-1), 1), dtype=np.float64)


def roc_auc(truth_N: npt.ArrayLike, probabilities_NC: npt.ArrayLike) -> float | None:
    """Return the area under the ROC curve: that of class 1 for two classes, for more the mean over classes, each
    against the rest. None where a class has no example.

    The area is the probability that an example of the class has the higher score than another one, half of it where
    they are equal (Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747).
    """
    from scipy.stats import rankdata

    truth, scores = np.asarray(truth_N, dtype=np.int64), np.asarray(probabilities_NC, dtype=np.float64)
    classes = scores.shape[1]
    areas = []
    for c in (1,) if classes == 2 else range(classes):
        own = truth == c
        inside, outside = int(own.sum()), int((~own).sum())
        if not inside or not outside:
            return None
        ranks = float(rankdata(scores[:, c])[own].sum())
        areas.append((ranks - inside * (inside + 1) / 2) / (inside * outside))
    return float(np.mean(areas))


def calibration_error(truth_N: npt.ArrayLike, probabilities_NC: npt.ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error: how far the share of right ones lies from the confidence of the most
    probable class, weighted over equally wide bins of confidence (Guo et al. 2017, arXiv 1706.04599, equation 5)."""
    truth, probabilities = np.asarray(truth_N, dtype=np.int64), np.asarray(probabilities_NC, dtype=np.float64)
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    # A bin is open on its left, so that a confidence of 1 is in the last one.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def classification_report(
    truth_N: npt.ArrayLike,
    probabilities_NC: npt.ArrayLike,
    labels: Sequence[str],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
) -> ClassificationReport:
    """Return the report of predictions, of which the most probable class counts (the first of equals).

    Intervals are percentiles of resampled confusion matrices: drawing examples with replacement is drawing their cells
    from a multinomial. Raises ValueError for arrays that do not fit together.
    """
    probabilities = np.asarray(probabilities_NC, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise ValueError(f"probabilities of {len(labels)} classes are N x {len(labels)}, not {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite")
    classes = len(labels)
    confusion = confusion_matrix(truth_N, probabilities.argmax(axis=1), classes)
    n = int(confusion.sum())
    drawn = rng.multinomial(n, confusion.ravel() / n, resamples).reshape(resamples, classes, classes)
    accuracies = np.trace(drawn, axis1=1, axis2=2) / n
    return ClassificationReport(
        n=n,
        accuracy=float(np.trace(confusion) / n),
        accuracy_interval=_interval(accuracies),
        macro_f1=float(macro_f1(confusion)),
        macro_f1_interval=_interval(macro_f1(drawn)),
        majority=float(confusion.sum(axis=1).max() / n),
        roc_auc=roc_auc(truth_N, probabilities),
        calibration_error=calibration_error(truth_N, probabilities),
        classes=class_scores(confusion, labels),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def regression_scores(truth_N: npt.ArrayLike, predicted_N: npt.ArrayLike) -> RegressionScores:
    """Return correlations and errors of predicted numbers. Raises ValueError for arrays that do not fit together."""
    truth, predicted = np.asarray(truth_N, dtype=np.float64), np.asarray(predicted_N, dtype=np.float64)
    if truth.shape != predicted.shape or truth.ndim != 1 or not truth.size:
        raise ValueError(f"numbers to compare are two rows of the same length, not {truth.shape}, {predicted.shape}")
    error = predicted - truth
    return RegressionScores(
        n=truth.size,
        pearson=_correlation(truth, predicted),
        spearman=_rank_correlation(truth, predicted),
        rmse=float(np.sqrt((error**2).mean())),
        mae=float(np.abs(error).mean()),
    )


def _correlation(first: Floats, second: Floats) -> float | None:
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    constant = np.ptp(first) == 0 or np.ptp(second) == 0 or not scale > 0
    return None if constant else float(np.clip((a * b).sum() / scale, -1.0, 1.0))


def _rank_correlation(first: Floats, second: Floats) -> float | None:
    from scipy.stats import rankdata

    return _correlation(rankdata(first), rankdata(second))


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, [5.0, 95.0])
    return float(low), float(high)


def _classes(truth_N: npt.ArrayLike, predicted_N: npt.ArrayLike) -> tuple[Ints, Ints]:
    truth, predicted = np.asarray(truth_N, dtype=np.int64), np.asarray(predicted_N, dtype=np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1 or not truth.size:
        raise ValueError(f"classes to compare are two rows of the same length, not {truth.shape}, {predicted.shape}")
    return truth, predicted
