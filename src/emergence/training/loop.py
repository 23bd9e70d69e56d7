"""The one training loop: every family, every rung, one replica or a stack of them.

An interrupted run goes on from its last sound checkpoint and ends with the same weights, bit for bit, on the same
machine: the data of a step depend on its number alone, and a checkpoint holds everything else.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emergence.models.family import FAMILIES, ModelConfig
from emergence.training.batch import Batch, collate
from emergence.training.clock import Clock
from emergence.training.data import Draw, Mixture
from emergence.training.distillation import Distilled, Teaching
from emergence.training.keeping import Keeper
from emergence.training.learners import make_learner
from emergence.training.objectives import OBJECTIVES, Objective
from emergence.training.schedule import Schedule

__all__ = ["Outcome", "RunSpec", "train"]

VALIDATION_TOKENS = 2**17  # at most so many held-out tokens per source: the whole last tenth of a megabyte of text
SECONDS_AT_RISK = 60.0  # a long stretch between two checkpoints is broken by one that is only kept for resuming
HISTORY_ROWS = 200
TOKENS_AT_ONCE = 2**14  # of a validation forward pass
STEPS_AT_ONCE = 16  # of which the batches are drawn together


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that decides the runs of some replicas of one rung besides their data."""

    family: str
    config: ModelConfig
    seeds: tuple[int, ...]
    stacked: bool  # the form of the products; it must be True for more than one seed
    learning_rate: float
    weight_decay: float
    clip: float
    schedule: Schedule
    embeddings: str | None = None  # the file of the token vectors to begin with (`models.vectors`)
    beforehand: float = 0.0  # FLOPs by which a teacher wrote the data
    sharers: int = 1  # runs that read them


@dataclass(frozen=True)
class Outcome:
    """How one replica ended: where it diverged, if it did, and what else a reader should know."""

    diverged: str | None
    notes: tuple[str, ...]


def train(
    spec: RunSpec,
    data: Sequence[Mixture],
    folders: Sequence[Path],
    *,
    at_checkpoint: Callable[[int, Any, int], None],
    progress: Callable[[float, Sequence[float]], None],
    kept: Callable[[int, int], None] | None = None,
    teaching: Teaching | None = None,
) -> list[Outcome]:
    """Train (or go on training) replicas of one rung, each on its data and in its folder, and say how each ended.

    ``at_checkpoint(replica, network, step)`` is called at every checkpoint of the schedule while its files are written;
    all are on the disk when `train` returns. ``kept(replica, step)`` is called after it once they are there, and makes
    the work wait for the disk where it is given. ``progress(share, losses)`` is called now and then with the share of
    the work that is done. A replica whose loss is no number any more, or far above that of guessing, has diverged: it
    is not evaluated from there on, and the work ends when all of them have. Of a ``teaching`` they learn beside the
    right answers (`training.distillation`).
    """
    with Keeper(folders, spec.schedule) as keeper:
        return _Training(spec, data, keeper, at_checkpoint, progress, kept, teaching).run()


