"""The sizes of the `vae` family: a ladder from one dial, with exact parameter and FLOP counts. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emergence.models.family import Family, Vary
from emergence.models.gpt import GPTConfig, even_feed_forward, head_width_for, least_distorted, shapes

__all__ = ["VAE", "VAEConfig", "size_for"]

LATENT = 16  # the same bottleneck at every rung, so that sizes differ in what they make of it


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A variational sentence model (Bowman et al. 2016, arXiv 1511.06349) of two Transformers with the blocks of `gpt`:
    an encoder that looks both ways, a Gaussian latent vector of each sentence, and a decoder that reads it at every
    position.

    ``latent`` Z is the number of its dimensions. ``free_bits`` is how many nats of KL divergence each of them has for
    nothing (Kingma et al. 2016, arXiv 1606.04934). The weight of the divergence rises from zero to one over so many
    times the warmup of the learning rate as ``annealing`` says.
    """

    vocabulary: int
    context: int
    width: int
    depth: int  # blocks of the encoder, and again of the decoder
    heads: int
    feed_forward: int
    latent: int = LATENT
    free_bits: float = 0.5
    annealing: float = 10.0
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def half(self) -> GPTConfig:
        """The shape of the encoder, which is that of the decoder."""
        return GPTConfig(
            vocabulary=self.vocabulary,
            context=self.context,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            feed_forward=self.feed_forward,
            rope_theta=self.rope_theta,
            norm_epsilon=self.norm_epsilon,
        )

    @property
    def activations(self) -> float:
        """Those of two `gpt`, the encoder with whole attention weights and without a head."""
        return 2 * self.half.activations + 2.0 * self.depth * self.heads * self.context - 4 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``2 (L (4 D^2 + 3 D F + 2 D) + D) + 3 D Z + 2 Z``.

        Encoder and decoder have those of a `gpt` each; the mean and the log-variance of the latent are read from the
        width by a product with a bias, and the decoder reads the latent by one without.
        """
        D, Z = self.width, self.latent
        return 2 * self.half.non_embedding_parameters + 3 * D * Z + 2 * Z

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + 2 V D (encoder and decoder share the input embedding)."""
        return self.non_embedding_parameters + 2 * self.vocabulary * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of encoding and decoding ``tokens`` tokens in rows of ``length`` T.

        ``2 tokens (2 L (4 D^2 + 3 D F) + 4 L T D) + (tokens / T) 6 D Z + predicted 2 D V``: encoder and decoder read
        every token, the latent's three products work once a row; counted as those of `gpt` (arXiv 2001.08361).
        """
        body = self.half.forward_flops(tokens, length, 0)
        head = 2.0 * self.width * self.vocabulary * (tokens if predicted is None else predicted)
        return 2 * body + 6.0 * self.width * self.latent * tokens / length + head

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> VAEConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    Widths, depths and heads are those of a `gpt` of half the size; the feed-forward width, ideally 8/3 of the width,
    takes up the slack. Raises UserError where no configuration comes within 5 %.
    """
    candidates = []
    for width, depth in shapes(parameters / 2, vary):
        rest = 2 * (depth * (4 * width * width + 2 * width) + width) + 3 * width * LATENT + 2 * LATENT
        unit = 6 * width * depth
        candidates.append(
            VAEConfig(
                vocabulary=vocabulary,
                context=context,
                width=width,
                depth=depth,
                heads=width // head_width_for(width),
                feed_forward=even_feed_forward((parameters - rest) / unit, unit / parameters),
            )
        )
    return least_distorted("vae", candidates, parameters, vary, ideal=8 / 3, least="4,000")


def _from_dict(values: dict[str, Any]) -> VAEConfig:
    return VAEConfig(**values)


VAE = Family(
    name="vae",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.vae_network:VAENetwork",
    objective="evidence_bound",
    tasks=("text", "sampling", "reconstruction"),
    own_loss="an upper bound of the loss, a reconstruction and a KL",
)
