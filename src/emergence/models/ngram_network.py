"""The `ngram` network: tables of n-grams, from the longest context that is known down to the single token.

Shapes: B rows, T positions, W window (order - 1), V vocabulary, M positions, E n-grams of one order, C their contexts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch

from emergence.models.fingerprint import fingerprint
from emergence.models.recent import empty_cache, windows

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.ngram import NgramConfig
    from emergence.models.state_cache import StateCache

__all__ = ["NgramNetwork", "context_keys"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

AT_ONCE = 2**20  # probabilities that are mixed together, which bounds the memory


def context_keys(windows_MW: Ints, base: int) -> Iterator[Ints]:
    """Yield the last 1, 2, ... W tokens of every window as one integer each, the nearest token its lowest digit."""
    key_M = np.zeros(len(windows_MW), dtype=np.int64)
    for back in range(1, windows_MW.shape[1] + 1):
        key_M = key_M + windows_MW[:, -back] * base ** (back - 1)
        yield key_M


class _Table:
    """The n-grams of one order: keys [E] in ascending order, their shares [E], and the back-off weights [C] of their
    contexts, in the order of these."""

    def __init__(self, keys_E: Ints, shares_E: Floats, backoffs_C: Floats, base: int) -> None:
        self.keys, self.shares, self.backoffs = keys_E, shares_E, backoffs_C
        self.contexts, starts = np.unique(keys_E // base, return_index=True)
        self.tokens = keys_E % base
        self.starts, self.counts = starts, np.diff(starts, append=len(keys_E))

    def mix(self, probabilities_MV: Floats, contexts_M: Ints) -> None:
        """Make the distributions of the next lower order those of this one."""
        place_M, known_M = find(self.contexts, contexts_M)
        rows, places = np.flatnonzero(known_M), place_M[known_M]
        if not len(rows):
            return
        weights_M = np.ones(len(contexts_M), dtype=np.float32)
        weights_M[rows] = self.backoffs[places]
        probabilities_MV *= weights_M[:, None]
        counts = self.counts[places]
        entries = np.repeat(self.starts[places] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        probabilities_MV[np.repeat(rows, counts), self.tokens[entries]] += self.shares[entries]

    def mix_one(self, probabilities_M: Floats, contexts_M: Ints, keys_M: Ints) -> None:
        """The same for one token after each context, whose n-grams are ``keys``."""
        place_M, known_M = find(self.contexts, contexts_M)
        probabilities_M[known_M] *= self.backoffs[place_M[known_M]]
        place_M, known_M = find(self.keys, keys_M)
        probabilities_M[known_M] += self.shares[place_M[known_M]]


def find(sorted_E: Ints, wanted_M: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return where each wanted number stands among sorted ones, and whether it does."""
    place_M = np.searchsorted(sorted_E, wanted_M)
    if not len(sorted_E):
        return place_M, np.zeros(len(wanted_M), dtype=np.bool_)
    place_M = np.minimum(place_M, len(sorted_E) - 1)
    return place_M, sorted_E[place_M] == wanted_M


class NgramNetwork:
    """Token ids [B, T] in, log-probabilities of the next token [B, T, V] out.

    ``p_n(w | c) = share(c w) + backoff(c) p_(n-1)(w | c')`` where c' is c without its oldest token, and ``p_n =
    p_(n-1)`` where nothing is known of c. All numbers come from `training.kneser_ney`; before any are given, every
    token is equally likely. ``generator`` is not used: nothing is drawn.
    """

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0  # what it keeps of a row does not grow

    def __init__(self, config: NgramConfig, generator: torch.Generator | None = None) -> None:
        self.config = config
        empty = np.zeros(0, dtype=np.int64)
        numbers = np.zeros(0, dtype=np.float32)
        self._unigrams = np.full(config.vocabulary, 1 / config.vocabulary, dtype=np.float32)
        self._tables = [_Table(empty, numbers, numbers, config.base) for _ in range(2, config.order + 1)]

    def __call__(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return log-probabilities [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only theirs are computed, [M, V].
        """
        recent = windows(ids.numpy(), self.config.order - 1, self.config.vocabulary, cache)
        flat = recent.reshape(-1, recent.shape[2])
        if select is not None:
            flat = flat[select.numpy()]
        result = torch.from_numpy(self._log_probabilities(flat))
        return result if select is not None else result.view(*ids.shape, -1)

    def _log_probabilities(self, windows_MW: Ints) -> Floats:
        V = self.config.vocabulary
        result = np.empty((len(windows_MW), V), dtype=np.float32)
        count = max(1, AT_ONCE // V)
        for first in range(0, len(windows_MW), count):
            part = result[first : first + count]
            part[:] = self._unigrams
            contexts = context_keys(windows_MW[first : first + count], self.config.base)
            for table, keys in zip(self._tables, contexts, strict=True):
                table.mix(part, keys)
            np.log(part, out=part)
        return result

    def log_probabilities_of(self, windows_MW: Ints, tokens_M: Ints) -> Floats:
        """Return the log-probability of one token after each window, without looking at the others."""
        result = self._unigrams[tokens_M]
        for table, keys in zip(self._tables, context_keys(windows_MW, self.config.base), strict=True):
            table.mix_one(result, keys, keys * self.config.base + tokens_M)
        return np.log(result)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be: tables are looked up by NumPy."""
        return torch.device("cpu")

    @property
    def numbers(self) -> int:
        """How many shares and back-off weights there are; `NgramConfig.non_embedding_parameters` bounds it."""
        return sum(len(table.shares) + len(table.backoffs) for table in self._tables)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the tables by name: ``1.shares`` [V], and ``n.keys``, ``n.shares`` and ``n.backoffs`` above."""
        found = {"1.shares": self._unigrams}
        arrays: dict[str, npt.NDArray[Any]] = dict(found)
        for n, table in enumerate(self._tables, start=2):
            arrays |= {f"{n}.keys": table.keys, f"{n}.shares": table.shares, f"{n}.backoffs": table.backoffs}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the tables that `state_dict` returned."""
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        self.set_tables(
            arrays["1.shares"],
            [
                (arrays[f"{n}.keys"], arrays[f"{n}.shares"], arrays[f"{n}.backoffs"])
                for n in range(2, self.config.order + 1)
            ],
        )

    def set_tables(self, unigrams_V: Floats, tables: list[tuple[Ints, Floats, Floats]]) -> None:
        """Take the probabilities of single tokens, and keys, shares and back-off weights of the orders from 2 on."""
        self._unigrams = unigrams_V
        self._tables = [_Table(*table, self.config.base) for table in tables]

    def eval(self) -> Self:
        """Return the network; it does not behave otherwise while it learns."""
        return self

    def fingerprint(self) -> str:
        """Return a SHA-256 of every table and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: StateCache | None = None, tree: Tree | None = None
    ) -> StateCache:
        """Return the last tokens [B, order - 2] of ``batch`` rows that continue the shared prefix."""
        return empty_cache(batch, self.config.order - 1, self.config.vocabulary, prefix)
