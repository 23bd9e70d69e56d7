"""A causal network of transformers as a `LanguageModel`: its own layers, our attention and our cache.

Families that follow transformers' attention interface take their attention from a registered function. Ours lets a
`KeyValueCache` attend, so that rows may branch, differ in length and share a prefix exactly as those of our own
networks do. Whether a family can do that is not looked up but tried, on a few tokens, when a network is made; one that
cannot (recurrent layers, sliding windows, learned biases of the attention) reads plain rows with transformers' own
cache (`huggingface_rows`).

Shapes: B rows, T positions, H heads, K head width, D width, V vocabulary, M selected positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from emergence.core.errors import UserError
from emergence.models.cache import KeyValueCache, Tree
from emergence.models.family import Reads
from emergence.models.fingerprint import fingerprint
from emergence.models.huggingface_rows import PlainRows

if TYPE_CHECKING:
    from emergence.models.adapters.prefix import Prefix

__all__ = ["HuggingFaceConfig", "HuggingFaceNetwork", "selecting"]

ATTENTION = "emergence"  # the name under which transformers finds our attention
TOLERANCE = {torch.float32: 2e-5, torch.float64: 2e-5}  # of the trial, as a share of the largest logit
COARSE = 0.05  # the same for half precision
#: What attention may be told beside our arguments without a consequence for what it returns.
HARMLESS = {"dropout", "position_ids", "use_cache", "cache_position", "output_attentions"}


@contextmanager
def selecting(head: Any, select: torch.Tensor | None) -> Iterator[bool]:
    """Hand only the selected hidden states to the output head while entered; yield whether that is done."""
    if select is None or head is None:
        yield False
        return

    def pick(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (given[0].flatten(0, 1)[select][None], *given[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield True
    finally:
        handle.remove()


class UnfitError(Exception):
    """The network's attention is not the one that `KeyValueCache` computes."""


@dataclass(frozen=True)
class HuggingFaceConfig:
    """The shape of a network: token ids, most tokens at once, and the name of its family in transformers.

    ``non_embedding_parameters`` leaves out the embeddings of tokens and positions, and the output head.
    """

    family: str
    vocabulary: int
    context: int
    parameters: int
    non_embedding_parameters: int


