"""What labelled data are: examples, and the sets that they are split into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["SYNTHETIC", "Kind", "Labelled", "LabelledData"]

SYNTHETIC = "synthetic"  # the group of examples that a model wrote

Kind = Literal["classification", "regression", "span", "generation"]


@dataclass(frozen=True)
class Labelled:
    """One labelled example: what is read (``text``, and ``second``, a hypothesis or a question), and what is right.

    ``label`` is the name of a class, ``value`` a number, ``answers`` every accepted answer; ``start`` is the offset in
    ``text``, in characters, of the first of them. Examples of one ``group`` never stand on both sides of a split that
    is made here.
    """

    text: str
    second: str = ""
    label: str = ""
    value: float | None = None
    answers: tuple[str, ...] = ()
    start: int | None = None
    group: str = ""


@dataclass(frozen=True)
class LabelledData:
    """A data set and its splits.

    ``labels`` are the sorted names of the classes; () where there are none. ``tests`` has the set "test" first, then
    others by name: another domain, revised pairs. ``leaks`` says of "validation" and of every test set how many of its
    examples have a text (both texts, whatever case and white space) that stands in ``train`` too. ``notes`` are
    sentences that a report shows. ``fingerprint`` is the SHA-256 of all examples as they were split.
    """

    kind: Kind
    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    tests: dict[str, tuple[Labelled, ...]]
    leaks: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
