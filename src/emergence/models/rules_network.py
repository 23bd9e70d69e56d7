"""The `rules` network: reads tokens as text and says which token the rules give next.

Shapes: B batch, T new positions, V vocabulary, M selected positions.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from emergence.models.fingerprint import fingerprint
from emergence.models.rules_answers import ANSWERS

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.rules import RulesConfig

__all__ = ["EPSILON", "ReadRows", "RulesNetwork"]

EPSILON = 0.01  # what all tokens that no rule gives have together
KNOWN = 2**16  # texts whose next token is remembered


class ReadRows:
    """The cache of a network that reads token ids themselves: the ids of every row."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows

    def trim(self, lengths_B: torch.Tensor) -> None:
        """Never asked: rows of this network are not padded."""
        raise NotImplementedError("rows that were padded need a network with masks")

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the given rows, in that order."""
        self.rows = [self.rows[row] for row in rows.tolist()]

    def append(self, other: ReadRows) -> None:
        """Take over the rows of another cache, behind the own."""
        self.rows += other.rows


class RulesNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out, which are log-probabilities.

    An example is what follows the last end token. The token that a rule gives (behind a whole answer, the end token)
    has probability 1 - `EPSILON`; where the rules of several tasks agree with what is written so far, each gives an
    equal part of that. All other tokens share `EPSILON` equally. Where no rule says anything, and where nobody said how
    tokens are spelt, all tokens are equally probable. An answer is spelt with the longest tokens that fit, which are
    those of its text wherever the tokenizer merges nothing.
    """

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0

    def __init__(self, config: RulesConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self._spelt = config.spelt()
        self._ends = {token for token, spelling in enumerate(self._spelt) if not spelling}
        by_length = sorted(range(len(self._spelt)), key=lambda token: -len(self._spelt[token]))
        self._writing = [(self._spelt[token], token) for token in by_length if self._spelt[token]]
        self._rules = [(ANSWERS[name], options) for name, options in config.tasks.items() if name in ANSWERS]
        self._next = functools.lru_cache(maxsize=KNOWN)(self._follow)

    def forward(
        self, ids: torch.Tensor, cache: ReadRows | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        B, T = ids.shape
        V = self.config.vocabulary
        rows = [[] for _ in range(B)] if cache is None else cache.rows
        before = [len(row) for row in rows]
        for row, new in zip(rows, ids.tolist(), strict=True):
            row += new
        places = range(B * T) if select is None else select.tolist()
        logits_MV = torch.full((len(places), V), -math.log(V))
        for m, place in enumerate(places):
            b, t = divmod(place, T)
            shares = self._next(self._example(rows[b], before[b] + t + 1))
            if shares:
                logits_MV[m] = math.log(EPSILON / max(1, V - len(shares)))
                for token, share in shares:
                    logits_MV[m, token] = math.log((1 - EPSILON) * share)
        return logits_MV.view(B, T, V) if select is None else logits_MV

    def _example(self, row: Sequence[int], length: int) -> tuple[int, ...]:
        """Return the tokens of the example that the first ``length`` of a row end with."""
        start = length
        while start > 0 and row[start - 1] not in self._ends:
            start -= 1
        return tuple(row[start:length])

    def _follow(self, example: tuple[int, ...]) -> tuple[tuple[int, float], ...]:
        """Return the tokens that the rules give after an example so far, each with its share; nothing where none
        does."""
        if not self._rules or not self._spelt:
            return ()
        read = b"".join(self._spelt[token] for token in example)
        text = read.decode(errors="replace")
        given: Counter[int] = Counter()
        for rule, options in self._rules:
            found = rule(text, options)
            if found is None:
                continue
            answer, written = found[1].encode(), read[len(text[: found[0]].encode()) :]
            token = self._spell(answer[len(written) :]) if answer.startswith(written) else None
            if token is not None:
                given[token] += 1
        return tuple((token, count / given.total()) for token, count in sorted(given.items()))

    def _spell(self, rest: bytes) -> int | None:
        """Return the longest token that ``rest`` begins with; the end token where nothing is left to write."""
        if not rest:
            return min(self._ends, default=None)
        return next((token for spelling, token in self._writing if rest.startswith(spelling)), None)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return torch.device("cpu")

    def fingerprint(self) -> str:
        """Return a SHA-256 of the configuration."""
        return fingerprint({}, repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: ReadRows | None = None, tree: Tree | None = None
    ) -> ReadRows:
        """Return the rows of ``batch`` texts that continue the shared prefix."""
        return ReadRows([list(prefix.rows[0]) if prefix is not None else [] for _ in range(batch)])
