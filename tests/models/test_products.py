"""Products equal torch's own, with derivatives, whichever library makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from emergence.core import processor
from emergence.models import products
from emergence.models.products import Affine, linear

LARGE = {"N": 96, "D": 80, "M": 240}  # above the least work for oneDNN


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "uses_onednn", lambda: True)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("shape", [(96, 80, 240), (96, 240, 80), (3 * 64, 80, 80), (2, 3, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_and_its_derivatives_are_those_of_torch(shape: tuple[int, int, int], bias: bool) -> None:
    N, D, M = shape
    x, weight = drawn(N // 2, 2, D), drawn(M, D, seed=1)
    b = drawn(M, seed=2) if bias else None
    inputs = [t for t in (x, weight, b) if t is not None]
    along = drawn(N // 2, 2, M, seed=3).detach()
    ours, reference = linear(x, weight, b), F.linear(x, weight, b)
    torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-5)
    found = torch.autograd.grad((ours * along).sum(), inputs)
    expected = torch.autograd.grad((reference * along).sum(), inputs)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, b), reference, atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("onednn")
def test_only_large_float32_products_go_to_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *args: calls.append(args[0].shape) or real(*args))
    N, D, M = LARGE.values()
    with torch.no_grad():
        layer = Affine(D, M)
        layer(torch.ones(N, D))
        layer(torch.ones(1, D))
        linear(torch.ones(N, D, dtype=torch.float64), torch.ones(M, D, dtype=torch.float64))
        linear(torch.ones(2, N, D), torch.ones(2, M, D))
    assert calls == [(N, D)]


def test_stacked_products_are_those_of_each_replica() -> None:
    x, weight = drawn(3, 5, 7, 8), drawn(3, 6, 8, seed=1)
    for s in range(3):
        torch.testing.assert_close(linear(x, weight)[s], F.linear(x[s], weight[s]))


@pytest.mark.parametrize(
    ("vendor", "flags", "held_back"),
    [
        ("AuthenticAMD", "fpu avx2 avx512f avx512bw", True),
        ("GenuineIntel", "fpu avx2 avx512f", False),
        ("AuthenticAMD", "fpu avx2", False),
    ],
)
def test_the_choice_follows_from_the_processor(
    vendor: str, flags: str, held_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\nvendor_id\t: other\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: described)
    assert processor.mkl_holds_back.__wrapped__() is held_back


def test_a_machine_that_does_not_say_keeps_to_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor.mkl_holds_back.__wrapped__() is False
