"""Learning by counting: n-grams of the tokens that count in the loss, and Kneser-Ney tables of them when asked.

Counts are exact until they need more room than `ROOM`; then the rarest n-grams are forgotten. What a run has counted
depends on its steps alone, not on when it was looked at or interrupted.

Shapes: B rows, T positions, W window (order - 1), M positions, E n-grams of one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from emergence.core.errors import UserError
from emergence.models.family import ModelConfig
from emergence.models.ngram import NgramConfig
from emergence.models.ngram_network import NgramNetwork, context_keys
from emergence.models.recent import windows
from emergence.training.batch import Batch
from emergence.training.kneser_ney import Counts, estimate

__all__ = ["ROOM", "Counting", "count", "forget_rarest", "merge"]

Ints = npt.NDArray[np.int64]

ROOM = 2**21  # different n-grams that are counted at most, or as many as the model may keep: 16 bytes each
GROWTH = 1 / 4  # of the tokens counted; so many wait until the tables are made anew
MOST_WAITING = 2**18


class Counting:
    """One run of the `ngram` family.

    An n-gram is counted where its last token counts in the loss, as in the families that learn by gradients; what
    stands before it may be anything. There is no rate of learning, and nothing is drawn at random: replicas differ by
    the order of their data alone.

    Batches wait until they are a fourth of what was counted before, so that all merging together costs a few times the
    last. The loss of a step is that of the tables of the last merge; a checkpoint holds everything read so far.
    """

    def __init__(
        self,
        family: str,
        config: ModelConfig,
        seeds: Sequence[int],
        *,
        learning_rate: float,
        weight_decay: float,
        clip: float,
        stacked: bool,
    ) -> None:
        if len(seeds) != 1 or stacked:
            raise ValueError("n-grams are counted one replica at a time")
        if not isinstance(config, NgramConfig):
            raise TypeError(f"n-grams are counted for a model of the family ngram, not for {type(config).__name__}")
        self._config = config
        empty = np.zeros(0, dtype=np.int64)
        self._counts: list[Counts] = [(empty, empty)] * self._config.order
        self._seen = 0
        self._waiting: list[tuple[Ints, Ints]] = []  # windows [M, W] and their next tokens [M]
        self._network = NgramNetwork(self._config)
        self._current: NgramNetwork | None = self._network

    def step(self, batch: Batch, factor: float, step: int = 0) -> torch.Tensor:
        """Count one batch and return the loss [1] before that, in nats, weighted as everywhere."""
        whole = windows(batch.inputs.numpy(), self._config.order - 1, self._config.vocabulary)
        windows_MW = whole.reshape(-1, whole.shape[2])
        targets_M = batch.targets.numpy()
        if batch.select is not None:
            windows_MW = windows_MW[batch.select.numpy()]
        loss = -(self._network.log_probabilities_of(windows_MW, targets_M) * batch.weights.numpy()).sum()
        self._waiting.append((windows_MW, targets_M))
        self._current = None
        if sum(len(tokens) for _, tokens in self._waiting) >= min(MOST_WAITING, GROWTH * self._seen):
            self._counts = self._merged()
            self._seen += sum(len(tokens) for _, tokens in self._waiting)
            self._waiting = []
            self._network = self._current = self._tables(self._counts)
        return torch.tensor([float(loss)])

    def _merged(self) -> list[Counts]:
        """Return the counts of everything read so far."""
        if not self._waiting:
            return self._counts
        windows_MW, tokens_M = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        fresh = count(windows_MW, tokens_M, self._config.base)
        merged = [merge(old, new) for old, new in zip(self._counts, fresh, strict=True)]
        return forget_rarest(merged, max(ROOM, self._config.entries))

    def _tables(self, counts: Sequence[Counts]) -> NgramNetwork:
        network = NgramNetwork(self._config)
        tables = estimate(counts, self._config.vocabulary, self._config.entries)
        network.set_tables(tables.unigrams, tables.orders)
        return network

    def alone(self, replica: int) -> NgramNetwork:
        """Return the network of everything read so far."""
        if self._current is None:
            self._current = self._tables(self._merged())
        return self._current

    def weights(self, replica: int) -> dict[str, torch.Tensor]:
        """Return a copy of the tables."""
        return self.alone(replica).state_dict()

    def moments(self, replica: int) -> dict[str, torch.Tensor]:
        """Return the counts of every order as of the last merge, and what waits since then."""
        found: dict[str, npt.NDArray[Any]] = {"seen": np.array([self._seen])}
        for n, (keys, counts) in enumerate(self._counts, start=1):
            found |= {f"{n}.keys": keys, f"{n}.counts": counts}
        W = self._config.order - 1
        found["waiting.windows"] = np.concatenate([w for w, _ in self._waiting] or [np.zeros((0, W), dtype=np.int64)])
        found["waiting.tokens"] = np.concatenate([t for _, t in self._waiting] or [np.zeros(0, dtype=np.int64)])
        return {name: torch.from_numpy(array.copy()) for name, array in found.items()}

    def restore(
        self, step: int, weights: Sequence[dict[str, torch.Tensor]], moments: Sequence[dict[str, torch.Tensor]]
    ) -> None:
        """Go on counting from what `moments` returned; raises UserError where it is another model's."""
        found = {name: tensor.numpy() for name, tensor in moments[0].items()}
        orders = range(1, self._config.order + 1)
        if f"{self._config.order}.counts" not in found or found["waiting.windows"].shape[1] != self._config.order - 1:
            raise UserError("the checkpoints were written by another version of this network; choose another folder")
        self._counts = [(found[f"{n}.keys"], found[f"{n}.counts"]) for n in orders]
        self._seen = int(found["seen"][0])
        waiting = (found["waiting.windows"], found["waiting.tokens"])
        self._waiting = [waiting] if len(waiting[1]) else []
        self._network = self._tables(self._counts)
        self._current = None

    def snapshot(self) -> Any:
        """Return everything, for `return_to`; arrays are never written to, so that nothing need be copied."""
        return self._counts, self._seen, list(self._waiting), self._network

    def return_to(self, snapshot: Any) -> None:
        """Go back to a snapshot; it is used up."""
        self._counts, self._seen, self._waiting, self._network = snapshot
        self._current = None


