"""A family without sizes in a study, and models that begin with the token vectors of another study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import emergence as em
from emergence.api.planning import power
from emergence.core.errors import UserError
from emergence.core.settings import validate_study
from emergence.models.gpt import size_for
from emergence.models.vectors import load_vectors, save_vectors
from emergence.study.load import load_study
from emergence.study.packing import lay_out
from emergence.study.plan import make_plan
from emergence.training.stack import Stack
from tests.tiny import emergence

RULES = """\
name: rules
model: {family: [rules, gpt], ladder: {smallest: 3e3, largest: 1e4, rungs: 2}, context: 56}
replicas: 2
training: {tokens: 3e4, batch_tokens: 560, checkpoints: 3}
tasks:
  - {name: recall, pairs: 4}
  - {name: sentiment, language: zh}
evaluation: {examples: 64}
analysis: {resamples: 100, axes: [params, tokens], hold_out: 0}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of rules and gpt that ran to its end."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.yaml").write_text(RULES)
    done = emergence("run", "rules.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 rungs from 3," in done.stderr + done.stdout
    assert "and rules (no sizes)" in done.stderr + done.stdout
    return folder / "runs" / "rules"


def test_rules_are_right_at_every_checkpoint_and_stand_on_no_ladder(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    rules = scores.filter(pl.col("family") == "rules")
    assert set(rules["model"]) == {"rules-R00"}
    assert (rules.filter(pl.col("metric") == "exact_match")["score"] == 1).all()
    assert set(rules["task"]) == {"recall", "sentiment"}
    assert rules.select(pl.struct("seed", "step").n_unique()).item() == 2 * 3
    assert rules.select("params", "flops", "loss").null_count().row(0) == (rules.height,) * 3
    assert rules["tokens"].null_count() == 0
    others = scores.filter(pl.col("family") == "gpt")
    assert others.select("params", "flops", "loss", "tokens").null_count().row(0) == (0, 0, 0, 0)


def test_what_cannot_change_is_not_taken_for_a_fault(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert "identical" not in json.dumps(manifest.get("notes", manifest))
    verdicts = json.loads((finished / "verdicts.json").read_text())["verdicts"]
    own = [verdict for verdict in verdicts if verdict["family"] == "rules"]
    assert {verdict["axis"] for verdict in own} == {"tokens"}
    assert {verdict["verdict"] for verdict in own} == {"flat"}


def test_the_report_draws_a_level_line(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "6 (3 rungs of 2 families × 2 replicas)" in page
    for axis in ("params", "flops", "loss", "tokens"):
        assert "rules" in (finished / "figures" / f"families-1-{axis}.svg").read_text()
    assert "8,3" not in (finished / "figures" / "families-1-tokens.svg").read_text()
    assert "8,3" in (finished / "figures" / "families-1-params.svg").read_text()


def test_the_rules_of_a_run_are_asked_like_any_model(finished: Path) -> None:
    model = em.load(finished / "models" / "rules-R00-s0")
    assert model.generate("a3f7k1b0?k", max_tokens=1) == "1"
    assert model.generate("房间并不很好:", max_tokens=1) == "-"
    with pytest.raises(UserError, match="no token vectors"):
        _ = model.vectors


def test_rules_are_evaluated_without_a_size(finished: Path, tmp_path: Path) -> None:
    run = finished / "models" / "rules-R00-s0"
    asked = ("--task", "{name: recall, pairs: 4}", "--examples", "16", "--cache", str(tmp_path))
    document = json.loads(emergence("evaluate", run, *asked, "--json", cwd=tmp_path).stdout)
    for row in document["scores"]:
        assert (row["params"], row["flops"], row["loss"]) == (None, None, None)
        assert row["tokens"] > 0
    table = emergence("evaluate", run, *asked, cwd=tmp_path)
    assert "rules-R00, no sizes" in table.stdout, table.stderr


def test_rules_alone_can_be_planned_but_have_no_power() -> None:
    document = {
        "name": "alone",
        "model": {"family": "rules", "ladder": {"smallest": 3e3, "largest": 1e5, "rungs": 5}},
        "training": {"tokens": 1e5},
        "tasks": [{"name": "addition"}],
    }
    plan = make_plan(validate_study(document, source="here"))
    assert [rung.name for rung in plan.rungs] == ["R00"]
    assert plan.flops == 0
    assert lay_out(plan, lambda request: 0.01).seconds > 0
    with pytest.raises(UserError, match="no family with sizes"):
        power(validate_study(document, source="here"))


WORDS = """\
name: words
model: {family: word2vec, ladder: {counts: [2432], vary: width}, context: 32}
replicas: 1
training: {tokens: 6e4, batch_tokens: 640, checkpoints: 2}
tasks:
  - {name: analogy, stems: 6, endings: 4}
evaluation: {examples: 8}
analysis: {resamples: 100, axes: [params], hold_out: 0}
"""
READERS = """\
name: readers
model: {family: [gpt, lstm], ladder: {counts: [33280], vary: depth}, context: 32}
replicas: 1
training: {tokens: 1e4, batch_tokens: 640, checkpoints: 1, initialise_embeddings: runs/words/models/R00-s0}
tasks:
  - {name: analogy, stems: 6, endings: 4}
evaluation: {examples: 8}
analysis: {resamples: 100, axes: [params], hold_out: 0}
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished word2vec run of width 64 and the file of a study whose models begin with it."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "words.yaml").write_text(WORDS)
    (folder / "readers.yaml").write_text(READERS)
    done = emergence("run", "words.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_of_word2vec_has_vectors_and_neighbours(words: Path) -> None:
    model = em.load(words / "runs" / "words" / "models" / "R00-s0")
    assert model.vectors.shape == (38, 64)
    near = model.nearest("가", 3)
    assert [cosine for _, cosine in near] == sorted((cosine for _, cosine in near), reverse=True)
    assert "가" not in [word for word, _ in near]
    with pytest.raises(UserError, match="does not know"):
        model.nearest("x!")


def test_models_begin_with_the_vectors_and_it_is_noted(words: Path) -> None:
    done = emergence("run", "readers.yaml", cwd=words)
    assert done.returncode == 0, done.stderr
    folder = words / "runs" / "readers"
    assert "begins with the token vectors of" in (folder / "manifest.json").read_text()
    assert "begins with the token vectors of" in (folder / "report.html").read_text()
    source = em.load(words / "runs" / "words" / "models" / "R00-s0").vectors
    np.testing.assert_array_equal(load_vectors(folder / "data" / "embeddings.safetensors"), source)
    for family in ("gpt", "lstm"):
        found = em.load(folder / "models" / f"{family}-R00-s0").vectors
        likeness = np.corrcoef(found.ravel(), source.ravel())[0, 1]
        assert 0.5 < likeness < 1 - 1e-6  # trained on from there


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["model.ladder.counts=[2e4]", "model.ladder.vary=width"], "wide, but the vectors in .* are 64"),
        (["tasks=[{name: copy, length: 4}]"], "belong to other tokens"),
        (["model.family=[gpt, rules]"], "the family rules has no token vectors"),
        (["training.initialise_embeddings=runs/nowhere"], "is not a model folder"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    words: Path, changes: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(words)
    with pytest.raises(UserError, match=said):
        make_plan(load_study("readers.yaml", changes))


@pytest.mark.parametrize("stacked", [False, True])
def test_what_begins_with_vectors_begins_with_their_shape_and_its_own_size(tmp_path: Path, stacked: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 64)).astype(np.float32) * 7
    save_vectors(vectors, tmp_path / "vectors.safetensors")
    config = size_for(4e4, 10, 16, "depth")
    settings = {"learning_rate": 0.006, "weight_decay": 0.1, "clip": 1.0, "stacked": stacked}
    seeds = (0, 1) if stacked else (0,)
    plain = Stack("gpt", config, seeds, **settings)
    given = Stack("gpt", config, seeds, embeddings=str(tmp_path / "vectors.safetensors"), **settings)
    for replica in range(len(seeds)):
        own, begun = plain.weights(replica), given.weights(replica)
        changed = {name for name in own if not torch.equal(own[name], begun[name])}
        assert changed == {"embedding.weight"}
        found = begun["embedding.weight"].numpy()
        ratio = found / vectors
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
        assert np.sqrt((found**2).mean()) == pytest.approx(float(own["embedding.weight"].square().mean().sqrt()))
