"""The sizes of the `gpt` family: a ladder from one dial, with exact parameter and FLOP counts. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary

__all__ = ["GPT", "GPTConfig", "size_for"]

TOLERANCE = 0.05  # asked and built parameter counts agree within this share
ROUNDING = 0.02  # and this much of it may go into even widths
REFERENCE_WIDTH, REFERENCE_DEPTH = 128, 4


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """A decoder-only Transformer: RMSNorm, rotary positions, gated feed-forward, no biases (Touvron et al. 2023,
    arXiv 2302.13971)."""

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    feed_forward: int
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def activations(self) -> float:
        """Per block about 21 values of the model width and 6.5 of the feed-forward width, and four of the
        vocabulary."""
        return self.depth * (21 * self.width + 6.5 * self.feed_forward) + 4 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters without embeddings: ``L (4 D^2 + 3 D F + 2 D) + D``.

        Per block four D x D attention matrices, three D x F feed-forward matrices and two norm vectors; one norm at
        the end.
        """
        D, F = self.width, self.feed_forward
        return self.depth * (4 * D * D + 3 * D * F + 2 * D) + D

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + 2 V D (input embedding and output head are separate)."""
        return self.non_embedding_parameters + 2 * self.vocabulary * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens in sequences of ``length`` T.

        ``tokens (2 L (4 D^2 + 3 D F) + 4 L T D) + predicted 2 D V``: two per multiply-add in every weight matrix,
        the scores and the mixing of values over all T positions (the causal half is computed and masked, as kernels
        count it), and the output head at the ``predicted`` positions (all of them by default). After Kaplan et al.
        2020, arXiv 2001.08361, table 1, and Chowdhery et al. 2022, arXiv 2204.02311, appendix B, with the output
        head, which they leave out, counted. A training step costs three forward passes; element-wise work and the
        optimiser are not counted.
        """
        D, F, L = self.width, self.feed_forward, self.depth
        body = 2.0 * L * (4 * D * D + 3 * D * F) + 4.0 * L * length * D
        return tokens * body + 2.0 * D * self.vocabulary * (tokens if predicted is None else predicted)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def head_width_for(width: int) -> int:
    """Return the head width for a model width: the power of two from 16 to 64 nearest below a quarter of it.

    A head costs the same time whatever its width, so that many narrow ones would be most of the time of a small model;
    below 32 there is a single head.
    """
    return min(64, max(16, 1 << int(math.log2(width // 4)))) if width >= 32 else width


def depth_for(width: int) -> int:
    """Return the depth that follows from a width: 4 (D/128)^0.6, at least 2.

    The curve goes through GPT-2 small (768 wide, 12 deep) and Llama 7B (4096 wide, 32 deep); two layers are the
    least in which attention heads can compose (Elhage et al. 2021, Olsson et al. 2022, arXiv 2209.11895).
    """
    return max(2, round(REFERENCE_DEPTH * math.pow(width / REFERENCE_WIDTH, 0.6)))


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> GPTConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    The dial is the width (``vary="both"``: depth follows; ``"width"``: four blocks; ``"depth"``: width 64); the
    feed-forward width, ideally 8/3 of the width, takes up the slack. Raises UserError where no configuration comes
    within 5 %.
    """
    candidates = []
    for width, depth in shapes(parameters, vary):
        attention = depth * (4 * width * width + 2 * width) + width
        feed_forward = even_feed_forward((parameters - attention) / (3 * width * depth), 3 * width * depth / parameters)
        candidates.append(
            GPTConfig(
                vocabulary=vocabulary,
                context=context,
                width=width,
                depth=depth,
                heads=width // head_width_for(width),
                feed_forward=feed_forward,
            )
        )
    return least_distorted("gpt", candidates, parameters, vary, ideal=8 / 3, least="3,000")


class Feeding(Protocol):
    """A configuration whose feed-forward width takes up what is missing to a size."""

    @property
    def width(self) -> int:
        """Width of the model."""

    @property
    def feed_forward(self) -> int:
        """Width inside the feed-forward part."""

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters without embeddings."""


Shape = TypeVar("Shape", bound=Feeding)


def least_distorted(
    family: str, candidates: Iterable[Shape], parameters: float, vary: Vary, *, ideal: float, least: str
) -> Shape:
    """Return the candidate within 5 % of ``parameters`` whose feed-forward part is nearest to ``ideal`` widths.

    Raises UserError where there is none; ``least`` is the size from which there is one.
    """
    fitting = [shape for shape in candidates if abs(shape.non_embedding_parameters / parameters - 1) <= TOLERANCE]
    if not fitting:
        raise UserError(
            f"no {family} with vary: {vary} has {parameters:g} non-embedding parameters within {TOLERANCE:.0%}; "
            f"ask for {least} or more, or use vary: both"
        )
    return min(fitting, key=lambda shape: abs(math.log(shape.feed_forward / (ideal * shape.width))))


def even_feed_forward(feed_forward: float, share: float) -> int:
    """Return a feed-forward width near the asked one, a multiple of 8 where that moves the parameters by 2 % at most.

    Products over odd widths reach only two thirds of the speed. ``share`` is that of one unit of width in the
    parameters.
    """
    for step in (8, 4, 2):
        even = step * round(feed_forward / step)
        if even > 0 and abs(even - feed_forward) * share <= ROUNDING:
            return even
    return max(1, round(feed_forward))


def shapes(parameters: float, vary: Vary) -> list[tuple[int, int]]:
    """Return the (width, depth) pairs that could hold ``parameters``: widths that divide into heads, ascending."""
    if vary == "depth":
        return [(64, depth) for depth in range(1, 1025)]
    pairs = []
    for width in range(8, 32_768 + 1, 8):
        if width % head_width_for(width):
            continue
        depth = depth_for(width) if vary == "both" else REFERENCE_DEPTH
        if depth * 4 * width * width > parameters * (1 + TOLERANCE):
            break
        pairs.append((width, depth))
    return pairs


def _from_dict(values: dict[str, Any]) -> GPTConfig:
    return GPTConfig(**values)


GPT = Family(
    name="gpt",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.gpt_network:GPTNetwork",
    stackable=True,
    embedding="embedding.weight",
)
