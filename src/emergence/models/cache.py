"""Keys and values of what a network has read: where the next tokens stand, and what they see.

Shapes: B rows, H heads, T new positions, S positions of one row so far, P positions of a prefix, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

__all__ = ["KeyValueCache", "Tree"]

LONG_STEM = 256  # tokens that all follow one another, from which attention without a mask saves time


@dataclass(frozen=True)
class Tree:
    """Rows whose tokens branch, in depth-first order: a token sees its ancestors and itself, nothing else of its row.

    ``depth`` [B, T] counts a token's ancestors in the row, ``end`` [B, T] is the index after its last descendant. Of
    every row the first ``stem`` tokens follow one another. Padding comes last, where nothing sees it; its end is T.
    """

    depth: torch.Tensor
    end: torch.Tensor
    stem: int

    def hidden(self, first: int = 0) -> torch.Tensor:
        """Say which tokens of its row [T] a token from ``first`` on does not see: [B, T - first, T]."""
        index_T = torch.arange(self.end.shape[1], device=self.end.device)
        asking = index_T[first:, None]
        return (index_T > asking) | (self.end[:, None, :] <= asking)


class KeyValueCache:
    """Keys and values of every block for rows that may differ in length, preallocated.

    Rows begin after ``prefix``, the cache of a single row, which they share: it is neither copied nor changed. With a
    ``tree`` the cache serves one pass, over rows that branch, and keeps nothing; ``length`` is 0 then, as it is for
    plain rows that nothing continues. ``heads`` are those of keys and values: a multiple of them may ask, as many after
    one another for each (grouped queries; Ainslie et al. 2023, arXiv 2305.13245).
    """

    def __init__(
        self,
        depth: int,
        batch: int,
        heads: int,
        length: int,
        head_width: int,
        like: torch.Tensor,
        *,
        prefix: KeyValueCache | None = None,
        tree: Tree | None = None,
    ) -> None:
        # Zeros, not just any numbers: what a mask hides still meets a weight of zero, and zero times NaN is NaN.
        self._store = like.new_zeros(depth, 2, batch, heads, length, head_width)
        self._like = like
        self._prefixes: tuple[KeyValueCache, ...] = () if prefix is None else (*prefix._prefixes, prefix)
        self._before = sum(earlier.places for earlier in self._prefixes)
        self._places: int | None = None  # none: as many as it holds
        self._tree = tree
        self._mask: torch.Tensor | None = None  # [1 or B, 1, T, S], of the pass under way
        self._set_counts(torch.zeros(batch, dtype=torch.long, device=like.device))

    def _set_counts(self, counts_B: torch.Tensor) -> None:
        self._counts_B = counts_B  # tokens that each row holds
        self._rows_B = torch.arange(len(counts_B), device=counts_B.device)
        self._longest = int(counts_B.max()) if len(counts_B) else 0
        self._even = bool((counts_B == self._longest).all())

    @classmethod
    def holding(cls, keys_values_LXHPK: torch.Tensor, places: int) -> KeyValueCache:
        """Return the cache of a single row that holds these keys and values [L, 2, H, P, K] of L blocks; what continues
        it stands behind ``places`` positions."""
        L, _, H, P, K = keys_values_LXHPK.shape
        held = cls(L, 1, H, 0, K, keys_values_LXHPK)
        held._store = keys_values_LXHPK.unsqueeze(2)
        held._set_counts(torch.full((1,), P, device=keys_values_LXHPK.device))
        held._places = places
        return held

    @property
    def places(self) -> int:
        """How many positions the longest row takes up."""
        return self._longest if self._places is None else self._places

    def positions(self, T: int) -> slice | torch.Tensor:
        """Return where the next T tokens stand in their sequences, [B, T] where rows differ; called once per pass.

        Rows of different length go on by one token at a time.
        """
        self._mask = self._hide(T)
        if self._tree is not None:
            return self._before + self._tree.depth
        if self._even:
            return slice(self._before + self._longest, self._before + self._longest + T)
        if T > 1:
            raise ValueError("rows of different length go on by one token at a time")
        return self._before + self._counts_B[:, None]

    def _hide(self, T: int) -> torch.Tensor | None:
        """Return minus infinity where new tokens must not look, or None where being causal is enough."""
        if self._tree is not None:
            hidden = self._tree.hidden(self._stem)[:, None]
        elif not self._even:
            index_S = torch.arange(self._longest + 1, device=self._like.device)
            hidden = (index_S > self._counts_B[:, None])[:, None, None]
        elif T > 1 and self._longest:
            hidden = self._like.new_ones(T, self._longest + T, dtype=torch.bool).triu(self._longest + 1)[None, None]
        else:
            return None
        return self._like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)

    @property
    def _stem(self) -> int:
        """How many of a tree's first tokens are read without a mask."""
        worth = self._tree is not None and self._tree.stem >= LONG_STEM and self._like.device.type == "cpu"
        return self._tree.stem if self._tree is not None and worth else 0

    def attend(self, block: int, q_BHTK: torch.Tensor, k_BHTK: torch.Tensor, v_BHTK: torch.Tensor) -> torch.Tensor:
        """Keep the keys and values of T new tokens and return what each mixes from those it sees, [B, H, T, K].

        The rows' own positions and every shared prefix are attended to apart, the prefix by the queries of all rows in
        one product. Two softmax averages over disjoint keys join into one by the weights ``exp(lse)`` of their
        log-sum-exp (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135).
        """
        B, H, T, K = q_BHTK.shape
        k_BHSK, v_BHSK = self._remember(block, k_BHTK, v_BHTK)
        s = self._stem
        if not s and not self._prefixes and k_BHSK.shape[1] == H:
            return F.scaled_dot_product_attention(
                q_BHTK, k_BHSK, v_BHSK, attn_mask=self._mask, is_causal=self._mask is None and T > 1
            )
        if s:
            stem = _attend(q_BHTK[:, :, :s], k_BHSK[:, :, :s], v_BHSK[:, :, :s])
            rest = _attend(q_BHTK[:, :, s:], k_BHSK, v_BHSK, self._mask)
            out, lse_BHT = (torch.cat(pair, dim=2) for pair in zip(stem, rest, strict=True))
        else:
            out, lse_BHT = _attend(q_BHTK, k_BHSK, v_BHSK, self._mask)
        if not self._prefixes:
            return out
        q_1HNK = q_BHTK.transpose(0, 1).reshape(1, H, B * T, K)
        for prefix in self._prefixes:
            k_1HPK, v_1HPK = prefix._store[block, :, :, :, : prefix._longest]
            other, other_lse = _attend(q_1HNK, k_1HPK, v_1HPK, causal=False)
            other_lse = other_lse.reshape(H, B, T).transpose(0, 1)
            out = out.lerp(other.reshape(H, B, T, K).transpose(0, 1), (other_lse - lse_BHT).sigmoid()[..., None])
            lse_BHT = torch.logaddexp(lse_BHT, other_lse)
        return out

    def _remember(self, block: int, k_BHTK: torch.Tensor, v_BHTK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values, unless nothing will continue them, and return all there are."""
        if not self._store.shape[4]:
            return k_BHTK, v_BHTK
        B, _, T, _ = k_BHTK.shape
        store = self._store[block, :, :B]
        end = self._longest + T
        for kept, new in zip(store, (k_BHTK, v_BHTK), strict=True):
            if self._even:
                kept[:, :, self._longest : end] = new
            else:
                kept[self._rows_B, :, self._counts_B] = new[:, :, 0]
        k_BHSK, v_BHSK = store[..., :end, :]
        return k_BHSK, v_BHSK

    def advance(self, T: int) -> None:
        """Count T tokens as read by every row; called once all blocks have attended."""
        if self._store.shape[4]:
            self._counts_B = self._counts_B + T
            self._longest += T

    def trim(self, lengths_B: torch.Tensor) -> None:
        """Of each row keep the first so many tokens; the rest was padding."""
        self._set_counts(lengths_B.to(self._counts_B.device))

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only the given rows, in that order; the memory of the others stays for rows to come."""
        rows = rows.to(self._counts_B.device)
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        self._store[:, :, moved, :, : self._longest] = self._store[:, :, rows[moved], :, : self._longest]
        self._set_counts(self._counts_B[rows])

    def append(self, other: KeyValueCache) -> None:
        """Take over the rows of another cache with the same prefix, behind the own; there must be room for them."""
        B, more = len(self._counts_B), len(other._counts_B)
        self._store[:, :, B : B + more, :, : other._longest] = other._store[:, :, :more, :, : other._longest]
        self._set_counts(torch.cat((self._counts_B, other._counts_B)))


def _attend(
    q_BHTK: torch.Tensor,
    k_BHSK: torch.Tensor,
    v_BHSK: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    causal: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softmax attention [B, H, T, K] and the log-sum-exp of its scores [B, H, T].

    Without a mask it is ``causal`` where there are as many keys as queries; with fewer queries they see all keys.
    """
    B, H, T, K = q_BHTK.shape
    causal = causal and mask is None and T > 1
    if k_BHSK.shape[1] < H:
        if T == 1 or (mask is None and not causal):  # queries that see the same keys need no copies of them
            q_BGNK = q_BHTK.reshape(B, k_BHSK.shape[1], -1, K)
            out, lse = _attend(q_BGNK, k_BHSK, v_BHSK, mask, causal=False)
            return out.reshape(B, H, T, K), lse.reshape(B, H, T)
        k_BHSK, v_BHSK = (x.repeat_interleave(H // x.shape[1], dim=1) for x in (k_BHSK, v_BHSK))
    if q_BHTK.device.type == "cpu":
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = fused(q_BHTK, k_BHSK, v_BHSK, is_causal=causal, attn_mask=mask)
        return out, lse
    scores = q_BHTK @ k_BHSK.transpose(2, 3) * q_BHTK.shape[3] ** -0.5
    if causal:
        mask = scores.new_full(scores.shape[-2:], -torch.inf).triu(1)
    scores = scores if mask is None else scores + mask
    lse = scores.logsumexp(dim=-1)
    return (scores - lse[..., None]).exp() @ v_BHSK, lse
