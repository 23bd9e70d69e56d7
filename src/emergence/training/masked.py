"""Masked-language modelling: tokens are hidden, and the network says what they were (Devlin et al. 2019, arXiv
1810.04805).

*Text*, where every position counts: 15 % of the tokens are chosen, the same number in every row. Of these 80 % become
the mask, 10 % a random token, and 10 % stay as they are, so that the network cannot tell which tokens to doubt.

*Rows of worked examples*, where answers and the ends after them count: of every answer with its end, n tokens, a number
from 1 to n is drawn uniformly and as many are chosen, as Ghazvininejad et al. 2019 (arXiv 1904.09324) train what is to
write by filling masks. Scoring hides one token of an answer, writing hides all and then fewer and fewer: each of these
is met equally often. They all become the mask, for that is what stands there whenever a question is asked. Nothing of a
prompt is chosen.

The first token of a row, which stands before a text, is never chosen.

Shapes: B rows, T positions, V vocabulary, N positions that count, M chosen ones, J answers or rows of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from emergence.models.bert import CHOSEN
from emergence.training.batch import Batch
from emergence.training.objectives import Noise

__all__ = ["MASKED_TOKEN", "Hidden", "MaskedToken", "choose"]

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens of a text; the others stay


@dataclass(frozen=True)
class Hidden:
    """The chosen positions: flat, b T + t, [M], and which of them stand in rows of text [M]."""

    places: torch.Tensor
    of_text: torch.Tensor


def choose(supervised_BT: torch.Tensor, generator: torch.Generator) -> Hidden:
    """Choose what to hide; ``supervised`` says of which positions the *next* token counts, as rows are packed."""
    T = supervised_BT.shape[1]
    counts_BT = torch.zeros_like(supervised_BT)
    counts_BT[:, 1:] = supervised_BT[:, :-1]
    begins_BT = counts_BT.clone()
    begins_BT[:, 2:] &= ~counts_BT[:, 1:-1]
    places_N = counts_BT.flatten().nonzero()[:, 0]
    span_N = begins_BT.flatten().cumsum(0)[places_N] - 1
    first_J = begins_BT.flatten().nonzero()[:, 0]
    of_text_J = supervised_BT.all(dim=1)[first_J // T]
    size_J = torch.bincount(span_N, minlength=len(first_J))
    drawn_J = (torch.rand(len(size_J), generator=generator, dtype=torch.float64) * size_J).long() + 1
    number_J = torch.where(of_text_J, max(1, round(CHOSEN * T)), drawn_J)
    # In the order of these keys the positions of a span stay together, shuffled.
    order_N = (span_N + torch.rand(len(span_N), generator=generator, dtype=torch.float64)).argsort()
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(len(order_N)) - (size_J.cumsum(0) - size_J)[span_N]
    chosen_N = rank_N < number_J[span_N]
    return Hidden(places_N[chosen_N], of_text_J[span_N[chosen_N]])


class MaskedToken:
    """Cross-entropy of the hidden tokens, every row with the same weight."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of the mean over their chosen positions, in nats."""
        generator = noise()
        B, T = batch.inputs.shape
        hidden = choose(_supervised(batch), generator)
        ids_BT = batch.inputs.clone()
        ids = ids_BT.view(-1)
        tokens_M = ids[hidden.places]
        fate_M = torch.rand(len(tokens_M), generator=generator)
        random_M = torch.randint(network.config.vocabulary, tokens_M.shape, generator=generator)
        kept_M = torch.where(fate_M < MASKED + REPLACED, random_M, tokens_M)
        masked_M = (fate_M < MASKED) | ~hidden.of_text
        ids[hidden.places] = torch.where(masked_M, network.mask_id, kept_M)
        row_M = hidden.places // T
        weight_M = 1 / (B * torch.bincount(row_M, minlength=B)[row_M])
        lost_M = F.cross_entropy(network(ids_BT, select=hidden.places), tokens_M, reduction="none")
        return (lost_M * weight_M).sum()

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float, int]:
        """Return the summed cross-entropy of hidden tokens and their number. All of them become the mask, and they are
        the same whenever ``noise`` is: a loss of the text, per hidden token, to be compared between checkpoints."""
        hidden = choose(mask_BT, noise())
        ids_BT = inputs_BT.clone()
        ids = ids_BT.view(-1)
        tokens_M = ids[hidden.places]
        ids[hidden.places] = network.mask_id
        logits_MV = network(ids_BT, select=hidden.places)
        return float(F.cross_entropy(logits_MV, tokens_M, reduction="sum")), len(tokens_M)


def _supervised(batch: Batch) -> torch.Tensor:
    """Return the mask [B, T] of the positions whose next token counts."""
    supervised_BT = torch.full(batch.inputs.shape, batch.select is None)
    if batch.select is not None:
        supervised_BT.view(-1)[batch.select] = True
    return supervised_BT


MASKED_TOKEN = MaskedToken()
