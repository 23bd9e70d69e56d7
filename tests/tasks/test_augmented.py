"""Labelled data with changed copies, perturbed test sets, and examples that a model wrote."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.errors import UserError
from emergence.tasks.augmented import augmented
from emergence.tasks.catalogue import make_task
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import Labelled, LabelledData
from emergence.tasks.synthetic import Sieve, held_out_fingerprint, read_about, seal_of, write_synthetic

THINGS = ("film", "story", "song", "book", "room", "trip", "meal", "host")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        f"The {thing} in {year} was {word}.\t{label}"
        for thing in THINGS
        for year in range(2000, 2010)
        for word, label in (("great", "good"), ("not great", "bad"))
    ]
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path


def data_of(table: Path, **options: Any) -> LabelledData:
    task = make_task("classification", {"files": str(table), **options})
    assert isinstance(task, LabelledTask)
    return task.data()


def test_copies_keep_labels_and_balance(table: Path) -> None:
    train = data_of(table).train
    settings = [AugmentationSettings(name="synonyms", copies=2), AugmentationSettings(name="deletion", share=0.3)]
    result = augmented(train, settings, seed=4)
    assert result[: len(train)] == list(train)
    before = Counter(example.label for example in train)
    assert Counter(example.label for example in result) == {label: 4 * n for label, n in before.items()}
    for i, copy in enumerate(result[len(train) :]):
        original = train[i % len(train)]
        assert replace(copy, text=original.text) == original
        assert ("not" in copy.text.split()) == ("not" in original.text.split())
    copies = result[len(train) : 3 * len(train)]
    assert sum(copy.text != train[i % len(train)].text for i, copy in enumerate(copies)) == len(copies)
    assert any(copies[i].text != copies[i + len(train)].text for i in range(len(train)))


def test_copies_follow_from_the_example_and_the_seed(table: Path) -> None:
    train, settings = data_of(table).train, [AugmentationSettings(name="swap", share=0.5)]
    whole, part = augmented(train, settings, 1), augmented(train[5:9], settings, 1)
    assert part[4:] == whole[len(train) + 5 : len(train) + 9]
    assert augmented(train, settings, 2) != whole
    assert augmented(train, [], 1) == list(train)


def test_an_answer_in_the_text_stays_where_it_is() -> None:
    example = Labelled("The quick story is here", "Which quick story is it?", answers=("story",), start=10)
    _, copy = augmented([example], [AugmentationSettings(name="synonyms", share=1.0)], 0)
    assert copy.text == example.text
    assert copy.second != example.second


def test_both_texts_of_a_pair_are_changed() -> None:
    example = Labelled("a quick film", "a clever story", label="x")
    _, copy = augmented([example], [AugmentationSettings(name="synonyms", share=1.0)], 0)
    assert copy.text != example.text
    assert copy.second != example.second


def test_perturbed_test_sets(table: Path, tmp_path: Path) -> None:
    (tmp_path / "more.tsv").write_text("text\tlabel\nA great bus\tgood\nNot a great bus\tbad\n")
    plain = data_of(table, tests={"buses": str(tmp_path / "more.tsv")})
    data = data_of(table, tests={"buses": str(tmp_path / "more.tsv")}, perturb=["typos", "case"])
    assert list(data.tests) == ["test", "buses", "test typos", "test case"]
    assert data.train == plain.train
    assert data.tests["test"] == plain.tests["test"]
    for before, after in zip(data.tests["test"], data.tests["test case"], strict=True):
        assert after.text.casefold() == before.text.casefold()
        assert after.label == before.label
    assert set(data.leaks) == {"validation", *data.tests}
    changed = sum(a.text != b.text for a, b in zip(data.tests["test"], data.tests["test typos"], strict=True))
    assert f"test typos: {changed} of {len(data.tests['test'])} examples are not as in test" in data.notes
    assert data.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"perturb": ["typo"]}, "did you mean 'typos'"),
        ({"perturb": ["names"]}, "given together"),
        ({"lexicon": "a.json"}, "given together"),
        ({"perturb": ["script"]}, "changes none of the"),
        ({"perturb": ["names"], "lexicon": "none.json"}, "cannot read the name lists"),
    ],
)
def test_perturbations_that_cannot_be(table: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        data_of(table, **options)


def write_for(data: LabelledData, path: Path, examples: list[Labelled]) -> None:
    about = {"held_out": held_out_fingerprint(data.validation, data.tests["test"])}
    write_synthetic(path, examples, "synthetic", about)


def test_synthetic_examples_are_trained_on_alone(table: Path, tmp_path: Path) -> None:
    plain, path = data_of(table), tmp_path / "more.jsonl"
    leak = replace(plain.tests["test"][0], text=plain.tests["test"][0].text.upper() + "!!")
    new = [Labelled("A new one", label="good"), Labelled("Another", label="bad"), leak]
    write_for(plain, path, new)
    assert [json.loads(line)["source"] for line in path.read_text().splitlines()] == ["synthetic"] * 3
    data = data_of(table, synthetic=str(path), limit=20)
    assert [example.text for example in data.train[20:]] == ["A new one", "Another"]
    assert [example.label for example in data.train[20:]] == ["good", "bad"]
    assert (data.validation, data.tests) == (plain.validation, plain.tests)
    assert "train: 2 examples were written by a model (synthetic)" in data.notes
    assert "synthetic: 1 examples were left out: in a validation or test set" in data.notes
    assert data.leaks["test"] == 0


def test_synthetic_examples_that_are_refused(table: Path, tmp_path: Path) -> None:
    plain, path = data_of(table), tmp_path / "more.jsonl"
    write_for(plain, path, [Labelled("A new one", label="good")])
    with pytest.raises(UserError, match="was made beside another split"):
        data_of(table, synthetic=str(path), split={"fold": 1})
    path.write_text(path.read_text().replace("new", "old"))
    with pytest.raises(UserError, match="its checksum differs"):
        data_of(table, synthetic=str(path))
    seal_of(path).write_text("{}")
    with pytest.raises(UserError, match="no sound seal"):
        read_about(path)
    write_for(plain, path, [Labelled("A new one", label="ugly")])
    with pytest.raises(UserError, match="a label that training does not know, 'ugly'"):
        data_of(table, synthetic=str(path))


def test_the_sieve_names_its_reasons() -> None:
    a, b, c = (Labelled(text, label="x") for text in ("known text", "tested text", "valid text"))
    data = LabelledData("classification", ("x",), (a,), (c,), {"test": (b,)})
    sieve = Sieve.of(data, shortest=3, longest=20)
    texts = ["Known, text!", "TESTED text", "valid  text", " .. ", "no", "far too long to be kept", "fresh", "Fresh."]
    assert [text for text in texts if sieve.keep(Labelled(text))] == ["fresh"]
    reasons = {"in the training set": 1, "in a validation or test set": 2, "empty": 1}
    assert sieve.thrown == reasons | {"too short": 1, "too long": 1, "written before": 1}
