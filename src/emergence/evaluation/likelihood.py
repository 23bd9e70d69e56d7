"""Teacher-forced log-likelihoods of targets, in batches sorted by length."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from emergence.core.errors import UserError
from emergence.evaluation.requests import Likelihood
from emergence.models.family import LanguageModel

__all__ = ["log_likelihoods"]

TOKENS_AT_ONCE = 2**14


@torch.inference_mode()
def log_likelihoods(network: LanguageModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
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
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    results: list[Likelihood | None] = [None] * len(pairs)
    while order:
        longest = len(pairs[order[-1]][0]) + len(pairs[order[-1]][1])
        count = max(1, TOKENS_AT_ONCE // longest)
        batch, order = order[-count:], order[:-count]
        for index, likelihood in zip(batch, _batch(network, [pairs[i] for i in batch], context), strict=True):
            results[index] = likelihood
    return [likelihood for likelihood in results if likelihood is not None]


def _batch(
    network: LanguageModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], context: int
) -> list[Likelihood]:
    rows = [[*prompt, *target][-(context + 1) :] for prompt, target in pairs]
    T = max(len(row) for row in rows) - 1
    # Padding stands after the last token that counts, where a causal model cannot see it.
    inputs_BT = torch.tensor([row[:-1] + [0] * (T + 1 - len(row)) for row in rows])
    places: list[int] = []
    targets: list[int] = []
    for b, (row, (_, target)) in enumerate(zip(rows, pairs, strict=True)):
        end = len(row) - 1
        places.extend(range(b * T + end - len(target), b * T + end))
        targets.extend(target)
    logprobs_MV = network(inputs_BT, select=torch.tensor(places)).log_softmax(dim=-1)
    targets_M = torch.tensor(targets)
    logprobs = logprobs_MV.gather(1, targets_M[:, None])[:, 0].tolist()
    hits = (logprobs_MV.argmax(dim=-1) == targets_M).tolist()
    results, first = [], 0
    for _, target in pairs:
        last = first + len(target)
        results.append(Likelihood(tuple(logprobs[first:last]), tuple(hits[first:last])))
        first = last
    return results
