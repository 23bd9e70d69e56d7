"""Adapters of every method on networks of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.adapted import (
    CONTEXT,
    OWN,
    SETTINGS,
    answers,
    causal,
    ids_of,
    loss_of,
    network_of,
    own_network,
    seeded,
    train,
)

from emergence.core.adapter_settings import LoRASettings, PrefixSettings
from emergence.core.errors import UserError
from emergence.models.adapters import attach
from emergence.models.trunk import module_of

NETWORKS = (*OWN, "hf-llama", "hf-gpt2", "hf-bert", "hf-t5", "hf-mistral_sliding")
WITHOUT_PREFIX = ("lstm", "mamba", "hf-mamba", "hf-bloom")
PAIRS = [(n, m) for n in NETWORKS for m in SETTINGS if m != "prefix" or n not in WITHOUT_PREFIX]


def bits(network: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module_of(network).state_dict().items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_an_adapter_begins_where_the_network_is_learns_and_goes_without_a_trace(name: str, method: str) -> None:
    network = network_of(name)
    before, base, config = bits(network), network.fingerprint(), network.config
    expected = answers(network).detach()
    original = list(module_of(network).parameters())
    adapter = attach(network, SETTINGS[method], seeded(5))
    found = answers(network)
    if method == "prefix":
        assert not torch.equal(found, expected)
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert network.fingerprint() != base
    losses = train(network, adapter)
    assert losses[-1] < losses[0] - 0.02
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in original)
    trained = answers(network)
    assert not torch.allclose(trained, found, atol=1e-3)
    adapter.detach()
    assert_same(bits(network), before)
    assert network.fingerprint() == base
    assert network.config == config
    assert torch.equal(answers(network), expected)
    assert all(a is b for a, b in zip(_sorted(network), sorted(original, key=id), strict=True))
    assert all(parameter.requires_grad for parameter in module_of(network).parameters())


def _sorted(network: Any) -> list[torch.nn.Parameter]:
    return sorted(module_of(network).parameters(), key=id)


@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize("name", [*NETWORKS, "hf-mamba", "hf-bloom"])
def test_merged_weights_answer_as_the_adapter_did(name: str, method: str) -> None:
    network = network_of(name)
    keys = module_of(network).state_dict().keys()
    adapter = attach(network, SETTINGS[method], seeded(5))
    train(network, adapter, steps=4)
    expected = answers(network).detach()
    adapter.merge()
    assert module_of(network).state_dict().keys() == keys
    torch.testing.assert_close(answers(network).detach(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["bottleneck", "prefix"])
def test_what_is_no_change_of_weights_cannot_be_merged(method: str) -> None:
    network = own_network("gpt")
    adapter = attach(network, SETTINGS[method], seeded(5))
    with pytest.raises(UserError, match="cannot be merged"):
        adapter.merge()
    adapter.detach()


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_a_state_is_taken_over_by_another_adapter_of_the_same_settings(name: str, method: str) -> None:
    network = network_of(name)
    adapter = attach(network, SETTINGS[method], seeded(5))
    train(network, adapter, steps=3)
    state, expected = adapter.state(), answers(network).detach()
    assert list(state) == adapter.names
    assert sum(tensor.numel() for tensor in state.values()) == adapter.trainable_parameters
    adapter.detach()
    again = attach(network, SETTINGS[method], seeded(6))
    again.load_state(state)
    assert torch.equal(answers(network), expected)


def test_a_state_of_another_shape_is_refused() -> None:
    state = attach(own_network("gpt"), LoRASettings(rank=2), seeded(5)).state()
    with pytest.raises(UserError, match="another adapter"):
        attach(own_network("gpt"), LoRASettings(rank=3), seeded(5)).load_state(state)


@pytest.mark.parametrize("name", WITHOUT_PREFIX)
def test_networks_without_attention_have_no_prefix(name: str) -> None:
    network = network_of(name)
    before, expected = bits(network), answers(network)
    with pytest.raises(UserError, match=r"[Uu]se lora"):
        attach(network, SETTINGS["prefix"], seeded(5))
    assert_same(bits(network), before)
    assert torch.equal(answers(network), expected)


def test_networks_without_blocks_are_refused() -> None:
    network = own_network("word2vec")
    for method in SETTINGS:
        with pytest.raises(UserError, match="this model"):
            attach(network, SETTINGS[method], seeded(5))
        assert all(parameter.requires_grad for parameter in network.parameters())


def test_one_adapter_at_a_time() -> None:
    network = own_network("gpt")
    first = attach(network, SETTINGS["lora"], seeded(5))
    with pytest.raises(UserError, match=r"already \(lora\)"):
        attach(network, SETTINGS["bottleneck"], seeded(5))
    first.detach()
    attach(network, SETTINGS["bottleneck"], seeded(5))


@pytest.mark.parametrize(
    ("targets", "sites"),
    [
        (("qkv",), {"blocks.0.attention.qkv": 3}),
        (("q", "v"), {"blocks.0.attention.qkv": 2}),
        (("attention.out", "gate"), {"blocks.0.attention.out": 1, "blocks.0.feed_forward.gate": 1}),
        (("head",), {"head": 1}),
    ],
)
def test_targets_are_last_parts_of_names(targets: tuple[str, ...], sites: dict[str, int]) -> None:
    network = own_network("gpt")
    adapter = attach(network, LoRASettings(rank=2, targets=targets), seeded(5))
    assert {name[:-2] for name in adapter.names} == {
        site.replace(".0.", f".{i}.") for site in sites for i in range(network.config.depth)
    }
    for name, tensor in adapter.state().items():
        assert len(tensor) == sites[name[:-2].replace(f".{name.split('.')[1]}.", ".0.")]
    losses = train(network, adapter, steps=4)
    assert losses[-1] < losses[0]


def test_only_the_parts_of_a_fused_matrix_that_are_named_change() -> None:
    network = own_network("bert")
    before = network.blocks[0].qkv.weight.detach().clone()
    adapter = attach(network, LoRASettings(rank=2, targets=("q", "v")), seeded(5))
    train(network, adapter, steps=3)
    q, k, v = (network.blocks[0].qkv.weight.detach() - before).chunk(3)
    assert q.abs().max() > 0
    assert k.abs().max() == 0
    assert v.abs().max() > 0
    assert torch.linalg.matrix_rank(q) == 2


def test_unknown_and_tied_targets_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'gate'"):
        attach(own_network("gpt"), LoRASettings(targets=("gat",)), seeded(5))
    with pytest.raises(UserError, match="table of the embeddings"):
        attach(causal("gpt2"), LoRASettings(targets=("lm_head",)), seeded(5))


def test_the_share_counts_the_adapter_and_its_base() -> None:
    network = own_network("gpt2")
    total = sum(parameter.numel() for parameter in network.parameters())
    adapter = attach(network, SETTINGS["bottleneck"], seeded(5))
    D, M, depth = network.config.width, 4, network.config.depth
    assert adapter.trainable_parameters == depth * 2 * (2 * D * M + D + M)
    assert adapter.share == adapter.trainable_parameters / (adapter.trainable_parameters + total)


@pytest.mark.parametrize("name", ["gpt", "gpt2", "bert", "hf-llama"])
def test_tokens_behind_a_shifted_prefix_stand_later_and_the_context_is_shorter(name: str) -> None:
    network = network_of(name)
    context = network.config.context
    adapter = attach(network, PrefixSettings(length=5, shifted=True), seeded(5))
    assert network.config.context == context - 5
    shifted = answers(network).detach()
    network(ids_of(1, network.config.context))
    adapter.detach()
    assert network.config.context == context
    plain = attach(network, PrefixSettings(length=5), seeded(5))
    if name in ("gpt2", "bert"):  # where a position is something that is added, it makes a difference
        assert not torch.allclose(answers(network), shifted, atol=1e-3)
    assert loss_of(network) > 0
    plain.detach()
    with pytest.raises(UserError, match="leaves nothing"):
        attach(network, PrefixSettings(length=context, shifted=True), seeded(5))


@pytest.mark.parametrize("method", list(SETTINGS))
def test_rows_may_be_as_long_as_the_context(method: str) -> None:
    network = own_network("gpt")
    attach(network, SETTINGS[method], seeded(5))
    assert network(ids_of(2, CONTEXT)).shape == (2, CONTEXT, 40)


def test_bottlenecks_compute_their_formula() -> None:
    """Peft has none, so that the formula of Houlsby et al. is written out here, around the feed-forward of a block."""
    network = own_network("gpt2")
    adapter = attach(network, SETTINGS["bottleneck"], seeded(5))
    train(network, adapter, steps=3)
    state = {name.rpartition(".")[2]: t for name, t in adapter.state().items() if name.startswith("blocks.0.down.")}
    h = torch.randn(2, 5, network.blocks[0].down.in_features, generator=seeded(7))
    with torch.no_grad():
        plain = h @ network.blocks[0].down.weight.T + network.blocks[0].down.bias
        inner = plain @ state["down"].T + state["down_bias"]
        inner = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        expected = plain + inner @ state["up"].T + state["up_bias"]
        torch.testing.assert_close(network.blocks[0].down(h), expected)
