"""From labelled examples to an aim: numbers, weights of classes, few examples, augmentation, fresh weights, FLOPs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from tests.adapted import causal
from tests.training.finetuning.planted import CONTEXT, LETTERS, classes_of, letters, network_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emergence.core.adapter_settings import LoRASettings
from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.models.adapters import attach
from emergence.tasks.catalogue import make_task
from emergence.tasks.label_scores import confusion_matrix, macro_f1
from emergence.tasks.labelled_schema import Labelled
from emergence.training.finetuning.aims import Values
from emergence.training.finetuning.choosing import choose
from emergence.training.finetuning.heads import PooledHead
from emergence.training.finetuning.loop import DivergedError, finetune
from emergence.training.finetuning.model import flops_of, untrained
from emergence.training.finetuning.prepare import prepare_aim
from emergence.training.finetuning.rows import encode_rows

QUICK = FinetuneSettings(epochs=2, least_steps=4, reading_steps=2, dropout=0.0)


def numbered(n: int, seed: int) -> tuple[list[tuple[str, str]], list[float]]:
    """Texts whose value is 100 and ten for every z in them."""
    rng = np.random.default_rng(seed)
    texts, values = [], []
    for _ in range(n):
        count = int(rng.integers(0, 6))
        body = ["z"] * count + ["abcdefgh"[i] for i in rng.integers(0, 8, 12 - count)]
        texts.append(("".join(rng.permutation(body)), ""))
        values.append(100.0 + 10 * count)
    return texts, values


@pytest.mark.parametrize("family", ["gpt", "lstm"])
def test_a_planted_value_is_learnt(family: str) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer, 6_000)
    (train, targets), (held, held_targets) = numbered(200, 1), numbered(60, 2)
    rows, held_rows = (encode_rows(tokenizer, texts, CONTEXT) for texts in (train, held))
    aim = Values("counted", rows, targets, held_rows, held_targets, PooledHead(network.config.width, 1, "mean", 0.0))
    guessed = aim.validate(network)["rmse"]  # of a head of zeros: the mean of the training values
    assert guessed == pytest.approx(float(np.sqrt(((np.mean(targets) - np.array(held_targets)) ** 2).mean())), rel=1e-5)
    how = FinetuneSettings(epochs=30, patience=30, learning_rate=0.01, dropout=0.0)
    finetune(network, [aim], how, width=network.config.width, seed=0)
    assert aim.validate(network)["rmse"] < 0.3 * guessed
    found = aim.predict(network, held_rows)
    assert aim.validate(network)["rmse"] == pytest.approx(float(np.sqrt(((found - held_targets) ** 2).mean())))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, guesses = np.array(pairs).T
    found = macro_f1(confusion_matrix(truth, guesses, 4))
    assert found == pytest.approx(f1_score(truth, guesses, average="macro", zero_division=0))


def test_the_goal_may_be_macro_f1(tmp_path: Path) -> None:
    tokenizer = letters()
    network = network_of("lstm", tokenizer, 3_000)
    for goal in ("accuracy", "macro_f1"):
        measures = classes_of(network, tokenizer, n=20, goal=goal).validate(network)
        assert measures["goal"] == pytest.approx(measures[goal] - 1e-3 * measures["loss"])
        assert prepared(tmp_path, 20, goal=goal).aim.goal == goal


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_few_examples_are_of_all_classes_alike_and_more_hold_them(
    labels: list[int], few: int, more: int, seed: int
) -> None:
    examples = [Labelled(f"text {n}", label=str(label)) for n, label in enumerate(labels)]
    few, more = max(1, min(few, more)), max(1, few, more)
    small, large = choose(examples, few, seed), choose(examples, more, seed)
    assert len(small) == min(few, len(examples))
    assert {e.text for e in small} <= {e.text for e in large}
    assert len({e.text for e in small}) == len(small)
    chosen = {label: sum(e.label == label for e in small) for label in {e.label for e in examples}}
    for label, count in chosen.items():
        whole = sum(e.label == label for e in examples)
        assert count >= min(whole, max(chosen.values()) - 1)  # only a class that is used up has fewer


def write_labelled(home: Path, n: int, name: str, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    lines = ["text\tlabel"]
    for number in range(n):
        body = " ".join("".join("abcdefgh"[i] for i in rng.integers(0, 8, 3)) for _ in range(4))
        lines.append(f"{body} {'zy'[number % 2]}\t{('good', 'bad')[number % 2]}")
    (home / name).write_text("\n".join(lines))
    return home / name


def prepared(home: Path, examples: int | None, **changes: Any) -> Any:
    files = {"validation": {"files": str(write_labelled(home, 60, "held.tsv", 1))}}
    files |= {"tests": {"test": {"files": str(write_labelled(home, 20, "test.tsv", 2))}}}
    task: Any = make_task("classification", {"files": str(write_labelled(home, 200, "train.tsv")), **files})
    network = network_of("lstm", letters(), 3_000)
    how = FinetuneSettings(**changes)
    return prepare_aim(task, network, letters(), how, width=network.config.width, examples=examples, seed=0)


def test_validation_is_no_larger_than_training_but_for_a_few(tmp_path: Path) -> None:
    assert [len(prepared(tmp_path, n).aim.validation) for n in (2, 16, 30, None)] == [16, 16, 30, 60]


def test_copies_join_training_and_are_not_counted_as_examples(tmp_path: Path) -> None:
    swapped = AugmentationSettings(name="swap", copies=2, share=0.5)
    found = prepared(tmp_path, 20, augment=(swapped,), class_weights="balanced")
    plain = prepared(tmp_path, 20)
    assert found.examples == plain.examples == 20
    assert len(found.aim.train) == len(found.aim.targets) == 60
    assert found.aim.train.ids[:20] == plain.aim.train.ids
    assert found.aim.train.ids[20:40] != plain.aim.train.ids
    assert found.aim.targets == plain.aim.targets * 3
    assert found.aim.validation.ids == plain.aim.validation.ids


def test_what_was_cut_and_what_is_missing_is_said(tmp_path: Path) -> None:
    assert prepared(tmp_path, 1).notes == ("classification: 1 of 2 classes have no example among the 1 chosen",)


def test_weights_are_drawn_anew_where_a_model_is_to_be_untrained() -> None:
    for family in ("gpt", "hf"):
        network: Any = causal("llama") if family == "hf" else network_of(family, letters(), 3_000)
        before = network.fingerprint()
        fresh = untrained(network, "llama" if family == "hf" else family, 0)
        assert fresh.fingerprint() != before
        again = untrained(network, "llama" if family == "hf" else family, 0)
        assert again.fingerprint() == fresh.fingerprint()
        assert untrained(network, "llama" if family == "hf" else family, 1).fingerprint() != again.fingerprint() or (
            family == "hf"  # which is drawn in place
        )


class Nothing:
    """An aim whose validation comes to no number."""

    name, lengths, validation_tokens, written = "nothing", [4] * 8, 0, 0.0

    def __init__(self) -> None:
        self.head = torch.nn.Linear(2, 1)

    def loss(self, network: Any, numbers: Any) -> torch.Tensor:
        return self.head(torch.ones(1, 2)).square().mean() + network.weight.square().sum()

    def validate(self, network: Any) -> dict[str, float]:
        return {"goal": float("nan")}


def test_a_validation_that_is_no_number_is_never_the_best() -> None:
    network = torch.nn.Linear(2, 2)
    network.embedding = torch.nn.Embedding(2, 2)
    with pytest.raises(DivergedError, match="no number came of step"):
        finetune(network, [Nothing()], QUICK, width=2, seed=0)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlopCounterMode]:
    """What counts products while it is entered; kernels that it does not know are left out."""
    monkeypatch.setattr("emergence.models.products.LEAST_WORK", 2**60)
    with sdpa_kernel(SDPBackend.MATH):
        yield FlopCounterMode(display=False)


@pytest.mark.parametrize(("family", "how"), [("gpt", "full"), ("bert", "full"), ("gpt", "lora"), ("gpt", "all")])
def test_flops_are_those_that_torch_counts(counter: FlopCounterMode, family: str, how: str) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer, 30_000)
    texts = [(LETTERS[i % 20] * 20, "") for i in range(64)]  # of one length: nothing is padded
    aim = classes_of(network, tokenizer, n=64)
    aim.train, aim.targets = encode_rows(tokenizer, texts, CONTEXT), [i % 2 for i in range(64)]
    aim.validation, aim.validation_targets = aim.train, aim.targets
    chosen = QUICK.model_copy(update={"freeze": "all"} if how == "all" else {})
    adapter = None
    if how == "lora":
        chosen = chosen.model_copy(update={"adapter": LoRASettings(rank=1)})
        adapter = attach(network, LoRASettings(rank=1), torch.Generator().manual_seed(0))
    with counter:
        tuning = finetune(network, [aim], chosen, width=network.config.width, seed=0, adapter=adapter)
    said = flops_of(network, family, tuning, [aim], chosen)
    assert said == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("family", ["gpt", "seq2seq"])
def test_flops_of_written_answers_count_the_decoder_and_the_head(counter: FlopCounterMode, family: str) -> None:
    network = network_of(family, letters(), 30_000)
    task: Any = make_task("copy", {"length": 8, "letters": 20})
    found = prepare_aim(task, network, letters(), QUICK, width=network.config.width, examples=64, seed=0)
    with counter:
        tuning = finetune(network, [found.aim], QUICK, width=network.config.width, seed=0)
    said = flops_of(network, family, tuning, [found.aim], QUICK)
    assert said == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_a_task_whose_answers_are_written_is_not_augmented() -> None:
    task: Any = make_task("copy", {"length": 4, "letters": 4})
    how = FinetuneSettings(augment=(AugmentationSettings(name="swap"),))
    with pytest.raises(UserError, match="is not augmented; leave out augment"):
        prepare_aim(task, network_of("gpt", letters(), 3_000), letters(), how, width=8, examples=4, seed=0)
