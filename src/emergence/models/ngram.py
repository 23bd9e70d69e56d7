"""The sizes of the `ngram` family: how many numbers a table of n-grams may hold. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary

__all__ = ["NGRAM", "NgramConfig", "most_order", "size_for"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share
ORDER = 5  # where only the number of n-grams is the dial
#: So many times the room is worth one order more: on tiny Shakespeare 3,000 numbers do best with order 3 or 4, 14,000
#: with 4, 65,000 with 5, 300,000 with 6, and an order more costs little.
WIDENING = 5
KEY_BITS = 63  # of the integer that one n-gram is written as
ACTIVATIONS = 3  # per token and order: the n-gram, its place and its share


@dataclass(frozen=True, kw_only=True)
class NgramConfig:
    """Interpolated modified Kneser-Ney (Kneser and Ney 1995, doi 10.1109/ICASSP.1995.479394; Chen and Goodman 1999, doi
    10.1006/csla.1999.0128) of the most frequent n-grams up to ``order`` tokens, in ``entries`` numbers."""

    vocabulary: int
    context: int
    entries: int
    order: int

    @property
    def width(self) -> int:
        """The numbers kept; no rate of learning depends on it."""
        return self.entries

    @property
    def depth(self) -> int:
        """The order: tables that are interpolated."""
        return self.order

    @property
    def base(self) -> int:
        """Tokens and the beginning of a row, which stands to the left of its first token."""
        return self.vocabulary + 1

    @property
    def activations(self) -> float:
        """The n-gram of every order that ends at a token, with its place in the table and its share."""
        return float(ACTIVATIONS * self.order)

    @property
    def non_embedding_parameters(self) -> int:
        """The numbers there is room for: the share of every n-gram of two tokens or more, and the back-off weight of
        every context that has such a share.

        An upper bound: a text that has fewer n-grams leaves the rest of the room empty, and a last context whose weight
        and first share do not both fit is left out.
        """
        return self.entries

    @property
    def parameters(self) -> int:
        """`non_embedding_parameters` and the probability of every token by itself."""
        return self.entries + self.vocabulary

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Operations of looking up the probability of the next token at ``predicted`` positions, by default at all.

        ``predicted (2 K + (K - 1) log2 E)`` for order K and E numbers: a multiplication by the back-off weight and the
        addition of a share for every order, and the comparisons of a binary search above the first. There are no matrix
        products, and a token that is not asked for costs nothing. Training looks up and counts: two such passes.
        """
        asked = tokens if predicted is None else predicted
        return asked * (2 * self.order + (self.order - 1) * math.log2(max(2, self.entries)))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def most_order(vocabulary: int) -> int:
    """Return the longest n-grams of this vocabulary that can be written as one integer of 63 bits."""
    order = 1
    while (vocabulary + 1) ** (order + 1) < 2**KEY_BITS:
        order += 1
    return order


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> NgramConfig:
    """Return the configuration with room for ``parameters`` numbers beside those of single tokens.

    The order follows from the room for every token of the vocabulary (``vary="both"``), or is 5 (``"width"``), as far
    as n-grams of that order can be written as one integer and fit into the context. Raises UserError for ``"depth"``,
    since a table of a given size has no other dial, and for no room at all.
    """
    if vary == "depth":
        raise UserError(
            "the size of an ngram is how many n-grams it keeps, whatever their order; use vary: both or width"
        )
    entries = max(0, round(parameters))
    if entries < 2 or abs(entries / parameters - 1) > TOLERANCE:
        raise UserError(f"an ngram of {parameters:g} parameters has no room for a context; ask for 10 or more")
    order = ORDER if vary == "width" else round(0.5 + math.log(entries / vocabulary) / math.log(WIDENING))
    most = min(most_order(vocabulary), context + 1)
    return NgramConfig(vocabulary=vocabulary, context=context, entries=entries, order=max(2, min(order, most)))


def _from_dict(values: dict[str, Any]) -> NgramConfig:
    return NgramConfig(**values)


NGRAM = Family(
    name="ngram",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.ngram_network:NgramNetwork",
    learner="counts",
    training_passes=2.0,
)
