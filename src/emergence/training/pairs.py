"""The objective of encoder-decoder networks: read the prompt, predict the target.

Rows of worked examples (`training/rows.py`) are taken apart by their mask: every run of supervised positions is a
target, and what stands before it, from the end of the last target on, is its prompt. A row in which the positions
that count are one run from the first on is text (`training/text_rows.py`): a window, or a line or document before its
padding, of which nothing is read. Half of all texts, drawn anew in every step, are cut in two at a random place, and
the second part is the target (prefix language modelling), so that such a network can be asked to go on with a text; of
the others random spans are hidden, each behind a sentinel of its own, and the target is what they held, every span
after its sentinel (span corruption; both in Raffel et al. 2020, arXiv 1910.10683, sections 3.1.4 and 3.2.1; mixed in
Tay et al. 2022, arXiv 2205.05131).

Shapes: B rows, C positions of a row, P pairs, S and T positions of the longest source and target, M target tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from emergence.models.seq2seq import Seq2SeqConfig, hidden_of, spans_of
from emergence.training.batch import Batch
from emergence.training.objectives import Lesson, Noise
from emergence.training.text_rows import text_lengths

__all__ = ["PAIRS", "PairObjective", "Pairs", "corrupt", "pair_up"]

Ids = npt.NDArray[np.int64]
CUT = 0.5  # share of texts that are cut in two


@dataclass(frozen=True)
class Pairs:
    """Sources [P, S] with their lengths [P], what the decoder reads [P, T], the flat positions of its predictions [M],
    what is right there [M], and how many targets the row of each has [M]."""

    sources: torch.Tensor
    lengths: torch.Tensor
    inputs: torch.Tensor
    select: torch.Tensor
    targets: torch.Tensor
    shares: torch.Tensor


class PairObjective:
    """Cross-entropy of the tokens of the targets, every row with the same weight."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of the mean over the tokens of their targets."""
        pairs = _pairs_of(network, batch, noise)
        return (_surprise(network, pairs) / (len(batch.inputs) * pairs.shares)).sum()

    def lesson(self, network: Any, batch: Batch, noise: Noise) -> Lesson:
        """Return what the tokens of all targets ask, after the same sources."""
        pairs = _pairs_of(network, batch, noise)
        read = partial(_predict, pairs)
        return Lesson(read, read, pairs.targets, 1 / (len(batch.inputs) * pairs.shares))

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float, int]:
        """Return the summed cross-entropy of the tokens of all targets, and their number."""
        pairs = pair_up(inputs_BT, targets_BT, mask_BT, network.config, noise)
        return float(_surprise(network, pairs).sum()), len(pairs.targets)


PAIRS = PairObjective()


def _pairs_of(network: Any, batch: Batch, noise: Noise) -> Pairs:
    B, C = batch.inputs.shape
    mask, targets = torch.ones(B * C, dtype=torch.bool), batch.targets
    if batch.select is not None:
        mask = torch.zeros(B * C, dtype=torch.bool).index_fill_(0, batch.select, True)
        targets = torch.zeros(B * C, dtype=torch.long).index_copy_(0, batch.select, batch.targets)
    return pair_up(batch.inputs, targets.view(B, C), mask.view(B, C), network.config, noise)


def _predict(pairs: Pairs, network: Any) -> torch.Tensor:
    """Return the logits of every target token, [M, V]."""
    logits_MV: torch.Tensor = network(pairs.sources, pairs.lengths, pairs.inputs, pairs.select)
    return logits_MV


def _surprise(network: Any, pairs: Pairs) -> torch.Tensor:
    """Return the negative log-probability of every target token, [M]."""
    return torch.nn.functional.cross_entropy(_predict(pairs, network), pairs.targets, reduction="none")


