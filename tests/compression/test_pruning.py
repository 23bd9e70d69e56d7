"""Which weights go: as many as asked, in the pattern asked, by the published score, each from what really comes in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.compression.compressing import compress_network
from emergence.compression.matrices import find_matrices, prepare_rows, read_rows
from emergence.compression.pruning import kept, wanda_scores
from emergence.core.compression_settings import compression
from emergence.core.errors import UserError
from emergence.models.layers import rms_normalise
from tests import tiny_huggingface
from tests.compression.networks import build, rows

FAMILIES = ("gpt", "gpt2", "bert", "lstm", "mamba", "seq2seq", "vae")


@settings(max_examples=50, deadline=None)
@given(
    M=st.integers(1, 9),
    D=st.integers(1, 33),
    share=st.floats(0.01, 0.99),
    method=st.sampled_from(["magnitude-row", "wanda"]),
    seed=st.integers(0, 99),
)
def test_every_row_loses_exactly_its_share_of_the_lowest(M: int, D: int, share: float, method: str, seed: int) -> None:
    # Few different scores, so that there are ties.
    scores = torch.randint(0, 4, (M, D), generator=torch.Generator().manual_seed(seed)).float()
    stay = kept(scores, compression(method=method, sparsity=share))
    assert ((~stay).sum(dim=1) == round(share * D)).all()
    for row, own in zip(scores, stay, strict=True):
        if own.any() and not own.all():
            assert row[own].min() >= row[~own].max()


def test_magnitude_takes_its_share_of_the_whole_matrix() -> None:
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
    stay = kept(weight, compression(method="magnitude", sparsity=0.5))
    assert stay.tolist() == [[False] * 4, [True] * 4]
    by_row = kept(weight, compression(method="magnitude-row", sparsity=0.5))
    assert by_row.tolist() == [[False, False, True, True]] * 2


@pytest.mark.parametrize(("method", "stay", "of"), [("magnitude-2:4", 2, 4), ("wanda-2:4", 2, 4), ("wanda-4:8", 4, 8)])
def test_a_pattern_keeps_the_best_of_every_group_of_neighbours(method: str, stay: int, of: int) -> None:
    scores = torch.rand(5, 48, generator=torch.Generator().manual_seed(0))
    mask = kept(scores, compression(method=method)).view(5, -1, of)
    assert (mask.sum(dim=-1) == stay).all()
    groups = scores.view(5, -1, of)
    assert (groups.masked_fill(~mask, 2.0).amin(dim=-1) > groups.masked_fill(mask, -1.0).amax(dim=-1)).all()


def test_a_pattern_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="30 do not divide"):
        kept(torch.ones(2, 30), compression(method="wanda-2:4"))


def test_wanda_loses_less_than_magnitude_where_inputs_differ_in_size() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(32, 64, generator=generator), torch.randn(200, 64, generator=generator)
    loud = torch.arange(64) % 4 == 0
    weight[:, loud] *= 0.3  # small weights of inputs far larger than the others
    x[:, loud] *= 30.0
    lost = {}
    for method, scores in (
        ("magnitude-row", weight.abs()),
        ("wanda", wanda_scores(weight, x.square().sum(dim=0))),
    ):
        stay = kept(scores, compression(method=method, sparsity=0.5))
        lost[method] = float((x @ (weight * ~stay).T).norm() / (x @ weight.T).norm())
        assert (float(stay[:, loud].float().mean()) > 0.8) == (method == "wanda")
    assert lost["wanda"] < 0.5 * lost["magnitude-row"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_wanda_is_the_plain_formula_on_what_hooks_see(family: str) -> None:
    """The published score, computed from the inputs that the pruned network's own modules are called with: those of a
    matrix depend on the matrices before it alone, and these are pruned."""
    network = _loaded(family)
    before = {name: weight.clone() for name, weight in network.module.named_parameters()}
    texts = rows(vocabulary=250)
    how = compression(method="wanda", sparsity=0.4)
    done = compress_network(network, how, texts)
    names = {matrix.name for matrix in done.matrices}
    assert names == {
        f"{name}.weight"
        for name, part in network.module.named_modules()
        if type(part).__name__ in ("Linear", "Conv1D") and part is not network.module.get_output_embeddings()
    }
    seen: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[name] = inputs[0].flatten(0, -2)

        return hook

    for name in names:
        network.module.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(note(name))
    with torch.no_grad():
        network(prepare_rows(network, texts, torch.Generator()))
    for matrix in done.matrices:
        weight = before[matrix.name].t() if matrix.transposed else before[matrix.name]
        score = weight.abs() * seen[matrix.name].norm(dim=0)
        gone = round(0.4 * weight.shape[1])
        threshold = score.sort(dim=1).values[:, gone - 1 : gone + 1]
        clear = threshold[:, 1] > threshold[:, 0] * 1.0001  # elsewhere the last digit decides
        assert clear.float().mean() > 0.9
        expected = torch.where(score <= threshold[:, :1], 0.0, weight)
        assert torch.equal(matrix.weight[clear], expected[clear])


@pytest.mark.parametrize("count", [1, 400])
def test_what_goes_into_a_matrix_is_told_whichever_way_the_scale_goes(count: int) -> None:
    """`gpt` multiplies the scale of a normalisation into the weights where there are more tokens than weights."""
    network = build("gpt")
    for block in network.blocks:
        block.attention.norm.weight.data.uniform_(0.5, 2.0)
    ids = torch.tensor(rows(count))
    seen = {}
    read_rows(network, ids, lambda parameter, x, _: seen.update({id(parameter): x}))
    attention = network.blocks[0].attention
    expected = rms_normalise(network.embedding(ids), attention.norm.epsilon) * attention.norm.weight
    torch.testing.assert_close(seen[id(attention.qkv.weight)], expected.flatten(0, 1).detach())


def test_both_inputs_of_every_lstm_layer_are_told() -> None:
    network = build("lstm", 60_000)
    assert network.config.depth > 1
    ids = torch.tensor(rows(3))
    seen = {}
    read_rows(network, ids, lambda parameter, x, _: seen.update({id(parameter): x}))
    D, own = network.config.width, network.layers
    x = network.embedding(ids) * D**0.5
    for layer in range(network.config.depth):
        single = torch.nn.LSTM(D, D, batch_first=True)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(single, f"{part}_l0").data = getattr(own, f"{part}_l{layer}").data
        torch.testing.assert_close(seen[id(getattr(own, f"weight_ih_l{layer}"))], x.flatten(0, 1).detach())
        x, _ = single(x)
        before = torch.cat((torch.zeros(3, 1, D), x[:, :-1]), dim=1)
        torch.testing.assert_close(seen[id(getattr(own, f"weight_hh_l{layer}"))], before.flatten(0, 1).detach())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["wanda", "magnitude"])
def test_all_matrices_of_a_family_are_pruned_and_nothing_else(family: str, method: str) -> None:
    network = build(family)
    before = copy.deepcopy(network.state_dict())
    done = compress_network(network, compression(method=method, sparsity=0.5), rows())
    names = {matrix.name for matrix in done.matrices}
    weights = {name for name, weight in network.named_parameters() if weight.dim() == 2}
    left_alone = weights - names
    assert all("embedding" in name or name == "head.weight" or "convolution" in name for name in left_alone)
    for name, weight in network.state_dict().items():
        if name not in names:
            assert torch.equal(weight, before[name])
            continue
        changed = weight != before[name]
        assert torch.equal(weight[changed], torch.zeros_like(weight[changed]))
        if method == "wanda":
            assert ((weight == 0).sum(dim=1) == round(0.5 * weight.shape[1])).all()
    assert done.sparsity == pytest.approx(0.5, abs=0.03)
    assert done.bits == pytest.approx(32 * (1 - done.sparsity) + 1)


def test_the_same_rows_prune_the_same() -> None:
    first, second = (build("bert") for _ in range(2))
    for network in (first, second):
        compress_network(network, compression(method="wanda", sparsity=0.3), rows(), seed=4)
    assert first.fingerprint() == second.fingerprint()


def test_wanda_without_rows_is_refused() -> None:
    with pytest.raises(UserError, match="calibrated on text"):
        compress_network(build("gpt"), compression(method="wanda", sparsity=0.5))
    with pytest.raises(UserError, match="does not know"):
        compress_network(build("gpt"), compression(method="wanda", sparsity=0.5), [[1, 2, 400]])


@pytest.mark.parametrize("family", ["ngram", "rules", "word2vec", "numpy"])
def test_a_network_without_matrices_is_refused(family: str) -> None:
    from emergence.models.family import FAMILIES as ALL

    spellings = [bytes([65 + i]) for i in range(30)]
    informed = ALL.load(family).informed
    config = ALL.load(family).size(8000, 30, 16, "both")
    config = informed(config, spellings, {}) if informed is not None else config
    from emergence.models.family import build_network

    network = build_network(family, config, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="no matrices to compress"):
        find_matrices(network)


def _loaded(family: str) -> Any:
    from emergence.models.huggingface_network import HuggingFaceConfig, HuggingFaceNetwork

    network = tiny_huggingface.build(family)
    return HuggingFaceNetwork(network, HuggingFaceConfig(family, 260, 96, 0, 0))
