"""The `word2vec` network: two tables of vectors, the words that were counted, and what can be read off them.

Shapes: B batch, T new positions, D width, V vocabulary, M selected positions, N pairs, K negatives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from emergence.models.fingerprint import fingerprint
from emergence.models.products import linear
from emergence.models.state_cache import StateCache

if TYPE_CHECKING:
    from emergence.models.cache import Tree
    from emergence.models.family import Reads
    from emergence.models.word2vec import Word2VecConfig

__all__ = ["Word2VecNetwork"]

NOISE_POWER = 0.75  # of the count of a word, in how often it is drawn (Mikolov et al. 2013, section 2.2)
QUESTION = 6  # tokens of a : b = c :
SHARPNESS = 20.0  # of the softmax over cosines, which is only there to make probabilities of them


class Word2VecNetwork(nn.Module):
    """Token ids [B, T] in, next-token logits [B, T, V] out.

    After training, ``u_o · v_c`` is ``ln p(o | c) - ln(K q(o))``, with q how often a word is drawn as a negative (Levy
    and Goldberg 2014, NIPS 27). So the logit of word o after word c is ``u_o · v_c + ln q(o)``: a prediction from the
    last word alone, of what stands around it. Behind a question ``a:b=c:`` logits are cosines with ``b - a + c``, its
    own three words left out (Mikolov et al. 2013, NAACL; Levy and Goldberg 2014, CoNLL, "3CosAdd").
    """

    reads: Reads = "causal"
    maskable = False
    position_bytes = 0

    def __init__(self, config: Word2VecConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.company_embedding = nn.Embedding(config.vocabulary, config.width)
        self.register_buffer("counts", torch.zeros(config.vocabulary, dtype=torch.int64))
        self.counts: torch.Tensor
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, 1 / math.sqrt(config.width), generator=generator)
            self.company_embedding.weight.zero_()  # as in the authors' code: no word is near another yet

    def noise(self) -> torch.Tensor:
        """Return how often each word is drawn as a negative, [V]: by its count to the power `NOISE_POWER`."""
        weights = self.counts.float().pow(NOISE_POWER)
        return weights / weights.sum().clamp(min=1e-9)

    def pair_losses(self, words_N: torch.Tensor, company_N: torch.Tensor, negatives_NK: torch.Tensor) -> torch.Tensor:
        """Return the loss of every pair, [N] in nats: ``-ln σ(u_o · v_c) - Σ_k ln σ(-u_k · v_c)``.

        Mikolov et al. 2013 (arXiv 1310.4546), equation 4.
        """
        v_ND = self.embedding(words_N)
        near_N = (self.company_embedding(company_N) * v_ND).sum(dim=-1)
        far_NK = torch.bmm(self.company_embedding(negatives_NK), v_ND[:, :, None])[..., 0]
        return -(F.logsigmoid(near_N) + F.logsigmoid(-far_NK).sum(dim=-1))

    def forward(
        self, ids: torch.Tensor, cache: StateCache | None = None, select: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits [B, T, V]; with a cache the ids continue what was read before.

        ``select`` [M] names flat positions b T + t; then only their logits are computed, [M, V].
        """
        B, T = ids.shape
        before = ids.new_full((B, QUESTION - 1), -1) if cache is None else cache.states[0]
        whole = torch.cat([before, ids], dim=1)
        if cache is not None:
            cache.states = [whole[:, 1 - QUESTION :]]
        seen_MQ = whole.unfold(1, QUESTION, 1).reshape(B * T, QUESTION)
        if select is not None:
            seen_MQ = seen_MQ[select]
        logits_MV = linear(self.embedding(seen_MQ[:, -1]), self.company_embedding.weight)
        logits_MV = logits_MV + torch.log(self.noise().clamp(min=1e-9))
        asked_M = self._asked(seen_MQ)
        if asked_M.any():
            logits_MV[asked_M] = self._analogies(seen_MQ[asked_M])
        return logits_MV if select is not None else logits_MV.view(B, T, -1)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return the vectors of the words, [B, T, D]."""
        read: torch.Tensor = self.embedding(ids_BT)
        return read

    def _asked(self, seen_MQ: torch.Tensor) -> torch.Tensor:
        """Say which positions stand behind a question."""
        if self.config.question is None:
            return torch.zeros(len(seen_MQ), dtype=torch.bool)
        colon, equals = self.config.question
        return (seen_MQ[:, 1] == colon) & (seen_MQ[:, 3] == equals) & (seen_MQ[:, 5] == colon) & (seen_MQ[:, 0] >= 0)

    def _analogies(self, seen_MQ: torch.Tensor) -> torch.Tensor:
        unit_VD = F.normalize(self.embedding.weight, dim=1)
        words = seen_MQ[:, [0, 2, 4]]
        a, b, c = unit_VD[words].unbind(dim=1)
        logits_MV = SHARPNESS * linear(F.normalize(b - a + c, dim=1), unit_VD)
        return logits_MV.scatter(1, words, -SHARPNESS)

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        return self.embedding.weight.device

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self.state_dict(), repr(self.config))

    def new_cache(
        self, batch: int, length: int, *, prefix: StateCache | None = None, tree: Tree | None = None
    ) -> StateCache:
        """Return the last tokens [B, 5] of ``batch`` rows that continue the shared prefix; -1 where there is none."""
        empty = torch.full((1, QUESTION - 1), -1, dtype=torch.long, device=self.device)
        return StateCache.beginning(batch, (empty,), prefix)
