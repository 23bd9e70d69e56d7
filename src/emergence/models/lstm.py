"""The sizes of the `lstm` family: a ladder from one dial, with exact parameter and FLOP counts. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary

__all__ = ["LSTM", "LSTMConfig", "size_for"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share
SECOND_LAYER = 30_000  # parameters from which a second layer is worth more than width: below, the first is too narrow
DEPTH, WIDTH = 2, 64  # what stays where the other is the dial
ACTIVATIONS = 14  # per token, layer and width: four gates and their derivatives, state, cell, input


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Stacked long short-term memory (Hochreiter and Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735) of one width,
    with the forget gate of Gers et al. 2000 (doi 10.1162/089976600300015015) and one table for input and output (Press
    and Wolf 2017, arXiv 1608.05859)."""

    vocabulary: int
    context: int
    width: int
    depth: int

    @property
    def activations(self) -> float:
        """Four gates, state and cell of every layer with what their derivatives need, and four of the vocabulary."""
        return ACTIVATIONS * self.depth * self.width + 4.0 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``L (8 D^2 + 8 D)``: per layer four gates that read input and state, with a bias for either."""
        return self.depth * (8 * self.width * self.width + 8 * self.width)

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + V D (the embedding is the output head too)."""
        return self.non_embedding_parameters + self.vocabulary * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens, whatever the ``length`` of their sequences.

        ``tokens 2 L 8 D^2 + predicted 2 D V``: two per multiply-add in every weight matrix, and the output head at the
        ``predicted`` positions (all by default). Gates and biases are element-wise and not counted, as in `gpt`.
        """
        D = self.width
        return tokens * 16.0 * self.depth * D * D + 2.0 * D * self.vocabulary * (
            tokens if predicted is None else predicted
        )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> LSTMConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    The dial is the width, with one layer below `SECOND_LAYER` parameters and two from there on (``vary="both"``) or two
    throughout (``"width"``); or the number of layers at width 64 (``"depth"``). Raises UserError where no configuration
    comes within 5 %.
    """
    if vary == "depth":
        layer = LSTMConfig(vocabulary=vocabulary, context=context, width=WIDTH, depth=1).non_embedding_parameters
        width, depth = WIDTH, max(1, round(parameters / layer))
    else:
        depth = 1 if vary == "both" and parameters < SECOND_LAYER else DEPTH
        width = max(1, round(math.sqrt(parameters / (8 * depth) + 0.25) - 0.5))
    config = LSTMConfig(vocabulary=vocabulary, context=context, width=width, depth=depth)
    if abs(config.non_embedding_parameters / parameters - 1) > TOLERANCE:
        raise UserError(
            f"no lstm with vary: {vary} has {parameters:g} non-embedding parameters within {TOLERANCE:.0%}; the "
            f"nearest has {config.non_embedding_parameters:,}"
        )
    return config


def _from_dict(values: dict[str, Any]) -> LSTMConfig:
    return LSTMConfig(**values)


LSTM = Family(
    name="lstm",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.lstm_network:LSTMNetwork",
    embedding="embedding.weight",
)