class _Training:
    def __init__(
        self,
        spec: RunSpec,
        data: Sequence[Mixture],
        keeper: Keeper,
        at_checkpoint: Callable[[int, Any, int], None],
        progress: Callable[[float, Sequence[float]], None],
        kept: Callable[[int, int], None] | None,
        teaching: Teaching | None,
    ) -> None:
        self._spec, self._schedule, self._data, self._keeper = spec, spec.schedule, data, keeper
        self._at_checkpoint, self._progress, self._kept = at_checkpoint, progress, kept
        family = FAMILIES.load(spec.family)
        self._objective = OBJECTIVES.load(family.objective)
        self._learner = make_learner(
            spec.family,
            spec.config,
            spec.seeds,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
            clip=spec.clip,
            stacked=spec.stacked,
            embeddings=spec.embeddings,
            objective=None if teaching is None else Distilled(self._objective, teaching),
        )
        self._clock = Clock(
            spec.config,
            len(spec.seeds),
            family.training_passes,
            family.predicted_share,
            teacher=None if teaching is None else teaching.forward_flops,
            beforehand=spec.beforehand,
            sharers=spec.sharers,
        )
        self._highest = 3 * math.log(spec.config.vocabulary) * (1.0 if teaching is None else teaching.scale)
        self._held_out = data[0].validation(VALIDATION_TOKENS)
        self._every = max(1, self._schedule.steps // HISTORY_ROWS)
        self._diverged: dict[int, str] = {}

    def run(self) -> list[Outcome]:
        """Go through the rest of the schedule."""
        step = self._keeper.resume(self._learner)
        if step:
            self._clock.restore(self._keeper.histories, step)
            for s, rows in enumerate(self._keeper.histories):
                for row in rows:
                    self._check(s, row)
        self._done, self._saved_at = step + self._keeper.branch_steps(), time.monotonic()
        self._clock.resume()
        if self._schedule.branches:
            self._grow_branches(step)
        else:
            self._go_through(step)
        if len(self._diverged) == len(self._data):
            self._keeper.save_histories()
        return [Outcome(self._diverged.get(s), tuple(notes)) for s, notes in enumerate(self._keeper.notes)]

    def _go_through(self, step: int) -> None:
        """Train from ``step`` to the end and stop at every checkpoint."""
        for end in (end for end in self._schedule.checkpoints if end > step):
            if not self._advance(step, end, self._schedule.steps):
                return
            self._validate()
            self._keeper.save(self._learner, end)
            self._evaluate(end)
            step = end

    def _grow_branches(self, step: int) -> None:
        """Train the trunk from ``step`` on and let a branch grow wherever one is missing."""
        for end in self._schedule.checkpoints:
            fork = self._schedule.fork(end)
            if fork < step or self._keeper.has(end):
                continue
            if fork > step:
                if not self._advance(step, fork, None):
                    return
                self._keeper.save(self._learner, fork)
            step = fork
            trunk = self._learner.snapshot()
            self._clock.branch()
            if not self._advance(fork, end, end):
                return
            self._validate()
            self._keeper.save_cooled(self._learner, end)
            self._evaluate(end)
            self._learner.return_to(trunk)
            self._clock.back()

    def _advance(self, first: int, last: int, end: int | None) -> bool:
        """Do the steps ``first`` to ``last`` of a run of ``end`` steps (None: of the trunk); False where all replicas
        have diverged."""
        total = torch.zeros(len(self._data))
        count = 0
        branch = self._schedule.branches and end is not None
        for step, batch in self._batches(first, last):
            factor = self._schedule.factor(step, end)
            total += self._learner.step(batch, factor, step)
            count += 1
            self._clock.count(batch)
            done = step + 1
            if done % self._every and done != last:
                continue
            self._clock.pause()
            losses = (total / count).tolist()
            rows = self._clock.rows(done, losses, self._spec.learning_rate * factor)
            total.zero_()
            self._done += count
            count = 0
            if not branch or done == last:
                for history, row in zip(self._keeper.histories, rows, strict=True):
                    history.append({**row, "branch": end if branch else None})
            for s, row in enumerate(rows):
                self._check(s, row)
            self._progress(self._done / self._schedule.computed_steps, losses)
            if len(self._diverged) == len(rows):
                return False
            if not branch and done != last and time.monotonic() - self._saved_at > SECONDS_AT_RISK:
                self._keeper.save(self._learner, done)
                self._saved_at = time.monotonic()
            self._clock.resume()
        return True

    def _batches(self, first: int, last: int) -> Iterator[tuple[int, Batch]]:
        """Yield the batch of every step; some are drawn at once, since the time goes into the number of calls."""
        for start in range(first, last, STEPS_AT_ONCE):
            count = min(STEPS_AT_ONCE, last - start)
            draws = [mixture.draw(start, count) for mixture in self._data]
            for step, batch in enumerate(collate(draws, stacked=self._spec.stacked), start):
                yield step, replace(batch, warmups=self._schedule.warmups(step))

    def _check(self, replica: int, row: dict[str, Any]) -> None:
        """Note a loss that is no number, or far above that of guessing."""
        loss = row["train_loss"]
        if not math.isfinite(loss) or loss > self._highest:
            self._diverged.setdefault(replica, f"loss {loss:.3g} at step {row['step']}")

    def _evaluate(self, step: int) -> None:
        """Hand every replica that has not diverged to whoever asked."""
        self._clock.pause()
        for s in range(len(self._data)):
            if s not in self._diverged:
                self._at_checkpoint(s, self._learner.alone(s), step)
        if self._kept is not None:
            self._keeper.wait()
            for s in range(len(self._data)):
                if s not in self._diverged:
                    self._kept(s, step)
        self._saved_at = time.monotonic()
        self._clock.resume()

    def _validate(self) -> None:
        """Put the validation losses of every replica into the last row of its history."""
        self._clock.pause()
        for s, history in enumerate(self._keeper.histories):
            history[-1] |= _validation_loss(self._learner.alone(s), self._objective, self._held_out)
        self._clock.resume()


@torch.inference_mode()
def _validation_loss(network: Any, objective: Objective, held_out: list[tuple[str, float, Draw]]) -> dict[str, float]:
    """Mean loss per supervised token of each source, in nats for all objectives that predict tokens, and their weighted
    mean as ``validation_loss``; of a loss with summands the weighted mean of each, as ``validation_kl`` and so on. What
    an objective draws at random is the same at every checkpoint."""
    result: dict[str, float] = {}
    for name, weight, rows in held_out:
        totals: Counter[str] = Counter()
        tokens = 0
        inputs, targets, supervised = (torch.from_numpy(p[0]) for p in (rows.inputs, rows.targets, rows.supervised))
        count = max(1, TOKENS_AT_ONCE // inputs.shape[1])
        for first in range(0, len(inputs), count):
            part = slice(first, first + count)
            noise = partial(torch.Generator().manual_seed, first)
            lost, counted = objective.held_out(network, inputs[part], targets[part], supervised[part], noise)
            totals.update(lost if isinstance(lost, Mapping) else {"loss": lost})
            tokens += counted
        result[f"validation_loss_{name}"] = totals.total() / tokens
        for summand, total in totals.items() if set(totals) != {"loss"} else ():
            result[f"validation_{summand}"] = result.get(f"validation_{summand}", 0.0) + weight * total / tokens
    result["validation_loss"] = sum(weight * result[f"validation_loss_{name}"] for name, weight, _ in held_out)
    return result
