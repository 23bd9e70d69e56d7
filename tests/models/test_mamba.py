"""The `mamba` family: sizes, counts, the recurrence, and agreement with MambaForCausalLM."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.family import build_network
from emergence.models.huggingface import export_network
from emergence.models.mamba import MambaConfig, size_for
from emergence.models.mamba_network import MambaNetwork, scan
from emergence.text import build_tokenizer
from emergence.training.batch import collate
from emergence.training.data import Draw
from emergence.training.stack import Stack

SMALL = MambaConfig(vocabulary=23, context=24, width=20, depth=2, inner=36)


def network(config: MambaConfig = SMALL, seed: int = 0) -> MambaNetwork:
    """A network whose every weight is random; the head starts at zero, which would hide mistakes."""
    built: MambaNetwork = build_network("mamba", config, torch.Generator().manual_seed(seed))
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return built.eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, SMALL.vocabulary, shape, generator=torch.Generator().manual_seed(0))


@given(parameters=st.floats(3e3, 2e8))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    assert abs(size_for(parameters, 100, 64).non_embedding_parameters / parameters - 1) <= 0.05


def test_a_size_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="3,000 or more"):
        size_for(100, 50, 32)


@pytest.mark.parametrize("size", [3e3, 3e4, 3e5])
def test_parameter_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("mamba", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    assert total - built.embedding.weight.numel() - built.head.weight.numel() == config.non_embedding_parameters


@pytest.mark.parametrize("predicted", [None, 17])
def test_flop_counts_are_those_that_torch_counts(predicted: int | None) -> None:
    select = None if predicted is None else torch.arange(predicted)
    with FlopCounterMode(display=False) as counter:
        network()(tokens(3, 20), select=select)
    assert counter.get_total_flops() == SMALL.forward_flops(60, 20, predicted)


def test_the_recurrence_and_its_derivatives() -> None:
    draw = torch.Generator().manual_seed(2)
    decay, drive = (torch.rand(7, 3, 2, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    state, expected = torch.zeros(3, 2, dtype=torch.float64), []
    for a, b in zip(decay, drive, strict=True):
        state = a * state + b
        expected.append(state)
    torch.testing.assert_close(scan(decay, drive), torch.stack(expected))
    assert torch.autograd.gradcheck(scan, (decay, drive))


@pytest.mark.parametrize("config", [SMALL, size_for(3e3, 23, 24), size_for(2e5, 23, 24)])
def test_an_export_gives_the_same_logits_in_transformers(config: MambaConfig, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], "abcdefghijklmnopqrstu")
    own = network(config)
    export_network("mamba", own, tokenizer, tmp_path / "mamba")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "mamba").eval()
    assert type(theirs).__name__ == "MambaForCausalLM"
    with torch.inference_mode():
        torch.testing.assert_close(own(tokens(2, 20)), theirs(tokens(2, 20)).logits, atol=1e-5, rtol=1e-5)
    back = em.load(tmp_path / "mamba")
    (found,) = answer(back.network, [ScoreRequest((1, 4), (5, 6, 7))], end_id=0)
    (expected,) = answer(own, [ScoreRequest((1, 4), (5, 6, 7))], end_id=0)
    assert isinstance(found, Likelihood)
    assert isinstance(expected, Likelihood)
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 2, 10]])
def test_reading_in_pieces_is_reading_whole(pieces: list[int]) -> None:
    built, ids = network(), tokens(4, 20)
    cache = built.new_cache(4, 20)
    with torch.inference_mode():
        parts = [built(piece, cache) for piece in ids.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), built(ids), atol=1e-5, rtol=1e-5)


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


def test_it_learns_to_recall_from_its_state() -> None:
    rng = np.random.default_rng(0)
    stack = Stack("mamba", size_for(2e4, 10, 8), [0], learning_rate=0.006, weight_decay=0.1, clip=1.0, stacked=False)
    before = stack.weights(0)
    losses = []
    for _ in range(200):
        first = rng.integers(0, 10, (1, 32, 1))
        rows = np.concatenate([first, rng.integers(0, 10, (1, 32, 5)), first], axis=2)  # the last token is the first
        mask = np.zeros((1, 32, 6), dtype=np.bool_)
        mask[..., -1] = True
        (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([32]))], stacked=False)
        losses.append(float(stack.step(batch, 1.0)))
    assert losses[0] == pytest.approx(math.log(10), abs=1e-5)  # exactly guessing
    assert np.mean(losses[-10:]) < 0.5
    assert all(not torch.equal(weight, before[name]) for name, weight in stack.weights(0).items())
