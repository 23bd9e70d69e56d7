"""Splitting labelled data so that nothing is on both sides, and saying where something is all the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from emergence.core.errors import UserError, nearest
from emergence.tasks.further import perturbed_tests, synthetic_examples
from emergence.tasks.labelled_options import LabelledOptions, ReadingOptions
from emergence.tasks.labelled_schema import Kind, Labelled, LabelledData

__all__ = ["assemble", "folded", "key_of", "place_of", "reading", "split_off"]

Examples = list[Labelled]


def place_of(text: str, purpose: str) -> float:
    """Return a number in [0, 1) that the text decides; those for different purposes are independent."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=purpose.encode()).digest()
    return int.from_bytes(digest, "little") / 2**64


def folded(text: str) -> str:
    """Return a text by which it is known again, whatever its case and white space."""
    return " ".join(text.casefold().split())


def key_of(example: Labelled) -> str:
    """Return what two examples share that a model cannot tell apart: both texts, whatever case and white space."""
    return f"{folded(example.text)}\n{folded(example.second)}"


def reading(options: LabelledOptions, own: ReadingOptions | None = None) -> ReadingOptions:
    """Return how a set of its own is read: as the training files are, but for what it says itself."""
    base = {name: getattr(options, name) for name in ReadingOptions.model_fields}
    changed = {} if own is None else {name: getattr(own, name) for name in own.model_fields_set}
    return ReadingOptions.model_validate(base | changed)


def split_off(examples: Sequence[Labelled], purpose: str, low: float, high: float) -> tuple[Examples, Examples]:
    """Return the examples whose group is placed in [low, high), and the others; groups stay whole."""
    inside = [low <= place_of(example.group, purpose) < high for example in examples]
    return (
        [example for example, chosen in zip(examples, inside, strict=True) if chosen],
        [example for example, chosen in zip(examples, inside, strict=True) if not chosen],
    )


def assemble(
    options: LabelledOptions, kind: Kind, task: str, read: Callable[[ReadingOptions, str], tuple[Examples, list[str]]]
) -> LabelledData:
    """Read every set by ``read`` (examples and notes of one set, given its name), split what has no files, and look
    for what is wrong.

    Raises UserError for an empty split, a single class, and a class in a test set that training does not know.
    """
    notes: list[str] = []

    def one(own: ReadingOptions | None, name: str) -> Examples:
        examples, said = read(reading(options, own), name)
        notes.extend(said)
        return _fit(examples, options, name, notes)

    whole = train = one(None, "train")
    if kind == "classification":
        _two_classes(task, whole)
    tests = {name: one(own, name) for name, own in options.tests.items()}
    if "test" not in tests:
        share, fold = options.split.test, options.split.fold
        test, train = split_off(train, "test", share * fold, share * (fold + 1))
        tests = {"test": test, **tests}
    else:
        share = 0.0
        tests = {"test": tests["test"], **tests}
    if options.validation is not None:
        validation = one(options.validation, "validation")
    else:
        validation, train = split_off(train, "validation", 0.0, options.split.validation / (1 - share))
    for name, examples in (("train", train), *tests.items(), ("validation", validation)):
        if not examples and not (name == "validation" and options.validation is None and not options.split.validation):
            raise UserError(f"task {task}: the split leaves no example for {name}; give more examples or other shares")
    labels: tuple[str, ...] = ()
    if kind == "classification":
        labels = _labels(task, whole, train, validation, tests, notes)
    if options.limit is not None and options.limit < len(train):
        chosen = sorted(range(len(train)), key=lambda i: (place_of(key_of(train[i]), "limit"), i))[: options.limit]
        notes.append(f"train: {options.limit:,} of {len(train):,} examples are used (limit)")
        train = [train[i] for i in sorted(chosen)]
        if labels and len(seen := {example.label for example in train}) < len(labels):
            notes.append(f"train: the examples used are of {len(seen)} of the {len(labels)} classes")
    read_differently = {"first": (True, False), "second": (False, True)}.get(options.read)
    sets = {"train": train, "validation": validation, **tests}
    if read_differently is not None:
        sets = {name: [_one_text(e, options.read, task) for e in examples] for name, examples in sets.items()}
    if options.synthetic:
        sets["train"] = [*sets["train"], *synthetic_examples(options.synthetic, sets, labels, kind, task, notes)]
    for name, examples in perturbed_tests(sets["test"], options, notes).items():
        sets[name] = tests[name] = examples
    leaks = _leaks(sets, notes)
    _contradictions(sets["train"], notes)
    return LabelledData(
        kind=kind,
        labels=labels,
        train=tuple(sets["train"]),
        validation=tuple(sets["validation"]),
        tests={name: tuple(sets[name]) for name in tests},
        leaks=leaks,
        notes=tuple(notes),
        fingerprint=hashlib.sha256(repr((labels, list(sets.items()))).encode("utf-8", "surrogatepass")).hexdigest(),
    )


