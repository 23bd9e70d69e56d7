"""Masked-language modelling: tokens are hidden, and the network says what they were (Devlin et al. 2019, arXiv
1810.04805).

*Text*, where the positions that count are one run from the first on (`training/text_rows.py`): 15 % of the tokens are
chosen, the same number in every row of that length. Of these 80 % become the mask, 10 % a random token, and 10 % stay
as they are, so that the network cannot tell which tokens to doubt. A line or document that ends before its row does not
see the padding, since there is none behind a question.

*Rows of worked examples*, where answers and the ends after them count: of every answer with its end, n tokens, a number
from 1 to n is drawn uniformly and as many are chosen, as Ghazvininejad et al. 2019 (arXiv 1904.09324) train what is to
write by filling masks. Scoring hides one token of an answer, writing hides all and then fewer and fewer: each of these
is met equally often. They all become the mask, for that is what stands there whenever a question is asked. Nothing of a
prompt is chosen. Nothing follows a question, so that an example does not see the examples after it in its row; in half
of the rows some of the first see one another, as the worked examples before a question do.

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
from emergence.training.objectives import Lesson, Noise
from emergence.training.text_rows import text_lengths

__all__ = ["MASKED_TOKEN", "Choice", "MaskedToken", "choose"]

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens of a text; the others stay


@dataclass(frozen=True)
class Choice:
    """The chosen positions: flat, b T + t, [M], and which of them stand in rows of text [M]; and of which example of
    its row every position is, [B, T], or None where all rows are full of text."""

    places: torch.Tensor
    of_text: torch.Tensor
    example: torch.Tensor | None


def choose(supervised_BT: torch.Tensor, generator: torch.Generator) -> Choice:
    """Choose what to hide; ``supervised`` says of which positions the *next* token counts, as rows are packed."""
    T = supervised_BT.shape[1]
    counts_BT = torch.zeros_like(supervised_BT)
    counts_BT[:, 1:] = supervised_BT[:, :-1]
    begins_BT = counts_BT.clone()
    begins_BT[:, 1:] &= ~counts_BT[:, :-1]
    length_B = text_lengths(supervised_BT)
    places_N = counts_BT.flatten().nonzero()[:, 0]
    span_N = begins_BT.flatten().cumsum(0)[places_N] - 1
    length_J = length_B[begins_BT.nonzero()[:, 0]]
    of_text_J = length_J > 0
    size_J = torch.bincount(span_N, minlength=len(of_text_J))
    drawn_J = (_uniform(len(size_J), generator) * size_J).long() + 1
    number_J = torch.where(of_text_J, (CHOSEN * length_J.double()).round().long().clamp(min=1), drawn_J)
    # In the order of these keys the positions of a span stay together, shuffled.
    order_N = (span_N + _uniform(len(span_N), generator)).argsort()
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(len(order_N)) - (size_J.cumsum(0) - size_J)[span_N]
    chosen_N = rank_N < number_J[span_N]
    # An example ends with its answer, a text before its padding.
    example_BT = None
    if not bool((length_B == T).all()):
        example_BT = torch.zeros_like(counts_BT, dtype=torch.long)
        example_BT[:, 1:] = (counts_BT[:, :-1] & ~counts_BT[:, 1:]).cumsum(1)
    return Choice(places_N[chosen_N], of_text_J[span_N[chosen_N]], example_BT)


class MaskedToken:
    """Cross-entropy of the hidden tokens, every row with the same weight."""

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of the mean over their chosen positions, in nats."""
        lesson = self.lesson(network, batch, noise)
        return (F.cross_entropy(lesson.read(network), lesson.targets, reduction="none") * lesson.weights).sum()

    def lesson(self, network: Any, batch: Batch, noise: Noise) -> Lesson:
        """Return what the chosen positions ask, hidden as the training hides them."""
        generator = noise()
        B, T = batch.inputs.shape
        supervised_BT = _supervised(batch)
        choice = choose(supervised_BT, generator)
        ids_BT = batch.inputs.clone()
        ids = ids_BT.view(-1)
        tokens_M = ids[choice.places]
        fate_M = torch.rand(len(tokens_M), generator=generator)
        random_M = torch.randint(network.config.vocabulary, tokens_M.shape, generator=generator)
        kept_M = torch.where(fate_M < MASKED + REPLACED, random_M, tokens_M)
        masked_M = (fate_M < MASKED) | ~choice.of_text
        ids[choice.places] = torch.where(masked_M, network.mask_id, kept_M)
        part_BT = choice.example
        if part_BT is not None:
            together_B = (_uniform(B, generator) * (part_BT.max(dim=1).values + 1)).long()
            together_B *= (_uniform(B, generator) < 0.5) & (text_lengths(supervised_BT) == 0)
            part_BT = torch.maximum(part_BT, together_B[:, None])
        row_M = choice.places // T
        weight_M = 1 / (B * torch.bincount(row_M, minlength=B)[row_M])

        def read(network: Any) -> torch.Tensor:
            logits_MV: torch.Tensor = network(ids_BT, select=choice.places, part=part_BT)
            return logits_MV

        return Lesson(read, read, tokens_M, weight_M)

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[float, int]:
        """Return the summed cross-entropy of hidden tokens and their number. All of them become the mask, and they are
        the same whenever ``noise`` is: a loss per hidden token, to be compared between checkpoints."""
        choice = choose(mask_BT, noise())
        ids_BT = inputs_BT.clone()
        ids = ids_BT.view(-1)
        tokens_M = ids[choice.places]
        ids[choice.places] = network.mask_id
        logits_MV = network(ids_BT, select=choice.places, part=choice.example)
        return float(F.cross_entropy(logits_MV, tokens_M, reduction="sum")), len(tokens_M)


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _supervised(batch: Batch) -> torch.Tensor:
    """Return the mask [B, T] of the positions whose next token counts."""
    supervised_BT = torch.full(batch.inputs.shape, batch.select is None)
    if batch.select is not None:
        supervised_BT.view(-1)[batch.select] = True
    return supervised_BT


MASKED_TOKEN = MaskedToken()
