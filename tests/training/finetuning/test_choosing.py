"""Which examples are trained on, and which are looked at to stop by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from tests.training.finetuning.planted import classes_of, letters, network_of

from emergence.tasks.labelled_schema import SYNTHETIC, Labelled
from emergence.training.finetuning.choosing import choose, some
from emergence.training.finetuning.regularise import adversarial_step

EXAMPLES = [Labelled(f"text {number}", label="a" if number % 10 else "b") for number in range(200)]


def test_what_a_model_wrote_comes_on_top_of_the_examples_asked_for() -> None:
    written = [replace(example, text=f"more {example.text}", group=SYNTHETIC) for example in EXAMPLES[:5]]
    chosen = choose([*EXAMPLES, *written], 20, 0)
    assert chosen[20:] == written
    assert chosen[:20] == choose(EXAMPLES, 20, 0)
    assert [example.label for example in chosen[:20]].count("b") == 10


def test_validation_keeps_the_shares_of_the_classes() -> None:
    labels = [example.label for example in some(EXAMPLES, 100, 0)]
    assert abs(labels.count("b") - 10) <= 5
    assert some(EXAMPLES, 10, 0) == some(EXAMPLES, 100, 0)[:10]


def test_an_adversarial_step_does_not_depend_on_the_padding() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer)
    aim = classes_of(network, tokenizer, n=40)
    torch.nn.init.normal_(aim.head.out.weight, generator=torch.Generator().manual_seed(0))
    lengths = np.asarray(aim.lengths)
    short, long = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[short] < lengths[long]

    def worst(numbers: list[int]) -> float:
        return float(adversarial_step(network, lambda: aim.loss(network, numbers), 0.05))

    torch.testing.assert_close(2 * worst([short, long]), worst([short]) + worst([long]), rtol=1e-4, atol=1e-5)
