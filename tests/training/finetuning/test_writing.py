"""Fine-tuning to write: a planted mapping is learnt, the loss is that of transformers, and prompts give way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.adapted import causal, pairs
from tests.training.finetuning.planted import letters, network_of

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.evaluation.engine import READERS
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Example, GeneratedTask
from emergence.training.finetuning.loop import finetune
from emergence.training.finetuning.model import hidden_width
from emergence.training.finetuning.prepare import prepare_aim
from emergence.training.finetuning.writing import Answers, EncodedAnswer, encode_answers


class Words:
    """A tokenizer of small letters for networks whose first ids are special."""

    begin_id, separator_id = 1, 2

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[3 + ord(letter) - ord("a") for letter in text] for text in texts]


def mapped(n: int, seed: int) -> list[Example]:
    """One of eight letters, which another letter answers twice."""
    rng = np.random.default_rng(seed)
    return [Example("abcdefgh"[i], "hgfedcba"[i] * 2) for i in rng.integers(0, 8, n)]


@pytest.mark.parametrize("name", ["gpt", "lstm", "seq2seq", "hf-llama", "hf-t5"])
def test_a_planted_mapping_is_learnt_and_written(name: str) -> None:
    own = not name.startswith("hf-")
    tokenizer: Any = letters() if own else Words()
    network: Any = network_of(name, tokenizer, 8_000) if own else pairs() if name == "hf-t5" else causal("llama")
    examples = mapped(64, 1)
    train, _ = encode_answers(tokenizer, examples, network, "mapped")
    aim = Answers("mapped", train, train[:16])
    how = FinetuneSettings(epochs=60, patience=60, learning_rate=0.01, dropout=0.0, batch=16)
    finetune(network, [aim], how, width=hidden_width(network), seed=0)
    assert aim.validate(network)["loss"] < 0.05
    prompts = [list(example.prompt) for example in train[:16]]
    written = READERS[network.reads].write(network, prompts, [5] * 16, end_id=tokenizer.separator_id)
    assert written == [list(example.target[:-1]) for example in train[:16]]  # and nothing behind them


def one_by_one(network: Any, answers: Sequence[EncodedAnswer]) -> float:
    """The mean over examples of the loss that transformers itself computes for each."""
    losses = []
    for answer in answers:
        target = torch.tensor([answer.target])
        if network.reads == "pairs":
            found = network.module(input_ids=torch.tensor([network.source(answer.prompt)]), labels=target)
        else:
            ids = torch.tensor([[*answer.prompt, *answer.target]])
            labels = torch.cat([torch.full((1, len(answer.prompt)), -100), target], dim=1)
            found = network.module(input_ids=ids, labels=labels)
        losses.append(float(found.loss.detach()))
    return float(np.mean(losses))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_that_of_transformers(name: str) -> None:
    network: Any = pairs() if name == "t5" else causal(name)
    texts = ["ab", "abcdefgh", "c", "fedcb"]
    examples = [Example(text, text[::-1][:length]) for text, length in zip(texts, (1, 5, 1, 3), strict=True)]
    encoded, cut = encode_answers(Words(), examples, network, "x")  # type: ignore[arg-type]
    assert cut == 0
    aim = Answers("x", encoded, encoded)
    with torch.no_grad():
        expected = one_by_one(network, encoded)
        assert float(aim.loss(network, range(4))) == pytest.approx(expected, abs=1e-5)
        assert aim.validate(network)["loss"] == pytest.approx(expected, abs=1e-5)
        assert float(aim.loss(network, [1])) == pytest.approx(one_by_one(network, encoded[1:2]), abs=1e-5)


def test_prompts_that_are_too_long_lose_their_beginning_and_answers_do_not() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer, 3_000)
    long = "".join("abcdefghij"[i % 10] for i in range(50))
    encoded, cut = encode_answers(tokenizer, [Example(long, "xyz"), Example("ab", "z")], network, "x")
    assert cut == 1
    assert encoded[0].prompt[0] == tokenizer.begin_id
    assert tokenizer.decode(encoded[0].prompt) == long[-28:]  # 32 = begin + 28 + the answer's three
    assert encoded[0].target == (*tokenizer.encode("xyz"), tokenizer.separator_id)
    assert len(encoded[0].prompt) + len(encoded[0].target) - 1 == network.config.context
    assert tokenizer.decode(encoded[1].prompt) == "ab"
    with pytest.raises(UserError, match="an answer of 41 tokens to x does not fit into the model's context of 32"):
        encode_answers(tokenizer, [Example("a", "b" * 40)], network, "x")


def prepared(family: str, **options: Any) -> Any:
    tokenizer = letters()
    task = make_task("copy", {"length": 4, "letters": 4} | options)
    assert isinstance(task, GeneratedTask)
    network = network_of(family, tokenizer, 3_000)
    how = FinetuneSettings()
    return prepare_aim(task, network, tokenizer, how, width=network.config.width, examples=20, seed=0)


@pytest.mark.parametrize("family", ["bert", "vae"])
def test_models_that_cannot_be_tuned_to_write_are_refused(family: str) -> None:
    with pytest.raises(UserError, match="masked and variational models are not fine-tuned for; take a causal"):
        prepared(family)


def test_a_task_that_makes_its_examples_gives_as_many_as_are_asked_and_no_more_to_validate() -> None:
    found = prepared("gpt", length=6, letters=8)
    assert found.examples == len(found.aim.train) == 20
    assert len(found.aim.validation) == 20
    assert not {e.prompt for e in found.aim.train} & {e.prompt for e in found.aim.validation}
    share = sum(len(e.target) for e in found.aim.train) / sum(found.aim.lengths)
    assert found.aim.written == pytest.approx(share)
