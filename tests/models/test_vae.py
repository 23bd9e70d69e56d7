"""The `vae` family: sizes, counts, the bound and its summands, what keeps the latent in use, and what it becomes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emergence.core.errors import UserError
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.vae import VAEConfig, size_for
from emergence.models.vae_network import VAENetwork
from emergence.training.batch import Batch, collate
from emergence.training.data import Draw
from emergence.training.evidence import EVIDENCE_BOUND, gaussian_kl
from emergence.training.schedule import Schedule
from emergence.training.stack import Stack

SMALL = VAEConfig(vocabulary=23, context=24, width=16, depth=2, heads=1, feed_forward=40, latent=5)


def network(config: VAEConfig = SMALL, seed: int = 0) -> VAENetwork:
    """A network whose every weight is random; those that start at zero would hide mistakes."""
    built: VAENetwork = build_network("vae", config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for weight in (built.head.weight, built.posterior.weight, built.posterior.bias):
            weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed + 1))
    return built.eval()


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def sentences(lengths: tuple[int, ...] = (12, 3, 24, 7), context: int = 24, seed: int = 0) -> Draw:
    """Rows with so many tokens that count, each."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 23, (1, len(lengths), context + 1))
    mask = np.arange(context) < np.array(lengths)[None, :, None]
    return Draw(rows[..., :-1], rows[..., 1:], mask, np.array([sum(lengths)]))


def batch_of(draw: Draw) -> Batch:
    (batch,) = collate([draw], stacked=False)
    return batch


def held_out(net: VAENetwork, draw: Draw) -> tuple[Any, int]:
    rows = (torch.from_numpy(part[0]) for part in (draw.inputs, draw.targets, draw.supervised))
    with torch.inference_mode():
        return EVIDENCE_BOUND.held_out(net, *rows, noise)


@given(parameters=st.floats(4e3, 2e8))
@settings(max_examples=100)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    config = size_for(parameters, 100, 64)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05


@pytest.mark.parametrize("vary", ["both", "width", "depth"])
def test_a_ladder_grows_along_its_dial_alone(vary: Vary) -> None:
    configs = ladder("vae", [3e5, 1.2e6, 4.8e6], vocabulary=50, context=32, vary=vary)
    assert (len({c.width for c in configs}) == 1) == (vary == "depth")
    assert (len({c.depth for c in configs}) == 1) == (vary == "width")
    assert len({c.latent for c in configs}) == 1


def test_a_size_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="ask for 4,000 or more"):
        size_for(500, 50, 32)


@pytest.mark.parametrize("size", [4e3, 5e4, 3e5])
def test_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("vae", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    embeddings = built.embedding.weight.numel() + built.head.weight.numel()
    assert total - embeddings == config.non_embedding_parameters


@pytest.mark.parametrize("predicted", [None, 17])
def test_flop_counts_are_those_that_torch_counts(predicted: int | None) -> None:
    B, T = 3, 20
    ids = torch.randint(0, 23, (B, T), generator=noise())
    select = None if predicted is None else torch.arange(predicted)
    net = network()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it does not count fused kernels
        mean, _ = net.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        net(ids, mean, select=select)
    assert counter.get_total_flops() == SMALL.forward_flops(B * T, T, predicted)


def test_a_training_step_costs_three_forward_passes() -> None:
    draw, net = sentences((24, 24, 24)), network().train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        EVIDENCE_BOUND.losses(net, batch_of(draw), noise).backward()
    assert counter.get_total_flops() == pytest.approx(3 * SMALL.forward_flops(72, 24), rel=1e-3)


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 40, 5, generator=noise()) * 2
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected, atol=1e-5, rtol=1e-5)


def test_the_encoder_sees_the_sentence_alone() -> None:
    net, ids = network(), torch.randint(0, 23, (2, 9), generator=noise())
    visible = torch.arange(9) < torch.tensor([[6], [9]])
    mean, log_variance = net.encode(ids, visible)
    alone = net.encode(ids[:1, :6], visible[:1, :6])
    torch.testing.assert_close(mean[:1], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_variance[:1], alone[1], atol=1e-5, rtol=1e-5)
    changed = ids.clone()
    changed[1, 8] = (changed[1, 8] + 1) % 23
    assert not torch.allclose(net.encode(changed, visible)[0][1], mean[1])  # it looks both ways


