r"""What a teacher's probabilities are worth to a student: the loss of distillation.

Shapes: ... any leading dimensions (stacked replicas), M positions or examples, V vocabulary or classes.
"""

from __future__ import annotations

import torch

__all__ = ["distillation_loss"]

LEAST = -1e30  # stands for log 0, whose product with the probability 0 would be no number


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor | None,
    targets: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
    weight: float,
) -> torch.Tensor:
    r"""Return the loss of a student that learns from the right answers and from a teacher, in nats: a scalar, or one
    number for each leading dimension.

    .. math:: \sum_m a_m \left[ (1 - w) (-\log q_m(y_m)) + w T^2 \sum_v p_m^T(v) \log \frac{p_m^T(v)}{q_m^T(v)} \right]

    Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2. p and q are the softmax of teacher and student,
    with an exponent T of the logits divided by the ``temperature`` T; the factor T^2 keeps the size of the gradients
    when T changes. Where they differ: the paper has a cross-entropy with p, which differs by a constant; the divergence
    is 0 where both agree.

    ``student_logits`` and ``teacher_logits`` are [..., M, V], ``targets`` [..., M] the right tokens (or classes) and
    ``weights`` [..., M] the factors a, which usually sum to 1. ``weight`` is w: at 0 this is the weighted
    cross-entropy, and ``teacher_logits`` may be None. Of a teacher with more columns (padding of its table) the first V
    count. No gradient goes to the teacher. Raises ValueError where the teacher has fewer columns than the student, or
    no logits at w above 0.
    """
    loss = student_logits.new_zeros(())
    if weight < 1:
        logprobs = student_logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        loss = -(logprobs * weights).sum(dim=-1)
        if weight == 0:
            return loss
    if teacher_logits is None:
        raise ValueError("a teacher whose weight is above 0 has logits")
    columns = student_logits.shape[-1]
    if teacher_logits.shape[-1] < columns:
        raise ValueError(f"the teacher knows {teacher_logits.shape[-1]} tokens, its student {columns}")
    soft = (teacher_logits.detach()[..., :columns] / temperature).log_softmax(dim=-1)
    own = (student_logits / temperature).log_softmax(dim=-1)
    divergence = (soft.exp() * (soft.clamp(min=LEAST) - own)).sum(dim=-1)
    return (1 - weight) * loss + weight * temperature**2 * (divergence * weights).sum(dim=-1)
