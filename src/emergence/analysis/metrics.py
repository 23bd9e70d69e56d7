"""Known metrics: role, direction, bounds, the scale they are analysed on, and the law that ties them to exact match.

A *headline* metric is the one people quote; a *smooth* one is its continuous counterpart on the same outputs. Where a
smooth metric determines the probability of a wholly right answer of L units, its ``link`` names that law; the idea, and
the formulas for per-token probability and token edit distance, are Schaeffer et al. 2023 (arXiv 2304.15004), section 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["CHOICE_LINKS", "LINKS", "Metric", "Role", "Scale", "known_metrics", "metric"]

Role = Literal["headline", "smooth"]
Scale = Literal["identity", "log"]
Array = npt.NDArray[np.float64]


def _natural(x: Array, scale: Scale) -> Array:
    return np.log(x) if scale == "log" else x


#: Link -> (formula, expected exact match of an answer of L units whose metric is x). L counts the units of the metric:
#: tokens, except for metrics per byte or per word. Results are clipped to [0, 1].
LINKS: dict[str, tuple[str, Callable[[Array, float], Array]]] = {
    "logprob": ("exp(L * x)", lambda x, length: np.exp(length * x)),
    "nats": ("exp(-L * x)", lambda x, length: np.exp(-length * x)),
    "bits": ("2 ** (-L * x)", lambda x, length: np.exp2(-length * x)),
    "perplexity": ("exp(-L * log(x))", lambda x, length: np.exp(-length * np.log(x))),
    "whole": ("x", lambda x, length: x),
    "per_token": ("x ** L", lambda x, length: np.power(x, length)),
    "edits": ("(1 - x / L) ** L", lambda x, length: np.power(np.clip(1 - x / length, 0, 1), length)),
}

#: Link -> (formula, expected accuracy among k choices, from the probability x of the right one and the sharpness g).
#: The wrong choices are taken to share 1 - x evenly; k is the inverse of the floor. g is fitted where `LINKS` fit L.
CHOICE_LINKS: dict[str, tuple[str, Callable[[Array, float, float], Array]]] = {
    "choice": (
        "x ** g / (x ** g + (k - 1) * ((1 - x) / (k - 1)) ** g)",
        lambda x, sharpness, k: _sharpened(x, sharpness, k),
    ),
}


def _sharpened(x: Array, sharpness: float, k: float) -> Array:
    """Return x^g / (x^g + (k - 1) ((1 - x) / (k - 1))^g) by way of the log-odds, where no power underflows."""
    with np.errstate(divide="ignore"):
        log_odds = np.log(x) - np.log1p(-x) + math.log(k - 1)
        return np.asarray(1 / (1 + (k - 1) * np.exp(-sharpness * log_odds)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of one metric. ``role`` and ``higher_is_better`` are None where no verdict makes sense of it."""

    name: str
    role: Role | None
    higher_is_better: bool | None
    lowest: float
    highest: float
    link: str | None  # key of `LINKS` or of `CHOICE_LINKS`
    scale: Scale  # what the smooth metric is analysed as: perplexities as their logarithm, in nats
    percent_allowed: bool  # some tools report it from 0 to 100, others from 0 to 1
    summary: str

    @property
    def best(self) -> float | None:
        """The best value there can be (the ceiling of the scores table); None where unbounded or undefined."""
        if self.higher_is_better is None:
            return None
        bound = self.highest if self.higher_is_better else self.lowest
        return bound if math.isfinite(bound) else None

    @property
    def is_share(self) -> bool:
        """Whether its values are shares between 0 and 1, so that p(1 - p) bounds the variance of one example."""
        return self.lowest == 0 and self.highest == 1

    def natural(self, values: npt.ArrayLike) -> Array:
        """Return ``values`` on the scale the metric is analysed on (`scale`): log for perplexities, else unchanged."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _natural(np.asarray(values, dtype=np.float64), self.scale)

    @property
    def is_choice(self) -> bool:
        """Whether the link leads to accuracy among choices: its parameter is a sharpness, and it needs the floor."""
        return self.link in CHOICE_LINKS

    def exact_match(self, values: npt.ArrayLike, answer_tokens: float, *, floor: float | None = None) -> Array:
        """Return the exact match that ``values`` imply for an answer of ``answer_tokens`` units, by `link`.

        The law takes the units as independent and equally probable (Schaeffer et al. 2023, arXiv 2304.15004, eq. 2).
        For a probability of the right choice (`is_choice`) it returns the accuracy instead: ``answer_tokens`` is then
        the sharpness g, and ``floor``, the accuracy of guessing, tells the number of choices k = 1 / floor.
        Raises ValueError for a metric without a link, and for choices without a floor between 0 and 1.
        """
        if self.link is None:
            raise ValueError(f"the metric '{self.name}' has no link to exact match")
        x = np.asarray(values, dtype=np.float64)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            if self.link in CHOICE_LINKS:
                if floor is None or not 0 < floor < 1:
                    raise ValueError(
                        f"'{self.name}' implies an accuracy only where the floor is known, between 0 and 1"
                    )
                return np.clip(CHOICE_LINKS[self.link][1](x, answer_tokens, 1 / floor), 0.0, 1.0)
            return np.clip(LINKS[self.link][1](x, answer_tokens), 0.0, 1.0)


def _headline(name: str, summary: str, *, lowest: float = 0.0, highest: float = 1.0, percent: bool = False) -> Metric:
    return Metric(name, "headline", True, lowest, highest, None, "identity", percent, summary)


def _smooth(
    name: str,
    summary: str,
    *,
    up: bool,
    lowest: float,
    highest: float,
    link: str | None = None,
    scale: Scale = "identity",
) -> Metric:
    return Metric(name, "smooth", up, lowest, highest, link, scale, False, summary)


def _neutral(name: str, summary: str, *, up: bool | None, lowest: float, highest: float) -> Metric:
    return Metric(name, None, up, lowest, highest, None, "identity", False, summary)


_INF = math.inf
_KNOWN = (
    _headline("exact_match", "share of answers that equal the target"),
    _headline("exact_str_match", "share of answers that equal a target (BIG-bench)"),
    _headline("case_insensitive_str_match", "share of answers that equal a target but for case (BIG-bench)"),
    _headline("numeric_match_with_0_1_relative_error", "share of numbers within 10 % of the target (BIG-bench)"),
    _headline("em", "share of answers that equal a target after normalisation"),
    _headline("acc", "share of questions whose most probable choice is right"),
    _headline("accuracy", "share of right answers"),
    _headline("acc_norm", "acc with log-likelihoods divided by the length of the choice"),
    _headline("acc_mutual_info", "acc with log-likelihoods relative to the unconditional choice"),
    _headline("multiple_choice_grade", "share of questions whose most probable choice is right (BIG-bench)"),
    _headline("mc1", "share of questions whose most probable choice is true (TruthfulQA)"),
    _headline("pass", "share of problems solved by at least one of k programs, written pass@k"),
    _headline("f1", "harmonic mean of precision and recall"),
    _headline("macro_f1", "F1 averaged over classes"),
    _headline("mcc", "Matthews correlation", lowest=-1.0),
    _headline("bleu", "n-gram precision against references", highest=100.0, percent=True),
    _headline("chrf", "character n-gram F-score against references", highest=100.0, percent=True),
    _headline("distinct_2", "share of different bigrams among those of a set of samples"),
    _headline("rouge", "n-gram recall against references, written rouge1, rougeL, ...", highest=100.0, percent=True),
    _smooth(
        "target_logprob",
        "log-probability of the target, nats per token",
        up=True,
        lowest=-_INF,
        highest=0.0,
        link="logprob",
    ),
    _smooth("target_prob", "probability of the whole target", up=True, lowest=0.0, highest=1.0, link="whole"),
    _smooth(
        "token_accuracy",
        "share of target tokens that are most probable",
        up=True,
        lowest=0.0,
        highest=1.0,
        link="per_token",
    ),
    _smooth(
        "distinct_1",
        "share of different words among those of a set of samples",
        up=True,
        lowest=0.0,
        highest=1.0,
    ),
    _smooth(
        "token_edit_distance", "token edits from answer to target", up=False, lowest=0.0, highest=_INF, link="edits"
    ),
    _smooth(
        "choice_prob",
        "probability of the right choice, normalised over the choices",
        up=True,
        lowest=0.0,
        highest=1.0,
        link="choice",
    ),
    _smooth("brier", "squared error of the choice probabilities", up=False, lowest=0.0, highest=2.0),
    _smooth("brier_score", "squared error of the choice probabilities", up=False, lowest=0.0, highest=2.0),
    _smooth(
        "calibration_multiple_choice_brier_score",
        "squared error of the choice probabilities, mean over choices (BIG-bench)",
        up=False,
        lowest=0.0,
        highest=1.0,
    ),
    _smooth(
        "log_likelihood",
        "log-probability of the whole target, nats (BIG-bench)",
        up=True,
        lowest=-_INF,
        highest=0.0,
        link="logprob",
    ),
    _smooth("mc2", "probability of the true choices, normalised (TruthfulQA)", up=True, lowest=0.0, highest=1.0),
    _smooth("loss", "cross-entropy, nats per token", up=False, lowest=0.0, highest=_INF, link="nats"),
    _smooth("bits_per_byte", "cross-entropy, bits per byte", up=False, lowest=0.0, highest=_INF, link="bits"),
    *(
        _smooth(
            name,
            f"exponential of the cross-entropy per {unit}",
            up=False,
            lowest=1.0,
            highest=_INF,
            link="perplexity",
            scale="log",
        )
        for name, unit in (
            ("ppl", "target"),
            ("perplexity", "target"),
            ("byte_perplexity", "byte"),
            ("word_perplexity", "word"),
        )
    ),
    _neutral("expected_calibration_error", "gap between confidence and accuracy", up=False, lowest=0, highest=1),
    # The mean over subtasks of 100 (raw - low) / (high - low): below 0 where a model is worse than its low score.
    _neutral("normalized_aggregate_score", "mean normalised score (BIG-bench)", up=True, lowest=-_INF, highest=_INF),
    # Of single sentences, where matches are too few for the score that people quote, which is that of a whole test set.
    _neutral("sentence_bleu", "mean BLEU of single sentences, smoothed", up=True, lowest=0, highest=100),
    _neutral("sentence_chrf", "mean chrF of single sentences", up=True, lowest=0, highest=100),
    # Measures of bias, not of ability: half is ideal for the first, and the second has no sign.
    _neutral(
        "pct_stereotype",
        "share of pairs whose stereotyped sentence is more probable; 0.5 is ideal",
        up=None,
        lowest=0,
        highest=1,
    ),
    _neutral(
        "likelihood_difference", "mean distance in log-likelihood within a pair", up=False, lowest=0, highest=_INF
    ),
)
_BY_NAME = {known.name: known for known in _KNOWN}
_PATTERNS = ((re.compile(r"pass@\d+"), "pass"), (re.compile(r"rouge[\w-]*", re.IGNORECASE), "rouge"))


def known_metrics() -> tuple[Metric, ...]:
    """Return every known metric; ``pass`` and ``rouge`` stand for pass@k and for the members of their family."""
    return _KNOWN


def metric(name: str) -> Metric | None:
    """Return what is known of the metric ``name``, or None.

    A filter after a comma, as lm-evaluation-harness writes it (``exact_match,strict-match``), does not matter here.
    """
    base = name.partition(",")[0].strip()
    found = _BY_NAME.get(base) or _BY_NAME.get(base.lower())
    for pattern, entry in _PATTERNS:
        if found is None and pattern.fullmatch(base):
            found = _BY_NAME[entry]
    return found if found is None or found.name == name else replace(found, name=name)