def test_reconstruction_and_divergence_sum_to_the_loss() -> None:
    """One row after the other, by hand, against the objective on all of them."""
    net, draw = network(dataclasses.replace(SMALL, free_bits=0.0)), sentences()
    batch = batch_of(draw)
    reconstruction, kl_Z, _ = EVIDENCE_BOUND.parts(net, batch, noise)
    whole = EVIDENCE_BOUND.losses(net, batch, noise)
    assert float((reconstruction + kl_Z.sum() - whole).detach()) == pytest.approx(0, abs=1e-6)
    z_noise = torch.randn(4, 5, generator=noise())
    losses, nats = [], {"reconstruction": 0.0, "kl": 0.0}
    for b, length in enumerate((12, 3, 24, 7)):
        ids = torch.from_numpy(draw.targets[0, b : b + 1, :length])
        mean, log_variance = net.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        z = mean + (log_variance / 2).exp() * z_noise[b]
        logits = net(torch.from_numpy(draw.inputs[0, b : b + 1, :length]), z)[0]
        lost = float(torch.nn.functional.cross_entropy(logits, ids[0], reduction="sum").detach())
        kl = float(kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum().detach())
        losses.append((lost + kl) / length)
        nats["reconstruction"] += lost
        nats["kl"] += kl
    assert float(whole.detach()) == pytest.approx(np.mean(losses), abs=1e-5)
    found, tokens = held_out(net, draw)
    assert tokens == 46
    assert found == pytest.approx(nats, rel=1e-5)


def test_annealing_follows_from_the_schedule_and_free_bits_from_the_divergence() -> None:
    schedule = Schedule(steps=400, warmup=0.05, decay=0.2, checkpoints=(400,))
    batch, bare = batch_of(sentences()), network(dataclasses.replace(SMALL, free_bits=0.0))
    reconstruction, kl_Z, _ = EVIDENCE_BOUND.parts(bare, batch, noise)
    for step, weight in ((0, 1 / 200), (99, 0.5), (199, 1.0), (399, 1.0)):
        moment = dataclasses.replace(batch, warmups=schedule.warmups(step))
        expected = reconstruction + weight * kl_Z.sum()
        torch.testing.assert_close(EVIDENCE_BOUND.losses(bare, moment, noise), expected, atol=1e-6, rtol=1e-6)
    branch = Schedule(steps=80, warmup=0.25, decay=0.2, checkpoints=(80,))  # as long a warmup, alone
    assert [branch.warmups(step) for step in range(80)] == [schedule.warmups(step) for step in range(80)]
    free = network(dataclasses.replace(SMALL, free_bits=50.0))
    _, kl_Z, floor = EVIDENCE_BOUND.parts(free, batch, noise)
    assert floor > float(kl_Z.max().detach())
    loss = EVIDENCE_BOUND.losses(free, batch, noise)
    assert float((loss - reconstruction).detach()) == pytest.approx(5 * floor, rel=1e-5)


def trained(config: VAEConfig, draws: Any, steps: int = 200) -> Stack:
    schedule = Schedule(steps=steps, warmup=0.02, decay=0.2, checkpoints=(steps,))
    stack = Stack("vae", config, [0], learning_rate=0.01, weight_decay=0.1, clip=1.0, stacked=False)
    for step in range(steps):
        batch = dataclasses.replace(batch_of(draws(step)), warmups=schedule.warmups(step))
        stack.step(batch, schedule.factor(step, steps), step)
    return stack


def wandering(step: int) -> Draw:
    """Rows whose next token is near the one before: a decoder needs no latent for most of it."""
    rng = np.random.default_rng([3, step])
    rows = (np.cumsum(rng.integers(-1, 2, (1, 32, 13)), axis=2) + rng.integers(0, 20, (1, 32, 1))) % 20
    mask = np.ones((1, 32, 12), dtype=np.bool_)
    return Draw(rows[..., :-1], rows[..., 1:], mask, np.array([32 * 12]))


def test_free_bits_and_annealing_keep_the_latent_in_use() -> None:
    config = size_for(6e3, 20, 12)
    nats = []
    for own in (config, dataclasses.replace(config, free_bits=0.0, annealing=0.0)):
        found, _ = held_out(trained(own, wandering).alone(0), wandering(10_000))  # type: ignore[arg-type]
        nats.append(found["kl"] / 32)
    kept, collapsed = nats
    assert kept > 2.0
    assert collapsed < kept / 4


def test_its_replicas_are_not_stacked_and_its_loss_is_a_bound() -> None:
    family = FAMILIES.load("vae")
    assert not family.stackable
    assert family.own_loss is not None