def count(windows_MW: Ints, tokens_M: Ints, base: int) -> list[Counts]:
    """Return the counts of the n-grams of order 1 to W + 1 that end in the token after each window.

    The first token of a row has the beginning (``base - 1``) to its left; further left there is nothing to count.
    """
    found = [np.unique(tokens_M, return_counts=True)]
    reaches_M = np.ones(len(tokens_M), dtype=np.bool_)
    for length, contexts_M in enumerate(context_keys(windows_MW, base), start=1):
        if length > 1:
            reaches_M &= windows_MW[:, -length + 1] != base - 1
        keys, counts = np.unique(contexts_M[reaches_M] * base + tokens_M[reaches_M], return_counts=True)
        found.append((keys, counts))
    return found


def merge(old: Counts, new: Counts) -> Counts:
    """Return the sum of two counts of the same order."""
    keys, places = np.unique(np.concatenate([old[0], new[0]]), return_inverse=True)
    totals = np.zeros(len(keys), dtype=np.int64)
    totals[places[: len(old[0])]] += old[1]
    totals[places[len(old[0]) :]] += new[1]
    return keys, totals


def forget_rarest(counts: list[Counts], room: int) -> list[Counts]:
    """Return counts of at most ``room`` n-grams above order 1: the rarest go, of equally rare ones the longest, and all
    of one length together, so that no context is favoured.

    An n-gram is seen at most as often as a part of it up to its end, so that no part goes before the whole.
    """
    if sum(len(keys) for keys, _ in counts[1:]) <= room:
        return counts
    worth = [own * len(counts) - n for n, (_, own) in enumerate(counts[1:], start=2)]
    bound = np.sort(np.concatenate(worth))[-1 - room]
    kept = [own > bound for own in worth]
    return [counts[0], *((keys[k], own[k]) for (keys, own), k in zip(counts[1:], kept, strict=True))]
