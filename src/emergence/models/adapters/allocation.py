r"""AdaLoRA's budget (Zhang et al. 2023, arXiv 2303.10512): which singular values are kept while training goes on.

A triplet is one singular value with its two vectors. The importance of an entry w is the product of two moving averages
(equations 8 to 11), that of its sensitivity :math:`I = |w \, \partial L / \partial w|` and that of how far I lies from
its own average; the importance of a triplet is that of its value, plus the mean over either vector (equation 7). At
step t as many triplets are kept as

.. math:: b_t = b_T + (b_0 - b_T) (1 - (t - t_i) / (T - t_i - t_f))^3

says between the first t_i and the last t_f of T steps (equation 12), and the values of the others are set to zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from emergence.core.adapter_settings import AdaLoRASettings

if TYPE_CHECKING:
    from emergence.models.adapters.weights import LowRank

__all__ = ["Allocation", "budget"]

DECAY = 0.85  # of both averages, as published


def budget(step: int, first: int, last: int, warmup: int, steps: int, final: int) -> int:
    """Return how many triplets are kept after ``step`` of ``steps`` steps, of ``first`` at the start and ``last`` at
    the end."""
    if step <= warmup:
        return first
    if step >= steps - final:
        return last
    left = 1 - (step - warmup) / (steps - final - warmup)
    return int((first - last) * left**3 + last)


class Allocation:
    """The triplets of all adapted matrices, which compete with one another."""

    def __init__(self, added: list[LowRank], settings: AdaLoRASettings) -> None:
        self._added, self._settings = added, settings
        self._average: dict[str, torch.Tensor] = {}
        self._spread: dict[str, torch.Tensor] = {}
        self._kept: list[torch.Tensor] | None = None  # [C, r] of each matrix, once the distribution is fixed

    def penalty(self) -> torch.Tensor:
        r"""Return how far singular vectors are from orthogonal, times its weight.

        It is the mean of :math:`\|B^T B - I\|` and :math:`\|A A^T - I\|` over all matrices, Frobenius norms as in the
        authors' code and in `peft`; equation 4 has the sum of their squares, which grows with the model.
        """
        norms = []
        for low_rank in self._added:
            for gram in (low_rank.B.mT @ low_rank.B, low_rank.A @ low_rank.A.mT):
                one = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
                norms.append(torch.linalg.matrix_norm(gram - one))
        return self._settings.orthogonality * torch.cat(norms).mean()

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Note the importance of every entry from its gradient, and keep to the budget after ``step`` of ``steps``."""
        settings = self._settings
        warmup, final = int(settings.warmup * steps), int(settings.final * steps)
        if step > steps - final and self._kept is not None:
            self._take(self._kept)
            return
        self._notice()
        ends = step >= steps - final
        if ends or (step > warmup and step % settings.interval == 0):
            first = sum(low_rank.A.shape[0] * low_rank.A.shape[1] for low_rank in self._added)
            last = sum(low_rank.A.shape[0] * settings.target_rank for low_rank in self._added)
            kept = self._best(budget(step, first, last, warmup, steps, final))
            self._take(kept)
            if ends:
                self._kept = kept

    def _notice(self) -> None:
        """Bring the two averages of every entry up to date."""
        for low_rank in self._added:
            for name, weight in low_rank.named_parameters():
                if weight.grad is None:
                    continue
                key = f"{low_rank.site}.{name}"
                now = (weight * weight.grad).abs()
                average = self._average.setdefault(key, torch.zeros_like(now))
                average.lerp_(now, 1 - DECAY)
                self._spread.setdefault(key, torch.zeros_like(now)).lerp_((now - average).abs(), 1 - DECAY)

    def _importance(self, low_rank: LowRank, name: str) -> torch.Tensor:
        key = f"{low_rank.site}.{name}"
        if key not in self._average:
            return torch.zeros_like(low_rank.get_parameter(name))
        return self._average[key] * self._spread[key]

    def _best(self, count: int) -> list[torch.Tensor]:
        """Return which triplets [C, r] of each matrix are among the ``count`` most important ones."""
        scores = [
            self._importance(low_rank, "E")
            + self._importance(low_rank, "A").mean(dim=2)
            + self._importance(low_rank, "B").mean(dim=1)
            for low_rank in self._added
        ]
        flat = torch.cat([score.flatten() for score in scores])
        kept = torch.zeros_like(flat, dtype=torch.bool)
        kept[flat.argsort(descending=True, stable=True)[:count]] = True
        parts = torch.split(kept, [score.numel() for score in scores])
        return [part.view_as(score) for part, score in zip(parts, scores, strict=True)]

    def _take(self, kept: list[torch.Tensor]) -> None:
        for low_rank, mask in zip(self._added, kept, strict=True):
            assert low_rank.E is not None
            low_rank.E.masked_fill_(~mask, 0.0)
