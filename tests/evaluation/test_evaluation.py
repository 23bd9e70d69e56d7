"""Likelihoods agree with transformers, batches change nothing, records and scores hold what they say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.scores import score_records
from emergence.models.family import build_network
from emergence.models.gpt import GPTConfig
from emergence.models.huggingface import export_network
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer

TOKENIZER = build_tokenizer(TokenizerSettings(kind="char"), [], "0123456789+=")
CONFIG = GPTConfig(vocabulary=TOKENIZER.vocabulary_size, context=24, width=32, depth=2, heads=4, feed_forward=40)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    built: torch.nn.Module = build_network("gpt", CONFIG, torch.Generator().manual_seed(3))
    with torch.no_grad():
        built.head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(4))
    return built.eval()


def pairs(n: int) -> list[tuple[list[int], list[int]]]:
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 12, size=(n, 2))
    return [(draw.integers(0, 14, a).tolist(), draw.integers(0, 14, b).tolist()) for a, b in sizes]


def test_log_likelihoods_are_those_of_transformers(network: torch.nn.Module, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    export_network("gpt", network, TOKENIZER, tmp_path / "llama")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama").eval()
    asked = pairs(60)
    for (prompt, target), own in zip(asked, log_likelihoods(network, asked), strict=True):
        with torch.inference_mode():
            logprobs = theirs(torch.tensor([prompt + target])).logits[0].log_softmax(-1)
        expected = [float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(target)]
        assert own.logprobs == pytest.approx(expected, abs=1e-5)
        assert own.total == pytest.approx(sum(expected), abs=1e-4)
        best = [int(logprobs[len(prompt) - 1 + i].argmax()) == token for i, token in enumerate(target)]
        assert list(own.hits) == best


def test_batches_and_order_change_nothing(network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pairs(50)
    together = log_likelihoods(network, asked)
    backwards = log_likelihoods(network, asked[::-1])[::-1]
    monkeypatch.setattr("emergence.evaluation.likelihood.tokens_at_once", lambda device: 1)
    alone = log_likelihoods(network, asked)
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
        assert a.logprobs == pytest.approx(c.logprobs, abs=1e-5)


def test_a_prompt_longer_than_the_context_loses_its_start(network: torch.nn.Module) -> None:
    prompt, target = [i % 14 for i in range(60)], [1, 2, 3]
    whole = log_likelihoods(network, [(prompt, target)])[0]
    tail = log_likelihoods(network, [(prompt[-22:], target)])[0]
    assert whole.logprobs == pytest.approx(tail.logprobs, abs=1e-6)


@pytest.mark.parametrize(
    ("prompt", "target", "says"), [([], [1], "at least one"), ([1], [], "at least one"), ([1], [1] * 30, "fit")]
)
def test_impossible_questions_are_refused(
    network: torch.nn.Module, prompt: list[int], target: list[int], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        log_likelihoods(network, [(prompt, target)])


def test_records_and_scores_agree_with_each_other(network: torch.nn.Module) -> None:
    task = make_task("addition", {"digits": 2})
    questions = task.questions(TaskContext(TOKENIZER, 24, seed=0), 100, 0)
    records = evaluate(network, TOKENIZER, [(task, questions)], seed=0)[0]
    assert len(records) == 100
    for row, question in zip(records.iter_rows(named=True), questions, strict=True):
        assert row["prompt"] == question.prompt
        assert len(row["logprobs"]) == len(question.target_ids)
        assert row["score_target_logprob"] == pytest.approx(sum(row["logprobs"]) / 3, abs=1e-6)
        assert row["score_target_prob"] == pytest.approx(math.exp(sum(row["logprobs"])), abs=1e-6)
        assert row["score_exact_match"] == float(row["output"] == row["target"])
    run = records.with_columns(
        pl.lit("R00").alias("model"), pl.lit(0).alias("seed"), pl.lit(9).alias("step"), pl.lit(0).alias("shots")
    )
    scores = {row["metric"]: row for row in score_records(run, {"addition": task}).iter_rows(named=True)}
    assert set(scores) == {"exact_match", "target_logprob", "target_prob"}
    column = records["score_target_logprob"].to_numpy()
    assert scores["target_logprob"]["score"] == pytest.approx(column.mean())
    assert scores["target_logprob"]["stderr"] == pytest.approx(column.std(ddof=1) / 10)
    assert scores["exact_match"]["n"] == 100
    assert scores["exact_match"]["floor"] == 0.01
    assert scores["exact_match"]["role"] == "headline"
    assert scores["target_logprob"]["floor"] is None
    assert scores["target_logprob"]["answer_tokens"] == 3


class Adder(torch.nn.Module):
    """A stand-in that adds up what it read. It can hide nothing from itself, as a recurrent network cannot."""

    reads = "causal"
    config, maskable, device, position_bytes = CONFIG, False, torch.device("cpu"), 8

    class Seen:
        def __init__(self, rows: list[list[int]]) -> None:
            self.rows = rows

        def keep(self, rows: torch.Tensor) -> None:
            self.rows = [self.rows[row] for row in rows.tolist()]

        def append(self, other: Adder.Seen) -> None:
            self.rows += other.rows

    def new_cache(self, batch: int, length: int, *, prefix: Seen | None = None, tree: None = None) -> Seen:
        assert tree is None
        return Adder.Seen([list(prefix.rows[0]) if prefix else [] for _ in range(batch)])

    def forward(self, ids: torch.Tensor, cache: Seen | None = None, select: torch.Tensor | None = None) -> torch.Tensor:
        seen = cache or self.new_cache(len(ids), 0)
        logits = torch.zeros(*ids.shape, CONFIG.vocabulary)
        for b, row in enumerate(ids.tolist()):
            for t, token in enumerate(row):
                seen.rows[b].append(token)
                text = "".join(TOKENIZER.decode([token]) or "." for token in seen.rows[b])
                question, equals, written = text.rpartition(".")[2].partition("=")
                if equals and len(written) < 3:
                    total = sum(map(int, question.split("+")))
                    logits[b, t, TOKENIZER.encode(f"{total:03d}"[len(written)])[0]] = 30.0
        return logits if select is None else logits.flatten(0, 1)[select]


@pytest.mark.parametrize("shots", [0, 1])
def test_a_model_that_knows_the_answers_scores_one(shots: int) -> None:
    """So prompts, targets and outputs are lined up."""
    task = make_task("addition", {"digits": 2})
    questions = task.questions(TaskContext(TOKENIZER, 24, seed=0), 50, shots)
    records = evaluate(Adder(), TOKENIZER, [(task, questions)], seed=0)[0]
    assert records["score_exact_match"].mean() == 1
    assert records["score_target_prob"].min() > 0.999
