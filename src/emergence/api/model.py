"""A trained model as a user holds it: generate, score, make it smaller, take it elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emergence.core.errors import UserError
from emergence.core.store import write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from emergence.compression.compressing import Compressed
    from emergence.evaluation.requests import Likelihood
    from emergence.text import LanguageTokenizer

__all__ = ["Model"]


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

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """The vectors of the tokens it reads, [vocabulary, width]; UserError for a model that has none."""
        from emergence.models.family import FAMILIES
        from emergence.text import Tokenizer

        # A model in Hugging Face's layout may be of a family that has the name of one of ours.
        name = FAMILIES.load(self.family).embedding if isinstance(self.tokenizer, Tokenizer) else None
        if name is None:
            able = ", ".join(family for family in FAMILIES if FAMILIES.load(family).embedding)
            raise UserError(f"{self.name} ({self.family}) has no token vectors here; families that have: {able}")
        found: npt.NDArray[np.float32] = self.network.get_parameter(name).detach().cpu().numpy()
        return found

    def nearest(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the ``n`` tokens whose vectors lie nearest to that of ``word``, with the cosine, the nearest first.

        Special tokens and the word itself are left out. Raises UserError where the word is not one token.
        """
        import numpy as np

        ids = self._ids(word)[1:]
        if len(ids) != 1:
            raise UserError(f"{word!r} is {len(ids)} tokens of this model; ask for one that is a single token")
        unit = self.vectors / np.maximum(np.linalg.norm(self.vectors, axis=1, keepdims=True), 1e-12)
        cosines = unit @ unit[ids[0]]
        special = {self.tokenizer.begin_id, self.tokenizer.end_id, self.tokenizer.unknown_id, ids[0]}
        order = [int(token) for token in np.argsort(-cosines, kind="stable") if int(token) not in special]
        return [(self.tokenizer.decode([token]), float(cosines[token])) for token in order[:n]]

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

        A masked model (``bert``) fills ``max_tokens`` masks after the prompt, the most certain first; an
        encoder-decoder model can search with several ``beams`` for the most probable answer. Raises UserError for
        settings that cannot be, for sampling from a model that cannot be sampled from, and for beams of one that has no
        such search.
        """
        import torch

        from emergence.evaluation.engine import READERS
        from emergence.generation import SamplingSettings

        settings = SamplingSettings(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
        reader = READERS[self.network.reads]
        if beams != 1 and reader.search is None:
            raise UserError(
                f"{self.name} ({self.family}) writes without beams; encoder-decoder models search with them"
            )
        if not temperature and self.network.reads != "causal":
            ask: dict[str, Any] = {"end_id": self.tokenizer.separator_id}
            write = reader.write
            if beams != 1 and reader.search is not None:
                write, ask["beams"] = reader.search, beams
            return self.tokenizer.decode(write(self.network, [self._ids(prompt)], [max_tokens], **ask)[0])
        if reader.sample is None:
            raise UserError(f"{self.name} ({self.family}) writes its most probable answer; leave temperature at 0")
        generator = torch.Generator().manual_seed(seed)
        end = self.tokenizer.end_id
        ids = reader.sample(self.network, [self._ids(prompt)], settings, end_id=end, generator=generator)[0]
        return self.tokenizer.decode(ids)

    def sample(
        self,
        n: int = 1,
        *,
        max_tokens: int = 128,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Return ``n`` texts that the model writes by itself; one of the family `vae` draws a latent from the prior for
        each.

        Raises UserError for settings that cannot be, and for a model that cannot be sampled from.
        """
        import torch

        from emergence.evaluation.engine import READERS
        from emergence.generation import SamplingSettings

        if n < 1:
            raise UserError(f"n is {n}; ask for at least one sample")
        settings = SamplingSettings(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
        sample = READERS[self.network.reads].sample
        if sample is None:
            raise UserError(f"{self.name} ({self.family}) writes its most probable answer; it cannot be sampled from")
        prompts, generator = [[self.tokenizer.begin_id]] * n, torch.Generator().manual_seed(seed)
        texts = sample(self.network, prompts, settings, end_id=self.tokenizer.end_id, generator=generator)
        return [self.tokenizer.decode(ids) for ids in texts]

    def interpolate(self, first: str, last: str, steps: int = 7) -> list[str]:
        """Return what the model writes along the straight line between the latents of two sentences (Bowman et al.
        2016, arXiv 1511.06349, section 4.4): ``steps`` sentences, the reconstructions of both at the ends.

        Raises UserError for a family without a latent space, for sentences longer than the context, and for fewer than
        two steps.
        """
        import torch

        from emergence.evaluation.latent import latent_of, write_from

        if self.network.reads != "latent":
            raise UserError(f"{self.name} ({self.family}) has no latent space to go through; a model of family vae has")
        if steps < 2:
            raise UserError(f"steps is {steps}; ask for two or more, which are the sentences themselves")
        end = self.tokenizer.separator_id
        start, stop = (latent_of(self.network, [*self._ids(text), end]) for text in (first, last))
        line = [start.lerp(stop, float(share)) for share in torch.linspace(0, 1, steps)]
        begin, limit = self.tokenizer.begin_id, self.network.config.context
        texts = write_from(self.network, line, begin_id=begin, end_id=end, max_tokens=limit)
        return [self.tokenizer.decode(ids) for ids in texts]

    def reconstruct(self, text: str) -> str:
        """Return what the model writes from the latent of ``text`` alone; raise UserError as `interpolate` does."""
        return self.interpolate(text, text, 2)[0]

    def loglikelihood(self, prompt: str, target: str) -> Likelihood:
        """Return the natural-log probability of each token of ``target`` after ``prompt``; ``.total`` sums them.

        A masked model (``bert``) says how probable each token is given the prompt and all others of the target: a
        pseudo-log-likelihood (`evaluation.masked`).
        """
        from emergence.evaluation.engine import READERS

        if not target:
            raise UserError("the target is empty; give the text whose probability you ask for")
        pair, end = (self._ids(prompt), self._ids(target)[1:]), self.tokenizer.separator_id
        return READERS[self.network.reads].score(self.network, [pair], end_id=end)[0]

    def _ids(self, prompt: str) -> list[int]:
        """Return the prompt's tokens after the token that every document starts with."""
        ids = self.tokenizer.encode(prompt)
        if self.tokenizer.unknown_id in ids:
            strange = sorted({c for c in prompt if self.tokenizer.unknown_id in self.tokenizer.encode(c)})
            raise UserError(f"the model's tokenizer does not know {', '.join(map(repr, strange[:5]))}")
        return [self.tokenizer.begin_id, *ids]

    def compress(
        self, folder: str | Path, method: str, *, calibration: Sequence[str] = (), seed: int = 0, **how: Any
    ) -> Compressed:
        """Prune or quantise the model, write it to ``folder``, from which `load` reads it, and return what was done:
        ``.bits`` are those stored for a weight of its matrices, ``.all_bits`` for any. The model itself stays.

        ``method`` and ``how`` (``sparsity``, ``bits``, ``group``, ``zero_point``, ``embeddings``) are those of
        `core.compression_settings.Compression`; ``calibration`` holds the texts that ``wanda`` reads. Raises UserError
        for what cannot be, for a model without matrices, and for a folder that holds something already.
        """
        from emergence.compression.calibration import text_rows
        from emergence.compression.compressing import compress_network
        from emergence.compression.kernels import uses_int8
        from emergence.compression.stored import write_compressed
        from emergence.core.compression_settings import compression
        from emergence.models.exported import check_new

        settings = compression(method=method, **how)
        check_new(Path(folder))
        if uses_int8(self.network):
            raise UserError("load the model with kernels='float' to compress it")
        network = copy.deepcopy(self.network)
        rows = text_rows(calibration, self.tokenizer, network.config.context) if settings.calibrated else []
        done = compress_network(network, settings, rows, seed=seed)
        target, where = Path(folder), self.name
        write_compressed(network, done, self.tokenizer, target, family=self.family, step=self.step, source=where)
        return done

    def export(self, folder: str | Path, format: Literal["huggingface", "onnx"] = "huggingface") -> Path:
        """Write the model with its tokenizer and a model card to ``folder`` and return that.

        It is in Hugging Face's layout, so that `transformers` loads it; a family that `transformers` does not have is
        in this project's, so that `load` does. As ``onnx`` it is what onnxruntime runs, with the same logits. Raises
        UserError for a model that is in that layout already or cannot be written in it, and for a folder that holds
        something.
        """
        from emergence.compression.kernels import uses_int8
        from emergence.models.exported import write_exported
        from emergence.models.huggingface import export_network
        from emergence.models.huggingface_layouts import LAYOUTS
        from emergence.report.model_card import CardFacts, model_card
        from emergence.text import Tokenizer

        if uses_int8(self.network):
            raise UserError("load the model with kernels='float' to export it")
        if format == "onnx":
            from emergence.compression.onnx import export_onnx

            return export_onnx(self.network, self.tokenizer, Path(folder), family=self.family)
        if not isinstance(self.tokenizer, Tokenizer):
            raise UserError(f"{self.name} is in Hugging Face's layout already: {self.path}")
        target, layout = Path(folder), LAYOUTS.get(self.family)
        architecture = None if layout is None else layout.architecture
        facts = CardFacts(self.name, self.family, self.step, self.path, self.network.config, architecture)
        card = model_card(facts)
        if layout is None:
            write_exported(self.family, self.network, self.tokenizer, target, step=self.step)
        else:
            export_network(self.family, self.network, self.tokenizer, target)
        write_bytes(target / "README.md", card.encode())
        return target
