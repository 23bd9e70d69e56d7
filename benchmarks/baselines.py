"""What needs no network reaches on the real labelled data: the table of baselines in `docs/adaptation.md`.

python -m benchmarks.baselines [FOLDER]      # FOLDER holds open/; $EMERGENCE_DATA, or ../shared/data, without it
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from emergence.tasks.baselines import BASELINES, make_baseline
from emergence.tasks.catalogue import make_task
from emergence.tasks.label_scores import classification_report
from emergence.tasks.labelled import LabelledTask

FOLDS = 5
SENTIMENT = {"positive": ["2", "5", "8"], "negative": ["1", "3", "4", "6"]}


def sets(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the options of the task of each data set; several are folds, whose test sets count together."""
    reviews, xed = data / "sentiment" / "sentence_polarity_mr", data / "sentiment" / "xed_en_zh"
    snli, bank = data / "nli" / "cad_snli", data / "customer_service" / "banking77"
    news = data / "financial" / "financial_phrasebank" / "Sentences_50Agree.txt"
    emotions = {"columns": {"text": 1, "label": 2}, "labels": SENTIMENT, "group": "text"}
    english, chinese = str(xed / "en-annotated.tsv"), str(xed / "cn-projections.tsv")
    pairs = {
        "files": str(snli / "original" / "train.tsv"),
        "validation": str(snli / "original" / "dev.tsv"),
        "tests": {
            "test": str(snli / "original" / "test.tsv"),
            "revised premise": str(snli / "revised_premise" / "test.tsv"),
            "revised hypothesis": str(snli / "revised_hypothesis" / "test.tsv"),
        },
    }
    return {
        "sentence_polarity_mr, 5-fold": folds(
            files={"positive": str(reviews / "rt-polarity.pos"), "negative": str(reviews / "rt-polarity.neg")}
        ),
        "xed, English": [{"files": english, **emotions, "tests": {"Chinese": chinese}}],
        "xed, Chinese": [{"files": chinese, **emotions, "tests": {"English": english}}],
        "cad_snli": [pairs],
        "cad_snli, hypothesis only": [{**pairs, "read": "second"}],
        "banking77": [
            {"files": str(bank / "train.csv"), "tests": {"test": str(bank / "test.csv")}, "split": {"validation": 0}}
        ],
        "financial_phrasebank, 5-fold": folds(files=str(news), separator="@", encoding="latin-1"),
    }


def folds(**options: Any) -> list[dict[str, Any]]:
    """Return the same task with each fold as its test set in turn."""
    share = 1 / FOLDS
    return [options | {"split": {"test": share, "validation": 0, "fold": fold}} for fold in range(FOLDS)]


def measure(options: list[dict[str, Any]], baseline: str) -> dict[str, tuple[float, float, float, float]]:
    """Return accuracy with its interval, and macro-F1, of every test set."""
    truth: dict[str, list[int]] = {}
    found: dict[str, list[Any]] = {}
    labels: tuple[str, ...] = ()
    for one in options:
        task = make_task("classification", one)
        assert isinstance(task, LabelledTask)
        data = task.data()
        labels = data.labels
        fitted = make_baseline(baseline).fit(data.train, labels)
        for name, examples in data.tests.items():
            truth.setdefault(name, []).extend(labels.index(example.label) for example in examples)
            found.setdefault(name, []).append(fitted.predict_proba(examples))
    result = {}
    for name, known in truth.items():
        report = classification_report(known, np.concatenate(found[name]), labels, np.random.default_rng(0))
        result[name] = (report.accuracy, *report.accuracy_interval, report.macro_f1)
    return result


def main() -> None:
    """Print the table."""
    default = os.environ.get("EMERGENCE_DATA", Path(__file__).parents[2] / "shared" / "data")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default) / "open"
    print("| data, test set | " + " | ".join(BASELINES) + " |")
    print("| --- |" + " --- |" * len(BASELINES))
    for name, options in sets(folder).items():
        rows: dict[str, list[str]] = {}
        for place, baseline in enumerate(BASELINES):
            if baseline == "lexicon" and not any(key in name for key in ("mr", "xed", "phrasebank")):
                continue  # its classes are not praise and blame
            for test, (accuracy, low, high, f1) in measure(options, baseline).items():
                cells = rows.setdefault(test, ["–"] * len(BASELINES))
                cells[place] = f"{accuracy:.1%} ({low:.1%} to {high:.1%}), {100 * f1:.1f}".replace("%", "")
        for test, cells in rows.items():
            print(f"| {name}, {test} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
