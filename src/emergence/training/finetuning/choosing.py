"""Which examples are trained on where only some are wanted. No torch here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from emergence.core.seeds import stream
from emergence.tasks.labelled_schema import Labelled

__all__ = ["choose"]


def choose(examples: Sequence[Labelled], n: int | None, seed: int) -> list[Labelled]:
    """Return ``n`` examples, all classes as equally as their numbers allow; more of them hold all of fewer.

    Each class is shuffled by ``seed`` and they take turns, so that ten examples of two classes are five of each.
    """
    if n is None or n >= len(examples):
        return list(examples)
    by_label: dict[str, list[Labelled]] = defaultdict(list)
    for number in stream(seed, "few examples").permutation(len(examples)).tolist():
        by_label[examples[number].label].append(examples[number])
    queues = [by_label[label] for label in sorted(by_label)]
    found: list[Labelled] = []
    for turn in range(max(map(len, queues))):
        found += [queue[turn] for queue in queues if turn < len(queue)]
        if len(found) >= n:
            break
    return found[:n]
