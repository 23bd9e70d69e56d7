"""The hidden states of every network: what the head reads, whatever stands behind the end of a row."""

from __future__ import annotations

import pytest
import torch

from emergence.core.errors import UserError
from emergence.models.family import FAMILIES, build_network
from emergence.models.products import linear
from emergence.models.trunk import check_adaptable, depths, embedding_of, hidden_states, module_of

ADAPTABLE = ("gpt", "gpt2", "lstm", "mamba", "bert", "seq2seq", "vae", "word2vec")
VOCABULARY, CONTEXT = 40, 16


def network_of(family: str) -> torch.nn.Module:
    config = FAMILIES.load(family).size(20_000, VOCABULARY, CONTEXT, "both")
    network = build_network(family, config, torch.Generator().manual_seed(3))
    for name, weight in network.named_parameters():
        if weight.abs().max() == 0 and "bias" not in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(4))
    return network.eval()


@pytest.mark.parametrize("family", ADAPTABLE)
def test_what_stands_behind_the_end_of_a_row_is_of_no_consequence(family: str) -> None:
    network = network_of(family)
    ids = torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([12, 5, 1])
    states = hidden_states(network, ids, lengths)
    assert states.shape[:2] == (3, 12)
    for row, length in enumerate(lengths.tolist()):
        alone = hidden_states(network, ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(states[row, :length], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt", "mamba", "gpt2", "lstm"])
def test_the_head_turns_hidden_states_into_logits(family: str) -> None:
    network = network_of(family)
    ids = torch.randint(0, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))
    head = network.get_parameter("head.weight" if family in ("gpt", "mamba") else "embedding.weight")
    states = hidden_states(network, ids, torch.tensor([9, 9]))
    torch.testing.assert_close(linear(states, head), network(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ADAPTABLE)
def test_gradients_reach_the_embedding_through_the_hidden_states(family: str) -> None:
    network = network_of(family)
    ids = torch.arange(8)[None] + 1
    hidden_states(network, ids, torch.tensor([8])).square().sum().backward()
    table = embedding_of(network).weight
    assert table.grad is not None
    assert (table.grad[1:9].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("family", ADAPTABLE)
def test_every_parameter_lies_at_a_depth_between_tables_and_head(family: str) -> None:
    network = network_of(family)
    found = depths(network)
    assert set(found) == {name for name, _ in network.named_parameters()}
    assert found["embedding.weight"] == 0
    if family != "word2vec":
        blocks = {depth for name, depth in found.items() if "embedding" not in name}
        assert blocks >= set(range(1, network.config.depth + 1))


def test_families_without_gradients_are_refused() -> None:
    with pytest.raises(UserError, match="gpt, gpt2"):
        check_adaptable(object(), "counts")
    with pytest.raises(UserError, match="no parameters"):
        module_of(object())