class HuggingFaceNetwork:
    """Token ids [B, T] in, next-token logits [B, T, V] out, by the layers of a network of transformers."""

    reads: Reads = "causal"

    def __init__(self, network: Any, config: HuggingFaceConfig) -> None:
        """Wrap ``network``, a causal model of transformers in evaluation mode, which from now on is ours alone."""
        self.config = config
        self._network = network
        self._embedding = network.get_input_embeddings().weight
        self._head = network.get_output_embeddings()
        network.config.pad_token_id = None  # else some families warn of padding, which nothing sees here
        self.prefix: Prefix | None = None  # stands before every row of an adapted network
        self._heads: dict[int, tuple[int, int]] = {}  # block -> heads of keys and values, and their width
        named = "past_key_values" in signature(network.forward).parameters
        self._cache_name = "past_key_values" if named else "cache_params"
        self.maskable = self._try()
        self._one_by_one = False
        if not self.maskable and not self._goes_on():
            self._one_by_one = True
            if not self._goes_on():
                raise UserError(f"models of the family {config.family} cannot be read: they do not go on from a cache")

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self._network.state_dict(), self._network.config.to_json_string())

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        device: torch.device = self._embedding.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of weights and activations."""
        dtype: torch.dtype = self._embedding.dtype
        return dtype

    @property
    def position_bytes(self) -> int:
        """Memory of one position of one sequence in a cache; an upper bound where layers keep less than all keys."""
        if self._heads:
            numbers = sum(2 * heads * width for heads, width in self._heads.values())
            return numbers * int(self._embedding.element_size())
        text = self._network.config.get_text_config()
        width = getattr(text, "hidden_size", self._embedding.shape[1])
        numbers = 2 * int(getattr(text, "num_hidden_layers", 1)) * int(width)
        return numbers * int(self._embedding.element_size())

    def __call__(self, ids_BT: torch.Tensor, cache: Any = None, select: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits [B, T, V], or [M, V] at the flat positions ``select``; with a cache the ids continue it."""
        if isinstance(cache, PlainRows):
            return cache.read(self._go_on, ids_BT, select)
        if not self.maskable:
            return self._forward(ids_BT, select, use_cache=False)
        return self._attending(ids_BT, cache, select)

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the output head would read, [B, T, D]; no position sees the padding behind its row."""
        options = {} if self.prefix is None else self._standing(self.prefix, ids_BT.shape[1])
        read: torch.Tensor = self._network.base_model(input_ids=ids_BT, use_cache=False, return_dict=True, **options)[0]
        return read

    @property
    def module(self) -> Any:
        """The network of transformers."""
        return self._network

    def new_cache(self, batch: int, length: int, *, prefix: Any = None, tree: Tree | None = None) -> Any:
        """Return an empty cache for ``batch`` rows of at most ``length`` tokens after the shared prefix."""
        if not self.maskable:
            return PlainRows(self._network.config, batch, prefix, one_by_one=self._one_by_one)
        if prefix is None and self.prefix is not None:
            prefix = self.prefix.cache()
        heads, width = self._heads[0]
        return KeyValueCache(len(self._heads), batch, heads, length, width, self._embedding, prefix=prefix, tree=tree)

    def _go_on(self, ids_BT: torch.Tensor, select: torch.Tensor | None, cache: Any) -> torch.Tensor:
        """Read tokens with a cache of transformers."""
        return self._forward(ids_BT, select, use_cache=True, **{self._cache_name: cache})

    def _attending(self, ids_BT: torch.Tensor, cache: Any, select: torch.Tensor | None) -> torch.Tensor:
        """Read tokens with our attention; ``cache`` says where they stand and what they see."""
        T = ids_BT.shape[1]
        logits = self._forward(
            ids_BT, select, use_cache=False, **self._standing(self.prefix if cache is None else cache, T)
        )
        if cache is not None:
            cache.advance(T)
        return logits

    def _standing(self, reader: Any, T: int) -> dict[str, Any]:
        """Return where the next T tokens stand and what they see, as options of the network."""
        where = reader.positions(T) if reader is not None else slice(T)
        if isinstance(where, slice):
            where = torch.arange(where.start or 0, where.stop, device=self.device)[None]
        return {"position_ids": where, "emergence_cache": reader}

    @property
    def attention_shape(self) -> tuple[int, int, int] | None:
        """Blocks, heads of keys and values, and their width, or None where attention is not ours."""
        return (len(self._heads), *self._heads[0]) if self.maskable else None

    def _forward(self, ids_BT: torch.Tensor, select: torch.Tensor | None, **options: Any) -> torch.Tensor:
        """Run the network; the output head, and what the family does after it, only works on what is selected."""
        with selecting(self._head, select) as selected:
            logits: torch.Tensor = self._network(input_ids=ids_BT, return_dict=True, **options).logits
        if select is None:
            return logits
        return logits[0] if selected else logits.flatten(0, 1)[select]

    @torch.inference_mode()
    def _try(self) -> bool:
        """Say whether our attention can take the place of the network's own, and put it there if so."""
        from transformers import AttentionInterface

        text = self._network.config.get_text_config()
        kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
        window = getattr(text, "sliding_window", None)
        if kinds != {"full_attention"} or (window is not None and window < self.config.context):
            return False
        if not getattr(self._network, "_supports_attention_backend", False) or self.config.context < 6:
            return False
        trunk, left, right = [1, 2, 3], [4, 5], [6]
        whole, short = ([i % self.config.vocabulary for i in ids] for ids in (trunk + left, trunk + right))
        # Read the expected logits before anything of the network is changed.
        expected = torch.cat([self._forward(self._ids(ids), None, use_cache=False)[0, 2:] for ids in (whole, short)])
        before = self._network.config._attn_implementation
        AttentionInterface.register(ATTENTION, _attend)
        self._network.set_attn_implementation(ATTENTION)
        try:
            found = self._branch(whole, short[-1])
        except (UnfitError, TypeError, ValueError, RuntimeError, KeyError):
            found = None
        bound = TOLERANCE.get(self.dtype, COARSE) * float(expected.abs().max())
        if found is not None and bool((found - expected).abs().max() <= bound):
            return True
        self._heads = {}
        self._network.set_attn_implementation(before)
        return False

    @torch.inference_mode()
    def _goes_on(self) -> bool:
        """Say whether several tokens may continue what was read; some recurrent networks then begin anew, unasked."""
        ids_BT = torch.arange(1, 6, device=self.device)[None] % self.config.vocabulary
        expected = self(ids_BT)[0, 2:]
        cache = self.new_cache(1, 5)
        self(ids_BT[:, :2], cache)
        bound = TOLERANCE.get(self.dtype, COARSE) * float(expected.abs().max())
        return bool((self(ids_BT[:, 2:], cache)[0] - expected).abs().max() <= bound)

    def _ids(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=self.device)

    def _branch(self, whole: list[int], other: int) -> torch.Tensor:
        """Return the logits after the trunk and after each token of two branches, the trunk's start being a prefix."""
        shapes = _Shapes()
        self._attending(self._ids(whole), shapes, None)
        self._heads = shapes.heads
        depth = int(self._network.config.get_text_config().num_hidden_layers)
        if sorted(self._heads) != list(range(depth)) or len(set(self._heads.values())) != 1:
            raise UnfitError("the blocks do not attend alike")
        prefix = KeyValueCache(depth, 1, *_at(self._heads[0], 2), self._embedding)
        self._attending(self._ids(whole[:2]), prefix, None)
        depth_BT = torch.tensor([[0, 1, 2, 1]], device=self.device)
        end_BT = torch.tensor([[4, 3, 3, 4]], device=self.device)
        tree = Tree(depth_BT, end_BT, stem=3)
        cache = KeyValueCache(depth, 1, *_at(self._heads[0], 0), self._embedding, prefix=prefix, tree=tree)
        logits_TV = self._attending(self._ids([*whole[2:], other]), cache, None)[0]
        return torch.cat([logits_TV[:3], logits_TV[:1], logits_TV[3:]])


