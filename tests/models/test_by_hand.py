"""The `numpy` family: gradients against finite differences and torch, the update against torch, the ladder."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.by_hand import ByHandConfig, size_for
from emergence.models.by_hand_network import ByHandNetwork, Floats, Ints, Weights, forward
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.training.batch import collate
from emergence.training.by_hand import Adam, clip_to, loss_and_gradients
from emergence.training.data import Draw
from emergence.training.learners import Learner, make_learner

SMALL = ByHandConfig(vocabulary=11, context=24, window=3, embedding=4, hidden=6)


def random_weights(dtype: type = np.float64) -> Weights:
    """Weights that are nowhere zero."""
    rng = np.random.default_rng(1)
    shapes = {name: w.shape for name, w in network().weights.items()}
    return {name: rng.normal(0, 0.6, shape).astype(dtype) for name, shape in shapes.items()}


def questions(dtype: type = np.float64) -> tuple[Ints, Ints, Floats]:
    """Windows (tokens repeat, and some begin before the row), what followed them, and their shares in the loss."""
    rng = np.random.default_rng(2)
    windows_MK = rng.integers(0, 11, (9, 3))
    windows_MK[0], windows_MK[1, :2], windows_MK[2] = 11, 11, [4, 4, 4]
    return windows_MK, rng.integers(0, 11, 9), rng.dirichlet(np.ones(9)).astype(dtype)


def network(config: ByHandConfig = SMALL, seed: int = 0) -> ByHandNetwork:
    built: ByHandNetwork = build_network("numpy", config, torch.Generator().manual_seed(seed))
    return built


def learned() -> ByHandNetwork:
    """A network with logits large enough to differ."""
    built = network()
    built.weights = random_weights(np.float32)
    return built


def test_gradients_equal_central_finite_differences() -> None:
    """(f(w + e) - f(w - e)) / 2 e for every weight, one after the other, in double precision."""
    weights, asked = random_weights(), questions()
    _, found = loss_and_gradients(weights, *asked)
    step = 1e-5
    for name, values in weights.items():
        expected = np.empty_like(values)
        for place in np.ndindex(values.shape):
            kept = values[place]
            around = []
            for moved in (kept + step, kept - step):
                values[place] = moved
                around.append(loss_and_gradients(weights, *asked)[0])
            values[place] = kept
            expected[place] = (around[0] - around[1]) / (2 * step)
        np.testing.assert_allclose(found[name], expected, atol=1e-6, rtol=0, err_msg=name)
        assert np.abs(expected).max() > 1e-3  # there was something to be found


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_gradients_equal_those_of_torch(dtype: type, tolerance: float) -> None:
    weights, (windows_MK, targets_M, shares_M) = random_weights(dtype), questions(dtype)
    loss, found = loss_and_gradients(weights, windows_MK, targets_M, shares_M)
    w = {name: torch.from_numpy(values.copy()).requires_grad_() for name, values in weights.items()}
    x = torch.nn.functional.embedding(torch.from_numpy(windows_MK), w["embedding"]).flatten(1)
    logits = torch.tanh(x @ w["hidden.weight"] + w["hidden.bias"]) @ w["output.weight"] + w["output.bias"]
    each = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets_M), reduction="none")
    total = (each * torch.from_numpy(shares_M)).sum()
    total.backward()
    assert loss == pytest.approx(float(total.detach()), abs=tolerance)
    np.testing.assert_allclose(forward(weights, windows_MK)[0], logits.detach().numpy(), atol=tolerance, rtol=0)
    for name, tensor in w.items():
        assert tensor.grad is not None
        assert found[name].dtype == dtype
        np.testing.assert_allclose(found[name], tensor.grad.numpy(), atol=tolerance, rtol=0, err_msg=name)


def test_clipping_and_updates_equal_those_of_torch() -> None:
    rng = np.random.default_rng(3)
    weights = random_weights()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(values.copy())) for name, values in weights.items()}
    decaying = [theirs[name] for name in ("hidden.weight", "output.weight")]
    others = [p for name, p in theirs.items() if name not in ("hidden.weight", "output.weight")]
    optimiser = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}],
        betas=Adam.BETAS,
        eps=Adam.EPSILON,
    )
    adam = Adam(weights)
    for step in range(20):
        gradients = {name: rng.normal(0, 0.05 * (step % 3), values.shape) for name, values in weights.items()}
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        torch.nn.utils.clip_grad_norm_(theirs.values(), 0.5)
        clip_to(gradients, 0.5)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 / (step + 1)
        optimiser.step()
        adam.update(weights, gradients, 0.01 / (step + 1), 0.2)
    for name, parameter in theirs.items():
        np.testing.assert_allclose(weights[name], parameter.detach().numpy(), atol=1e-9, rtol=0)


@given(parameters=st.floats(1e3, 2e8), vary=st.sampled_from(["both", "width"]))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float, vary: Vary) -> None:
    config = size_for(parameters, 100, 64, vary)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05


def test_the_ladder_grows_in_width() -> None:
    configs = ladder("numpy", [3e3, 3e4, 3e5], vocabulary=65, context=64)
    assert [c.window for c in configs] == [8] * 3
    for small, large in pairwise(configs):
        assert large.hidden > 2 * small.hidden
        assert large.embedding > 2 * small.embedding
    assert size_for(3e3, 65, 5).window == 5


@pytest.mark.parametrize(
    ("size", "vary", "said"), [(1e4, "depth", "both or width"), (4.0, "both", "the nearest has 9")]
)
def test_sizes_out_of_reach_say_what_is_possible(size: float, vary: Vary, said: str) -> None:
    with pytest.raises(UserError, match=said):
        size_for(size, 50, 32, vary)


@pytest.mark.parametrize("size", [3e3, 3e5])
def test_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    weights = network(config).weights
    assert sum(values.size for values in weights.values()) == config.parameters
    assert sum(weights[name].size for name in ("hidden.weight", "hidden.bias")) == config.non_embedding_parameters
    matrices = sum(weights[name].size for name in ("hidden.weight", "output.weight"))
    assert config.forward_flops(7, 32) == 7 * 2 * matrices
    assert config.forward_flops(7, 32, 3) == 3 * 2 * matrices


def test_a_window_begins_before_its_row_and_ends_with_its_token() -> None:
    net = learned()
    expected = [[11, 11, 4], [11, 4, 7], [4, 7, 7], [7, 7, 2]]
    logits = net(torch.tensor([[4, 7, 7, 2]]))[0].numpy()
    np.testing.assert_allclose(logits, forward(net.weights, np.array(expected))[0], rtol=1e-5)


def test_reading_in_pieces_is_reading_whole() -> None:
    net, ids = learned(), torch.randint(0, 11, (3, 12), generator=torch.Generator().manual_seed(0))
    cache = net.new_cache(3, 12)
    pieces = torch.cat([net(ids[:, :5], cache), net(ids[:, 5:6], cache), net(ids[:, 6:], cache)], dim=1)
    torch.testing.assert_close(pieces, net(ids), atol=1e-5, rtol=1e-5)
    select = torch.tensor([4, 0, 30])
    torch.testing.assert_close(net(ids, select=select), net(ids).flatten(0, 1)[select], atol=1e-5, rtol=1e-5)


def test_answers_do_not_depend_on_company() -> None:
    net, draw = learned(), np.random.default_rng(3)
    shared = draw.integers(0, 11, 9).tolist()
    asked = [(*shared[: draw.integers(1, 9)], *draw.integers(0, 11, draw.integers(1, 9)).tolist()) for _ in range(30)]
    scored = [ScoreRequest(prompt, (3, 5, 1)) for prompt in asked]
    written = [GenerateRequest(prompt, int(draw.integers(1, 9))) for prompt in asked]
    together = answer(net, [*scored, *written], end_id=0)
    for request, found in zip([*scored, *written], together, strict=True):
        (alone,) = answer(net, [request], end_id=0)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


def learn(config: ByHandConfig, distance: int, steps: int = 250) -> tuple[Learner, list[float]]:
    """Train on rows whose last token is the one that stands so many places before it."""
    rng = np.random.default_rng(0)
    learner = make_learner("numpy", config, [0], learning_rate=0.006, weight_decay=0.1, clip=1.0, stacked=False)
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, 10, (1, 32, distance + 1))
        rows[..., -1] = rows[..., 0]
        mask = np.zeros((1, 32, distance), dtype=np.bool_)
        mask[..., -1] = True
        (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([32]))], stacked=False)
        losses.append(float(learner.step(batch, 1.0)))
    return learner, losses


def test_it_learns_what_its_window_holds_and_nothing_older() -> None:
    config = size_for(5e3, 10, 16)
    before = network(config, 0).weights
    learner, losses = learn(config, distance=8)
    assert losses[0] == pytest.approx(math.log(10), abs=1e-6)
    assert np.mean(losses[-10:]) < 0.3
    weights = learner.weights(0)
    assert all(not np.array_equal(weights[name].numpy(), before[name]) for name in before)
    _, older = learn(config, distance=9)
    assert np.mean(older[-10:]) > 2.0


def test_a_snapshot_is_gone_back_to() -> None:
    config = replace(SMALL, vocabulary=10)
    learner, _ = learn(config, distance=3, steps=5)
    kept, moments, before = learner.weights(0), learner.moments(0), learner.snapshot()
    rows = np.arange(8).reshape(1, 2, 4)
    draw = Draw(rows[..., :-1], rows[..., 1:], np.ones((1, 2, 3), dtype=np.bool_), np.array([6]))
    (batch,) = collate([draw], stacked=False)
    learner.step(batch, 1.0)
    assert not all(torch.equal(learner.weights(0)[name], kept[name]) for name in kept)
    learner.return_to(before)
    assert all(torch.equal(learner.weights(0)[name], kept[name]) for name in kept)
    assert all(torch.equal(learner.moments(0)[name], moments[name]) for name in moments)


def test_the_weights_of_another_size_are_refused() -> None:
    learner, _ = learn(replace(SMALL, vocabulary=10), distance=3, steps=1)
    other, _ = learn(replace(SMALL, vocabulary=10, hidden=7), distance=3, steps=1)
    with pytest.raises(UserError, match="another version"):
        learner.restore(1, [other.weights(0)], [other.moments(0)])


def test_its_replicas_are_not_stacked() -> None:
    assert not FAMILIES.load("numpy").stackable
