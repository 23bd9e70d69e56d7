"""The card of a model: what it is, what it was trained on, how well it does, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emergence.analysis.records import scores_of_records
from emergence.core.errors import UserError
from emergence.core.settings import TEXT_TASKS
from emergence.core.yaml import read_yaml
from emergence.study.folder import records_file

__all__ = ["CardFacts", "model_card"]


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from. ``run`` is the folder that the model was loaded from, of a study or not;
    ``architecture`` is its class in transformers, None where there is none."""

    name: str
    family: str
    step: int
    run: Path
    config: Any
    architecture: str | None


def model_card(facts: CardFacts) -> str:
    """Return the card as Markdown. What the folder of the run does not tell is left out; the licence is the user's."""
    study = _study(facts.run)
    config = facts.config
    head = f"{study['name']} {facts.run.resolve().name}" if study is not None else facts.name
    made = "by `emergence`" if study is None else f"{_beginning(study)} by `emergence` in the study `{study['name']}`"
    parts = [
        _front(facts),
        f"# {head}",
        f"A language model of the family `{facts.family}` with {config.non_embedding_parameters:,} parameters beside "
        f"its embeddings, trained {made}.",
    ]
    if study is not None and study.get("description"):
        parts.append(str(study["description"]))
    rows = {**_shape(facts), **_training(facts), **({} if study is None else _data(study))}
    parts.append("\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]))
    scores = _scores(facts)
    if scores is not None:
        parts += [f"## Scores at step {facts.step:,}", scores]
    parts += ["## How to load it", _loading(facts)]
    parts += [
        "## Licence",
        "Not stated. Whoever publishes this model chooses it, here and as `license: …` in the lines at the top.",
    ]
    return "\n\n".join(parts) + "\n"


def _front(facts: CardFacts) -> str:
    library = "emergence" if facts.architecture is None else "transformers"
    return f"---\nlibrary_name: {library}\ntags:\n- emergence\n- {facts.family}\n---"


def _shape(facts: CardFacts) -> dict[str, str]:
    config = facts.config
    kind = f"`{facts.family}`" + ("" if facts.architecture is None else f", `{facts.architecture}` in transformers")
    return {
        "family": kind,
        "parameters without embeddings": f"{config.non_embedding_parameters:,}",
        "all parameters": f"{config.parameters:,}",
        "width, depth": f"{config.width:,}, {config.depth:,}",
        "vocabulary": f"{config.vocabulary:,} tokens",
        "context": f"{config.context:,} tokens",
    }


def _training(facts: CardFacts) -> dict[str, str]:
    """Return what the history of the run says of this checkpoint."""
    rows = {"training step": f"{facts.step:,}"}
    history = facts.run / "history.parquet"
    if not history.exists():
        return rows
    here = pl.read_parquet(history, glob=False).drop_nulls("validation_loss").filter(pl.col("step") == facts.step)
    if here.is_empty():
        return rows
    place = here.row(-1, named=True)
    return {
        **rows,
        "training tokens": f"{place['tokens']:,.0f}",
        "training FLOPs": f"{place['flops']:.3g}",
        "validation loss": f"{place['validation_loss']:.4f} nats per token",
    }


def _beginning(study: Mapping[str, Any]) -> str:
    """Return what the weights of the study's models began with, as far as a card has to say it."""
    vectors = (study.get("training") or {}).get("initialise_embeddings")
    return "from nothing" if vectors is None else f"from random weights and the token vectors of `{vectors}`"


def _data(study: Mapping[str, Any]) -> dict[str, str]:
    """Return what the study trained on, the mixture or everything that can be trained on, and its seed."""
    corpus: Mapping[str, Any] = study.get("corpus") or {}
    everything = [*(["corpus"] if corpus else []), *(task["name"] for task in study["tasks"])]
    sources: list[str] = []
    for name in study.get("mixture") or [name for name in everything if name not in TEXT_TASKS]:
        sources += [Path(file).name for file in corpus["files"]] if name == "corpus" else [f"the task `{name}`"]
    return {"trained on": ", ".join(sources), "study": f"`{study['name']}`, seed {study['seed']}"}


def _scores(facts: CardFacts) -> str | None:
    """Return a table of the scores of this checkpoint, None where its records are not there."""
    file = records_file(facts.run.resolve().parent.parent, facts.run.resolve().name, facts.step)
    if not file.exists():
        return None
    records = pl.read_parquet(file, glob=False)
    names = [name.removeprefix("score_") for name in records.columns if name.startswith("score_")]
    lines = [
        "| task | shots | metric | score | standard error | questions |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in scores_of_records(records, metrics=names).sort("task", "shots").iter_rows(named=True):
        error = "–" if row["stderr"] is None else f"{row['stderr']:.4f}"
        lines.append(
            f"| {row['task']} | {row['shots']} | {row['metric']} | {row['score']:.4f} | {error} | {row['n']:,} |"
        )
    return "\n".join(lines)


def _loading(facts: CardFacts) -> str:
    lines = ["```python", "import emergence as em", "", 'model = em.load("path/to/this/folder")', "```"]
    if facts.architecture is not None:
        lines += [
            "",
            "```python",
            f"from transformers import AutoTokenizer, {facts.architecture}",
            "",
            f'model = {facts.architecture}.from_pretrained("path/to/this/folder")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            "```",
        ]
    return "\n".join(lines)


def _study(run: Path) -> Mapping[str, Any] | None:
    """Return the study that a run belongs to; None where there is none, or its file cannot be read."""
    file = run.resolve().parent.parent / "study.yaml"
    if run.resolve().parent.name != "models" or not file.exists():
        return None
    try:
        study, _ = read_yaml(file)
    except UserError:
        return None
    return study if isinstance(study, dict) else None