def _at(shape: tuple[int, int], length: int) -> tuple[int, int, int]:
    heads, width = shape
    return heads, length, width


class _Shapes:
    """Takes the place of a cache once, and notes what the attention of every block looks like."""

    def __init__(self) -> None:
        self.heads: dict[int, tuple[int, int]] = {}

    def positions(self, T: int) -> slice:
        return slice(T)

    def attend(self, block: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if k.shape != v.shape or block in self.heads:
            raise UnfitError("keys and values differ, or a block attends twice")
        self.heads[block] = (k.shape[1], k.shape[3])
        return _causal(q, k, v)

    def advance(self, T: int) -> None:
        pass


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    emergence_cache: Any = None,
    sliding_window: int | None = None,  # not below the context: `_try` looks
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' attention interface asks: [B, H, T, K] in, [B, T, H, K] out.

    Raises UnfitError where the family asks for more than softmax attention to what comes before.
    """
    if (
        attention_mask is not None
        or is_causal is False
        or any(others[name] is not None for name in others.keys() - HARMLESS)
    ):
        raise UnfitError(f"unknown attention: {', '.join(sorted(others))}")
    K = query.shape[3]
    if scaling is not None and scaling != K**-0.5:
        query = query * (scaling * K**0.5)
    if emergence_cache is None:
        out = _causal(query, key, value)
    else:
        out = emergence_cache.attend(module.layer_idx, query, key, value)
    return out.transpose(1, 2).contiguous(), None


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    more = q.shape[1] // k.shape[1]
    if more > 1:
        k, v = k.repeat_interleave(more, dim=1), v.repeat_interleave(more, dim=1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
