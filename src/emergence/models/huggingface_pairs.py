"""An encoder-decoder network of transformers, asked as our own `seq2seq` is (`evaluation/pairs.py`).

Shapes: B rows, S source positions, T target positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.models.family import Reads
from emergence.models.fingerprint import fingerprint
from emergence.models.huggingface_network import HuggingFaceConfig
from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

__all__ = ["HuggingFacePairs"]


@dataclass(frozen=True)
class _Read:
    """What the encoder made of B prompts [B, S, D], and which of the positions are no padding [B, S]."""

    encoded: torch.Tensor
    mask: torch.Tensor

    def rows(self, rows: torch.Tensor) -> _Read:
        return _Read(self.encoded.index_select(0, rows), self.mask.index_select(0, rows))


class _Written:
    """A cache of transformers, made when the first tokens are read, and the rows that are chosen of it."""

    def __init__(self) -> None:
        self.inner: Any = None

    def keep(self, rows: torch.Tensor) -> None:
        if self.inner is not None:
            self.inner.reorder_cache(rows)


class HuggingFacePairs:
    """Prompts and the beginnings of targets in, next-token logits of the targets out."""

    reads: Reads = "pairs"

    def __init__(self, network: Any, config: HuggingFaceConfig, tokenizer: HuggingFaceTokenizer) -> None:
        """Wrap ``network``, an encoder-decoder model of transformers in evaluation mode.

        Prompts get the special tokens that ``tokenizer`` puts around a text. Raises UserError for a model that does not
        say what its decoder reads first.
        """
        self.config = config
        self._network = network
        self._begin_id = tokenizer.begin_id
        self._before, self._after = tokenizer.around()
        start = getattr(network.generation_config, "decoder_start_token_id", None)
        start = getattr(network.config, "decoder_start_token_id", None) if start is None else start
        if start is None:
            raise UserError("its config.json does not say what the decoder begins with; set decoder_start_token_id")
        self.start_id = int(start)

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self._network.state_dict(), self._network.config.to_json_string())

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        device: torch.device = self._network.device
        return device

    def source(self, prompt: Sequence[int]) -> list[int]:
        """Return a prompt as the tokenizer writes whole texts, for example with the end token behind it instead of the
        token before it that stands for a beginning; one longer than the context loses its beginning."""
        return [*self._before, *self._body(prompt)[-self._room :], *self._after] or list(prompt)

    def lost(self, prompt: Sequence[int]) -> int:
        """Return how many tokens at the beginning of a prompt are not read."""
        return max(0, len(self._body(prompt)) - self._room)

    @property
    def _room(self) -> int:
        """The most tokens that fit between what the tokenizer puts around a text."""
        return max(1, self.config.context - len(self._before) - len(self._after))

    def _body(self, prompt: Sequence[int]) -> list[int]:
        return list(prompt[1:] if prompt[0] == self._begin_id else prompt)

    @property
    def module(self) -> Any:
        """The network of transformers."""
        return self._network

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return what the encoder makes of texts, [B, T, D], of which the first ``lengths_B`` tokens count."""
        return self.encode(ids_BT, lengths_B).encoded

    def encode(self, ids_BS: torch.Tensor, lengths_B: torch.Tensor) -> _Read:
        """Read prompts, of which the first ``lengths_B`` tokens count."""
        mask_BS = (torch.arange(ids_BS.shape[1], device=ids_BS.device) < lengths_B[:, None]).long()
        encoded = self._network.get_encoder()(input_ids=ids_BS, attention_mask=mask_BS, return_dict=True)
        return _Read(encoded.last_hidden_state, mask_BS)

    def decode(self, ids_BT: torch.Tensor, memory: _Read, cache: _Written | None = None) -> torch.Tensor:
        """Return the logits [B, T, V] of what follows each token of targets that begin with `start_id`."""
        from transformers.modeling_outputs import BaseModelOutput

        read = self._network(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory.encoded),
            attention_mask=memory.mask,
            decoder_input_ids=ids_BT,
            past_key_values=None if cache is None else cache.inner,
            use_cache=cache is not None,
            return_dict=True,
        )
        if cache is not None:
            cache.inner = read.past_key_values
        logits: torch.Tensor = read.logits
        return logits

    def new_cache(self, batch: int, length: int) -> _Written:
        """Return an empty cache of what decoders write; it grows as they do."""
        return _Written()
