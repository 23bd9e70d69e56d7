"""Decoding: greedy text equals transformers', batches change nothing, samples follow the distribution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.generation import SamplingSettings, generate
from emergence.models.family import build_network
from emergence.models.gpt import GPTConfig
from emergence.models.huggingface import export_network
from emergence.text import build_tokenizer

CONFIG = GPTConfig(vocabulary=12, context=24, width=32, depth=2, heads=4, feed_forward=40)
END = 0


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    built: torch.nn.Module = build_network("gpt", CONFIG, torch.Generator().manual_seed(3))
    with torch.no_grad():
        built.head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(4))
    return built.eval()


def prompts(n: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randint(1, 12, (3 + i % 5,), generator=draw).tolist() for i in range(n)]


def test_greedy_text_is_that_of_transformers(network: torch.nn.Module, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    export_network(
        "gpt", network, build_tokenizer(TokenizerSettings(kind="char"), [], "abcdefghij"), tmp_path / "llama"
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama").eval()
    asked = prompts(20)
    own = generate(network, asked, SamplingSettings(max_tokens=12), end_id=END)
    for prompt, answer in zip(asked, own, strict=True):
        ids = torch.tensor([prompt])
        whole = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        expected = whole[0, len(prompt) :].tolist()
        assert answer == (expected[: expected.index(END)] if END in expected else expected)


def test_batches_change_nothing(network: torch.nn.Module) -> None:
    asked = prompts(40)
    settings = SamplingSettings(max_tokens=15)
    together = generate(network, asked, settings, end_id=END)
    alone = [generate(network, [prompt], settings, end_id=END)[0] for prompt in asked]
    assert together == alone
    assert len({len(answer) for answer in together}) > 1  # some end early, so finished rows were dropped


def test_sampling_follows_the_distribution(network: torch.nn.Module) -> None:
    prompt = [1, 2, 3]
    with torch.inference_mode():
        expected = (network(torch.tensor([prompt]))[0, -1] / 0.7).softmax(-1)
    settings = SamplingSettings(max_tokens=1, temperature=0.7)
    drawn = generate(network, [prompt] * 20_000, settings, end_id=END, generator=torch.Generator().manual_seed(0))
    counts = torch.zeros(12)
    for answer in drawn:
        counts[answer[0] if answer else END] += 1
    assert (counts / 20_000 - expected).abs().max() < 0.015  # four standard errors of a share of one half


@pytest.mark.parametrize(
    ("cut", "kept"), [({"top_k": 2}, 2), ({"top_p": 1e-9}, 1), ({"top_p": 1.0}, 12), ({"top_k": 50}, 12)]
)
def test_the_tail_is_cut(network: torch.nn.Module, cut: dict, kept: int) -> None:
    settings = SamplingSettings(max_tokens=1, temperature=5.0, **cut)
    drawn = generate(network, [[1, 2]] * 4000, settings, end_id=END, generator=torch.Generator().manual_seed(0))
    assert len({tuple(answer) for answer in drawn}) == kept


def test_a_seed_repeats_a_sample(network: torch.nn.Module) -> None:
    settings = SamplingSettings(max_tokens=10, temperature=1.0)
    first, second, other = (
        generate(network, prompts(5), settings, end_id=END, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert first == second != other


def test_text_goes_on_beyond_the_context(network: torch.nn.Module) -> None:
    answer = generate(network, [[1] * 60], SamplingSettings(max_tokens=70), end_id=99)[0]
    assert len(answer) == 70


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        SamplingSettings(**wrong)


def test_an_empty_prompt_is_refused(network: torch.nn.Module) -> None:
    with pytest.raises(UserError, match="empty prompt"):
        generate(network, [[]], SamplingSettings(), end_id=END)
