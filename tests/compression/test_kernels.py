"""Products in whole numbers: what they give, when they are used, and that a network with them is another network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import emergence as em
from emergence.compression.compressing import compress_network
from emergence.compression.kernels import LEAST_SIDE, LEAST_WORK, Int8Product, use_kernels, uses_int8
from emergence.compression.quantising import quantise
from emergence.core.compression_settings import compression
from emergence.models.family import build_network
from tests.compression.networks import build, rows
from tests.compression.test_stored import own

EIGHT = compression(method="quantised", bits=8)


def product(D: int, M: int, *, always: bool) -> Int8Product:
    """Return a product with drawn weights of 8 bits."""
    codes = quantise(torch.randn(M, D, generator=torch.Generator().manual_seed(0)), EIGHT, "w")
    bias = torch.nn.Parameter(torch.linspace(-1, 1, M))
    return Int8Product(torch.nn.Parameter(codes.weight()), bias, codes, always=always)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 1, 70)])
def test_a_product_is_that_of_rounded_inputs(shape: tuple[int, ...]) -> None:
    own_product = product(48, 33, always=True)
    x = torch.randn(*shape, 48, generator=torch.Generator().manual_seed(1))
    x[..., 0, :] = 0.0  # a row of zeros has no step
    steps = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127
    rounded = (x / steps).round() * steps
    expected = rounded.double() @ own_product.weight.double().T + own_product.bias.double()
    with torch.no_grad():
        torch.testing.assert_close(own_product(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_small_products_stay_in_float() -> None:
    chosen = product(LEAST_SIDE, LEAST_SIDE, always=False)
    few = torch.randn(LEAST_WORK // LEAST_SIDE**2 - 1, LEAST_SIDE)
    many = torch.randn(LEAST_WORK // LEAST_SIDE**2, LEAST_SIDE)
    with torch.no_grad():
        torch.testing.assert_close(chosen(few), few @ chosen.weight.T + chosen.bias, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(chosen(many), many @ chosen.weight.T + chosen.bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "mamba", "vae"])
def test_a_network_in_whole_numbers_answers_nearly_the_same(tmp_path: Path, family: str) -> None:
    own(family).compress(tmp_path / "small", "quantised", bits=8)
    plain, whole = em.load(tmp_path / "small"), em.load(tmp_path / "small", kernels="int8")
    assert uses_int8(whole.network)
    assert not uses_int8(plain.network)
    assert whole.network.fingerprint() != plain.network.fingerprint()
    if family != "vae":
        for count in (1, 200):
            ids = torch.tensor(rows(count))
            with torch.no_grad():
                expected, found = plain.network(ids), whole.network(ids)
            assert 0 < float((found - expected).norm() / expected.norm()) < 0.02
    for refused in (lambda: whole.export(tmp_path / "x"), lambda: whole.compress(tmp_path / "x", "quantised", bits=4)):
        with pytest.raises(em.UserError, match="kernels='float'"):
            refused()


def test_auto_leaves_small_matrices_alone(tmp_path: Path) -> None:
    own("gpt").compress(tmp_path / "small", "quantised", bits=8)
    assert not uses_int8(em.load(tmp_path / "small", kernels="auto").network)


def test_auto_takes_large_matrices_where_the_processor_can() -> None:
    config = replace(build("gpt2").config, width=LEAST_SIDE, heads=4, feed_forward=4 * LEAST_SIDE, depth=1)
    network = build_network("gpt2", config, torch.Generator().manual_seed(0)).eval()
    done = compress_network(network, EIGHT)
    use_kernels(network, done.quantised, "auto")
    assert uses_int8(network) == torch.cpu._is_vnni_supported()


def test_models_without_such_matrices_are_refused(tmp_path: Path) -> None:
    own("gpt").compress(tmp_path / "four", "quantised", bits=4)
    own("lstm").compress(tmp_path / "lstm", "quantised", bits=8)
    own("gpt").compress(tmp_path / "zero", "quantised", bits=8, zero_point=True)
    for name in ("four", "lstm", "zero"):
        with pytest.raises(em.UserError, match="kernels: int8 needs"):
            em.load(tmp_path / name, kernels="int8")
    with pytest.raises(em.UserError, match="unknown kernels 'int4'"):
        em.load(tmp_path / "four", kernels="int4")  # type: ignore[arg-type]
    own("gpt").export(tmp_path / "whole")
    with pytest.raises(em.UserError, match="is not compressed"):
        em.load(tmp_path / "whole", kernels="int8")
