"""Fine-tuning a loaded model on one task, from its examples to a tuned network and what that cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import derive_seed
from emergence.models.adapters.attach import Adapter, attach
from emergence.models.family import FAMILIES, build_network
from emergence.models.trunk import module_of
from emergence.tasks.task import GeneratedTask
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import Aim
from emergence.training.finetuning.loop import Reading, Tuning, finetune
from emergence.training.finetuning.prepare import Teacher, prepare_aim

__all__ = ["Tuned", "flops_of", "hidden_width", "tune_network", "untrained"]


@dataclass(frozen=True)
class Tuned:
    """A network that was tuned for one task. ``base`` is its fingerprint before."""

    network: Any
    aim: Aim
    adapter: Adapter | None
    tuning: Tuning
    examples: int
    flops: float
    base: str
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what it took, as JSON values."""
        best = self.tuning.readings[self.tuning.best]
        return {
            "examples": self.examples,
            "steps": self.tuning.steps,
            "best_step": best.step,
            "validation": {name: value for name, value in best.measures[self.aim.name].items() if name != "goal"},
            "history": [
                {"step": r.step, "train_loss": r.train_loss, **r.measures[self.aim.name]} for r in self.tuning.readings
            ],
            "trainable": self.tuning.trainable,
            "share": self.tuning.share,
            "seconds": self.tuning.seconds,
            "flops": self.flops,
        }


def hidden_width(network: Any) -> int:
    """Return the width of a network's hidden states."""
    width = getattr(network.config, "width", None)
    if width is None:
        text: Any = module_of(network).config
        width = text.get_text_config().hidden_size
    return int(width)


def untrained(network: Any, family: str, seed: int) -> Any:
    """Return a network of the same shape with initial weights; a module that came from elsewhere draws its own."""
    module: Any = module_of(network)
    if family in FAMILIES and module is network:
        fresh = build_network(family, module.config, torch.Generator().manual_seed(derive_seed(seed, "untrained")))
        return fresh.eval()
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "untrained"))
        module.load_state_dict(type(module)(module.config).state_dict())
    return network


def tune_network(
    network: Any,
    tokenizer: LanguageTokenizer,
    task: GeneratedTask,
    settings: FinetuneSettings,
    *,
    family: str,
    examples: int | None,
    seed: int,
    teacher: Teacher | None = None,
    progress: Callable[[float, str], None] = lambda share, says: None,
) -> Tuned:
    """Fine-tune ``network`` in place (one of ``start: untrained`` is another) on ``examples`` of a task, all if None,
    beside what a ``teacher`` says of them.

    ``progress`` is told how far it is, and what the last reading said. Raises UserError for a task that the network
    cannot do, and DivergedError where the loss grows beyond bounds.
    """
    if settings.start == "untrained":
        network = untrained(network, family, seed)
    width = hidden_width(network)
    asked: dict[str, Any] = {"width": width, "examples": examples, "seed": seed, "teacher": teacher}
    prepared = prepare_aim(task, network, tokenizer, settings, **asked)
    base = network.fingerprint()
    adapter = None
    if settings.adapter is not None:
        adapter = attach(network, settings.adapter, torch.Generator().manual_seed(derive_seed(seed, "adapter")))

    def read(share: float, reading: Reading) -> None:
        measures = reading.measures[prepared.aim.name]
        shown = next(name for name in ("accuracy", "f1", "rmse", "loss") if name in measures)
        progress(share, f"{shown} {measures[shown]:.3f}")

    tuning = finetune(network, [prepared.aim], settings, width=width, seed=seed, adapter=adapter, progress=read)
    flops = flops_of(network, family, tuning, [prepared.aim], settings)
    return Tuned(network, prepared.aim, adapter, tuning, prepared.examples, flops, base, prepared.notes)


def flops_of(network: Any, family: str, tuning: Tuning, aims: Sequence[Aim], settings: FinetuneSettings) -> float:
    """Return the FLOPs of matrix products of a fine-tuning, readings of the validation examples among them.

    A step is a forward and a backward pass, which costs twice as much; with frozen weights alone it is a forward one. A
    model that was trained elsewhere is taken for 2 FLOPs per token and non-embedding parameter (Kaplan et al. 2020,
    arXiv 2001.08361, section 2.1).
    """
    held = sum(aim.validation_tokens for aim in aims) * len(tuning.readings)
    passes = FAMILIES.load(family).training_passes if family in FAMILIES else 3.0
    passes = 1.0 if settings.freeze == "all" else passes
    passes *= 3.0 if settings.adversarial else 1.0
    lengths = [length for aim in aims for length in aim.lengths]
    length = max(1, round(sum(lengths) / len(lengths)))
    tokens = tuning.tokens * passes + held
    count: Any = getattr(network.config, "forward_flops", None)
    if count is not None:
        return float(count(tokens, length, 0))
    return 2.0 * float(network.config.non_embedding_parameters) * tokens
