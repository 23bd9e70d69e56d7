"""Families with learners of their own in one study beside `gpt`: counted n-grams and a network by hand."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch

import emergence as em
from emergence.models.checkpoint import find_checkpoints, load_network
from tests.tiny import TINY, emergence, write_study

THREE = (
    TINY.replace("family: gpt", "family: [ngram, numpy, gpt]")
    .replace("rungs: 3", "rungs: 2")
    .replace("replicas: 2", "replicas: 1")
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three families that ran to its end."""
    folder = write_study(tmp_path_factory.mktemp("three"), THREE)
    done = emergence("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "tiny"


def test_every_run_is_scored_and_judged(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    runs = scores.select("family", "model", "seed").unique()
    families = ("gpt", "ngram", "numpy")
    assert sorted(runs.rows()) == [(f, f"{f}-R0{r}", 0) for f in families for r in (0, 1)]
    verdicts = json.loads((finished / "verdicts.json").read_text())["verdicts"]
    assert {verdict["family"] for verdict in verdicts} == set(families)
    page = (finished / "report.html").read_text()
    assert all(name in page for name in families)


def test_the_text_is_learnt(finished: Path) -> None:
    """The quick brown fox over and over: five letters say what comes next."""
    for family in ("ngram", "numpy"):
        history = pl.read_parquet(finished / "models" / f"{family}-R01-s0" / "history.parquet")
        losses = history["validation_loss_corpus"].drop_nulls()
        assert losses[-1] < min(0.35, losses[0])
        assert (history["flops"].diff().drop_nulls() > 0).all()


@pytest.mark.parametrize("family", ["ngram", "numpy"])
def test_a_model_is_loaded_and_used(finished: Path, family: str) -> None:
    folder = finished / "models" / f"{family}-R01-s0"
    model = em.load(folder)
    assert (model.name, model.family, model.params) == (f"{family}-R01", family, pytest.approx(1e4, rel=0.05))
    assert model.generate("the quick brown", max_tokens=10) == " fox jumps"
    assert model.generate("the", max_tokens=20, temperature=1.0) == model.generate(
        "the", max_tokens=20, temperature=1.0
    )
    assert model.loglikelihood("the quick ", "brown").total > model.loglikelihood("the quick ", "nworb").total + 5
    first, again = (load_network(folder)[0] for _ in range(2))
    ids = torch.arange(20)[None]
    assert torch.equal(first(ids), again(ids))
    earlier = find_checkpoints(folder)[0].step
    assert not torch.equal(em.load(folder, earlier).network(ids), first(ids))
    assert first.fingerprint() == model.network.fingerprint()


def test_what_was_asked_while_learning_is_what_the_loaded_model_answers(finished: Path) -> None:
    """The records were made by the learner's network, the log-likelihoods here by the one from the disk."""
    for family in ("ngram", "numpy"):
        records = sorted((finished / "records").glob(f"{family}-R00-s0-*.parquet"))[-1]
        model = em.load(finished / "models" / f"{family}-R00-s0")
        for row in pl.read_parquet(records).filter(pl.col("task") == "copy").head(5).iter_rows(named=True):
            found = model.loglikelihood(row["prompt"], row["target"]).logprobs
            assert found == pytest.approx(row["logprobs"][: len(found)], abs=1e-4)
