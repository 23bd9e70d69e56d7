"""The `numpy` network: a neural language model whose every step is written out. Read this first, then
`training/by_hand.py`.

The question is which token comes next, given the last K. The answer is a probability for each token of the vocabulary:

1. *Embedding.* Every token has a row of D numbers in a table. The rows of the K tokens are laid side by side: x [K D].
2. *Hidden layer.* Each of H units weighs all of x, adds its bias, and is squashed into (-1, 1): h = tanh(x W + b).
   Without the squashing two layers would be no more than one, since a product of matrices is a matrix.
3. *Output.* Every token of the vocabulary weighs all of h and adds its bias: the logits z = h U + c, any numbers.
4. *Softmax.* p_w = exp(z_w) / sum of exp(z) makes them positive and their sum one.

(Bengio, Ducharme, Vincent and Jauvin 2003, JMLR 3, 1137-1155.)

Shapes: M windows that are asked about (all at once: one product of matrices for all of them), K tokens of a window, D
numbers of an embedding, H hidden units, V vocabulary, B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch

from emergence.models.fingerprint import fingerprint
from emergence.models.recent import empty_cache, windows

if TYPE_CHECKING:
    from emergence.models.by_hand import ByHandConfig
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.state_cache import StateCache

__all__ = ["ByHandNetwork", "Weights", "forward", "initial_weights", "log_softmax"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[Any]
Weights = dict[str, Floats]  # the five tables by name; their shapes are in `initial_weights`

AT_ONCE = 2**12  # windows, which bounds the memory


def initial_weights(config: ByHandConfig, rng: np.random.Generator) -> Weights:
    """Return the weights before any learning, in single precision.

    A sum of n random numbers of size one has the size sqrt(n). Dividing the hidden weights by the root of the number of
    inputs keeps every unit where tanh is neither flat nor straight. The output begins at zero: then every token is
    equally likely, and the first loss is ln V.
    """
    D, H, V = config.embedding, config.hidden, config.vocabulary
    inputs = config.window * D
    weights = {
        "embedding": rng.normal(0, 1, (V + 1, D)),  # the last row stands for "before the beginning"
        "hidden.weight": rng.normal(0, 1 / np.sqrt(inputs), (inputs, H)),
        "hidden.bias": np.zeros(H),
        "output.weight": np.zeros((H, V)),
        "output.bias": np.zeros(V),
    }
    return {name: values.astype(np.float32) for name, values in weights.items()}


def forward(weights: Weights, windows_MK: Ints) -> tuple[Floats, Floats, Floats]:
    """Return the logits [M, V], and what the backward pass will need again: the inputs x [M, K D] and the hidden layer
    h [M, H]."""
    x = weights["embedding"][windows_MK].reshape(len(windows_MK), -1)
    h = np.tanh(x @ weights["hidden.weight"] + weights["hidden.bias"])
    return h @ weights["output.weight"] + weights["output.bias"], x, h


def log_softmax(logits_MV: Floats) -> Floats:
    """Return the logarithm of the softmax of every row.

    Taking the largest logit away from all changes no probability, and no exponential can overflow.
    """
    shifted = logits_MV - logits_MV.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


class ByHandNetwork:
    """Token ids [B, T] in, next-token logits [B, T, V] out."""

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0  # what it keeps of a row does not grow

    def __init__(self, config: ByHandConfig, generator: torch.Generator) -> None:
        self.config = config
        self.weights = initial_weights(config, np.random.default_rng(generator.initial_seed()))

    def __call__(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only theirs are computed, [M, V].
        """
        recent = windows(ids.numpy(), self.config.window, self.config.vocabulary, cache)
        flat = recent.reshape(-1, self.config.window)
        if select is not None:
            flat = flat[select.numpy()]
        logits_MV = np.empty((len(flat), self.config.vocabulary), dtype=np.float32)
        for first in range(0, len(flat), AT_ONCE):
            logits_MV[first : first + AT_ONCE] = forward(self.weights, flat[first : first + AT_ONCE])[0]
        result = torch.from_numpy(logits_MV)
        return result if select is not None else result.view(*ids.shape, -1)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be: NumPy computes on the processor."""
        return torch.device("cpu")

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return a copy of the weights by name."""
        return {name: torch.from_numpy(values.copy()) for name, values in self.weights.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the weights that `state_dict` returned."""
        self.weights = {name: tensor.numpy().copy() for name, tensor in state.items()}

    def eval(self) -> Self:
        """Return the network; it does not behave otherwise while it learns."""
        return self

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: StateCache | None = None, tree: Tree | None = None
    ) -> StateCache:
        """Return the last tokens [B, K - 1] of ``batch`` rows that continue the shared prefix."""
        return empty_cache(batch, self.config.window, self.config.vocabulary, prefix)
