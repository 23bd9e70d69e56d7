"""The `lstm` family: sizes, counts, agreement with the recurrence written out, and what the engine asks of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.lstm import LSTMConfig, size_for
from emergence.models.lstm_network import LSTMNetwork
from emergence.training.batch import collate
from emergence.training.data import Draw
from emergence.training.stack import Stack

SMALL = LSTMConfig(vocabulary=23, context=24, width=10, depth=2)


def network(config: LSTMConfig = SMALL, seed: int = 0) -> LSTMNetwork:
    """A network with logits large enough to differ."""
    built: LSTMNetwork = build_network("lstm", config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        built.embedding.weight.mul_(4)
    return built.eval()


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, SMALL.vocabulary, shape, generator=torch.Generator().manual_seed(seed))


@given(parameters=st.floats(4e3, 2e8))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    config = size_for(parameters, 100, 64)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05


@pytest.mark.parametrize("vary", ["both", "width", "depth"])
def test_a_ladder_grows_along_its_dial_alone(vary: Vary) -> None:
    configs = ladder("lstm", [1e5, 4e5, 1.6e6], vocabulary=50, context=32, vary=vary)
    assert (len({c.width for c in configs}) == 1) == (vary == "depth")
    assert (len({c.depth for c in configs}) == 1) == (vary != "depth")


def test_a_size_out_of_reach_names_the_nearest() -> None:
    with pytest.raises(UserError, match="the nearest has 33,280"):
        size_for(45_000, 50, 32, "depth")


@pytest.mark.parametrize("size", [3e3, 5e4, 3e5])
def test_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("lstm", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    assert total - built.embedding.weight.numel() == config.non_embedding_parameters
    matrices = sum(weight.numel() for weight in built.layers.parameters() if weight.dim() == 2)
    assert config.forward_flops(7, 32) == 7 * 2 * (matrices + built.embedding.weight.numel())
    assert config.forward_flops(7, 32, 3) == 7 * 2 * matrices + 3 * 2 * built.embedding.weight.numel()


def test_the_logits_are_those_of_the_recurrence_written_out() -> None:
    net, ids = network(), tokens(1, 9)
    weights = {name: weight.detach().numpy() for name, weight in net.named_parameters()}
    D = SMALL.width
    hidden, cell = np.zeros((2, D)), np.zeros((2, D))

    def squash(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    expected = []
    for token in ids[0].tolist():
        x = weights["embedding.weight"][token] * math.sqrt(D)
        for layer in range(2):
            w_x, w_h, b_x, b_h = (
                weights[f"layers.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            gates = np.split(w_x @ x + b_x + w_h @ hidden[layer] + b_h, 4)
            take, forget, give = squash(gates[0]), squash(gates[1]), squash(gates[3])
            cell[layer] = forget * cell[layer] + take * np.tanh(gates[2])
            x = hidden[layer] = give * np.tanh(cell[layer])
        expected.append(weights["embedding.weight"] @ x)
    torch.testing.assert_close(net(ids)[0].detach(), torch.tensor(np.array(expected)).float(), atol=1e-5, rtol=1e-5)


def test_reading_in_pieces_is_reading_whole() -> None:
    net, ids = network(), tokens(3, 12)
    with torch.inference_mode():
        cache = net.new_cache(3, 12)
        pieces = torch.cat([net(ids[:, :5], cache), net(ids[:, 5:6], cache), net(ids[:, 6:], cache)], dim=1)
        torch.testing.assert_close(pieces, net(ids), atol=1e-5, rtol=1e-5)
        select = torch.tensor([4, 0, 30])
        torch.testing.assert_close(net(ids, select=select), net(ids).flatten(0, 1)[select], atol=1e-5, rtol=1e-5)


def test_answers_do_not_depend_on_company() -> None:
    net, shared = network(), tuple(tokens(9, seed=7).tolist())
    draw = np.random.default_rng(3)
    questions = [
        (*shared[: draw.integers(1, 9)], *draw.integers(0, 23, draw.integers(1, 9)).tolist()) for _ in range(40)
    ]
    scored = [ScoreRequest(question, (3, 5, 1)) for question in questions]
    written = [GenerateRequest(question, int(draw.integers(1, 9))) for question in questions]
    together = answer(net, [*scored, *written], end_id=0)
    for request, found in zip([*scored, *written], together, strict=True):
        (alone,) = answer(net, [request], end_id=0)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


@pytest.mark.parametrize("width", [8, 64, 256])
def test_the_first_loss_is_that_of_guessing(width: int) -> None:
    config = LSTMConfig(vocabulary=50, context=32, width=width, depth=2)
    logits = build_network("lstm", config, torch.Generator().manual_seed(1))(torch.arange(32)[None] % 50)
    loss = torch.nn.functional.cross_entropy(logits[0], torch.arange(1, 33) % 50)
    assert float(loss.detach()) == pytest.approx(math.log(50), abs=0.3)


def test_it_learns_what_only_its_memory_holds() -> None:
    rng = np.random.default_rng(0)
    config = size_for(2e4, 10, 8)
    stack = Stack("lstm", config, [0], learning_rate=0.006, weight_decay=0.1, clip=1.0, stacked=False)
    before = {name: weight.clone() for name, weight in stack.weights(0).items()}
    losses = []
    for _ in range(250):
        first = rng.integers(0, 10, (1, 16, 1))
        rows = np.concatenate([first, rng.integers(0, 10, (1, 16, 5)), first], axis=2)  # the last token is the first
        mask = np.zeros((1, 16, 6), dtype=np.bool_)
        mask[..., -1] = True
        (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([16]))], stacked=False)
        losses.append(float(stack.step(batch, 1.0)))
    assert losses[0] == pytest.approx(math.log(10), abs=0.5)
    assert np.mean(losses[-10:]) < 0.5
    assert all(not torch.equal(weight, before[name]) for name, weight in stack.weights(0).items())


def test_its_replicas_are_not_stacked() -> None:
    assert not FAMILIES.load("lstm").stackable
