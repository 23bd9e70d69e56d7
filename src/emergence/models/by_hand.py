"""The sizes of the `numpy` family: a ladder from one dial, with exact parameter and FLOP counts. No torch here.

The file is not called ``numpy.py``, so that nothing can take it for the library.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary

__all__ = ["BY_HAND", "ByHandConfig", "size_for"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share
WINDOW = 8  # tokens
NARROWING = 4  # hidden units to a number of an embedding, ideally


@dataclass(frozen=True, kw_only=True)
class ByHandConfig:
    """One hidden layer over the embeddings of the last ``window`` tokens (Bengio, Ducharme, Vincent and Jauvin 2003,
    JMLR 3, 1137-1155), without their direct connections."""

    vocabulary: int
    context: int
    window: int
    embedding: int  # numbers that stand for one token
    hidden: int  # units of the hidden layer

    @property
    def width(self) -> int:
        """Width of the hidden layer."""
        return self.hidden

    @property
    def depth(self) -> int:
        """One hidden layer."""
        return 1

    @property
    def activations(self) -> float:
        """Twice the embeddings of the window, three times the hidden layer and four times the vocabulary: values and
        their derivatives."""
        return 2.0 * self.window * self.embedding + 3.0 * self.hidden + 4.0 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``K D H + H``: the hidden layer reads K embeddings of D numbers and has a bias for each of its H units."""
        return self.window * self.embedding * self.hidden + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + (V + 1) D + V H + V, the embeddings (one of them stands before
        the beginning of a row) and the output head with its bias."""
        head = self.vocabulary * self.hidden + self.vocabulary
        return self.non_embedding_parameters + (self.vocabulary + 1) * self.embedding + head

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of predicting ``predicted`` tokens, by default one at each of ``tokens`` positions.

        ``predicted (2 K D H + 2 H V)``: two per multiply-add. A window is read for itself, so that nothing is computed
        at the other positions. The backward pass costs twice that: each product has two factors to be derived for.
        """
        asked = tokens if predicted is None else predicted
        return asked * 2.0 * self.hidden * (self.window * self.embedding + self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> ByHandConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    The dial is the width of the hidden layer; embeddings are about a fourth as wide. Raises UserError for ``vary:
    depth``, since there is one hidden layer, and where no width comes within 5 %.
    """
    if vary == "depth":
        raise UserError("the family numpy has one hidden layer; use vary: both or width")
    window = min(WINDOW, context)
    ideal = math.sqrt(max(1.0, parameters) / (window * NARROWING))  # K D (4 D) = parameters
    found = []
    for embedding in {max(1, math.floor(ideal)), math.ceil(ideal)}:
        hidden = max(1, round(parameters / (window * embedding + 1)))
        config = ByHandConfig(vocabulary=vocabulary, context=context, window=window, embedding=embedding, hidden=hidden)
        found.append((abs(config.non_embedding_parameters / parameters - 1), embedding, config))
    fault, _, best = min(found, key=lambda choice: choice[:2])
    if fault > TOLERANCE:
        raise UserError(
            f"no model of the family numpy has {parameters:g} non-embedding parameters within {TOLERANCE:.0%}; the "
            f"nearest has {best.non_embedding_parameters:,}"
        )
    return best


def _from_dict(values: dict[str, Any]) -> ByHandConfig:
    return ByHandConfig(**values)


BY_HAND = Family(
    name="numpy",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.by_hand_network:ByHandNetwork",
    learner="by_hand",
)
