"""Regularisers against their formulas."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.finetuning.planted import classes_of, letters, network_of

from emergence.core.finetune_settings import FinetuneSettings
from emergence.models.trunk import embedding_of, hidden_states
from emergence.training.finetuning.aims import class_weights
from emergence.training.finetuning.loop import finetune
from emergence.training.finetuning.regularise import adversarial_step, dropping, l1_penalty


def test_l1_is_the_sum_of_absolute_values() -> None:
    assert float(l1_penalty([torch.tensor([1.0, -2.0]), torch.tensor([[-3.0]])])) == 6.0


def test_l1_makes_weights_smaller() -> None:
    tokenizer = letters()

    def size(l1: float) -> float:
        network = network_of("gpt", tokenizer)
        settings = FinetuneSettings(epochs=6, dropout=0.0, l1=l1, weight_decay=0.0, patience=99)
        finetune(network, [classes_of(network, tokenizer)], settings, width=network.config.width, seed=0)
        return sum(float(p.detach().abs().sum()) for p in network.parameters())

    assert size(1e-2) < 0.8 * size(0.0)


def test_balanced_weights_give_every_class_the_same_part_of_the_loss() -> None:
    targets = [0] * 90 + [1] * 9 + [2]
    weights = class_weights(targets, 3)
    torch.testing.assert_close(weights * torch.tensor([90.0, 9.0, 1.0]), torch.full((3,), 100 / 3))
    assert class_weights([0, 0], 2)[1] > 0  # a class without examples has a finite weight


@pytest.mark.parametrize("family", ["gpt", "bert", "lstm"])
def test_the_adversarial_step_moves_along_the_gradient_by_the_length_asked_for(family: str) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer)
    aim = classes_of(network, tokenizer, n=6)
    torch.nn.init.normal_(aim.head.out.weight)
    numbers = list(range(6))
    outputs: list[torch.Tensor] = []
    handle = embedding_of(network).register_forward_hook(lambda _, __, out: outputs.append(out.detach().clone()))
    calm = float(aim.loss(network, numbers).detach())
    worst = float(adversarial_step(network, lambda: aim.loss(network, numbers), 0.05))
    handle.remove()
    assert worst > calm
    # the hook of the test runs before the one that moves, so the loss alone shows the step; a longer one is worse
    network.zero_grad()
    assert float(adversarial_step(network, lambda: aim.loss(network, numbers), 0.1)) > worst
    assert torch.equal(outputs[0], outputs[-1])
    assert all(parameter.grad is not None for parameter in aim.head.parameters())
    assert float(aim.loss(network, numbers).detach()) == calm  # nothing stays behind


def test_dropout_acts_in_training_alone_and_leaves_no_trace() -> None:
    tokenizer = letters()
    for family in ("gpt", "bert", "mamba"):
        network = network_of(family, tokenizer)
        ids, lengths = torch.arange(2, 10)[None], torch.tensor([8])
        before = hidden_states(network, ids, lengths)
        with dropping(network, 0.5):
            assert torch.equal(hidden_states(network.eval(), ids, lengths), before)
            torch.manual_seed(0)
            assert not torch.allclose(hidden_states(network.train(), ids, lengths), before)
        assert torch.equal(hidden_states(network, ids, lengths), before)


def test_smoothing_spreads_the_target_over_all_classes() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    plain, smooth = classes_of(network, tokenizer, n=8), classes_of(network, tokenizer, n=8, smoothing=0.2)
    torch.nn.init.normal_(plain.head.out.weight)
    smooth.head.load_state_dict(copy.deepcopy(plain.head.state_dict()))
    numbers = list(range(8))
    logits = plain._logits(network, [plain.train.ids[n] for n in numbers]).log_softmax(dim=-1)
    targets = torch.tensor(plain.targets)
    expected = -(0.9 * logits[range(8), targets] + 0.1 * logits[range(8), 1 - targets]).mean()
    torch.testing.assert_close(smooth.loss(network, numbers), expected)
