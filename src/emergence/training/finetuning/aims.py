"""What a network is fine-tuned for: classes, a number, a span of its text, or an answer to write.

An aim holds encoded training and validation examples and, where needed, a head. The loop (`loop.py`) asks nothing else
of it.

Shapes: B rows, T positions, C classes, M answer tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.trunk import hidden_states
from emergence.tasks.label_scores import confusion_matrix, macro_f1
from emergence.training.finetuning.heads import PooledHead
from emergence.training.finetuning.rows import TextRows, pad
from emergence.training.soft_targets import distillation_loss

__all__ = ["AT_ONCE", "Aim", "Classes", "SoftTargets", "Values", "class_weights"]

AT_ONCE = 64  # rows read together where nothing is learnt


class Aim(Protocol):
    """Training examples, how a few of them are learnt from, and how good the network is at held-out ones."""

    name: str

    @property
    def head(self) -> nn.Module | None:
        """What stands on the trunk, where something does."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of every training example."""

    @property
    def validation_tokens(self) -> int:
        """Tokens of all validation examples together."""

    @property
    def written(self) -> float:
        """The share of the tokens that are an answer to write: there the network's own output head is asked."""

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the mean loss of the training examples with these numbers."""

    def validate(self, network: Any) -> dict[str, float]:
        """Return measures of the validation examples; ``goal`` is the one to raise."""


def class_weights(targets: Sequence[int], classes: int) -> torch.Tensor:
    """Return N / (C n_c) for every class: all of them then weigh the same in the loss (King and Zeng 2001)."""
    counts = np.bincount(np.asarray(targets, dtype=np.int64), minlength=classes)
    return torch.tensor(len(targets) / (classes * np.maximum(counts, 1)), dtype=torch.float32)


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says of training examples: log-probabilities [N, C], learnt from at a ``temperature`` and with a
    ``weight`` beside the labels (`training.soft_targets`)."""

    logits: torch.Tensor
    temperature: float
    weight: float


class _Pooled:
    """What is said of a whole row, by a head on its pooled hidden states."""

    train: TextRows
    validation: TextRows
    head: PooledHead

    @property
    def lengths(self) -> list[int]:
        """Tokens of every training example."""
        return [len(row) for row in self.train.ids]

    @property
    def validation_tokens(self) -> int:
        """Tokens of all validation examples."""
        return self.validation.tokens

    @property
    def written(self) -> float:
        """Nothing is written."""
        return 0.0

    def _logits(self, network: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return what the head says of rows, [B, outputs]."""
        ids_BT, lengths_B = pad(rows)
        out: torch.Tensor = self.head(hidden_states(network, ids_BT, lengths_B), lengths_B)
        return out


@dataclass
class Classes(_Pooled):
    """One class per row, by a linear head on the pooled hidden states.

    ``weights`` [C] multiply the losses of each class, ``smoothing`` is the share of the target that is spread over all
    classes (Szegedy et al. 2016, arXiv 1512.00567). ``goal`` is the validation score to raise. ``soft`` is what a
    teacher says of the training examples.
    """

    name: str
    train: TextRows
    targets: Sequence[int]
    validation: TextRows
    validation_targets: Sequence[int]
    head: PooledHead
    weights: torch.Tensor | None = None
    smoothing: float = 0.0
    goal: Literal["accuracy", "macro_f1"] = "accuracy"
    soft: SoftTargets | None = None

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the mean cross-entropy in nats, or the loss of distillation where there is a teacher."""
        logits_BC = self._logits(network, self.train.learnt(numbers))
        targets_B = torch.tensor([self.targets[n] for n in numbers])
        if self.soft is None:
            return F.cross_entropy(logits_BC, targets_B, self.weights, label_smoothing=self.smoothing)
        own = torch.ones(len(numbers)) if self.weights is None else self.weights[targets_B]
        taught_BC = self.soft.logits[list(numbers)]
        return distillation_loss(
            logits_BC, taught_BC, targets_B, own / own.sum(), self.soft.temperature, self.soft.weight
        )

    def predict(self, network: Any, rows: TextRows) -> npt.NDArray[np.float64]:
        """Return the log-probabilities [N, C] of the classes of every row."""
        return _by_length(rows, lambda few: self._logits(network, few).double().log_softmax(dim=-1))

    def validate(self, network: Any) -> dict[str, float]:
        """Return accuracy, macro-F1 and the loss of the validation examples; ties are broken by the loss."""
        logprobs_NC = self.predict(network, self.validation)
        targets_N = np.asarray(self.validation_targets)
        guesses_N = logprobs_NC.argmax(axis=1)
        loss = -float(logprobs_NC[np.arange(len(targets_N)), targets_N].mean())
        measures = {
            "loss": loss,
            "accuracy": float((guesses_N == targets_N).mean()),
            "macro_f1": float(macro_f1(confusion_matrix(targets_N, guesses_N, logprobs_NC.shape[1]))),
        }
        return {**measures, "goal": measures[self.goal] - 1e-3 * loss}


@dataclass
class Values(_Pooled):
    """A number per row, by a linear head; values are learnt in units of their spread over the training examples."""

    name: str
    train: TextRows
    targets: Sequence[float]
    validation: TextRows
    validation_targets: Sequence[float]
    head: PooledHead

    def __post_init__(self) -> None:
        self.centre = float(np.mean(self.targets))
        self.spread = float(np.std(self.targets)) or 1.0

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the mean squared error in units of the spread."""
        values_B = self._logits(network, self.train.learnt(numbers))[:, 0]
        targets_B = torch.tensor([(self.targets[n] - self.centre) / self.spread for n in numbers])
        return F.mse_loss(values_B, targets_B)

    def predict(self, network: Any, rows: TextRows) -> npt.NDArray[np.float64]:
        """Return the value of every row, [N]."""
        found = _by_length(rows, lambda few: self._logits(network, few).double())
        return found[:, 0] * self.spread + self.centre

    def validate(self, network: Any) -> dict[str, float]:
        """Return the root mean squared error of the validation examples."""
        gaps_N = self.predict(network, self.validation) - np.asarray(self.validation_targets)
        error = float(np.sqrt((gaps_N**2).mean()))
        return {"rmse": error, "goal": -error}


def _by_length(rows: TextRows, read: Any) -> npt.NDArray[np.float64]:
    """Return what ``read`` makes of all rows, [N, k], rows of about the same length together."""
    order = sorted(range(len(rows)), key=lambda number: len(rows.ids[number]))
    found: list[npt.NDArray[np.float64] | None] = [None] * len(rows)
    with torch.inference_mode():
        for first in range(0, len(order), AT_ONCE):
            numbers = order[first : first + AT_ONCE]
            values = read([rows.ids[number] for number in numbers]).numpy()
            for number, value in zip(numbers, values, strict=True):
                found[number] = value
    return np.stack(found)  # type: ignore[arg-type]
