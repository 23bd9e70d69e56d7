"""Texts that a small trained model writes: of the class that was asked for, none that is known, the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.generation import SamplingSettings
from emergence.models.bert import BertConfig
from emergence.models.family import build_network
from emergence.models.seq2seq import Seq2SeqConfig
from emergence.study.synthesis import Prompts, SynthesisSettings
from emergence.study.writing_texts import Writer
from emergence.tasks.catalogue import make_task
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_schema import LabelledData
from emergence.text import build_tokenizer
from tests.tiny import emergence
from tests.tiny_huggingface import save

CONFIGS: dict[str, Any] = {"seq2seq": Seq2SeqConfig, "bert": BertConfig}

WORDS = {"sea": ("wave", "tide", "sail", "salt"), "hill": ("rock", "peak", "path", "moss")}
#: English into an invented language, and from there into another word.
THERE = {"wave": "wuv", "tide": "tod", "sail": "sul", "rock": "kyk", "peak": "pix", "path": "bab"}
BACK = {"wuv": "swell", "tod": "flood", "sul": "canvas", "kyk": "gem", "pix": "peak", "bab": "h"}

STUDY = """\
name: writers
model: {family: gpt, ladder: {counts: [1.2e4]}, context: 96}
replicas: 1
corpus: {files: lines.txt, rows: lines}
training: {tokens: 3.5e5, batch_tokens: 512, checkpoints: 1, learning_rate: 0.01}
tasks: [{name: text, samples: 0}]
evaluation: {examples: 8}
analysis: {resamples: 100, axes: [params]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, trained on lines of two classes and on two dictionaries, and with labelled files."""
    folder = tmp_path_factory.mktemp("writers")
    rng = np.random.default_rng(0)
    lines = [f"{label}: {' '.join(rng.choice(words, 3))}" for _ in range(300) for label, words in WORDS.items()]
    lines += [f"{one}→{other}" for _ in range(60) for one, other in [*THERE.items(), *BACK.items()]]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    (folder / "study.yaml").write_text(STUDY)
    done = emergence("run", "--no-report", "study.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    for name, seed in (("train", 1), ("validation", 2), ("test", 3)):
        rng = np.random.default_rng(seed)
        rows = [f"{' '.join(rng.choice(words, 3))}\t{label}" for _ in range(30) for label, words in WORDS.items()]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    rows = [f"{word}\t{label}" for label, words in WORDS.items() for word in words]
    (folder / "single.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> em.Model:
    return em.load(home / "runs" / "writers" / "models" / "R00-s0")


def task(home: Path, files: str = "train.tsv", **options: Any) -> dict[str, Any]:
    tests = {"test": str(home / "test.tsv")}
    own = {"files": str(home / files), "validation": str(home / "validation.tsv"), "tests": tests}
    return {"name": "classification", **own, **options}


def data_of(options: dict[str, Any]) -> LabelledData:
    made = make_task("classification", {key: value for key, value in options.items() if key != "name"})
    assert isinstance(made, LabelledTask)
    return made.data()


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts_are_of_the_class_that_was_asked_for(model: em.Model, tmp_path: Path) -> None:
    out = tmp_path / "more.jsonl"
    made = em.synthesise(model, out, labels=["sea", "hill"], number=15, max_tokens=24)
    rows = rows_of(out)
    assert made.made
    assert made.examples == len(rows) == 30
    assert len({row["text"] for row in rows}) == 30
    assert {row["source"] for row in rows} == {"synthetic"}
    own = [row for row in rows if set(row["text"].split()) <= set(WORDS[row["label"]])]
    others = {"sea": set(WORDS["hill"]), "hill": set(WORDS["sea"])}
    other = [row for row in rows if set(row["text"].split()) & others[row["label"]]]
    assert len(own) >= 27
    assert not other


def test_the_same_request_is_made_once(model: em.Model, tmp_path: Path) -> None:
    out, again = tmp_path / "more.jsonl", tmp_path / "again.jsonl"
    em.synthesise(model, out, labels=["sea"], number=5, max_tokens=24, seed=3)
    before = out.stat().st_mtime_ns
    assert not em.synthesise(model, out, labels=["sea"], number=5, max_tokens=24, seed=3).made
    assert out.stat().st_mtime_ns == before
    em.synthesise(model, again, labels=["sea"], number=5, max_tokens=24, seed=3)
    assert again.read_bytes() == out.read_bytes()
    em.synthesise(model, tmp_path / "other.jsonl", labels=["sea"], number=5, max_tokens=24, seed=4)
    assert (tmp_path / "other.jsonl").read_bytes() != out.read_bytes()
    with pytest.raises(UserError, match="was made by another request"):
        em.synthesise(model, out, labels=["sea"], number=6, max_tokens=24, seed=3)
    out.write_text(out.read_text() + "\n")
    with pytest.raises(UserError, match="its checksum differs"):
        em.synthesise(model, out, labels=["sea"], number=5, max_tokens=24, seed=3)


def test_interrupted_before_the_file_and_files_in_the_way(model: em.Model, tmp_path: Path) -> None:
    out = tmp_path / "more.jsonl"
    asked: dict[str, Any] = {"labels": ["sea"], "number": 3, "max_tokens": 24}
    em.synthesise(model, out, **asked)
    before = out.read_bytes()
    out.unlink()  # killed between the seal, which comes first, and the file
    assert em.synthesise(model, out, **asked).made
    assert out.read_bytes() == before
    out.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"more\.jsonl is there already, and no command"):
        em.synthesise(model, out, **asked)
    (tmp_path / "mine.json").write_text('{"my": "settings"}')
    with pytest.raises(UserError, match=r"mine\.json is there already"):
        em.synthesise(model, tmp_path / "mine.jsonl", **asked)
    assert (tmp_path / "mine.json").read_text() == '{"my": "settings"}'


@pytest.mark.parametrize("shots", [0, 2])
def test_nothing_known_comes_out_and_the_task_reads_it(home: Path, model: em.Model, shots: int, tmp_path: Path) -> None:
    out, plain = tmp_path / "more.jsonl", data_of(task(home))
    made = em.synthesise(model, out, task=task(home), number=8, shots=shots, max_tokens=24)
    texts = {row["text"] for row in rows_of(out)}
    known = {e.text for part in (plain.train, plain.validation, *plain.tests.values()) for e in part}
    assert not texts & known
    assert any("in the training set" in note or "in a validation or test set" in note for note in made.notes)
    data = data_of(task(home, synthetic=str(out)))
    assert {example.text for example in data.train[len(plain.train) :]} == texts
    assert (data.validation, data.tests) == (plain.validation, plain.tests)


def test_examples_are_shown_as_far_as_they_fit(model: em.Model) -> None:
    writer = Writer(model.network, model.tokenizer, "R00")
    shown = [" ".join(["wave"] * n) for n in (3, 4, 5)]
    prompts = Prompts(writer, "sea", shown, SynthesisSettings(number=1, shots=3, max_tokens=30))
    rng = np.random.default_rng(0)
    drawn = [prompts.draw(rng) for _ in range(20)]
    # 96 tokens less 30 of the answer: the longest example, of 29 tokens and a separator, has no room.
    assert {tuple(sorted(prompt)) for prompt in drawn} == {("sea:", f"sea: {shown[0]}", f"sea: {shown[1]}")}
    assert all(prompt[-1] == "sea:" for prompt in drawn)
    assert {prompt[0] for prompt in drawn} == {f"sea: {shown[0]}", f"sea: {shown[1]}"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"number": 0}, "number is 0"),
        ({"template": "{label}:"}, "has {text} once"),
        ({"template": "a text: {text}"}, "nothing tells the model the class"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"shortest": 9, "longest": 3}, "cannot have from 9 to 3"),
        ({"labels": ()}, "give labels"),
        ({"shots": 2}, "and no shots"),
        ({"template": "{label}§ {text}"}, "does not know '§'"),
        ({"max_tokens": 95}, "do not fit into the context"),
        ({"shortest": 60, "longest": 70}, "wrote no text of sea that can be used"),
    ],
)
def test_requests_that_cannot_be(model: em.Model, wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    asked = {"labels": ("sea",), "number": 2, "max_tokens": 20} | wrong
    with pytest.raises(UserError, match=words):
        em.synthesise(model, tmp_path / "more.jsonl", **asked)
    assert not list(tmp_path.iterdir())


def test_tasks_that_cannot_be_written_for(home: Path, model: em.Model, tmp_path: Path) -> None:
    for wrong, words in (
        ({"name": "copy"}, "has no labelled examples"),
        ({"files": "a.tsv"}, "a task has a name"),
        ({"name": "classification"}, "needs labelled examples"),
    ):
        with pytest.raises(UserError, match=words):
            em.synthesise(model, tmp_path / "more.jsonl", task=wrong, number=1)
    with pytest.raises(UserError, match="has no class 'sky'"):
        em.synthesise(model, tmp_path / "more.jsonl", task=task(home), labels=["sky"], number=1)
    with pytest.raises(UserError, match=r"ends in \.jsonl"):
        em.synthesise(model, tmp_path / "more.tsv", labels=["sea"], number=1)


def test_there_and_back(home: Path, model: em.Model, tmp_path: Path) -> None:
    out = tmp_path / "back.jsonl"
    made = em.back_translate(model, model, out, task=task(home, "single.tsv"), max_tokens=12)
    rows = {row["text"]: row for row in rows_of(out)}
    labels = {word: label for label, words in WORDS.items() for word in words}
    foreign = {word: model.generate(f"{word}→", max_tokens=12) for word in labels}
    expected: dict[str, str] = {}
    between: list[str] = []
    for word, label in labels.items():
        text = model.generate(f"{foreign[word]}→", max_tokens=12)
        if text not in {*labels, *expected} and len(word) / 2 <= len(text) <= 2 * len(word):
            expected[text] = label
            between.append(foreign[word])
    assert {text: row["label"] for text, row in rows.items()} == expected
    planted = {BACK[THERE[word]]: label for word, label in labels.items() if word in THERE}
    assert len(planted.items() & expected.items()) >= 2  # the model has learnt some of its dictionaries
    assert "h" not in rows  # of path: too short
    assert {row["source"] for row in rows.values()} == {"back-translation"}
    assert f"{len(rows)} of 8 texts came back changed" in made.notes[0]
    seal = json.loads(out.with_suffix(".json").read_text())
    assert seal["between"] == between
    data = data_of(task(home, "single.tsv", synthetic=str(out)))
    assert {example.text for example in data.train[8:]} == set(rows)
    assert not em.back_translate(model, model, out, task=task(home, "single.tsv"), max_tokens=12).made


def test_back_translations_that_cannot_be(home: Path, model: em.Model, tmp_path: Path) -> None:
    for wrong, words in (
        ({"there_prompt": "translate"}, "has {text} once"),
        ({"copies": 2}, "would be the same without a temperature"),
        ({"limit": 0}, "are 1 or more"),
        ({"back_prompt": "{text}§"}, "no text came back that can be used"),
    ):
        with pytest.raises(UserError, match=words):
            em.back_translate(model, model, tmp_path / "a.jsonl", task=task(home, "single.tsv"), max_tokens=12, **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["seq2seq", "gpt2 of Hugging Face", "bert"])
def test_other_models_write_as_they_generate(kind: str, tmp_path: Path) -> None:
    if kind == "gpt2 of Hugging Face":
        model = em.load(save("gpt2", tmp_path / "gpt2"))
    else:
        torch.manual_seed(0)
        settings = {"vocabulary": 257, "context": 32, "width": 16, "depth": 1, "heads": 2, "feed_forward": 16}
        config = CONFIGS[kind](**settings)
        network = build_network(kind, config, torch.Generator().manual_seed(3)).eval()
        model = em.Model(network, build_tokenizer(TokenizerSettings(kind="byte"), []), tmp_path, 0, kind, kind, 0)
    writer = Writer(model.network, model.tokenizer, kind)
    if kind == "bert":
        with pytest.raises(UserError, match="cannot continue a prompt"):
            writer.check(drawing=False)
        return
    writer.check(drawing=False)
    prompts = ["one", "two and", "three"]
    found = writer.write([[prompt] for prompt in prompts], SamplingSettings(max_tokens=9), None)
    assert [written.text for written in found] == [model.generate(prompt, max_tokens=9) for prompt in prompts]
    if kind == "seq2seq":
        with pytest.raises(UserError, match="writes its most probable answer"):
            em.synthesise(model, tmp_path / "a.jsonl", labels=["sea"], number=1)


def test_commands(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "more.jsonl"
    asked = ["--label", "sea", "-n", "3", "--max-tokens", "24", "--out", str(out), "--json"]
    done = emergence("synthesise", "runs/writers/models/R00-s0", *asked, cwd=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["examples"] == 3
    done = emergence("perturb", "The film isn't very good, is it?", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "  contractions  The film is not very good, is it?" in done.stdout
    assert "  script        (unchanged)" in done.stdout
