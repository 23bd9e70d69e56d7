"""The sizes of the `word2vec` family: two tables of vectors, with exact counts. No torch here.

Skip-gram with negative sampling (Mikolov et al. 2013, arXiv 1310.4546): the vector of a word is trained to tell the
words around it from words drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary

__all__ = ["WORD2VEC", "Word2VecConfig", "size_for"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share


@dataclass(frozen=True, kw_only=True)
class Word2VecConfig:
    """Vectors of one width for words and for their company.

    ``window``: a word's company lies within a distance drawn from 1 to it. ``negatives``: words drawn for every pair.
    ``separators`` are tokens that no window reaches across; ``question`` is ``(":", "=")`` as tokens, where the study
    has analogies to ask.
    """

    vocabulary: int
    context: int
    width: int
    window: int = 2  # what a word does shows in its neighbours, its subject farther away
    negatives: int = 5
    separators: tuple[int, ...] = ()
    question: tuple[int, int] | None = None
    depth: int = 1

    @property
    def activations(self) -> float:
        """The vectors of every pair and of its negatives, and their gradients."""
        return 2.0 * (self.window + 1) * (self.negatives + 2) * self.width

    @property
    def non_embedding_parameters(self) -> int:
        """``V D``: the vectors of company. They are what a word's own vector is trained against, as other families
        train it against their layers; so that a ladder of widths has a place on the axis of parameters."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """``2 V D``: both tables."""
        return 2 * self.vocabulary * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """FLOPs of the products of vectors in a forward pass of training over ``tokens`` tokens.

        ``predicted (W + 1) (1 + K) 2 D``: a word of the text that counts has W + 1 pairs on average, W the window, each
        scored once and against K negatives; the ends of texts, where there are fewer, are not taken off.
        """
        words = tokens if predicted is None else predicted
        return words * (self.window + 1) * (1 + self.negatives) * 2.0 * self.width

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        question = None if self.question is None else list(self.question)
        return {**asdict(self), "separators": list(self.separators), "question": question}


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> Word2VecConfig:
    """Return the configuration whose vectors of company are ``parameters`` numbers, within 5 %; the width is the dial.

    Raises UserError where no width comes within 5 %, and for ``vary="depth"``: there are no layers.
    """
    if vary == "depth":
        raise UserError("word2vec has no layers, so that its depth cannot vary; set model.ladder.vary to width")
    config = Word2VecConfig(vocabulary=vocabulary, context=context, width=max(1, round(parameters / vocabulary)))
    if abs(config.non_embedding_parameters / parameters - 1) > TOLERANCE:
        raise UserError(
            f"no word2vec with a vocabulary of {vocabulary:,} has {parameters:g} non-embedding parameters within "
            f"{TOLERANCE:.0%}; the nearest has {config.non_embedding_parameters:,} (width {config.width})"
        )
    return config


def _informed(
    config: Word2VecConfig, spellings: Sequence[bytes], tasks: Mapping[str, Mapping[str, Any]]
) -> Word2VecConfig:
    separators = tuple(token for token, spelling in enumerate(spellings) if not spelling)
    question = None
    if "analogy" in tasks and b":" in spellings and b"=" in spellings:
        question = (spellings.index(b":"), spellings.index(b"="))
    return replace(config, separators=separators, question=question)


def _from_dict(values: dict[str, Any]) -> Word2VecConfig:
    question = values["question"]
    return Word2VecConfig(
        **{
            **values,
            "separators": tuple(values["separators"]),
            "question": None if question is None else tuple(question),
        }
    )


WORD2VEC = Family(
    name="word2vec",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.word2vec_network:Word2VecNetwork",
    learner="skipgram",
    objective="skipgram",
    informed=_informed,
    embedding="embedding.weight",
)
