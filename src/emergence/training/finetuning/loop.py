"""The fine-tuning loop: epochs over labelled examples, readings on validation, and the best of them kept.

Several aims share one trunk (multi-task training); each step takes one of them.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import derive_seed, stream
from emergence.models.adapters.attach import Adapter
from emergence.models.trunk import module_of
from emergence.training.finetuning.aims import Aim
from emergence.training.finetuning.groups import base_rate, make_optimiser, set_learning
from emergence.training.finetuning.regularise import adversarial_step, dropping, l1_penalty
from emergence.training.finetuning.rows import batch_numbers

__all__ = ["DivergedError", "Reading", "Tuning", "finetune"]

#: A loss that has grown by this factor over the first one will not come back.
DIVERGED = 20.0
Progress = Callable[[float, "Reading"], None]


class DivergedError(UserError):
    """The loss has grown beyond bounds."""


@dataclass(frozen=True)
class Reading:
    """What stood at one step: the mean training loss since the last reading, and the validation measures by aim."""

    step: int
    train_loss: float
    measures: dict[str, dict[str, float]]

    @property
    def goal(self) -> float:
        """What is to be raised: the mean of the goals of all aims."""
        return float(np.mean([found["goal"] for found in self.measures.values()]))


@dataclass
class Tuning:
    """What a fine-tuning did. ``tokens`` counts those that were learnt from."""

    readings: list[Reading] = field(default_factory=list)
    best: int = 0  # number of the reading whose weights were kept
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    trainable: int = 0  # parameters, heads among them
    parameters: int = 0  # all of the network and the heads

    @property
    def share(self) -> float:
        """The share of the parameters that learnt."""
        return self.trainable / self.parameters


def finetune(
    network: Any,
    aims: Sequence[Aim],
    settings: FinetuneSettings,
    *,
    width: int,
    seed: int,
    adapter: Adapter | None = None,
    mixture: Sequence[float] | None = None,
    progress: Progress = lambda share, reading: None,
) -> Tuning:
    """Train ``network`` and the heads of the aims in place; they end as they were at the best reading.

    ``width`` is that of the hidden states. The parameters of an ``adapter``, which is attached to the network, learn in
    the place of the network's. Each step takes an aim by its share of ``mixture``, by default of the training examples.
    An epoch is over when as many examples were seen as there are. Random choices follow from
    ``seed``. Raises DivergedError where the loss grows beyond bounds.
    """
    started = time.monotonic()
    module = module_of(network)
    if adapter is None:
        learning = set_learning(network, settings)
    else:
        learning = dict(zip(adapter.names, adapter.trainable, strict=True))
    heads = [parameter for aim in aims if aim.head is not None for parameter in aim.head.parameters()]
    if not learning and not heads:
        raise UserError("everything is frozen and there is no head to train; freeze less")
    trained = [*learning.values(), *heads]
    every = {id(parameter): parameter for parameter in [*module.parameters(), *trained]}
    result = Tuning(
        trainable=sum(parameter.numel() for parameter in trained),
        parameters=sum(parameter.numel() for parameter in every.values()),
    )
    optimiser = make_optimiser(network, learning, heads, width, settings)
    modules = [module, *(aim.head for aim in aims if aim.head is not None)]
    per_epoch = sum(math.ceil(len(aim.lengths) / settings.batch) for aim in aims)
    steps = max(settings.epochs * per_epoch, settings.least_steps)
    between = max(per_epoch, settings.reading_steps)
    kept = _Best(modules, trained)
    with torch.random.fork_rng(), dropping(network, settings.dropout):
        torch.manual_seed(derive_seed(seed, "dropout"))
        losses: list[float] = []
        first: float | None = None
        for step, aim, numbers in _steps(aims, settings.batch, steps, seed, mixture):
            _train(modules, learning=bool(learning))
            factor = min(1.0, (step + 1) / max(1, settings.warmup * steps)) * (1 - step / steps)
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * factor
            losses.append(_step(network, aim, numbers, settings, optimiser, trained, adapter))
            if adapter is not None:
                adapter.after_step(step + 1, steps)
            result.steps, result.tokens = step + 1, result.tokens + sum(aim.lengths[n] for n in numbers)
            first = losses[0] if first is None else first
            if not math.isfinite(losses[-1]) or losses[-1] > DIVERGED * max(first, 1.0):
                raise DivergedError(
                    f"fine-tuning diverged: the loss is {losses[-1]:.3g} at step {step + 1}; lower learning_rate "
                    f"(it is {base_rate(settings):.2g})"
                )
            if (step + 1) % between and step + 1 != steps:
                continue
            for part in modules:
                part.eval()
            reading = Reading(step + 1, float(np.mean(losses)), {aim.name: aim.validate(network) for aim in aims})
            losses.clear()
            if not math.isfinite(reading.goal):
                raise DivergedError(f"fine-tuning diverged: no number came of step {step + 1}; lower learning_rate")
            result.readings.append(reading)
            progress((step + 1) / steps, reading)
            if kept.offer(reading.goal):
                result.best = len(result.readings) - 1
            elif len(result.readings) - 1 - result.best >= settings.patience and step + 1 >= settings.least_steps:
                break
    kept.restore()
    for part in modules:
        part.eval()
    result.seconds = time.monotonic() - started
    return result


def _train(modules: Sequence[nn.Module], *, learning: bool) -> None:
    """Put heads, and a trunk that learns, into training mode."""
    for place, part in enumerate(modules):
        part.train(learning or place > 0)


def _step(
    network: Any,
    aim: Aim,
    numbers: Sequence[int],
    settings: FinetuneSettings,
    optimiser: torch.optim.Optimizer,
    trained: Sequence[nn.Parameter],
    adapter: Adapter | None,
) -> float:
    """Do one step and return the loss before it, without penalties."""
    optimiser.zero_grad(set_to_none=True)
    loss = aim.loss(network, numbers)
    whole = loss + settings.l1 * l1_penalty(trained) if settings.l1 else loss
    penalty = None if adapter is None else adapter.penalty()
    if penalty is not None:
        whole = whole + penalty
    whole.backward()  # type: ignore[no-untyped-call]
    if settings.adversarial:
        adversarial_step(network, lambda: aim.loss(network, numbers), settings.adversarial)
    nn.utils.clip_grad_norm_(trained, settings.clip)
    optimiser.step()
    return float(loss.detach())


def _steps(
    aims: Sequence[Aim], batch: int, steps: int, seed: int, mixture: Sequence[float] | None
) -> Iterator[tuple[int, Aim, list[int]]]:
    """Yield the number of every step, its aim and the numbers of its examples."""
    sources = [_endless(aim, batch, derive_seed(seed, aim.name)) for aim in aims]
    weights = np.asarray([len(aim.lengths) for aim in aims] if mixture is None else mixture, dtype=float)
    choices = stream(seed, "aims").choice(len(aims), size=steps, p=weights / weights.sum())
    for step, choice in enumerate(choices.tolist()):
        yield step, aims[choice], next(sources[choice])


def _endless(aim: Aim, batch: int, seed: int) -> Iterator[list[int]]:
    for epoch in itertools.count():
        yield from batch_numbers(aim.lengths, batch, stream(seed, "epoch", epoch))


class _Best:
    """The weights at the best reading so far."""

    def __init__(self, modules: Sequence[nn.Module], trained: Sequence[nn.Parameter]) -> None:
        self._trained, self._goal = trained, -math.inf
        self._weights: list[torch.Tensor] = []

    def offer(self, goal: float) -> bool:
        """Keep the weights as they are now if they are better than those before, and say so."""
        if goal <= self._goal:
            return False
        self._goal = goal
        self._weights = copy.deepcopy([parameter.detach() for parameter in self._trained])
        return True

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best weights back."""
        for parameter, weights in zip(self._trained, self._weights, strict=True):
            parameter.copy_(weights)
