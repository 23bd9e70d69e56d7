"""The sizes of the `bert` family, a bidirectional encoder, with exact counts. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emergence.models.family import Family, Vary
from emergence.models.gpt import even_feed_forward, head_width_for, least_distorted, shapes

__all__ = ["BERT", "CHOSEN", "BertConfig", "size_for"]

RATE = 0.25  # normalised after each half, it learns best at a lower rate (docs/families.md)
CHOSEN = 0.15  # of a text's tokens are chosen to be predicted (Devlin et al. 2019, arXiv 1810.04805)


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """A bidirectional Transformer encoder as BERT has it: learned positions, LayerNorm after each half, exact GELU,
    biases, and a head that reads the table of tokens (Devlin et al. 2019, arXiv 1810.04805).

    ``vocabulary`` is that of the tokenizer. The mask has the id after it, and one more row in the table.
    """

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    feed_forward: int
    norm_epsilon: float = 1e-12

    @property
    def mask_id(self) -> int:
        """The id of the mask, which no tokenizer writes."""
        return self.vocabulary

    @property
    def rows(self) -> int:
        """Rows of the table of tokens, and logits at every place: the vocabulary and the mask."""
        return self.vocabulary + 1

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def activations(self) -> float:
        """Per block about 16 values of the model width and 3 of the feed-forward width, the attention's weights, and
        four of the vocabulary."""
        attention = 2.0 * self.heads * self.context
        return self.depth * (16 * self.width + 3 * self.feed_forward + attention) + 4 * self.rows

    @property
    def non_embedding_parameters(self) -> int:
        """``L (4 D^2 + 2 D F + 9 D + F) + D^2 + 5 D``.

        Per block four D x D attention matrices and two D x F feed-forward matrices, with 5 D + F biases, and two norms
        of 2 D. The embeddings have a norm of 2 D, and the head a D x D matrix, its bias, and a norm. The tables of
        tokens and positions and the head's bias per token are not counted, as the embedding and output of others.
        """
        D, F = self.width, self.feed_forward
        return self.depth * (4 * D * D + 2 * D * F + 9 * D + F) + D * D + 5 * D

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + (V + 1 + C) D + V + 1, the tables of tokens (the mask among
        them) and of positions, and a bias per token."""
        return self.non_embedding_parameters + (self.rows + self.context) * self.width + self.rows

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens in sequences of ``length`` T.

        ``tokens (2 L (4 D^2 + 2 D F) + 4 L T D) + predicted (2 D^2 + 2 D (V + 1))``, counted as those of `gpt`; at a
        predicted place the head has a D x D matrix before the table of tokens.
        """
        D, F, L = self.width, self.feed_forward, self.depth
        body = 2.0 * L * (4 * D * D + 2 * D * F) + 4.0 * L * length * D
        return tokens * body + 2.0 * D * (D + self.rows) * (tokens if predicted is None else predicted)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> BertConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    Widths, depths and heads are those of `gpt`; the feed-forward width, ideally four times the width, takes up the
    slack. Raises UserError where no configuration comes within 5 %.
    """
    candidates = []
    for width, depth in shapes(parameters, vary):
        rest = depth * (4 * width * width + 9 * width) + width * width + 5 * width
        unit = depth * (2 * width + 1)
        candidates.append(
            BertConfig(
                vocabulary=vocabulary,
                context=context,
                width=width,
                depth=depth,
                heads=width // head_width_for(width),
                feed_forward=even_feed_forward((parameters - rest) / unit, unit / parameters),
            )
        )
    return least_distorted("bert", candidates, parameters, vary, ideal=4, least="3,000")


def _from_dict(values: dict[str, Any]) -> BertConfig:
    return BertConfig(**values)


BERT = Family(
    name="bert",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.bert_network:BertNetwork",
    objective="masked_token",
    predicted_share=CHOSEN,
    rate=RATE,
    own_loss="that of hidden tokens (and its log-probabilities are pseudo-log-likelihoods)",
    sampled=False,
)