def pair_up(
    inputs_BC: torch.Tensor, targets_BC: torch.Tensor, mask_BC: torch.Tensor, config: Seq2SeqConfig, noise: Noise
) -> Pairs:
    """Return the pairs of some rows; ``mask`` says which tokens of ``targets`` are supervised."""
    inputs, following, mask = (np.ascontiguousarray(part.numpy()) for part in (inputs_BC, targets_BC, mask_BC))
    lengths = text_lengths(mask_BC).tolist()
    generator = noise() if any(lengths) else torch.Generator()
    cut = (torch.rand(len(inputs), generator=generator) < CUT).tolist()
    sources: list[Ids] = []
    targets: list[Ids] = []
    of_row: list[int] = []
    for row in range(len(inputs)):
        length = lengths[row]
        if not length:
            found = list(_examples(inputs[row], following[row], mask[row]))
        elif cut[row] or length < 2:  # of one token nothing can be hidden
            at = int(torch.randint(1, length + 1, (), generator=generator))
            found = [(inputs[row, :at], following[row, at - 1 : length])]
        else:
            found = [corrupt(inputs[row, :length], config, generator)]
        for source, target in found:
            sources.append(source)
            targets.append(target)
            of_row.append(row)
    source_PS, lengths_P = _pad(sources)
    target_PT, counts_P = _pad(targets)
    inputs_PT = np.concatenate([np.full((len(targets), 1), config.start_id), target_PT[:, :-1]], axis=1)
    counts = np.array(counts_P)
    kept = np.arange(target_PT.shape[1]) < counts[:, None]
    rows = np.array(of_row)
    shares = np.bincount(rows, weights=counts, minlength=len(inputs))[rows].astype(np.float32)
    parts = source_PS, lengths_P, inputs_PT, kept.ravel().nonzero()[0], target_PT[kept], shares.repeat(counts)
    return Pairs(*map(torch.from_numpy, parts))


def _examples(inputs: Ids, following: Ids, mask: npt.NDArray[np.bool_]) -> Iterator[tuple[Ids, Ids]]:
    """Yield source and target of every worked example in a row: a source ends where its target is first predicted."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
    begin = 0
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        yield inputs[begin : first + 1], following[first:stop]
        begin = stop


def corrupt(text: Ids, config: Seq2SeqConfig, generator: torch.Generator) -> tuple[Ids, Ids]:
    """Return a text with hidden spans, each replaced by one sentinel, and these spans, each after its sentinel.

    As many tokens as `models.seq2seq.hidden_of` says are hidden, in as many spans as `spans_of` says, never the first
    token; lengths of spans and of what stands between them are uniform over all divisions (Raffel et al. 2020). The
    text has two tokens or more, and not more than a context.
    """
    number_hidden, spans = hidden_of(len(text)), spans_of(len(text))
    hidden = _divide(number_hidden, spans, generator)
    shown = _divide(len(text) - number_hidden, spans, generator)
    source: list[int] = []
    target: list[int] = []
    at = 0
    for number, (keep, hide) in enumerate(zip(shown, hidden, strict=True)):
        sentinel = config.start_id + 1 + number
        source += [*text[at : at + keep].tolist(), sentinel]
        target += [sentinel, *text[at + keep : at + keep + hide].tolist()]
        at += keep + hide
    return np.array(source), np.array([*target, config.start_id + 1 + spans])


def _divide(total: int, parts: int, generator: torch.Generator) -> list[int]:
    """Return positive lengths that add up to ``total``, uniform over all ways to choose them."""
    cuts = (torch.randperm(total - 1, generator=generator)[: parts - 1] + 1).sort().values.tolist()
    return [stop - start for start, stop in zip([0, *cuts], [*cuts, total], strict=True)]


def _pad(parts: Sequence[Ids]) -> tuple[Ids, Ids]:
    """Return sequences as one array, padded with 0, and their lengths."""
    lengths = np.array([len(part) for part in parts])
    padded = np.zeros((len(parts), lengths.max()), dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(parts)
    return padded, lengths
