"""Fine-tuning to write: causal models continue a prompt, encoder-decoder models answer it.

Shapes: B rows, T positions, M answer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from emergence.core.errors import UserError
from emergence.tasks.task import Example
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import AT_ONCE
from emergence.training.finetuning.rows import pad

__all__ = ["Answers", "encode_answers"]


@dataclass(frozen=True)
class EncodedAnswer:
    """What stands before an answer, and the answer with its end."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


def encode_answers(
    tokenizer: LanguageTokenizer, examples: Sequence[Example], network: Any, name: str
) -> tuple[list[EncodedAnswer], int]:
    """Return the token ids of examples, and how many of them lost the beginning of their prompt.

    Raises UserError where an answer alone is longer than the context.
    """
    prompts = tokenizer.encode_batch([example.prompt for example in examples])
    targets = tokenizer.encode_batch([example.target for example in examples])
    context = network.config.context
    found, cut = [], 0
    for prompt, target in zip(prompts, targets, strict=True):
        answer = (*target, tokenizer.separator_id)
        before = [tokenizer.begin_id, *prompt]
        room = context if network.reads == "pairs" else context - len(answer) + 1
        if len(answer) > context or room < 1:
            raise UserError(
                f"an answer of {len(answer)} tokens to {name} does not fit into the model's context of {context}; "
                "leave such examples out or take a model with a longer one"
            )
        if len(before) > room:
            before, cut = [tokenizer.begin_id, *prompt[len(prompt) - room + 1 :]][:room], cut + 1
        found.append(EncodedAnswer(tuple(before), answer))
    return found, cut


@dataclass
class Answers:
    """Answers to write after their prompts; only their tokens, and the end after them, count in the loss."""

    name: str
    train: Sequence[EncodedAnswer]
    validation: Sequence[EncodedAnswer]
    smoothing: float = 0.0
    head: None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of every training example."""
        return [len(example.prompt) + len(example.target) for example in self.train]

    @property
    def validation_tokens(self) -> int:
        """Tokens of all validation examples."""
        return sum(len(example.prompt) + len(example.target) for example in self.validation)

    @property
    def written(self) -> float:
        """The share of the tokens of training examples that belong to answers."""
        return sum(len(example.target) for example in self.train) / sum(self.lengths)

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the mean over examples of the mean cross-entropy of their answer's tokens, in nats."""
        logits_MV, targets_M, weights_M = self._read(network, [self.train[n] for n in numbers])
        losses_M = F.cross_entropy(logits_MV, targets_M, reduction="none", label_smoothing=self.smoothing)
        return (losses_M * weights_M).sum()

    def validate(self, network: Any) -> dict[str, float]:
        """Return the mean loss of the validation answers, each example with the same weight."""
        total = 0.0
        with torch.inference_mode():
            for first in range(0, len(self.validation), AT_ONCE):
                few = self.validation[first : first + AT_ONCE]
                logits_MV, targets_M, weights_M = self._read(network, few)
                losses_M = F.cross_entropy(logits_MV, targets_M, reduction="none")
                total += float((losses_M * weights_M).sum()) * len(few)
        loss = total / len(self.validation)
        return {"loss": loss, "goal": -loss}

    def _read(self, network: Any, few: Sequence[EncodedAnswer]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits of every answer token [M, V], the tokens [M], and weights [M] that sum to one."""
        targets_M = torch.tensor([token for example in few for token in example.target])
        weights_M = torch.tensor([1 / (len(few) * len(e.target)) for e in few for _ in e.target])
        if network.reads == "pairs":
            sources_BS, lengths_B = pad([network.source(example.prompt) for example in few])
            memory = network.encode(sources_BS, lengths_B)
            inputs_BT, _ = pad([(network.start_id, *example.target[:-1]) for example in few])
            logits_BTV = network.decode(inputs_BT, memory)
            kept = torch.tensor([b * inputs_BT.shape[1] + t for b, e in enumerate(few) for t in range(len(e.target))])
            return logits_BTV.flatten(0, 1)[kept], targets_M, weights_M
        ids_BT, _ = pad([(*example.prompt, *example.target[:-1]) for example in few])
        places = [
            b * ids_BT.shape[1] + len(example.prompt) - 1 + t
            for b, example in enumerate(few)
            for t in range(len(example.target))
        ]
        return network(ids_BT, select=torch.tensor(places)), targets_M, weights_M
