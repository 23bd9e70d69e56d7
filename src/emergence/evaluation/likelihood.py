"""Teacher-forced log-likelihoods of targets; what questions have in common is read once.

All sequences of a window go into one prefix tree. A beginning shared by many rows is read once, alone, and its keys and
values serve all of them; smaller subtrees, such as a question with its choices, are rows in which every token sees its
ancestors only. Rows of similar length make a batch of bounded size; logits are computed where they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from emergence.core.errors import UserError
from emergence.evaluation.requests import Likelihood
from emergence.evaluation.rows import Questions, Reading, Row, batches, collate, lay_out
from emergence.generation.decoding import tokens_at_once
from emergence.generation.prefixes import Sequences, group, prefix_tree
from emergence.models.family import LanguageModel

__all__ = ["log_likelihoods"]

LOGITS_AT_ONCE = 2**24
WINDOW_TOKENS = 2**20  # of sequences that are planned together
WORTH_READING_ONCE = 512  # tokens saved that pay for the passes of a group of its own
MOST_BRANCHING = 256  # tokens of a row beside its longest path

Pair = tuple[Sequence[int], Sequence[int]]


def log_likelihoods(network: LanguageModel, pairs: Sequence[Pair]) -> list[Likelihood]:
    """Return the likelihood of each target given its prompt, both as token ids.

    A pair longer than the context loses the start of its prompt. Raises UserError for an empty prompt or target, or
    a target that does not fit into the context.
    """
    context = network.config.context
    for prompt, target in pairs:
        if not prompt or not target:
            raise UserError("a log-likelihood needs at least one token of prompt and one of target")
        if len(target) > context:
            raise UserError(f"a target of {len(target)} tokens does not fit into the context of {context}")
    return [likelihood for window in _windows(pairs, context) for likelihood in _Scoring(network, window).results()]


def _windows(pairs: Sequence[Pair], context: int) -> Iterator[list[Pair]]:
    """Divide pairs, in their order, so that planning needs bounded memory."""
    window: list[Pair] = []
    tokens = 0
    for pair in pairs:
        window.append(pair)
        tokens += min(context, len(pair[0]) + len(pair[1]))
        if tokens >= WINDOW_TOKENS:
            yield window
            window, tokens = [], 0
    if window:
        yield window


class _Scoring:
    """The forward passes over one window of pairs, filling one array of predictions."""

    def __init__(self, network: LanguageModel, pairs: Sequence[Pair]) -> None:
        context = network.config.context
        self._network = network
        # The last token of a target is only predicted, never read.
        self._sequences = Sequences([[*prompt, *target][-(context + 1) : -1] for prompt, target in pairs])
        self._targets = Sequences([target for _, target in pairs])
        self._logprobs: npt.NDArray[np.float32] = np.empty(len(self._targets.flat), dtype=np.float32)
        self._hits: npt.NDArray[np.bool_] = np.empty(len(self._targets.flat), dtype=np.bool_)

    @torch.inference_mode()
    def results(self) -> Iterator[Likelihood]:
        """Read everything and yield the likelihoods in the order of the pairs."""
        sequences, targets = self._sequences, self._targets
        first = (sequences.lengths - targets.lengths).tolist()
        questions = Questions(sequences, first, targets.starts.tolist())
        branching = MOST_BRANCHING if self._network.maskable else 0
        groups = group(prefix_tree(sequences), worth=WORTH_READING_ONCE, branching=branching)
        self._read(lay_out(groups, questions), None)
        logprobs, hits = self._logprobs.tolist(), self._hits.tolist()
        starts = targets.starts.tolist()
        for start, length in zip(starts, targets.lengths.tolist(), strict=True):
            yield Likelihood(tuple(logprobs[start : start + length]), tuple(hits[start : start + length]))

    def _read(self, reading: Reading, prefix: Any) -> None:
        """Read a shared beginning, and what continues it while its keys and values are kept."""
        network = self._network
        if reading.beginning is not None:
            cache = network.new_cache(1, reading.beginning.size, prefix=prefix)
            self._pass([reading.beginning], cache)
            prefix = cache
        for rows in batches(reading.rows, tokens_at_once(network.device), LOGITS_AT_ONCE // network.config.vocabulary):
            self._pass(rows, None, prefix)
        for lower in reading.below:
            self._read(lower, prefix)

    def _pass(self, rows: Sequence[Row], cache: Any, prefix: Any = None) -> None:
        """Read rows and note the predictions wanted of them; what nothing continues needs no cache of its own."""
        network = self._network
        batch = collate(rows, self._sequences, network.device)
        if cache is None and (batch.tree is not None or prefix is not None):
            cache = network.new_cache(len(rows), 0, prefix=prefix, tree=batch.tree)
        logits_MV = network(batch.ids, cache, batch.select).float()
        targets_N = torch.from_numpy(self._targets.flat[batch.outputs]).long().to(logits_MV.device)
        logprobs_N = logits_MV[batch.source, targets_N] - logits_MV.logsumexp(dim=-1)[batch.source]
        self._logprobs[batch.outputs] = logprobs_N.cpu().numpy()
        self._hits[batch.outputs] = (logits_MV.argmax(dim=-1)[batch.source] == targets_N).cpu().numpy()
