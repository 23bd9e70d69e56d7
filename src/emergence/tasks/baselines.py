"""What needs no network: classifiers that a fine-tuned model has to beat.

Each has ``fit(examples, labels)``, which returns itself, and ``predict_proba(examples)``, which returns the probability
of every class in the order of ``labels``, [N, C]. Shapes: N examples, V words, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emergence.core.errors import UserError, unknown_name
from emergence.core.seeds import stream
from emergence.tasks.labelled_schema import Labelled
from emergence.text.bag import Bag, chinese_share
from emergence.text.sentiment import LEXICONS

__all__ = ["BASELINES", "Baseline", "LexiconBaseline", "Logistic", "Majority", "NaiveBayes", "make_baseline"]

Floats = npt.NDArray[np.float64]

FEW = 100  # examples, below which words that are seen once are all that there is
FOLDS = 5
SMOOTHINGS = (1.0, 0.5, 0.25, 0.125)


class Baseline(ABC):
    """A classifier that is fitted to labelled texts."""

    labels: tuple[str, ...] = ()

    def fit(self, examples: Sequence[Labelled], labels: Sequence[str]) -> Baseline:
        """Fit to the examples, whose labels are among ``labels``; raises UserError where there are none, or others."""
        self.labels = tuple(labels)
        places = {label: place for place, label in enumerate(self.labels)}
        unknown = {example.label for example in examples} - set(places)
        if not examples or unknown:
            what = f"labels such as {min(unknown)!r}" if unknown else "no examples"
            raise UserError(f"a baseline cannot be fitted to {what}; give labelled examples of {', '.join(places)}")
        self._fit(examples, np.array([places[example.label] for example in examples]))
        return self

    @abstractmethod
    def _fit(self, examples: Sequence[Labelled], truth_N: npt.NDArray[np.int64]) -> None:
        """Learn from examples and the numbers of their classes."""

    @abstractmethod
    def predict_proba(self, examples: Sequence[Labelled]) -> Floats:
        """Return the probability of every class, [N, C]."""


class Majority(Baseline):
    """The shares of the classes in training, whatever the text."""

    def _fit(self, examples: Sequence[Labelled], truth_N: npt.NDArray[np.int64]) -> None:
        self._shares = np.bincount(truth_N, minlength=len(self.labels)) / len(truth_N)

    def predict_proba(self, examples: Sequence[Labelled]) -> Floats:
        """Return the same shares for every example, [N, C]."""
        return np.tile(self._shares, (len(examples), 1))


class LexiconBaseline(Baseline):
    """Counts words of praise and blame (`text.sentiment`), Chinese ones in texts that are mostly Chinese.

    A text falls into one of four cases: praise, blame, both in balance, no word of either. Training says only how often
    each case has each class, with one example of the class that the case names (any class where none is named) added.
    Classes must be called positive and negative, and may be neutral besides.
    """

    NAMES = ("positive", "negative", "neutral")

    def _fit(self, examples: Sequence[Labelled], truth_N: npt.NDArray[np.int64]) -> None:
        named = [label.casefold() for label in self.labels]
        if not {"positive", "negative"} <= set(named) <= set(self.NAMES):
            raise UserError(
                f"the lexicon knows positive, negative and neutral, not {', '.join(self.labels)}; map the classes to "
                "these with labels:"
            )
        counts = np.full((4, len(named)), 1 / len(named))
        for case, label in ((0, "positive"), (1, "negative"), (2, "neutral"), (3, "neutral")):
            if label in named:
                counts[case] = np.eye(len(named))[named.index(label)]
        np.add.at(counts, (self._cases(examples), truth_N), 1)
        self._shares = counts / counts.sum(axis=1, keepdims=True)

    def predict_proba(self, examples: Sequence[Labelled]) -> Floats:
        """Return how often each class was there in the case of each example, [N, C]."""
        shares: Floats = self._shares[self._cases(examples)]
        return shares

    def _cases(self, examples: Sequence[Labelled]) -> npt.NDArray[np.int64]:
        return np.array([_case(f"{e.text} {e.second}") for e in examples], dtype=np.int64)


def _case(text: str) -> int:
    strength = LEXICONS["zh" if chinese_share(text) > 0.3 else "en"].strength(text)
    return 3 if strength is None else 2 if strength == 0 else int(strength < 0)


class _Counted(Baseline):
    """Counts the runs of words of the training texts; others do not count. A second text has words of its own."""

    def __init__(self, ngrams: tuple[int, int] = (1, 2), stop_words: frozenset[str] = frozenset()) -> None:
        self._bag = Bag(ngrams, stop_words)

    def _words(self, example: Labelled) -> list[str]:
        second = [f"2 {word}" for word in self._bag(example.second)] if example.second else []
        return self._bag(example.text) + second

    def _learn_words(self, examples: Sequence[Labelled]) -> Any:
        """Remember the runs that are seen twice, or all of a few examples, and return the counts."""
        texts = [self._words(example) for example in examples]
        least = 2 if len(texts) >= FEW else 1
        seen = Counter(word for words in texts for word in words)
        self._places = {word: place for place, word in enumerate(sorted(w for w, n in seen.items() if n >= least))}
        return self._matrix(texts)

    def _counts(self, examples: Sequence[Labelled]) -> Any:
        return self._matrix([self._words(example) for example in examples])

    def _matrix(self, texts: Sequence[Sequence[str]]) -> Any:
        """Return the counts of known words as a sparse matrix, [N, V]."""
        from scipy.sparse import csr_array

        rows, columns = [], []
        for row, words in enumerate(texts):
            known = [self._places[word] for word in words if word in self._places]
            rows += [row] * len(known)
            columns += known
        shape = (len(texts), len(self._places))
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


class NaiveBayes(_Counted):
    """Multinomial naive Bayes on counts of words and pairs of words (McCallum and Nigam 1998, A comparison of event
    models for naive Bayes text classification): log p(c | x) = log p(c) + sum_w x_w log p(w | c).

    ``smoothing`` is added to every count (1: Laplace); None takes the one of `SMOOTHINGS` with which most training
    examples are told right by the other four fifths.
    """

    def __init__(
        self,
        ngrams: tuple[int, int] = (1, 2),
        stop_words: frozenset[str] = frozenset(),
        smoothing: float | None = None,
    ) -> None:
        if smoothing is not None and not smoothing > 0:
            raise ValueError(f"smoothing must be above 0, not {smoothing}")
        super().__init__(ngrams, stop_words)
        self.smoothing = smoothing

    def _fit(self, examples: Sequence[Labelled], truth_N: npt.NDArray[np.int64]) -> None:
        counts_NV = self._learn_words(examples)
        belongs_NC = np.eye(len(self.labels))[truth_N]
        if self.smoothing is None:
            self.smoothing = self._best_smoothing(counts_NV, belongs_NC)
        self._word_VC, self._prior_C = _estimate(counts_NV.T @ belongs_NC, belongs_NC.sum(axis=0), self.smoothing)

    def _best_smoothing(self, counts_NV: Any, belongs_NC: Floats) -> float:
        if len(belongs_NC) < FEW:
            return 1.0
        right = dict.fromkeys(SMOOTHINGS, 0)
        total_VC, classes_C = counts_NV.T @ belongs_NC, belongs_NC.sum(axis=0)
        order = stream(0, "folds").permutation(len(belongs_NC))  # examples may stand class by class
        for fold in range(FOLDS):
            own_NV, own_NC = counts_NV[order[fold::FOLDS]], belongs_NC[order[fold::FOLDS]]
            rest_VC, rest_C = total_VC - own_NV.T @ own_NC, classes_C - own_NC.sum(axis=0)
            for smoothing in SMOOTHINGS:
                word_VC, prior_C = _estimate(rest_VC, rest_C, smoothing)
                answers = (own_NV @ word_VC + prior_C).argmax(axis=1)
                right[smoothing] += int((answers == own_NC.argmax(axis=1)).sum())
        return max(SMOOTHINGS, key=right.__getitem__)

    def predict_proba(self, examples: Sequence[Labelled]) -> Floats:
        """Return the posterior probabilities, [N, C]."""
        from scipy.special import softmax

        return np.asarray(softmax(self._counts(examples) @ self._word_VC + self._prior_C, axis=1), dtype=np.float64)


def _estimate(counts_VC: Floats, classes_C: Floats, smoothing: float) -> tuple[Floats, Floats]:
    """Return the log-probabilities of words in each class, [V, C], and of classes."""
    smoothed_VC = counts_VC + smoothing
    with np.errstate(divide="ignore"):  # a class without examples is never the answer
        return np.log(smoothed_VC) - np.log(smoothed_VC.sum(axis=0)), np.log(classes_C / classes_C.sum())


class Logistic(_Counted):
    """Logistic regression (softmax) on which words and pairs of words occur, with an L2 penalty on the weights but not
    on the biases: it minimises strength/2 |W|^2 + sum of the negative log-likelihoods, by L-BFGS."""

    def __init__(
        self, ngrams: tuple[int, int] = (1, 2), stop_words: frozenset[str] = frozenset(), strength: float = 1.0
    ) -> None:
        if not strength > 0:
            raise ValueError(f"the strength of the penalty must be above 0, not {strength}")
        super().__init__(ngrams, stop_words)
        self._strength = strength

    def _fit(self, examples: Sequence[Labelled], truth_N: npt.NDArray[np.int64]) -> None:
        from scipy.optimize import minimize
        from scipy.special import logsumexp

        x_NV = self._present(self._learn_words(examples))
        belongs_NC = np.eye(len(self.labels))[truth_N]
        shape = (x_NV.shape[1] + 1, len(self.labels))

        def loss(flat: Floats) -> tuple[float, Floats]:
            weights = flat.reshape(shape)
            logits_NC = x_NV @ weights[:-1] + weights[-1]
            log_NC = logits_NC - logsumexp(logits_NC, axis=1, keepdims=True)
            excess_NC = np.exp(log_NC) - belongs_NC
            gradient = np.vstack([x_NV.T @ excess_NC + self._strength * weights[:-1], excess_NC.sum(axis=0)])
            value = -float((log_NC * belongs_NC).sum()) + self._strength / 2 * float((weights[:-1] ** 2).sum())
            return value, gradient.ravel()

        found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        self._weights = found.x.reshape(shape)

    def predict_proba(self, examples: Sequence[Labelled]) -> Floats:
        """Return the probabilities, [N, C]."""
        from scipy.special import softmax

        logits_NC = self._present(self._counts(examples)) @ self._weights[:-1] + self._weights[-1]
        return np.asarray(softmax(logits_NC, axis=1), dtype=np.float64)

    @staticmethod
    def _present(counts_NV: Any) -> Any:
        return (counts_NV > 0).astype(np.float64)


BASELINES: dict[str, Callable[[], Baseline]] = {
    "majority": Majority,
    "lexicon": LexiconBaseline,
    "naive_bayes": NaiveBayes,
    "logistic": Logistic,
}


def make_baseline(name: str) -> Baseline:
    """Return an unfitted baseline; raises UserError for a name that there is none of."""
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    return BASELINES[name]()
