"""The fine-tuning loop: it learns what is planted, stops in time, keeps the best, and freezes what it is told to."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.finetuning.planted import CONTEXT, classes_of, letters, network_of, planted_texts

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.models.trunk import depths
from emergence.training.finetuning.groups import make_optimiser, set_learning
from emergence.training.finetuning.loop import Reading, finetune
from emergence.training.finetuning.rows import batch_numbers, encode_rows

QUICK = FinetuneSettings(epochs=4, least_steps=10, reading_steps=5, dropout=0.0, patience=50)


@pytest.mark.parametrize("family", ["gpt", "gpt2", "lstm", "mamba", "bert", "seq2seq", "vae", "word2vec"])
def test_every_family_learns_a_planted_class(family: str) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer)
    aim = classes_of(network, tokenizer)
    settings = FinetuneSettings(epochs=30, patience=8, learning_rate=0.01, dropout=0.0)
    tuning = finetune(network, [aim], settings, width=network.config.width, seed=0)
    assert tuning.readings[tuning.best].measures["planted"]["accuracy"] > 0.9
    assert aim.validate(network)["accuracy"] == tuning.readings[tuning.best].measures["planted"]["accuracy"]


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    tokenizer = letters()

    def tuned(seed: int) -> list[torch.Tensor]:
        network = network_of("gpt", tokenizer)
        aim = classes_of(network, tokenizer)
        settings = QUICK.model_copy(update={"dropout": 0.2})
        finetune(network, [aim], settings, width=network.config.width, seed=seed)
        return [parameter.detach().clone() for parameter in network.parameters()]

    first, again, other = tuned(3), tuned(3), tuned(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_what_is_frozen_keeps_its_bits() -> None:
    tokenizer = letters()
    for freeze in (1, 2, "all"):
        network = network_of("gpt", tokenizer)
        before = copy.deepcopy(network.state_dict())
        settings = QUICK.model_copy(update={"freeze": freeze})
        tuning = finetune(network, [classes_of(network, tokenizer)], settings, width=network.config.width, seed=0)
        changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
        depth = depths(network)
        frozen = {name for name in depth if freeze == "all" or depth[name] < int(freeze)}
        assert not changed & frozen
        assert freeze == "all" or changed
        assert tuning.trainable == sum(p.numel() for p in network.parameters() if p.requires_grad) + 2 * (
            network.config.width + 1
        )


def test_rates_fall_with_the_depth_and_heads_have_their_own() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer, 40_000)
    settings = FinetuneSettings(layer_decay=0.5, learning_rate=0.01)
    learning = set_learning(network, settings)
    head = torch.nn.Linear(4, 2)
    width = network.config.width
    optimiser = make_optimiser(network, learning, list(head.parameters()), width, settings)
    rates = [group["base"] for group in optimiser.param_groups]
    depth = depths(network)
    last = max(depth.values())
    expected = [0.01 * 64 / width * 0.5 ** (last - depth[name]) for name in learning] + [0.01, 0.01]
    np.testing.assert_allclose(rates, expected)


class Worsening:
    """An aim whose validation is best at a reading that is known."""

    name, lengths = "worsening", [4] * 16

    def __init__(self, best: int) -> None:
        self.head = torch.nn.Linear(2, 1)
        self.best, self.read = best, 0
        self.at_best: torch.Tensor | None = None

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        return self.head(torch.ones(len(numbers), 2)).square().mean() + network.weight.square().sum()

    def validate(self, network: Any) -> dict[str, float]:
        if self.read == self.best:
            self.at_best = self.head.weight.detach().clone()
        self.read += 1
        return {"goal": -abs(self.read - 1 - self.best)}


def test_training_stops_when_validation_does_not_improve_and_the_best_weights_stay() -> None:
    aim = Worsening(best=3)
    seen: list[Reading] = []
    network = torch.nn.Linear(2, 2)
    settings = FinetuneSettings(epochs=500, least_steps=1, reading_steps=1, patience=4, batch=16, dropout=0.0, freeze=0)
    network.embedding = torch.nn.Embedding(2, 2)
    tuning = finetune(network, [aim], settings, width=2, seed=0, progress=lambda share, reading: seen.append(reading))
    assert tuning.best == 3
    assert len(seen) == len(tuning.readings) == 3 + 1 + 4
    assert aim.at_best is not None
    assert torch.equal(aim.head.weight, aim.at_best)


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "rmsprop", "sgd"])
def test_every_optimiser_learns_at_its_own_rate(optimiser: str) -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    aim = classes_of(network, tokenizer)
    settings = FinetuneSettings(optimiser=optimiser, epochs=30, patience=10, dropout=0.0)  # type: ignore[arg-type]
    tuning = finetune(network, [aim], settings, width=network.config.width, seed=0)
    assert tuning.readings[tuning.best].measures["planted"]["accuracy"] > 0.9


def test_a_rate_that_diverges_ends_with_a_sentence() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    settings = FinetuneSettings(learning_rate=500.0, optimiser="sgd", clip=1e9, warmup=0.0, weight_decay=0.0)
    with pytest.raises(UserError, match=r"diverged.*lower learning_rate \(it is 5e\+02\)"):
        finetune(network, [classes_of(network, tokenizer)], settings, width=network.config.width, seed=0)


def test_freezing_more_than_there_is_is_refused() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    with pytest.raises(UserError, match="freeze is 99"):
        finetune(
            network, [classes_of(network, tokenizer)], FinetuneSettings(freeze=99), width=network.config.width, seed=0
        )


def test_two_aims_share_a_trunk_and_both_are_learnt() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    two, three = classes_of(network, tokenizer), classes_of(network, tokenizer, classes=3)
    two.name = "two"
    settings = FinetuneSettings(epochs=30, patience=8, learning_rate=0.01, dropout=0.0)
    tuning = finetune(network, [two, three], settings, width=network.config.width, seed=0)
    measures = tuning.readings[tuning.best].measures
    assert measures["two"]["accuracy"] > 0.9
    assert measures["planted"]["accuracy"] > 0.85


def test_an_epoch_holds_every_row_once_and_near_lengths_together() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 1000).tolist()
    batches = batch_numbers(lengths, 16, np.random.default_rng(1))
    assert sorted(n for batch in batches for n in batch) == list(range(1000))
    spreads = [max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in batches]
    assert float(np.median(spreads)) < 12
    assert batches != batch_numbers(lengths, 16, np.random.default_rng(2))


def test_rows_that_are_too_long_lose_their_end_and_the_longer_text_gives_way() -> None:
    tokenizer = letters()
    long, short = "a" * 40, "b" * 5
    rows = encode_rows(tokenizer, [(long, ""), (long, short), (short, long), (long, long), (short, short)], 20)
    assert [len(row) for row in rows.ids] == [20, 20, 20, 20, 13]
    assert rows.cut == 4
    a, b = tokenizer.encode("ab")
    assert [(row.count(a), row.count(b)) for row in rows.ids] == [(18, 0), (12, 5), (12, 5), (17, 0), (0, 10)]
    assert all(row[0] == tokenizer.begin_id and row[-1] == tokenizer.separator_id for row in rows.ids)


def test_thinned_rows_lose_their_share_of_tokens_and_no_mark() -> None:
    tokenizer = letters()
    rows = encode_rows(tokenizer, [("abcdefgh" * 3, ""), ("ab", "cd")], CONTEXT)
    assert rows.learnt([1, 0]) == [rows.ids[1], rows.ids[0]]
    thin = replace(rows, thinning=0.4)
    torch.manual_seed(0)
    found = [thin.learnt([0, 1]) for _ in range(500)]
    for place, whole in enumerate(rows.ids):
        marks = [token for token in whole if token in rows.marks]
        kept = [few[place] for few in found]
        assert all([token for token in row if token in rows.marks] == marks for row in kept)
        assert all(_in_order(row, whole) for row in kept)
        share = float(np.mean([len(row) - len(marks) for row in kept])) / (len(whole) - len(marks))
        assert share == pytest.approx(0.6, abs=0.03)
    assert len(set(map(str, found))) > 400


def _in_order(part: Sequence[int], whole: Sequence[int]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


def test_token_dropout_keeps_a_network_from_leaning_on_one_word() -> None:
    """Two letters say the class; what was trained without some of them needs neither."""
    tokenizer = letters()
    planted, targets = planted_texts(200, 1)
    twice = [(f"{text}{'xw'[target]}", "") for (text, _), target in zip(planted, targets, strict=True)]
    surest = []
    for share in (0.0, 0.5):
        network = network_of("gpt", tokenizer)
        aim = classes_of(network, tokenizer)
        aim.train, aim.targets = replace(encode_rows(tokenizer, twice, CONTEXT), thinning=share), targets
        finetune(network, [aim], FinetuneSettings(epochs=10, dropout=0.0), width=network.config.width, seed=0)
        surest.append(aim.validate(network)["loss"])  # of texts that have one of the two
    assert surest[1] < surest[0]
