"""Fine-tuning from Python: every kind of model is tuned, kept, and answers the same when it is loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import emergence as em
from emergence.core.errors import UserError
from emergence.models.exported import write_exported
from tests.adapted import pairs, tiny_bert
from tests.tiny_huggingface import save, write_tokenizer
from tests.training.finetuning.planted import letters, network_of

LORA = {"adapter": {"method": "lora", "rank": 2}}
QUICK = {"epochs": 1, "least_steps": 6, "reading_steps": 3, "batch": 8}
TEXTS = ["abz", "cdefgy", "aaaaabbbbzcc"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A task of telling texts with a z from those with a y."""
    home = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, n in (("train", 60), ("held", 20), ("test", 20)):
        lines = ["text\tlabel"]
        for number in range(n):
            body = ["abcdefgh"[i] for i in rng.integers(0, 8, 8)]
            body[int(rng.integers(8))] = "zy"[number % 2]
            lines.append("".join(body) + "\t" + ("[/good]", "bad")[number % 2])
        (home / f"{name}.tsv").write_text("\n".join(lines))
    return {
        "name": "classification",
        "files": str(home / "train.tsv"),
        "validation": {"files": str(home / "held.tsv")},
        "tests": {"test": {"files": str(home / "test.tsv")}},
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model of every kind, ours by family and those of transformers as hf-..."""
    home = tmp_path_factory.mktemp("models")
    for family in ("gpt", "bert", "lstm", "seq2seq"):
        write_exported(family, network_of(family, letters(), 3_000), letters(), home / family, step=0)
    save("llama", home / "hf-llama")
    (home / "hf-bert").mkdir()
    tiny_bert().save_pretrained(home / "hf-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgyz", *(f"##{letter}" for letter in "abcdefgyz")]
    (home / "hf-bert" / "vocab.txt").write_text("\n".join(words))
    import transformers

    transformers.BertTokenizerFast(str(home / "hf-bert" / "vocab.txt")).save_pretrained(home / "hf-bert")
    module = pairs().module
    module.resize_token_embeddings(260)
    module.save_pretrained(home / "hf-t5")
    write_tokenizer(home / "hf-t5")
    return home


NAMES = ("gpt", "bert", "lstm", "seq2seq", "hf-llama", "hf-bert", "hf-t5")
WAYS = {"full": {}, "lora": LORA, "frozen": {"freeze": "all"}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_tuned_is_kept(models: Path, files: dict[str, Any], tmp_path: Path, name: str, way: str) -> None:
    tuned = em.finetune(models / name, files, out=tmp_path / "tuned", settings=QUICK | WAYS[way], seed=1)
    before = tuned.predict(TEXTS)
    loaded = em.load_tuned(tmp_path / "tuned")
    assert loaded.labels == ("[/good]", "bad")
    assert (loaded.kind, loaded.about) == (tuned.kind, tuned.about)
    for one, other in zip(loaded.predict(TEXTS), before, strict=True):
        assert one.answer == other.answer
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    kept = {path.name for path in (tmp_path / "tuned").iterdir()}
    assert (
        kept == {"finetune.json", "head.safetensors"} | {"full": {"model"}, "lora": {"adapter"}, "frozen": set()}[way]
    )
    share = tuned.about["share"]
    assert share == 1 if way == "full" else share < 0.5


def test_the_base_is_found_where_it_was_moved_and_no_other_is_taken(
    models: Path, files: dict[str, Any], tmp_path: Path
) -> None:
    for way in ("lora", "frozen"):
        base, out = tmp_path / way / "base", tmp_path / way / "tuned"
        shutil.copytree(models / "gpt", base)
        before = em.finetune(base, files, out=out, settings=QUICK | WAYS[way]).predict(TEXTS)
        base.rename(tmp_path / way / "moved")
        with pytest.raises(UserError, match=r"base.* is not a folder"):
            em.load_tuned(out)
        assert em.load_tuned(out, tmp_path / way / "moved").predict(TEXTS) == before
        assert em.load_tuned(out, em.load(tmp_path / way / "moved")).predict(TEXTS) == before
        with pytest.raises(UserError, match="hash"):
            em.load_tuned(out, models / "lstm")


@pytest.mark.parametrize("way", ["full", "lora", "frozen"])
def test_weights_that_were_drawn_anew_answer_the_same_again(
    models: Path, files: dict[str, Any], tmp_path: Path, way: str
) -> None:
    for name in ("gpt", "hf-llama"):
        how = QUICK | WAYS[way] | {"start": "untrained"}
        before = em.finetune(models / name, files, out=tmp_path / name, settings=how, seed=3).predict(TEXTS)
        after = em.load_tuned(tmp_path / name).predict(TEXTS)
        for one, other in zip(after, before, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("finetune.json", "fine-tune again"),
        ("head.safetensors", "does not match its checksum; fine-tune again"),
        ("adapter/adapter.safetensors", "does not match its checksum"),
        ("adapter/adapter.json", "does not match its checksum; fine-tune again"),
    ],
)
def test_a_damaged_file_is_refused(models: Path, files: dict[str, Any], tmp_path: Path, file: str, says: str) -> None:
    em.finetune(models / "gpt", files, out=tmp_path / "tuned", settings=QUICK | LORA)
    damaged = tmp_path / "tuned" / file
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"abc")
    with pytest.raises(UserError, match=says):
        em.load_tuned(tmp_path / "tuned")
    damaged.unlink()
    with pytest.raises(UserError):
        em.load_tuned(tmp_path / "tuned")


def test_a_damaged_model_is_refused(models: Path, files: dict[str, Any], tmp_path: Path) -> None:
    for name, weights in (("gpt", "model.safetensors"), ("hf-llama", "model.safetensors")):
        em.finetune(models / name, files, out=tmp_path / name, settings=QUICK)
        damaged = tmp_path / name / "model" / weights
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-40] + bytes(40 * [7]))
        with pytest.raises(UserError, match="checksum"):
            em.load_tuned(tmp_path / name)


def test_a_tuned_writer_is_a_model_and_stops_where_it_learnt_to(models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["text\tanswer"]
    for _ in range(100):
        letter, other = "abcdefgh"[int(rng.integers(8))], "stuvwxyz"[int(rng.integers(8))]
        lines.append(f"{letter}{other}\t{letter}{letter}")
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    task = {"name": "completion", "files": str(tmp_path / "t.tsv"), "template": "{text} so "}
    how = {"epochs": 40, "patience": 40, "learning_rate": 0.005, "dropout": 0.0, "batch": 8}
    for name in ("gpt", "seq2seq", "hf-llama"):
        out = tmp_path / name
        tuned = em.finetune(models / name, task, out=out, settings=how, questions=8)
        found = [prediction.answer for prediction in tuned.predict(["as", "cz", "hx"])]
        assert found == ["aa", "cc", "hh"]
        again = em.load_tuned(out)
        assert [prediction.answer for prediction in again.predict(["as", "cz", "hx"])] == found
        assert em.load(out).generate("as so", max_tokens=3).strip().startswith("aa")
        with pytest.raises(UserError, match="leave out step"):
            em.load(out, 3)


def test_a_tuned_classifier_is_no_writer(models: Path, files: dict[str, Any], tmp_path: Path) -> None:
    em.finetune(models / "gpt", files, out=tmp_path / "tuned", settings=QUICK)
    with pytest.raises(UserError, match=r"fine-tuned for classification.*em.load_tuned or emergence predict"):
        em.load(tmp_path / "tuned")


def test_one_and_two_texts_are_told_apart(models: Path, files: dict[str, Any], tmp_path: Path) -> None:
    tuned = em.finetune(models / "gpt", files, settings=QUICK)
    with pytest.raises(UserError, match="reads one text"):
        tuned.predict([("ab", "cd")])
    lines = [
        "a\tb\tlabel",
        *(f"{'abcdefghij'[i % 10]}{'abcdefgh'[i // 10]}\t{'cd'[i % 2]}\t{'xy'[i % 2]}" for i in range(80)),
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines))
    task = {"name": "classification", "files": str(tmp_path / "pairs.tsv"), "columns": {"text": "a", "second": "b"}}
    two = em.finetune(models / "lstm", task, settings=QUICK)
    assert two.predict([("ab", "cd")])[0].answer in ("x", "y")
    with pytest.raises(UserError, match="reads two texts"):
        two.predict(["ab"])
    assert two.predict([]) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"settings": {"epoch": 3}}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"settings": {"learning_rate": -1}}, "^learning_rate: Input should be greater than 0"),
        ({"task": {"name": "copy", "length": 3}, "settings": {"token_dropout": 0.2}}, "token_dropout would take parts"),
        ({"task": {"name": "moods", "task": "classification"}}, "{name: moods, files: train.tsv}"),
        ({"settings": LORA | {"freeze": 1}}, "leave out freeze"),
        ({"settings": {"freeze": 40}}, "freeze is 40, but the model has"),
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"task": {"files": "x"}}, "a task is a name, or has one"),
        ({"task": {"name": "classification", "files": "nowhere.tsv"}}, "nowhere.tsv"),
        ({"task": "text"}, "no training examples"),
        ({"task": {"name": "copy", "length": 3}, "settings": {"freeze": "all"}}, "freeze less"),
        ({"model": "bert", "task": {"name": "copy", "length": 3}}, "take a causal or an encoder-decoder model"),
        (
            {"settings": {"learning_rate": 1e6, "optimiser": "sgd", "clip": 1e9, "warmup": 0.0}},
            r"lower learning_rate \(it is 1e\+06\)",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    models: Path, files: dict[str, Any], tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    asked: dict[str, Any] = {"task": files, "settings": {}} | change
    settings = {"least_steps": 40} | asked["settings"]
    with pytest.raises(UserError, match=says) as caught:
        em.finetune(models / asked.get("model", "gpt"), asked["task"], out=tmp_path / "out", settings=settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_full_folder_is_left_alone_and_an_adapted_model_not_adapted_again(
    models: Path, files: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not an empty folder"):
        em.finetune(models / "gpt", files, out=tmp_path, settings=QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    model = em.load(models / "gpt")
    em.finetune(model, files, settings=QUICK | LORA)
    with pytest.raises(UserError, match="has an adapter already"):
        em.finetune(model, files, settings=QUICK)


def test_unknown_characters_and_long_texts_are_read(models: Path, files: dict[str, Any]) -> None:
    tuned = em.finetune(models / "gpt", files, settings=QUICK)
    found = tuned.predict(["你好 😀", "z" * 500, " "])
    assert all(abs(sum(p.probabilities.values()) - 1) < 1e-5 for p in found if p.probabilities)
    assert torch.is_grad_enabled()
