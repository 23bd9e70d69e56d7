"""Several tasks before one: Reptile step by step against its algorithm, and learning many together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.training.finetuning.planted import letters, network_of

from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.seeds import derive_seed, stream
from emergence.training.finetuning import several
from emergence.training.finetuning.groups import MOMENTUM
from emergence.training.finetuning.several import INNER_STEPS, OUTER_RATE, reptile


class Slope:
    """A task of one number: the loss is the squared distance of w x from y, at points of its own."""

    head, validation_tokens, written = None, 0, 0.0

    def __init__(self, name: str, slope: float) -> None:
        self.name = name
        self.points = np.random.default_rng(len(name)).normal(size=8)
        self.values = slope * self.points
        self.lengths = [1] * 8

    def loss(self, network: Any, numbers: Any) -> torch.Tensor:
        x, y = (torch.tensor(values[list(numbers)]) for values in (self.points, self.values))
        return (network.weight.flatten()[0] * x - y).square().mean()

    def validate(self, network: Any) -> dict[str, float]:
        raise AssertionError("Reptile looks at no validation")


def test_reptile_is_algorithm_one_of_its_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """In plain NumPy: SGD with momentum from where the trunk stands, then a share of the way (Nichol et al. 2018)."""
    tasks = [Slope("one", 1.0), Slope("three", 3.0)]
    monkeypatch.setattr(several, "_aims", lambda *_: tasks)
    monkeypatch.setattr(several, "hidden_width", lambda _: 64)
    monkeypatch.setattr(several, "flops_of", lambda network, family, total, aims, settings: total.tokens)
    network = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(network.weight, 0.25)
    network.embedding = torch.nn.Embedding(1, 1)  # of which nothing is asked
    how = FinetuneSettings(
        epochs=1, least_steps=70, optimiser="sgd", learning_rate=0.01, weight_decay=0.0, dropout=0.0, batch=8, clip=1e6
    )
    tokens = reptile(network, None, [], how, family="none", seed=5)  # type: ignore[arg-type]
    turns, w = 7, 0.25
    for turn, choice in enumerate(stream(5, "reptile").integers(0, 2, turns).tolist()):
        task, inner, velocity = tasks[choice], w, 0.0
        for step in range(INNER_STEPS):
            gradient = float((2 * (inner * task.points - task.values) * task.points).mean())
            velocity = MOMENTUM * velocity + gradient
            inner -= 0.01 * (1 - step / INNER_STEPS) * velocity
        w += OUTER_RATE * (1 - turn / turns) * (inner - w)
    assert network.weight.item() == pytest.approx(w, abs=1e-12)
    assert tokens == turns * INNER_STEPS * 8


def test_few_examples_of_a_turn_are_drawn_anew_and_are_the_tasks_own() -> None:
    task = Slope("one", 2.0)
    first, again, other = (several._Few(task, 3, derive_seed(0, "turn", turn)) for turn in (0, 0, 1))
    assert len(first.lengths) == 3
    assert first._numbers == again._numbers != other._numbers
    network = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    assert torch.equal(first.loss(network, [1]), task.loss(network, [first._numbers[1]]))


class Letter:
    """Which of two letters stands in a text; every task gives the classes to other letters."""

    def __init__(self, name: str, seed: int, network: Any, tokenizer: Any, n: int = 48) -> None:
        from emergence.training.finetuning.aims import Classes
        from emergence.training.finetuning.heads import PooledHead
        from emergence.training.finetuning.rows import encode_rows

        rng = np.random.default_rng(seed)
        chosen = rng.permutation(4)[:2]
        texts, targets = [], rng.integers(0, 2, 2 * n).tolist()
        for target in targets:
            body = ["abcdefghijkl"[i] for i in rng.integers(0, 12, 10)]
            body[int(rng.integers(10))] = "wxyz"[chosen[target]]
            texts.append(("".join(body), ""))
        rows = [encode_rows(tokenizer, some, 32) for some in (texts[:n], texts[n:])]
        head = PooledHead(network.config.width, 2, "mean", 0.0)
        self.aim = Classes(name, rows[0], targets[:n], rows[1], targets[n:], head)


def test_a_family_of_tasks_makes_a_new_one_easier_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from emergence.training.finetuning.loop import finetune
    from emergence.training.finetuning.several import learn_together

    tokenizer = letters()
    few = FinetuneSettings(epochs=1, least_steps=12, reading_steps=12, learning_rate=0.01, dropout=0.0, batch=16)
    much = FinetuneSettings(epochs=8, least_steps=400, learning_rate=0.01, dropout=0.0, batch=16, patience=50)
    found: dict[str, list[float]] = {"scratch": [], "reptile": [], "together": []}
    for how, losses in found.items():
        network = network_of("lstm", tokenizer, 3_000)
        known = [Letter(f"known {i}", i, network, tokenizer).aim for i in range(6)]
        monkeypatch.setattr(several, "_aims", lambda *_, known=known: known)
        if how != "scratch":
            learn = reptile if how == "reptile" else learn_together
            assert learn(network, tokenizer, [], much, family="lstm", seed=0) > 0
        state = {name: value.clone() for name, value in network.state_dict().items()}
        for seed in (100, 101, 102):
            network.load_state_dict(state)
            new = Letter("new", seed, network, tokenizer).aim
            finetune(network, [new], few, width=network.config.width, seed=0)
            losses.append(new.validate(network)["loss"])
    means = {how: float(np.mean(losses)) for how, losses in found.items()}
    assert means["reptile"] < 0.8 * means["scratch"], means
    assert means["together"] < 0.95 * means["scratch"], means
