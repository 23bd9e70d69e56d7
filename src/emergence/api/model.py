"""A trained model as a user holds it: generate, and score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.evaluation.requests import Likelihood
    from emergence.text import Tokenizer

__all__ = ["Model", "load"]


@dataclass(frozen=True)
class Model:
    """A network with its tokenizer, and where it came from."""

    network: Any
    tokenizer: Tokenizer
    path: Path
    step: int

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """Return the continuation of ``prompt``, greedy unless ``temperature`` is above 0, up to the end token."""
        import torch

        from emergence.generation import SamplingSettings, generate

        settings = SamplingSettings(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
        generator = torch.Generator().manual_seed(seed)
        end = self.tokenizer.end_id
        ids = generate(self.network, [self._ids(prompt)], settings, end_id=end, generator=generator)[0]
        return self.tokenizer.decode(ids)

    def loglikelihood(self, prompt: str, target: str) -> Likelihood:
        """Return the natural-log probability of each token of ``target`` after ``prompt``; ``.total`` sums them."""
        from emergence.evaluation.likelihood import log_likelihoods

        if not target:
            raise UserError("the target is empty; give the text whose probability you ask for")
        return log_likelihoods(self.network, [(self._ids(prompt), self._ids(target)[1:])])[0]

    def _ids(self, prompt: str) -> list[int]:
        """Return the prompt's tokens after the end token that every document starts with."""
        ids = self.tokenizer.encode(prompt)
        if self.tokenizer.unknown_id in ids:
            strange = sorted({c for c in prompt if self.tokenizer.unknown_id in self.tokenizer.encode(c)})
            raise UserError(f"the model's tokenizer does not know {', '.join(map(repr, strange[:5]))}")
        return [self.tokenizer.end_id, *ids]

    def export(self, folder: str | Path) -> Path:
        """Write the model in Hugging Face's layout, so that `transformers` loads it, and return the folder."""
        from emergence.models.huggingface import export_llama

        return export_llama(self.network, self.tokenizer, Path(folder))


def load(path: str | Path, step: int | None = None) -> Model:
    """Return the model of a run's folder (``runs/NAME/models/R05-s0``), at its last checkpoint or at ``step``.

    Raises UserError when the folder holds no model, or no sound checkpoint of that step.
    """
    from emergence.models.checkpoint import load_network
    from emergence.text import Tokenizer

    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder of a run, for example runs/NAME/models/R05-s0")
    network, checkpoint = load_network(folder, step)
    return Model(network, Tokenizer.load(folder / "tokenizer.json"), folder, checkpoint.step)