def _two_classes(task: str, whole: Sequence[Labelled]) -> None:
    labels = {example.label for example in whole}
    if len(labels) < 2:
        raise UserError(
            f"task {task}: all examples are of one class, {labels.pop()!r}; there is nothing to tell apart: name files "
            "of other classes too, or another column for the label"
        )


def _fit(examples: Examples, options: LabelledOptions, name: str, notes: list[str]) -> Examples:
    """Leave out what is too long, and name every example's group."""
    most = options.longest
    kept = [e for e in examples if most is None or len(e.text) + len(e.second) <= most]
    if len(kept) < len(examples):
        notes.append(f"{name}: {len(examples) - len(kept):,} examples of more than {most} characters were left out")
    if options.group == "text":
        return [replace(example, group=folded(example.text)) for example in kept]
    return [example if example.group else replace(example, group=key_of(example)) for example in kept]


def _one_text(example: Labelled, read: str, task: str) -> Labelled:
    if not example.second:
        raise UserError(f"task {task}: read: {read} is for pairs, and an example has no second text; leave it out")
    return replace(example, text=example.text if read == "first" else example.second, second="")


def _labels(
    task: str,
    whole: Sequence[Labelled],
    train: Sequence[Labelled],
    validation: Sequence[Labelled],
    tests: dict[str, Examples],
    notes: list[str],
) -> tuple[str, ...]:
    """Return the classes of the training files, in order; they are checked against every other set."""
    labels = tuple(sorted({example.label for example in whole}))
    for name, examples in (("validation", validation), *tests.items()):
        unknown = Counter(example.label for example in examples if example.label not in labels)
        if unknown:
            label, _ = unknown.most_common(1)[0]
            raise UserError(
                f"task {task}: {sum(unknown.values()):,} examples of {name} have a label that training does not know, "
                f"for example {label!r}{nearest(label, labels)}; map the classes with labels: {{class: [names in the "
                "file]}, which leaves out all others"
            )
    counts = Counter(example.label for example in train)
    absent = [label for label in labels if not counts[label]]
    if absent:
        notes.append(f"train: no example is left of {', '.join(map(repr, absent))}")
    if len(labels) <= 10:
        shown = ", ".join(f"{label} {counts[label]:,}" for label in labels)
    else:
        (most, n), (least, m) = counts.most_common()[0], counts.most_common()[-1]
        shown = f"from {least} {m:,} to {most} {n:,}"
    notes.append(f"train: {len(train):,} examples of {len(labels)} classes ({shown})")
    return labels


def _leaks(sets: dict[str, Examples], notes: list[str]) -> dict[str, int]:
    """Count the examples of every other set whose texts stand in training too, and those whose first text does."""
    known = {key_of(example) for example in sets["train"]}
    pairs = any(example.second for example in sets["train"])
    first = {folded(example.text) for example in sets["train"]} if pairs else set()
    leaks = {}
    for name, examples in sets.items():
        if name == "train":
            continue
        leaks[name] = sum(key_of(example) in known for example in examples)
        if leaks[name]:
            notes.append(
                f"{name}: {leaks[name]:,} of {len(examples):,} examples stand in the training set too, word for word"
            )
        half = sum(folded(example.text) in first for example in examples) if pairs else 0
        if half:
            notes.append(f"{name}: {half:,} of {len(examples):,} examples share their first text with training")
    return leaks


def _contradictions(train: Iterable[Labelled], notes: list[str]) -> None:
    """Note texts that stand in training several times with different labels."""
    found: dict[str, set[tuple[str, float | None]]] = {}
    for example in train:
        found.setdefault(key_of(example), set()).add((example.label, example.value))
    several = sum(len(labels) > 1 for labels in found.values())
    if several:
        notes.append(
            f"train: texts with several different labels there: {several:,}; for them no answer is always right"
        )
