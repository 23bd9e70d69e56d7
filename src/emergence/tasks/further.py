"""What labelled data have beside their files: perturbed test sets, and training examples that a model wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emergence.core.errors import UserError
from emergence.tasks.labelled_files import named_files, read_set
from emergence.tasks.labelled_options import LabelledOptions, ReadingOptions
from emergence.tasks.labelled_schema import SYNTHETIC, Kind, Labelled
from emergence.tasks.synthetic import Sieve, held_out_fingerprint, letters_of, read_about
from emergence.text.perturbation import perturbed

__all__ = ["PERTURBED_SEED", "perturbed_tests", "synthetic_examples"]

PERTURBED_SEED = 0  # the same texts for every model and replica


def perturbed_tests(test: Sequence[Labelled], options: LabelledOptions, notes: list[str]) -> dict[str, list[Labelled]]:
    """Return "test NAME" for every perturbation that the options name; where the answer is a place in the text, the
    question alone is perturbed. A note says how many examples are not as they were."""
    pairs = [("" if example.start is not None else example.text, example.second) for example in test]
    lexicon = None if options.lexicon is None else Path(options.lexicon)
    result: dict[str, list[Labelled]] = {}
    for name, written in perturbed(pairs, options.perturb, PERTURBED_SEED, lexicon=lexicon).items():
        result[f"test {name}"] = [
            replace(example, text=text or example.text, second=second)
            for example, (text, second) in zip(test, written, strict=True)
        ]
        changed = sum(pair != before for pair, before in zip(written, pairs, strict=True))
        notes.append(f"test {name}: {changed:,} of {len(test):,} examples are not as in test")
    return result


def synthetic_examples(
    files: Sequence[str],
    sets: Mapping[str, Sequence[Labelled]],
    labels: Sequence[str],
    kind: Kind,
    task: str,
    notes: list[str],
) -> list[Labelled]:
    """Return the examples of files that a model wrote, without those that stand in a validation or test set.

    Raises UserError for a file that is not as it was written, one made beside another split, whose sources may be
    held out here, and labels that the task does not have.
    """
    here = held_out_fingerprint(sets["validation"], sets["test"])
    result: list[Labelled] = []
    for _, path in named_files(tuple(files)):
        if read_about(path).get("held_out") not in (None, here):
            raise UserError(
                f"task {task}: {path} was made beside another split, so that its sources may be test examples here; "
                "make it again with this task"
            )
        result += read_set(ReadingOptions(files=(str(path),)), kind, task).examples
    unknown = sorted({example.label for example in result} - set(labels)) if labels else []
    if unknown:
        raise UserError(
            f"task {task}: the synthetic examples have a label that training does not know, {unknown[0]!r}; make them "
            "again with this task"
        )
    held_out = frozenset(letters_of(e) for name, examples in sets.items() if name != "train" for e in examples)
    sieve = Sieve(held_out=held_out)
    kept = [replace(example, group=SYNTHETIC) for example in result if sieve.keep(example)]
    notes.append(f"train: {len(kept):,} examples were written by a model (synthetic)")
    notes += [f"synthetic: {count:,} examples were left out: {reason}" for reason, count in sieve.thrown.items()]
    return kept
