"""A trained model as a user holds it: generate, and score."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.evaluation.requests import Likelihood
    from emergence.text import LanguageTokenizer

__all__ = ["Model", "load"]


@dataclass(frozen=True)
class Model:
    """A network with its tokenizer, and where it came from.

    ``name``, ``family``, ``replica`` and ``step`` are those of its scores: a rung and its replica for a run's folder.
    ``pickled`` says that its weights were read from pickle files, which only `load` with ``allow_pickle`` does.
    """

    network: Any
    tokenizer: LanguageTokenizer
    path: Path
    step: int
    name: str
    family: str
    replica: int
    pickled: bool = False

    @property
    def params(self) -> int:
        """Trainable parameters without embeddings and output head."""
        return int(self.network.config.non_embedding_parameters)

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        beams: int = 1,
    ) -> str:
        """Return the continuation of ``prompt``, greedy unless ``temperature`` is above 0, up to the end token.

        An encoder-decoder model can search with several ``beams`` for the most probable one. Raises UserError for
        settings that cannot be, for sampling from a model that is only asked for its most probable answer, and for
        beams of one that has no such search.
        """
        import torch

        from emergence.evaluation.engine import READERS
        from emergence.generation import SamplingSettings, generate

        settings = SamplingSettings(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
        reader = READERS[self.network.reads]
        if beams != 1 and reader.search is None:
            raise UserError(
                f"{self.name} ({self.family}) writes without beams; encoder-decoder models search with them"
            )
        if self.network.reads != "causal":
            if temperature:
                raise UserError(f"{self.name} ({self.family}) writes its most probable answer; leave temperature at 0")
            ask: dict[str, Any] = {"end_id": self.tokenizer.separator_id}
            write = reader.write
            if beams != 1 and reader.search is not None:
                write, ask["beams"] = reader.search, beams
            return self.tokenizer.decode(write(self.network, [self._ids(prompt)], [max_tokens], **ask)[0])
        generator = torch.Generator().manual_seed(seed)
        end = self.tokenizer.end_id
        ids = generate(self.network, [self._ids(prompt)], settings, end_id=end, generator=generator)[0]
        return self.tokenizer.decode(ids)

    def loglikelihood(self, prompt: str, target: str) -> Likelihood:
        """Return the natural-log probability of each token of ``target`` after ``prompt``; ``.total`` sums them."""
        from emergence.evaluation.engine import READERS

        if not target:
            raise UserError("the target is empty; give the text whose probability you ask for")
        return READERS[self.network.reads].score(self.network, [(self._ids(prompt), self._ids(target)[1:])])[0]

    def _ids(self, prompt: str) -> list[int]:
        """Return the prompt's tokens after the token that every document starts with."""
        ids = self.tokenizer.encode(prompt)
        if self.tokenizer.unknown_id in ids:
            strange = sorted({c for c in prompt if self.tokenizer.unknown_id in self.tokenizer.encode(c)})
            raise UserError(f"the model's tokenizer does not know {', '.join(map(repr, strange[:5]))}")
        return [self.tokenizer.begin_id, *ids]

    def export(self, folder: str | Path) -> Path:
        """Write the model in Hugging Face's layout, so that `transformers` loads it, and return the folder.

        Raises UserError for a model that came in that layout, and for a family that `transformers` does not have.
        """
        from emergence.models.huggingface import export_network
        from emergence.text import Tokenizer

        if not isinstance(self.tokenizer, Tokenizer):
            raise UserError(f"{self.name} is in Hugging Face's layout already: {self.path}")
        return export_network(self.family, self.network, self.tokenizer, Path(folder))


def load(
    path: str | Path, step: int | None = None, *, revision: str | None = None, allow_pickle: bool = False
) -> Model:
    """Return the model of a run's folder (``runs/NAME/models/R05-s0``), at its last checkpoint or at ``step``; or a
    causal or encoder-decoder model in Hugging Face's layout, a folder or a name on the hub, there at ``revision``.

    Of Hugging Face's layouts only safetensors are read, unless ``allow_pickle`` lets tensors be read from pickle files
    too, and no code that comes with a model is run. Raises UserError when there is no model, or no sound checkpoint of
    that step.
    """
    from emergence.models.huggingface_load import hub_name, is_huggingface

    folder = Path(path)
    if folder.is_dir() and not is_huggingface(folder):
        if revision is not None:
            raise UserError(f"{folder} is the folder of a run; choose a checkpoint with step, not with revision")
        return _load_run(folder, step)
    if not folder.is_dir() and not (isinstance(path, str) and hub_name(path)):
        raise UserError(
            f"{folder} is not a folder; give the folder of a run, for example runs/NAME/models/R05-s0, or the name "
            "owner/model of a model on the hub"
        )
    if step is not None:
        raise UserError(f"{path} has no steps; choose a version of a model on the hub with revision")
    return _load_huggingface(str(path), revision, allow_pickle=allow_pickle)


def _load_run(folder: Path, step: int | None) -> Model:
    from emergence.models.checkpoint import load_network, read_config
    from emergence.text import Tokenizer

    network, checkpoint = load_network(folder, step)
    family, _ = read_config(folder)
    rung, _, replica = folder.resolve().name.rpartition("-s")
    named = bool(rung) and replica.isdigit()
    return Model(
        network=network,
        tokenizer=Tokenizer.load(folder / "tokenizer.json"),
        path=folder,
        step=checkpoint.step,
        name=rung if named else folder.resolve().name,
        family=family,
        replica=int(replica) if named else 0,
    )


def _load_huggingface(name: str, revision: str | None, *, allow_pickle: bool) -> Model:
    from emergence.models.huggingface_load import load_huggingface, pickled

    network, tokenizer, folder = load_huggingface(name, revision, allow_pickle=allow_pickle)
    shown = folder.resolve().name if Path(name).is_dir() else name
    # Checkpoints of a ladder are revisions such as Pythia's "step3000" (Biderman et al. 2023, arXiv 2304.01373).
    numbered = re.fullmatch(r"step(\d+)", revision or "")
    return Model(
        network=network,
        tokenizer=tokenizer,
        path=folder,
        step=int(numbered[1]) if numbered else 0,
        name=shown,
        family=network.config.family,
        replica=0,
        pickled=pickled(folder),
    )
