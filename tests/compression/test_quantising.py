"""Weights rounded to few bits: how far they move, what they are stored in, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.compression.compressing import compress_network
from emergence.compression.packing import pack_bits, pack_sparse, unpack_bits, unpack_sparse
from emergence.compression.quantising import quantise
from emergence.core.compression_settings import Compression, CompressionSettings, compression
from emergence.core.errors import UserError
from tests.compression.networks import build, rows


@settings(max_examples=80, deadline=None)
@given(
    bits=st.sampled_from([8, 4, 3, 2]),
    group=st.sampled_from([None, 32, 64]),
    zero_point=st.booleans(),
    shift=st.floats(-3, 3),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]),
    seed=st.integers(0, 999),
)
def test_no_weight_moves_by_more_than_half_a_step(
    bits: int, group: int | None, zero_point: bool, shift: float, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(5, 128, generator=generator) + shift) * scale
    weight[0] = 0.0
    how = compression(method="quantised", bits=bits, group=group, zero_point=zero_point)
    codes = quantise(weight, how, "w")
    assert int(codes.codes.max()) < 2**bits
    steps = codes.steps.repeat_interleave(128 // codes.steps.shape[1], dim=1)
    assert ((codes.weight() - weight).abs() <= 0.5 * steps * (1 + 1e-5)).all()
    assert (codes.weight()[0] == 0).all()
    # The step is no wider than the range asks for.
    if not zero_point:
        assert (codes.steps[1:] * (2 ** (bits - 1) - 1) <= weight.abs().max() * (1 + 1e-6)).all()


def test_a_finer_group_and_a_zero_point_lose_less() -> None:
    weight = torch.rand(16, 128, generator=torch.Generator().manual_seed(0))  # none is negative
    weight[:, :32] *= 8

    def error(**how: object) -> float:
        return float((quantise(weight, compression(method="quantised", bits=4, **how), "w").weight() - weight).norm())

    assert error(group=32) < 0.6 * error()
    assert error(zero_point=True) < 0.6 * error()


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from([1, 2, 3, 4, 8]), M=st.integers(1, 7), D=st.integers(1, 19), seed=st.integers(0, 999))
def test_packed_codes_come_back_and_take_their_bits(bits: int, M: int, D: int, seed: int) -> None:
    shape = (M, D)
    codes = torch.randint(0, 2**bits, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    packed = pack_bits(codes, bits)
    assert packed.numel() == -(-codes.numel() * bits // 8)
    assert torch.equal(unpack_bits(packed, bits, shape), codes)


def test_two_codes_of_four_bits_share_a_byte() -> None:
    assert pack_bits(torch.tensor([3, 10]), 4).tolist() == [3 + 16 * 10]


@given(seed=st.integers(0, 999), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_sparse_matrix_comes_back_bit_for_bit(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 13, generator=generator)
    weight = torch.where(torch.rand(6, 13, generator=generator) < share, 0.0, weight)
    bitmap, values = pack_sparse(weight)
    assert bitmap.numel() == 10
    assert values.numel() == int((weight != 0).sum())
    back = unpack_sparse(bitmap, values, (6, 13))
    assert torch.equal(back.view(torch.int32), weight.view(torch.int32))


def test_bits_per_weight_count_steps_and_zero_points() -> None:
    network = build("bert", 60_000, context=8)
    matrices = {m.name: m for m in compress_network(network, compression(method="magnitude", sparsity=0.5)).matrices}
    sizes = {name: tuple(matrix.weight.shape) for name, matrix in matrices.items()}
    weights = sum(M * D for M, D in sizes.values())
    for bits in (8, 3):
        for zero_point in (False, True):
            how = compression(method="quantised", bits=bits, zero_point=zero_point)
            done = compress_network(build("bert", 60_000, context=8), how)
            outputs = sum(M for M, _ in sizes.values())
            expected = bits + (32 + bits * zero_point) * outputs / weights
            assert done.bits == pytest.approx(expected)
            every = network.config.parameters
            assert done.all_bits == pytest.approx((expected * weights + 32 * (every - weights)) / every)


def test_a_group_counts_once() -> None:
    weight = torch.randn(8, 128)
    codes = quantise(weight, compression(method="quantised", bits=4, group=64), "w")
    assert codes.steps.shape == (8, 2)


@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "lstm", "mamba"])
def test_eight_bits_hardly_move_the_logits(family: str) -> None:
    network, ids = build(family), torch.tensor(rows(4))
    with torch.no_grad():
        before = network(ids)
        coarse = build(family)
        compress_network(coarse, compression(method="quantised", bits=2))
        compress_network(network, compression(method="quantised", bits=8))
        error, coarsely = ((other(ids) - before).norm() / before.norm() for other in (network, coarse))
    assert 0 < error < 0.02
    assert coarsely > 10 * error


def test_tables_are_quantised_only_where_asked() -> None:
    plain, whole = build("gpt"), build("gpt")
    before = plain.embedding.weight.clone()
    compress_network(plain, compression(method="quantised", bits=4))
    done = compress_network(whole, compression(method="quantised", bits=4, embeddings=True))
    assert torch.equal(plain.embedding.weight, before)
    assert {"embedding.weight", "head.weight"} <= set(done.quantised)
    assert not torch.equal(whole.embedding.weight, before)
    tied = build("gpt2")
    assert (
        "embedding.weight" in compress_network(tied, compression(method="quantised", bits=4, embeddings=True)).quantised
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"method": "wanda"}, "needs a sparsity"),
        ({"method": "wanda", "sparsity": -0.1}, "above 0 and below 1"),
        ({"method": "magnitude", "sparsity": 1.0}, "above 0 and below 1"),
        ({"method": "magnitude", "sparsity": 0.0}, "above 0 and below 1"),
        ({"method": "magnitude", "sparsity": float("nan")}, "finite"),
        ({"method": "wanda-2:4", "sparsity": 0.6}, "keeps half"),
        ({"method": "wanda", "sparsity": 0.5, "bits": 4}, "belongs to the method quantised"),
        ({"method": "quantised"}, "8, 4, 3 or 2"),
        ({"method": "quantised", "bits": 5}, "8, 4, 3 or 2"),
        ({"method": "quantised", "bits": 1}, "8, 4, 3 or 2"),
        ({"method": "quantised", "bits": 4, "group": 48}, "32, 64 or 128"),
        ({"method": "quantised", "bits": 4, "sparsity": 0.5}, "no sparsity"),
        ({"method": "wandda", "sparsity": 0.5}, "unknown method 'wandda'"),
        ({"method": "wanda", "sparsity": 0.5, "zero_point": True}, "zero_point"),
    ],
)
def test_what_cannot_be_is_refused(how: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        compression(**how)


def test_a_group_that_does_not_divide_and_weights_without_end_are_refused() -> None:
    with pytest.raises(UserError, match="does not divide the 16 inputs"):
        compress_network(build("gpt"), compression(method="quantised", bits=4, group=32))
    with pytest.raises(UserError, match="not finite"):
        quantise(torch.tensor([[1.0, torch.inf]]), Compression(method="quantised", bits=4), "w")


def test_settings_of_a_study_name_every_level_once() -> None:
    settings = CompressionSettings(methods=("wanda", "wanda-2:4", "quantised"), sparsities=(0.5,), bits=(8, 2))
    assert [(how.method, how.level) for how in settings.levels] == [
        ("wanda", "0.5"),
        ("wanda-2:4", "0.5"),
        ("quantised", "8 bits"),
        ("quantised", "2 bits"),
    ]
    for wrong in ({"sparsities": (1.5,)}, {"bits": (7,)}, {"methods": ("wanda", "wanda")}, {"group": 5}):
        with pytest.raises(ValueError, match=r"sparsity|bits|twice|group"):
            CompressionSettings.model_validate(wrong)
