"""Skip-gram with negative sampling (Mikolov et al. 2013, arXiv 1310.4546): the objective, and who counts the words.

Pairs are taken among the tokens that other families are trained to predict, so that a mixture means the same for all:
all of a corpus, the answers of a task. Negatives are drawn by counts of what the run has read so far.

Shapes: B rows, T positions, N pairs, K negatives, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from emergence.models.family import ModelConfig
from emergence.training.batch import Batch
from emergence.training.objectives import NEXT_TOKEN, Noise
from emergence.training.schedule import width_scale
from emergence.training.stack import Stack

__all__ = ["SKIPGRAM", "CountingStack", "pairs", "words_of"]

COUNTS = "counts"
FASTER = 4.0  # than other families: the best of 1, 2, 4 and 8 on the task `analogy` at widths 8 and 32


def words_of(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of the rows of an unstacked batch, [B, T + 1], and a mask of those that are learnt from."""
    B, T = batch.inputs.shape
    words = torch.cat([batch.inputs, batch.inputs.new_zeros(B, 1)], dim=1)
    learnt = torch.zeros(B, T + 1, dtype=torch.bool)
    places = torch.arange(B * T) if batch.select is None else batch.select
    rows, columns = places // T, places % T + 1
    words[rows, columns] = batch.targets  # of the last column only; the others are inputs as well
    learnt[rows, columns] = True
    return words, learnt


def pairs(
    words_BT: torch.Tensor,
    learnt_BT: torch.Tensor,
    separators: Sequence[int],
    reach_BT: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return words and their company, [N] each: all tokens that are learnt from, within the ``reach`` of the word.

    Nothing is paired across a separator, which belongs to the text before it.
    """
    ends = torch.isin(words_BT, torch.tensor(separators, dtype=words_BT.dtype))
    text_BT = ends.cumsum(dim=1) - ends.long()
    words, company = [], []
    for distance in range(1, int(reach_BT.max()) + 1):
        left, right = (slice(None), slice(None, -distance)), (slice(None), slice(distance, None))
        together = learnt_BT[left] & learnt_BT[right] & (text_BT[left] == text_BT[right])
        for word, other in ((left, right), (right, left)):
            near = together & (reach_BT[word] >= distance)
            words.append(words_BT[word][near])
            company.append(words_BT[other][near])
    return torch.cat(words), torch.cat(company)


class SkipGram:
    """The mean loss of all pairs of a batch; held-out rows are measured as for other families, by the next token."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over pairs, in nats: a logarithm of 1 + K decisions between a neighbour and a stranger."""
        config, generator = network.config, noise()
        words_BT, learnt_BT = words_of(batch)
        reach_BT = torch.randint(1, config.window + 1, words_BT.shape, generator=generator)
        words_N, company_N = pairs(words_BT, learnt_BT, config.separators, reach_BT)
        shape = (len(words_N), config.negatives)
        drawn = torch.multinomial(network.noise(), max(1, math.prod(shape)), replacement=True, generator=generator)
        losses: torch.Tensor = network.pair_losses(words_N, company_N, drawn[: math.prod(shape)].view(shape))
        return losses.sum() / max(1, len(losses))

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float, int]:
        """Return the summed cross-entropy of the supervised tokens, each after the one before, and their number."""
        return NEXT_TOKEN.held_out(network, inputs_BT, targets_BT, mask_BT, noise)


SKIPGRAM = SkipGram()


class CountingStack:
    """A `Stack` of one replica that counts the words it reads, and keeps the counts with the weights."""

    def __init__(
        self, family: str, config: ModelConfig, seeds: Sequence[int], *, learning_rate: float, **settings: Any
    ) -> None:
        """Build the network; ``settings`` are those of `Stack`.

        The learning rate goes with the root of the width, not with the width as in `training.schedule`: entries of
        vectors are as small as one over that root, and a product of two then changes equally fast at every width.
        """
        rate = FASTER * learning_rate / math.sqrt(width_scale(config.width))
        self._stack = Stack(family, config, seeds, learning_rate=rate, **settings)

    @property
    def _counts(self) -> torch.Tensor:
        counts = self._stack.network.get_buffer(COUNTS)
        assert counts is not None
        return counts

    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Count the words of the batch, then learn from it."""
        words_BT, learnt_BT = words_of(batch)
        self._counts.add_(torch.bincount(words_BT[learnt_BT], minlength=len(self._counts)))
        return self._stack.step(batch, factor, step)

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the vectors and of the counts."""
        return {**self._stack.weights(replica), COUNTS: self._counts.clone()}

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the optimiser's state."""
        return self._stack.moments(replica)

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Continue after ``step`` steps; raise UserError for the tensors of another network."""
        vectors = [{name: tensor for name, tensor in own.items() if name != COUNTS} for own in weights]
        self._stack.restore(step, vectors, moments)
        self._counts.copy_(weights[0][COUNTS])

    def snapshot(self) -> tuple[Any, torch.Tensor]:
        """Return a copy of everything."""
        return self._stack.snapshot(), self._counts.clone()

    def return_to(self, snapshot: tuple[Any, torch.Tensor]) -> None:
        """Go back to a snapshot; it is used up."""
        self._stack.return_to(snapshot[0])
        self._counts.copy_(snapshot[1])

    def alone(self, replica: int) -> Any:
        """Return the network, in evaluation mode."""
        return self._stack.alone(replica)
