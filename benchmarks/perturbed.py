"""What perturbation of the test texts and augmentation of the training texts do to baselines, on sentence_polarity_mr.

``python -m benchmarks.perturbed`` from the project's root; $EMERGENCE_DATA or ../shared/data holds the data.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.seeds import stream
from emergence.tasks.augmented import augmented
from emergence.tasks.baselines import make_baseline
from emergence.tasks.catalogue import make_task
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled

FOLDER = Path(os.environ.get("EMERGENCE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
PERTURBATIONS = ["typos", "case", "punctuation", "contractions", "addition"]
SEEDS = (0, 1, 2)


def accuracy(baseline: object, examples: tuple[Labelled, ...], labels: tuple[str, ...]) -> float:
    """Return the share of examples whose most probable class is the label, in %."""
    chosen = baseline.predict_proba(examples).argmax(axis=1)  # type: ignore[attr-defined]
    return 100 * float(np.mean([labels[c] == e.label for c, e in zip(chosen, examples, strict=True)]))


def main() -> None:
    """Print two tables in Markdown."""
    home = FOLDER / "open" / "sentiment" / "sentence_polarity_mr"
    files = {"positive": str(home / "rt-polarity.pos"), "negative": str(home / "rt-polarity.neg")}
    task = make_task("classification", {"files": files, "encoding": "latin-1", "perturb": PERTURBATIONS})
    assert isinstance(task, LabelledTask)
    data = task.data()
    print("| baseline | " + " | ".join(data.tests) + " |")
    print("| --- " * (1 + len(data.tests)) + "|")
    for name in ("lexicon", "naive_bayes", "logistic"):
        fitted = make_baseline(name).fit(data.train, data.labels)
        cells = [f"{accuracy(fitted, examples, data.labels):.1f}" for examples in data.tests.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    ways: dict[str, list[AugmentationSettings]] = {"none": [], "unchanged copies": []}
    ways |= {n: [AugmentationSettings(name=n, copies=4)] for n in ("synonyms", "deletion", "swap", "insertion")}
    ways["all four"] = [AugmentationSettings(name=n) for n in ("synonyms", "deletion", "swap", "insertion")]
    print("\n| examples | " + " | ".join(ways) + " |")
    print("| --- " * (1 + len(ways)) + "|")
    for n in (100, 1000):
        cells = []
        for way, settings in ways.items():
            found = []
            for seed in SEEDS:
                chosen = stream(seed, "examples").permutation(len(data.train))[:n]
                train = augmented([data.train[i] for i in chosen], settings, seed)
                train *= 5 if way == "unchanged copies" else 1  # as many as the others have: what repetition does alone
                fitted = make_baseline("logistic").fit(train, data.labels)
                found.append(accuracy(fitted, data.tests["test"], data.labels))
            cells.append(f"{np.mean(found):.1f} ({min(found):.1f} to {max(found):.1f})")
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
