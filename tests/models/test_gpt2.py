"""The `gpt2` family: sizes, counts, and agreement with GPT2LMHeadModel."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.family import build_network, ladder
from emergence.models.gpt2 import GPT2Config, size_for
from emergence.models.gpt2_network import GPT2Network
from emergence.models.huggingface import export_network
from emergence.text import build_tokenizer

SMALL = GPT2Config(vocabulary=23, context=24, width=32, depth=3, heads=4, feed_forward=50)


def network(config: GPT2Config = SMALL, seed: int = 0) -> GPT2Network:
    """A network whose every weight is random, biases and norms too: at their start they would hide mistakes."""
    built: GPT2Network = build_network("gpt2", config, torch.Generator().manual_seed(seed))
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return built.eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, SMALL.vocabulary, shape, generator=torch.Generator().manual_seed(0))


@given(parameters=st.floats(3e3, 2e9))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    assert abs(size_for(parameters, 100, 64).non_embedding_parameters / parameters - 1) <= 0.05


def test_gpt2_small_has_its_known_size() -> None:
    config = GPT2Config(vocabulary=50257, context=1024, width=768, depth=12, heads=12, feed_forward=3072)
    assert config.parameters == 124_439_808  # as transformers counts openai-community/gpt2


def test_a_size_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="3,000 or more"):
        size_for(100, 50, 32)


@pytest.mark.parametrize("size", [3e3, 3e4, 3e5])
def test_parameter_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("gpt2", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    tables = built.embedding.weight.numel() + built.position_embedding.weight.numel()
    assert total - tables == config.non_embedding_parameters


@pytest.mark.parametrize("predicted", [None, 17])
def test_flop_counts_are_those_that_torch_counts(predicted: int | None) -> None:
    select = None if predicted is None else torch.arange(predicted)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it does not count fused kernels
        network()(tokens(3, 20), select=select)
    assert counter.get_total_flops() == SMALL.forward_flops(60, 20, predicted)


@pytest.mark.parametrize("size", [3e3, 1e5, 3e6])
def test_the_first_loss_is_near_that_of_guessing(size: float) -> None:
    (config,) = ladder("gpt2", [size], vocabulary=50, context=32)
    logits = build_network("gpt2", config, torch.Generator().manual_seed(0))(torch.arange(32)[None])
    loss = torch.nn.functional.cross_entropy(logits[0], torch.arange(1, 33))
    assert float(loss.detach()) == pytest.approx(math.log(50), abs=0.5)


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 5, 7]])
def test_the_cache_changes_nothing(pieces: list[int]) -> None:
    built, ids = network(), tokens(4, 20)
    cache = built.new_cache(4, 20)
    with torch.inference_mode():
        parts = [built(piece, cache) for piece in ids.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), built(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [SMALL, size_for(3e3, 40, 24), size_for(2e5, 40, 24)])
def test_its_weights_are_those_of_gpt2_there_and_back(config: GPT2Config, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    alphabet = "".join(chr(ord("a") + i) for i in range(config.vocabulary - 2))
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], alphabet)
    own = network(config)
    export_network("gpt2", own, tokenizer, tmp_path / "gpt2")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2").eval()
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    ids = tokens(2, 20)
    with torch.inference_mode():
        torch.testing.assert_close(own(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    back = em.load(tmp_path / "gpt2")
    assert back.params == config.non_embedding_parameters
    scored = [ScoreRequest((1, 4), (5, 6, 7)), ScoreRequest((1, 4, 2), (3,))]
    for mine, other in zip(answer(own, scored, end_id=0), answer(back.network, scored, end_id=0), strict=True):
        assert isinstance(mine, Likelihood)
        assert isinstance(other, Likelihood)
        assert other.logprobs == pytest.approx(mine.logprobs, abs=1e-5)


def test_answers_do_not_depend_on_company() -> None:
    built = network()
    lengths = torch.randint(1, 9, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    questions = [(*tokens(4).tolist(), *tokens(40, 9)[i, :n].tolist()) for i, n in enumerate(lengths)]
    asked = [ScoreRequest(q, (3, 5)) for q in questions] + [GenerateRequest(q, 6) for q in questions]
    for request, found in zip(asked, answer(built, asked, end_id=0), strict=True):
        (alone,) = answer(built, [request], end_id=0)
        if isinstance(alone, Continuation):
            assert found == alone
        else:
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
