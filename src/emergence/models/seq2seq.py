"""The sizes of the `seq2seq` family, an encoder-decoder Transformer, with exact counts. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergence.models.family import Family, Vary
from emergence.models.gpt import TOLERANCE, depth_for, even_feed_forward, head_width_for, least_distorted

__all__ = ["CORRUPTED", "SEQ2SEQ", "SPAN", "Seq2SeqConfig", "hidden_of", "size_for", "spans_of"]

CORRUPTED, SPAN = 0.15, 3.0  # share of a text that is hidden, and the mean length of a hidden span (Raffel et al. 2020)
WIDTH, DEPTH = 64, 2  # what stays where the other is the dial; as many encoder blocks as decoder blocks


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """An encoder-decoder Transformer (Vaswani et al. 2017, arXiv 1706.03762): sinusoidal positions, ReLU, biases, one
    table for both inputs and the output; normalised before each half (Xiong et al. 2020, arXiv 2002.04745).

    ``depth`` blocks encode and as many decode. Prompt and target may each have ``context`` tokens. Beside the
    ``vocabulary`` of the tokenizer the table has `extra` ids: what a decoder reads first, and the sentinels of span
    corruption.
    """

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
    def hidden(self) -> int:
        """Tokens of a text of one context that span corruption hides."""
        return hidden_of(self.context)

    @property
    def spans(self) -> int:
        """Spans that these tokens are in; a shorter text has no more."""
        return spans_of(self.context)

    @property
    def start_id(self) -> int:
        """What the decoder reads before anything is written; the sentinels come after it."""
        return self.vocabulary

    @property
    def extra(self) -> int:
        """Ids that no text has: the start, one sentinel for each span, and one after the last."""
        return 2 + self.spans

    @property
    def activations(self) -> float:
        """About 20 values of the model width and 3 of the feed-forward width a block, the attention's weights, and four
        of the vocabulary; a token is read by the encoder or by the decoder."""
        attention = 3.0 * self.heads * self.context
        return self.depth * (20 * self.width + 3 * self.feed_forward + attention) + 4 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``L (12 D^2 + 4 D F + 24 D + 2 F) + 4 D``.

        An encoder block has four D x D matrices of attention and two D x F of the feed-forward, with 5 D + F biases,
        and two norms of 2 D; a decoder block has four D x D matrices more, that read the encoder, with 4 D biases, and
        a third norm. Encoder and decoder end with a norm each.
        """
        D, F = self.width, self.feed_forward
        return self.depth * (12 * D * D + 4 * D * F + 24 * D + 2 * F) + 4 * D

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + (V + `extra`) D."""
        return self.non_embedding_parameters + (self.vocabulary + self.extra) * self.width

    @property
    def predicted_of_text(self) -> float:
        """Tokens that are predicted of a text of one context, on average: half of all texts are cut in two, of the
        others the hidden spans are written with their sentinels (`training/pairs.py`)."""
        return ((self.context + 1) / 2 + self.hidden + self.spans + 1) / 2

    def pair_flops(self, source: float, target: float) -> float:
        """Matrix-product FLOPs of reading S ``source`` tokens and predicting T ``target`` tokens.

        ``(S + T) 2 L (6 D^2 + 2 D F) + 4 L D (S^2 + T^2 + T S) + 2 T D V'``, counted as those of `gpt`. A source token
        meets four matrices of the encoder's attention and the two of the decoder's that make its keys and values; a
        target token the other six of the decoder. V' is the whole table, `extra` ids included.
        """
        D, F, L, S, T = self.width, self.feed_forward, self.depth, source, target
        attention = 4.0 * L * D * (S * S + T * T + T * S)
        return (S + T) * 2.0 * L * (6 * D * D + 2 * D * F) + attention + 2.0 * T * D * (self.vocabulary + self.extra)

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """`pair_flops` of ``tokens`` tokens, those of both sides, in pairs of ``length``.

        The decoder reads ``predicted`` of them; where that is all of them (the default) they are text, of which
        `predicted_of_text` are predicted. Where a row of training data holds several pairs, their attention is counted
        as that of one pair as long as the row; where a batch has rows of text beside them, or rows of text end before
        the context does, the head is counted at every token of the text. Both count too much rather than too little.
        """
        whole = predicted is None or predicted >= tokens
        share = self.predicted_of_text / self.context if whole else predicted / tokens  # type: ignore[operator]
        return tokens / length * self.pair_flops(length * (1 - share), length * share)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def hidden_of(tokens: int) -> int:
    """Return how many tokens of a text of ``tokens`` (2 or more) span corruption hides: never all."""
    return max(1, min(tokens - 1, round(CORRUPTED * tokens)))


def spans_of(tokens: int) -> int:
    """Return how many spans the hidden tokens of a text of ``tokens`` are in."""
    hidden = hidden_of(tokens)
    return max(1, min(hidden, tokens - hidden, round(hidden / SPAN)))


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> Seq2SeqConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    The dial is the width (``vary="both"``: depth follows, half as many blocks a side as `gpt` has; ``"width"``: two
    blocks a side; ``"depth"``: width 64); the feed-forward width, ideally four times the width, takes up the slack.
    Raises UserError where no configuration comes within 5 %.
    """
    candidates = []
    for width, depth in _shapes(parameters, vary):
        rest = depth * (12 * width * width + 24 * width) + 4 * width
        unit = depth * (4 * width + 2)
        candidates.append(
            Seq2SeqConfig(
                vocabulary=vocabulary,
                context=context,
                width=width,
                depth=depth,
                heads=width // head_width_for(width),
                feed_forward=even_feed_forward((parameters - rest) / unit, unit / parameters),
            )
        )
    return least_distorted("seq2seq", candidates, parameters, vary, ideal=4, least="3,000")


def _shapes(parameters: float, vary: Vary) -> list[tuple[int, int]]:
    """Return the (width, depth) pairs that could hold ``parameters``: widths that divide into heads, ascending."""
    if vary == "depth":
        return [(WIDTH, depth) for depth in range(1, 513)]
    pairs = []
    for width in [*range(4, 32, 4), *range(32, 32_768 + 1, 8)]:
        if width % head_width_for(width):
            continue
        half = depth_for(width) / 2
        depths = sorted({max(1, math.floor(half)), math.ceil(half)}) if vary == "both" else [DEPTH]
        if depths[0] * 12 * width * width > parameters * (1 + TOLERANCE):
            break
        pairs += [(width, depth) for depth in depths]
    return pairs


def _from_dict(values: dict[str, Any]) -> Seq2SeqConfig:
    return Seq2SeqConfig(**values)


SEQ2SEQ = Family(
    name="seq2seq",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.seq2seq_network:Seq2SeqNetwork",
    objective="pairs",
    own_loss="that of targets and of hidden spans",
    sampled=False,
)
