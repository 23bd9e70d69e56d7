"""Learning several tasks before the one that counts: all together, or so that any is learnt fast (Reptile)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import derive_seed, stream
from emergence.models.trunk import module_of
from emergence.tasks.task import GeneratedTask
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import Aim
from emergence.training.finetuning.loop import Tuning, finetune
from emergence.training.finetuning.model import flops_of, hidden_width
from emergence.training.finetuning.prepare import prepare_aim

__all__ = ["learn_together", "reptile"]

INNER_STEPS = 10  # of one task before the trunk moves
OUTER_RATE = 0.5  # how far it moves at first; falls to zero


def learn_together(
    network: Any,
    tokenizer: LanguageTokenizer,
    tasks: Sequence[GeneratedTask],
    settings: FinetuneSettings,
    *,
    family: str,
    seed: int,
) -> float:
    """Train the trunk on all tasks, each with a head of its own that is thrown away; return the FLOPs."""
    width = hidden_width(network)
    aims = _aims(network, tokenizer, tasks, settings, width, seed)
    tuning = finetune(network, aims, settings, width=width, seed=derive_seed(seed, "together"))
    return flops_of(network, family, tuning, aims, settings)


def reptile(
    network: Any,
    tokenizer: LanguageTokenizer,
    tasks: Sequence[GeneratedTask],
    settings: FinetuneSettings,
    *,
    family: str,
    seed: int,
) -> float:
    """Move the trunk to where a few steps on any of the tasks lead far; return the FLOPs.

    Each turn takes `INNER_STEPS` steps on one task, with a head that this task keeps, and then moves the weights a
    share of the way from where they began to where they ended (Nichol et al. 2018, arXiv 1803.02999, algorithm 1). As
    many steps are taken in all as `learn_together` would take at most.
    """
    width = hidden_width(network)
    aims = _aims(network, tokenizer, tasks, settings, width, seed)
    per_epoch = sum(-(-len(aim.lengths) // settings.batch) for aim in aims)
    turns = max(1, max(settings.epochs * per_epoch, settings.least_steps) // INNER_STEPS)
    inner = settings.model_copy(
        update={"epochs": 1, "least_steps": INNER_STEPS, "reading_steps": INNER_STEPS, "warmup": 0.0}
    )
    parameters = list(module_of(network).parameters())
    order = stream(seed, "reptile").integers(0, len(aims), turns).tolist()
    total = Tuning()
    for turn, choice in enumerate(order):
        before = [parameter.detach().clone() for parameter in parameters]
        few = _Few(aims[choice], settings.batch * INNER_STEPS, derive_seed(seed, "turn", turn))
        found = finetune(network, [few], inner, width=width, seed=derive_seed(seed, "inner", turn))
        rate = OUTER_RATE * (1 - turn / turns)
        with torch.no_grad():
            for parameter, start in zip(parameters, before, strict=True):
                parameter.copy_(torch.lerp(start, parameter, rate))
        total.tokens += found.tokens
    return flops_of(network, family, total, aims, settings)


class _Few:
    """Some examples of an aim, to be learnt from without a look at validation: the last weights are the best."""

    def __init__(self, aim: Aim, n: int, seed: int) -> None:
        self._aim, self.name, self.head, self._turn = aim, aim.name, aim.head, 0
        chosen = stream(seed, "few").permutation(len(aim.lengths))[:n]
        self._numbers = chosen.tolist()
        self.lengths = [aim.lengths[n] for n in self._numbers]
        self.validation_tokens, self.written = 0, aim.written

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the loss of the aim on these of its examples."""
        return self._aim.loss(network, [self._numbers[n] for n in numbers])

    def validate(self, network: Any) -> dict[str, float]:
        """Return a goal that rises with every reading."""
        self._turn += 1
        return {"goal": float(self._turn)}


def _aims(
    network: Any,
    tokenizer: LanguageTokenizer,
    tasks: Sequence[GeneratedTask],
    settings: FinetuneSettings,
    width: int,
    seed: int,
) -> list[Aim]:
    return [
        prepare_aim(task, network, tokenizer, settings, width=width, examples=None, seed=seed).aim for task in tasks
    ]
