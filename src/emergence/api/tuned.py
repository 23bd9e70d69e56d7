"""A fine-tuned model: what it answers, and how it is read from the folder in which `tuning.finetune` kept it.

A folder holds a sealed ``finetune.json``, written last, which says the checksum of every other file;
``head.safetensors`` where there is a head; and what changed of the model: ``model`` (all of it), ``adapter`` (that
alone), or nothing where all of it was frozen. In the last two cases the base is needed beside it, and recognised by the
hash of its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emergence.api.loading import load
from emergence.api.model import Model
from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.store import DamagedFileError, read_sealed, sha256

__all__ = ["DESCRIPTION", "HEAD", "Prediction", "TunedModel", "load_tuned", "tuned_to_write"]

DESCRIPTION, HEAD = "finetune.json", "head.safetensors"


@dataclass(frozen=True)
class Prediction:
    """What a tuned model says of a text: a class with the probability of each, a value, or an answer."""

    answer: str
    value: float | None = None
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned model: the ``model`` itself, what it was tuned for, and what it scored on the test sets.

    ``about`` holds what `finetune` found: examples, steps, validation, history, share of the parameters that learnt,
    FLOPs, and ``reports`` by name of the test set; where answers are written, the ``template`` of what is read and the
    tokens of the ``longest_answer``.
    """

    model: Model
    kind: str
    labels: tuple[str, ...]
    about: dict[str, Any]
    head: Any = None
    centre: float = 0.0
    spread: float = 1.0

    def predict(self, texts: Sequence[str | tuple[str, str]]) -> list[Prediction]:
        """Return a prediction for each text, or pair of texts (premise and hypothesis; passage and question).

        Raises UserError for a pair, or a single text, where the task has the other.
        """
        import torch

        pairs = [(text, "") if isinstance(text, str) else (text[0], text[1]) for text in texts]
        wrong = next((pair for pair in pairs if bool(pair[1]) != self.about["pairs"]), None)
        if wrong is not None and self.kind != "generation":
            raise UserError(
                "this model reads two texts at once; give pairs"
                if self.about["pairs"]
                else "this model reads one text; give single ones"
            )
        if self.kind == "generation":
            return [Prediction(answer) for answer in self._written(pairs)]
        with torch.inference_mode():
            return self._through_head(pairs)

    def _written(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return what is written for texts that are put as they were in training, and end as answers did there."""
        from emergence.evaluation.engine import READERS

        network, tokenizer, longest = self.model.network, self.model.tokenizer, self.about["longest_answer"]
        template, reader = self.about["template"], READERS[network.reads]
        put = [template.replace("{text}", first).replace("{second}", second) for first, second in pairs]
        prompts = [[tokenizer.begin_id, *ids] for ids in tokenizer.encode_batch(put)]
        kept = [ids[reader.cut(network, ids, longest) :] for ids in prompts]
        answers = reader.write(network, kept, [longest] * len(kept), end_id=tokenizer.separator_id)
        return [tokenizer.decode(ids).strip() for ids in answers]

    def _through_head(self, pairs: Sequence[tuple[str, str]]) -> list[Prediction]:
        from emergence.models.trunk import hidden_states
        from emergence.training.finetuning.rows import encode_rows, pad
        from emergence.training.finetuning.spans import answer_passages, encode_passages

        network, tokenizer = self.model.network, self.model.tokenizer
        context = network.config.context
        if self.kind == "span":
            passages = encode_passages(tokenizer, [(text, question, None, "") for text, question in pairs], context)
            return [Prediction(answer) for answer, _ in answer_passages(network, self.head, passages)]
        found = []
        for row in encode_rows(tokenizer, pairs, context).ids:
            ids_BT, lengths_B = pad([row])
            (logits,) = self.head(hidden_states(network, ids_BT, lengths_B), lengths_B)
            if self.kind == "regression":
                value = float(logits[0]) * self.spread + self.centre
                found.append(Prediction(f"{value:g}", value=value))
            else:
                shares = dict(zip(self.labels, logits.softmax(dim=-1).tolist(), strict=True))
                found.append(Prediction(max(shares, key=lambda label: shares[label]), probabilities=shares))
        return found


def load_tuned(folder: str | Path, base: Model | str | Path | None = None) -> TunedModel:
    """Return the fine-tuned model in a folder that `finetune` wrote. ``base`` is the model it was tuned from, where its
    own place is another now.

    Raises UserError where the folder holds none, a file is damaged, or the base is another model.
    """
    from emergence.models.adapters.files import load_adapter
    from emergence.training.finetuning.model import untrained

    home = Path(folder)
    described = _read(home)
    if described["kept"] == "model":
        model = load(home / "model")
    else:
        model = base if isinstance(base, Model) else load(described["base"]["path"] if base is None else base)
        if described["about"]["settings"]["start"] == "untrained":  # a base of the same shape, whose weights were drawn
            model = replace(model, network=untrained(model.network, model.family, described["about"]["seed"]))
        if described["kept"] == "adapter":
            load_adapter(model.network, home / "adapter")
        elif model.network.fingerprint() != described["base"]["fingerprint"]:
            raise UserError(
                f"{home} was tuned from a base with the hash {described['base']['fingerprint'][:16]}, and that of "
                f"{model.path} is {model.network.fingerprint()[:16]}; name the right one as base"
            )
    model = replace(model, name=home.resolve().name)
    kept = {name: described[name] for name in ("kind", "about", "centre", "spread")}
    return TunedModel(model, labels=tuple(described["labels"]), head=_head(home, described, model), **kept)


def tuned_to_write(folder: Path) -> Model:
    """Return the model in a folder of `finetune` where it needs no head; raise UserError where it does."""
    kind = _read(folder)["kind"]
    if kind != "generation":
        raise UserError(
            f"{folder} holds a model that was fine-tuned for {kind} and answers through its head; use em.load_tuned or "
            "emergence predict"
        )
    return replace(load_tuned(folder).model, path=folder)


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / DESCRIPTION).exists():
        raise UserError(
            f"{folder} holds no fine-tuned model ({DESCRIPTION} is missing); name a folder that `emergence finetune "
            "--out` wrote"
        )
    try:
        described: dict[str, Any] = read_sealed(folder / DESCRIPTION)
    except DamagedFileError as error:
        raise UserError(f"{error}; fine-tune again") from error
    for name, digest in described["files"].items():
        if not (folder / name).exists() or sha256(folder / name) != digest:
            raise UserError(f"{folder / name}: the content does not match its checksum; fine-tune again")
    return described


def _head(folder: Path, described: dict[str, Any], model: Model) -> Any:
    if HEAD not in described["files"]:
        return None
    from safetensors.torch import load_file

    from emergence.training.finetuning.heads import PooledHead, SpanHead
    from emergence.training.finetuning.model import hidden_width

    width = hidden_width(model.network)
    settings = FinetuneSettings.model_validate(described["about"]["settings"])
    if described["kind"] == "span":
        head: Any = SpanHead(width, settings.dropout)
    else:
        head = PooledHead(width, max(1, len(described["labels"])), settings.pooling, settings.dropout)
    head.load_state_dict(load_file(folder / HEAD))
    return head.eval()
