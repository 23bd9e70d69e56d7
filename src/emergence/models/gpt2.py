"""The sizes of the `gpt2` family, GPT-2's variant of the decoder, with exact counts. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emergence.models.family import Family, Vary
from emergence.models.gpt import even_feed_forward, head_width_for, least_distorted, shapes

__all__ = ["GPT2", "GPT2Config", "size_for"]


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """A decoder-only Transformer as GPT-2 has it: learned positions, LayerNorm, GELU, biases, one table for input and
    output (Radford et al. 2019)."""

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    feed_forward: int
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def activations(self) -> float:
        """Per block about 16 values of the model width and 3 of the feed-forward width, the attention's weights, and
        four of the vocabulary."""
        attention = 2.0 * self.heads * self.context
        return self.depth * (16 * self.width + 3 * self.feed_forward + attention) + 4 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``L (4 D^2 + 2 D F + 9 D + F) + 2 D``.

        Per block four D x D attention matrices and two D x F feed-forward matrices, with 5 D + F biases, and two norms
        of 2 D; one norm at the end. Tokens and positions have tables of their own.
        """
        D, F = self.width, self.feed_forward
        return self.depth * (4 * D * D + 2 * D * F + 9 * D + F) + 2 * D

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + (V + C) D, the tables of tokens and of positions."""
        return self.non_embedding_parameters + (self.vocabulary + self.context) * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens in sequences of ``length`` T.

        ``tokens (2 L (4 D^2 + 2 D F) + 4 L T D) + predicted 2 D V``, counted as those of `gpt`.
        """
        D, F, L = self.width, self.feed_forward, self.depth
        body = 2.0 * L * (4 * D * D + 2 * D * F) + 4.0 * L * length * D
        return tokens * body + 2.0 * D * self.vocabulary * (tokens if predicted is None else predicted)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> GPT2Config:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    Widths, depths and heads are those of `gpt`; the feed-forward width, ideally four times the width, takes up the
    slack. Raises UserError where no configuration comes within 5 %.
    """
    candidates = []
    for width, depth in shapes(parameters, vary):
        rest = depth * (4 * width * width + 9 * width) + 2 * width
        unit = depth * (2 * width + 1)
        candidates.append(
            GPT2Config(
                vocabulary=vocabulary,
                context=context,
                width=width,
                depth=depth,
                heads=width // head_width_for(width),
                feed_forward=even_feed_forward((parameters - rest) / unit, unit / parameters),
            )
        )
    return least_distorted("gpt2", candidates, parameters, vary, ideal=4, least="3,000")


def _from_dict(values: dict[str, Any]) -> GPT2Config:
    return GPT2Config(**values)


GPT2 = Family(
    name="gpt2",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.gpt2_network:GPT2Network",
    embedding="embedding.weight",
)
