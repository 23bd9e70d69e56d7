"""A masked language model of transformers, to be asked as our own (`evaluation/masked.py`).

Shapes: B rows, T positions, V vocabulary, M selected positions.
"""

from __future__ import annotations

from typing import Any

import torch

from emergence.models.family import Reads
from emergence.models.fingerprint import fingerprint
from emergence.models.huggingface_network import HuggingFaceConfig, selecting

__all__ = ["HuggingFaceMasked"]


class HuggingFaceMasked:
    """Token ids [B, T] in, logits [B, T, V] of the token at every position itself out; every position sees its row."""

    reads: Reads = "masked"

    def __init__(self, network: Any, config: HuggingFaceConfig, mask_id: int) -> None:
        """Wrap ``network``, a masked model of transformers in evaluation mode, which from now on is ours alone."""
        self.config, self.mask_id = config, mask_id
        self._network = network
        self._embedding = network.get_input_embeddings().weight

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration."""
        return fingerprint(self._network.state_dict(), f"{self._network.config.to_json_string()} {self.mask_id}")

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        device: torch.device = self._embedding.device
        return device

    @property
    def module(self) -> Any:
        """The network of transformers."""
        return self._network

    def hidden(self, ids_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return the last layer's output [B, T, D]; the first ``lengths_B`` positions of a row do not see the rest."""
        seen = (torch.arange(ids_BT.shape[1], device=ids_BT.device) < lengths_B[:, None]).long()
        read: torch.Tensor = self._network.base_model(input_ids=ids_BT, attention_mask=seen, return_dict=True)[0]
        return read

    def __call__(self, ids_BT: torch.Tensor, select: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits [B, T, V], or [M, V] at the flat positions ``select``."""
        with selecting(self._network.get_output_embeddings(), select) as selected:
            seen = torch.ones_like(ids_BT)  # else some families warn of padding
            logits: torch.Tensor = self._network(input_ids=ids_BT, attention_mask=seen, return_dict=True).logits
        if select is None:
            return logits
        return logits[0] if selected else logits.flatten(0, 1)[select]
