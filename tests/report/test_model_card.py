"""The card of a model says what it was trained on, and what it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from emergence.models.family import ladder
from emergence.report.model_card import CardFacts, model_card

STUDY = """\
name: cards
seed: 3
tasks: [{name: copy}, {name: reversal}, {name: text}, {name: sampling}, {name: reconstruction}]
"""
VECTORS = "training: {tokens: 1e3, initialise_embeddings: runs/words/models/R00-s0}\n"


def card_of(folder: Path, study: str | None) -> str:
    """The card of a run in a study's folder, or in a folder of its own."""
    run = folder / "models" / "R00-s0"
    run.mkdir(parents=True)
    if study is not None:
        (folder / "study.yaml").write_text(study)
    (config,) = ladder("gpt", [4e3], vocabulary=40, context=16)
    return model_card(CardFacts("R00", "gpt", 10, run, config, "LlamaForCausalLM"))


@pytest.mark.parametrize(
    ("more", "sources"),
    [
        ("", "the task `copy`, the task `reversal`"),
        ("corpus: {files: [a/poems.txt, b.txt]}\n", "poems.txt, b.txt, the task `copy`, the task `reversal`"),
        ("mixture: {copy: 1.0}\n", "the task `copy`"),
        ("corpus: {files: [a/poems.txt]}\nmixture: {reversal: 1.0, corpus: 2.0}\n", "the task `reversal`, poems.txt"),
    ],
)
def test_a_card_names_what_was_trained_on_and_nothing_else(tmp_path: Path, more: str, sources: str) -> None:
    assert f"| trained on | {sources} |\n" in card_of(tmp_path, STUDY + more)


def test_a_card_says_what_the_weights_began_with(tmp_path: Path) -> None:
    assert "trained from nothing by `emergence` in the study `cards`." in card_of(tmp_path / "plain", STUDY)
    begun = card_of(tmp_path / "begun", STUDY + VECTORS)
    assert "the token vectors of `runs/words/models/R00-s0` by `emergence`" in begun
    assert "from nothing" not in begun
    assert "trained by `emergence`." in card_of(tmp_path / "alone", None)
