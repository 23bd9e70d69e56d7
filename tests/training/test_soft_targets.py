"""The loss of distillation against its formula and its limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.training.soft_targets import distillation_loss


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def question(leading: tuple[int, ...], M: int, V: int, seed: int) -> tuple[torch.Tensor, ...]:
    student, teacher = drawn(*leading, M, V, seed=seed), 3 * drawn(*leading, M, V, seed=seed + 1)
    targets = torch.randint(V, (*leading, M), generator=torch.Generator().manual_seed(seed))
    return student, teacher, targets, drawn(*leading, M, seed=seed + 2).softmax(dim=-1)


@settings(max_examples=30, deadline=None)
@given(
    leading=st.sampled_from([(), (3,)]),
    M=st.integers(1, 5),
    V=st.integers(2, 9),
    T=st.floats(0.1, 20),
    w=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_it_is_the_formula(leading: tuple[int, ...], M: int, V: int, T: float, w: float, seed: int) -> None:
    student, teacher, targets, weights = question(leading, M, V, seed)
    hard = F.cross_entropy(student.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)
    p, log_q = (teacher / T).softmax(dim=-1), (student / T).log_softmax(dim=-1)
    soft = F.kl_div(log_q, p, reduction="none").sum(dim=-1)
    expected = (weights * ((1 - w) * hard + w * T**2 * soft)).sum(dim=-1)
    found = distillation_loss(student, teacher, targets, weights, T, w)
    assert found.shape == leading
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("leading", [(), (2,)])
def test_without_weight_it_is_the_cross_entropy_exactly(leading: tuple[int, ...]) -> None:
    student, teacher, targets, weights = question(leading, 7, 5, 3)
    plain = -(student.log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0] * weights).sum(dim=-1)
    assert torch.equal(distillation_loss(student, teacher, targets, weights, 4.0, 0.0), plain)
    assert torch.equal(distillation_loss(student, None, targets, weights, 4.0, 0.0), plain)


def test_hot_it_is_the_squared_difference_of_centred_logits() -> None:
    """Hinton et al. 2015, section 2.1: at high temperature T^2 KL goes to |z - v|^2 / 2V for logits of mean zero."""
    student, teacher, targets, weights = question((), 4, 6, 8)
    centred = [logits - logits.mean(dim=-1, keepdim=True) for logits in (student, teacher)]
    expected = (weights * (centred[0] - centred[1]).square().sum(dim=-1) / (2 * 6)).sum()
    found = [float(distillation_loss(student, teacher, targets, weights, T, 1.0) / expected) for T in (30, 300, 3000)]
    assert found[2] == pytest.approx(1, abs=3e-3)
    assert abs(found[0] - 1) > abs(found[1] - 1) > abs(found[2] - 1)


def test_the_gradient_is_that_of_the_paper() -> None:
    """Equation 2: dC/dz_i = (q_i - p_i) / T; here times T^2."""
    student, teacher, targets, weights = question((), 3, 5, 2)
    student.requires_grad_()
    teacher.requires_grad_()
    (distillation_loss(student, teacher, targets, weights, 2.5, 1.0)).backward()
    expected = 2.5 * weights[:, None] * ((student / 2.5).softmax(-1) - (teacher / 2.5).softmax(-1))
    torch.testing.assert_close(student.grad, expected.detach())
    assert teacher.grad is None


def test_a_student_that_agrees_has_nothing_to_learn() -> None:
    student, _, targets, weights = question((2,), 6, 9, 1)
    student.requires_grad_()
    loss = distillation_loss(student, student.detach().clone(), targets, weights, 3.0, 1.0)
    assert torch.equal(loss, torch.zeros(2, dtype=torch.float64))
    loss.sum().backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-16


def test_a_teacher_may_be_certain() -> None:
    """Rules and n-grams rule tokens out: log 0 is no number, but nothing is learnt from it."""
    student, targets, weights = drawn(1, 3).requires_grad_(), torch.tensor([1]), torch.ones(1, dtype=torch.float64)
    teacher = torch.tensor([[-math.inf, 0.0, -math.inf]], dtype=torch.float64)
    loss = distillation_loss(student, teacher, targets, weights, 1.0, 1.0)
    torch.testing.assert_close(loss, F.cross_entropy(student, targets))
    loss.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_padding_of_the_teachers_table_does_not_count() -> None:
    student, teacher, targets, weights = question((), 4, 6, 5)
    wide = torch.cat([teacher, 9 * drawn(4, 3)], dim=-1)
    found = [distillation_loss(student, logits, targets, weights, 2.0, 0.7) for logits in (teacher, wide)]
    assert torch.equal(*found)
    with pytest.raises(ValueError, match="knows 5 tokens"):
        distillation_loss(student, teacher[:, :5], targets, weights, 2.0, 0.7)
    with pytest.raises(ValueError, match="logits"):
        distillation_loss(student, None, targets, weights, 2.0, 0.7)
