"""Which examples are trained on where only some are wanted. No torch here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from emergence.core.seeds import stream
from emergence.tasks.labelled_schema import SYNTHETIC, Labelled

__all__ = ["ENOUGH", "choose", "some"]

ENOUGH = 4096  # examples of a task that makes as many as are wanted


def choose(examples: Sequence[Labelled], n: int | None, seed: int) -> list[Labelled]:
    """Return ``n`` examples, all classes as equally as their numbers allow, then all that a model wrote; more
    of them hold all of fewer.

    Each class is shuffled by ``seed`` and they take turns, so that ten examples of two classes are five of each.
    """
    written = [example for example in examples if example.group == SYNTHETIC]
    true = [example for example in examples if example.group != SYNTHETIC]
    if n is None or n >= len(true):
        return [*true, *written]
    by_label: dict[str, list[Labelled]] = defaultdict(list)
    for number in stream(seed, "few examples").permutation(len(true)).tolist():
        by_label[true[number].label].append(true[number])
    queues = [by_label[label] for label in sorted(by_label)]
    found: list[Labelled] = []
    for turn in range(max(map(len, queues))):
        found += [queue[turn] for queue in queues if turn < len(queue)]
        if len(found) >= n:
            break
    return [*found[:n], *written]


def some(examples: Sequence[Labelled], n: int, seed: int) -> list[Labelled]:
    """Return up to ``n`` examples at random, so that the classes keep their shares; more of them hold all of fewer."""
    order = stream(seed, "some examples").permutation(len(examples))
    return [examples[number] for number in order[:n].tolist()]
