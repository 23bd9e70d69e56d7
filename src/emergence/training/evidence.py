r"""The objective of a variational sentence model: reconstruct a row through its latent vector.

.. math:: -\log p(x) \le -E_{q(z|x)} \log p(x|z) + KL(q(z|x) \| N(0, I))

Source: Kingma and Welling 2014, arXiv 1312.6114, eq. 3; for sentences Bowman et al. 2016, arXiv 1511.06349. The right
side is the negative evidence lower bound: reconstruction and divergence, in nats.

A row is one sentence: what stands from its first token to its last supervised one. Shapes: B rows, T positions, M
positions that count, Z latent dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from emergence.training.batch import Batch
from emergence.training.objectives import Noise

__all__ = ["EVIDENCE_BOUND", "EvidenceBound", "gaussian_kl"]


def gaussian_kl(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    r"""Return the divergence from N(0, 1) of each Gaussian, in nats (Kingma and Welling 2014, appendix B).

    .. math:: \frac{1}{2} (\mu^2 + \sigma^2 - 1 - \log \sigma^2)
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


class EvidenceBound:
    """The negative evidence lower bound per token, every row with the same weight, kept from collapsing.

    Two measures against a decoder that ignores the latent: the weight of the divergence rises from zero over the first
    ``config.annealing`` warmups of the learning rate (Bowman et al. 2016, section 3.1; here in a straight line), and
    each latent dimension has ``config.free_bits`` nats for nothing, in the mean over the rows of a batch (Kingma et al.
    2016, arXiv 1606.04934, eq. 15). Held-out rows know neither: their loss is the bound itself.
    """

    def losses(self, network: Any, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the mean over rows of ``(reconstruction + weight * divergence) / tokens``, with one latent drawn for
        each row; the divergence is at least that of the free bits."""
        reconstruction, kl_Z, free = self.parts(network, batch, noise)
        weight = min(1.0, batch.warmups / network.config.annealing) if network.config.annealing else 1.0
        total: torch.Tensor = reconstruction + weight * kl_Z.clamp(min=free).sum()
        return total

    def parts(self, network: Any, batch: Batch, noise: Noise) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return the mean over rows of the reconstruction and of the divergence [Z], per token, and the free bits in
        that measure."""
        B, T = batch.inputs.shape
        select = torch.arange(B * T) if batch.select is None else batch.select
        ids_BT, visible_BT = _sentences(batch.inputs, batch.targets, select)
        mean_BZ, log_variance_BZ = network.encode(ids_BT, visible_BT)
        latent_BZ = _draw(mean_BZ, log_variance_BZ, noise())
        logits_MV = network(batch.inputs, latent_BZ, select=select)
        logprobs_M = logits_MV.log_softmax(dim=-1).gather(1, batch.targets[:, None])[:, 0]
        counts_B = torch.bincount(select // T, minlength=B)
        share_B = (counts_B > 0) / counts_B.clamp(min=1) / B
        kl_Z = share_B @ gaussian_kl(mean_BZ, log_variance_BZ)
        return -(logprobs_M * batch.weights).sum(), kl_Z, network.config.free_bits * float(share_B.sum())

    def held_out(
        self, network: Any, inputs_BT: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor, noise: Noise
    ) -> tuple[dict[str, float], int]:
        """Return the summed reconstruction and divergence of held-out rows, and their number of tokens."""
        select, targets_M = mask_BT.flatten().nonzero()[:, 0], targets_BT[mask_BT]
        mean_BZ, log_variance_BZ = network.encode(*_sentences(inputs_BT, targets_M, select))
        latent_BZ = _draw(mean_BZ, log_variance_BZ, noise())
        lost = F.cross_entropy(network(inputs_BT, latent_BZ, select=select), targets_M, reduction="sum")
        kl_B = gaussian_kl(mean_BZ, log_variance_BZ).sum(dim=1)
        return {"reconstruction": float(lost), "kl": float(kl_B[mask_BT.any(dim=1)].sum())}, len(targets_M)


def _draw(mean_BZ: torch.Tensor, log_variance_BZ: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return one latent of each row, with a gradient (Kingma and Welling 2014, section 2.4)."""
    noise_BZ = torch.randn(mean_BZ.shape, generator=generator)
    return mean_BZ + (0.5 * log_variance_BZ).exp() * noise_BZ


def _sentences(
    inputs_BT: torch.Tensor, targets_M: torch.Tensor, select: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the encoder reads, the tokens that follow those the decoder reads, and which of them are the
    sentence: all up to the last that counts."""
    ids_BT = inputs_BT.roll(-1, dims=1)
    ids_BT.view(-1)[select] = targets_M  # the one after the last input too, where it counts
    counts_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    counts_BT.view(-1)[select] = True
    visible_BT = counts_BT.flip(1).cumsum(dim=1).flip(1) > 0
    visible_BT[:, 0] = True  # attention over nothing is undefined
    return ids_BT, visible_BT


EVIDENCE_BOUND = EvidenceBound()
