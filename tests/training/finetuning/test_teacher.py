"""A student of a tuned classifier: what the teacher says goes into the loss, and is learnt where labels say nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.training.finetuning.planted import classes_of, letters, network_of

from emergence.core.finetune_settings import FinetuneSettings
from emergence.training.finetuning.aims import SoftTargets
from emergence.training.finetuning.loop import finetune


def test_the_loss_is_that_of_hinton() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    taught = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    aim = classes_of(network, tokenizer, n=8, soft=SoftTargets(taught, 3.0, 0.7))
    torch.nn.init.normal_(aim.head.out.weight)
    numbers = [5, 0, 3]
    logits = aim._logits(network, [aim.train.ids[n] for n in numbers])
    targets = torch.tensor([aim.targets[n] for n in numbers])
    soft, own = (taught[numbers] / 3).softmax(dim=-1), (logits / 3).log_softmax(dim=-1)
    expected = 0.3 * F.cross_entropy(logits, targets) + 0.7 * 9 * F.kl_div(own, soft, reduction="batchmean")
    torch.testing.assert_close(aim.loss(network, numbers), expected)


def test_a_student_learns_from_the_teacher_what_wrong_labels_do_not_say() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    right = classes_of(network, tokenizer)
    says = torch.full((len(right.targets), 2), -3.0)
    says[torch.arange(len(right.targets)), torch.tensor(right.targets)] = 3.0
    aim = classes_of(network, tokenizer, soft=SoftTargets(says, 2.0, 1.0))
    aim.targets = [0] * len(right.targets)
    settings = FinetuneSettings(epochs=30, patience=8, learning_rate=0.01, dropout=0.0)
    tuning = finetune(network, [aim], settings, width=network.config.width, seed=0)
    assert tuning.readings[tuning.best].measures["planted"]["accuracy"] > 0.9
