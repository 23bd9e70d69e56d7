"""The sizes of the `mamba` family: a ladder from one dial, with exact parameter and FLOP counts. No torch here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergence.core.errors import UserError
from emergence.models.family import Family, Vary
from emergence.models.gpt import TOLERANCE, shapes

__all__ = ["MAMBA", "MambaConfig", "size_for"]


@dataclass(frozen=True, kw_only=True)
class MambaConfig:
    """Selective state-space layers, a recurrence that is linear in time (Gu and Dao 2023, arXiv 2312.00752)."""

    vocabulary: int
    context: int
    width: int
    depth: int
    inner: int  # channels of the recurrence, ideally twice the width
    state: int = 16  # numbers that every channel remembers
    window: int = 4  # tokens that the convolution before it sees
    norm_epsilon: float = 1e-5

    @property
    def rank(self) -> int:
        """Width of the bottleneck that step sizes come from, a sixteenth of the width."""
        return math.ceil(self.width / 16)

    @property
    def activations(self) -> float:
        """Per layer three states of every channel and about twelve values of the inner width, and four of the
        vocabulary."""
        return self.depth * (self.inner * (3 * self.state + 12) + 4 * self.width) + 4.0 * self.vocabulary

    @property
    def non_embedding_parameters(self) -> int:
        """``L (E (3 D + 2 R + 3 N + W + 3) + D) + D``.

        Per layer the products into (2 D E) and out of (E D) the channels, those that step sizes and the two selections
        come from (E (R + 2 N) and R E), the decay of every state (E N), the convolution (E W), its bias, the bias of
        the step sizes and the passage of the input (3 E), and a norm (D); one norm at the end.
        """
        each = self.inner * _each(self.width, self.rank, self.state, self.window)
        return self.depth * (each + self.width) + self.width

    @property
    def parameters(self) -> int:
        """All parameters: `non_embedding_parameters` + 2 V D (input embedding and output head are separate)."""
        return self.non_embedding_parameters + 2 * self.vocabulary * self.width

    def forward_flops(self, tokens: float, length: int, predicted: float | None = None) -> float:
        """Matrix-product FLOPs of a forward pass over ``tokens`` tokens, whatever the ``length`` of their sequences.

        ``tokens 2 L E (3 D + 2 R + 3 N) + predicted 2 D V``: two per multiply-add in every weight matrix and in reading
        the states out, and the output head at the ``predicted`` positions (all by default). The recurrence itself and
        the convolution are element-wise and not counted, as in `gpt`; they are most of the time of a small model.
        """
        body = 2.0 * self.depth * self.inner * (3 * self.width + 2 * self.rank + 3 * self.state)
        return tokens * body + 2.0 * self.width * self.vocabulary * (tokens if predicted is None else predicted)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)


def _each(width: int, rank: int, state: int, window: int) -> int:
    """Return the parameters that one channel adds to a layer."""
    return 3 * width + 2 * rank + 3 * state + window + 3


def size_for(parameters: float, vocabulary: int, context: int, vary: Vary = "both") -> MambaConfig:
    """Return the configuration with ``parameters`` non-embedding parameters, within 5 %.

    Widths and depths are those of `gpt`; the number of channels, ideally twice the width, takes up the slack. Raises
    UserError where no configuration comes within 5 %.
    """
    best: tuple[float, MambaConfig] | None = None
    for width, depth in shapes(parameters, vary):
        shape = MambaConfig(vocabulary=vocabulary, context=context, width=width, depth=depth, inner=0)
        channel = depth * _each(width, shape.rank, shape.state, shape.window)
        inner = max(1, round((parameters - shape.non_embedding_parameters) / channel))
        config = MambaConfig(vocabulary=vocabulary, context=context, width=width, depth=depth, inner=inner)
        if abs(config.non_embedding_parameters / parameters - 1) > TOLERANCE:
            continue
        distortion = abs(math.log(inner / (2 * width)))
        if best is None or distortion < best[0]:
            best = (distortion, config)
    if best is None:
        raise UserError(
            f"no mamba with vary: {vary} has {parameters:g} non-embedding parameters within {TOLERANCE:.0%}; "
            "ask for 3,000 or more, or use vary: both"
        )
    return best[1]


def _from_dict(values: dict[str, Any]) -> MambaConfig:
    return MambaConfig(**values)


MAMBA = Family(
    name="mamba",
    size=size_for,
    config_from=_from_dict,
    network="emergence.models.mamba_network:MambaNetwork",
    embedding="embedding.weight",
)
