"""A study of sentences: rows of whole lines, a variational model beside a decoder, and what the report says of both."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import StudySettings, validate_study
from emergence.core.yaml import parse_yaml
from emergence.study.load import built_in_studies
from emergence.study.plan import make_plan
from emergence.text import open_packed
from emergence.training.rows import map_rows
from tests.tiny import emergence

STUDY = """\
name: lines
model: {family: [gpt, vae], ladder: {smallest: 4e3, largest: 8e3, rungs: 2}, context: 16}
corpus: {files: text.txt, rows: lines}
training: {tokens: 2e4, batch_tokens: 512, checkpoints: 2}
tasks:
  - {name: text, samples: 1}
  - {name: sampling, sets: 2, samples: 4}
  - {name: reconstruction}
evaluation: {examples: 16}
analysis: {resamples: 100, axes: [params]}
"""
LINES = [f"{a} {b}" for a, b in itertools.product(("red", "blue", "green", "dark", "pale"), "abcdefghijklmno")]


def settings(folder: Path, **changes: Any) -> StudySettings:
    (folder / "text.txt").write_text("\n".join(LINES))
    document, _ = parse_yaml(STUDY, source="here")
    document["corpus"]["files"] = [str(folder / "text.txt")]
    return validate_study({**document, **changes}, source="here")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "text.txt").write_text("\n".join([*LINES, LINES[0], "", "a line that is longer than sixteen tokens"]))
    (folder / "lines.yaml").write_text(STUDY)
    done = emergence("run", "lines.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "lines"


def test_every_row_is_one_line_and_every_token_is_predicted_once(finished: Path) -> None:
    total = 0
    for part in ("training", "validation"):
        rows = map_rows(finished / "data" / f"corpus-{part}-rows.bin")
        packed = open_packed(finished / "data" / f"corpus-{part}.bin")
        total += packed.documents
        predicted = rows.tokens[:, 1:][rows.supervised]
        np.testing.assert_array_equal(predicted, packed.tokens)
        assert (rows.supervised == np.sort(rows.supervised, axis=1)[:, ::-1]).all()
    assert total == len(LINES) + 1  # the line that occurs twice is one, and the long one takes several rows
    notes = (finished / "report.md").read_text()
    assert "longer than the context of 16 and cut into several rows" in notes


def test_reconstruction_is_asked_of_the_vae_alone(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    asked = {family: set(own["task"]) for (family,), own in scores.group_by("family")}
    assert asked == {"gpt": {"text", "sampling"}, "vae": {"text", "sampling", "reconstruction"}}
    diversity = scores.filter(pl.col("metric") == "distinct_2")
    assert diversity["score"].is_between(0, 1, closed="right").all()
    assert set(diversity["n"]) == {2}


def test_the_bound_is_called_one_and_its_summands_are_shown(finished: Path) -> None:
    history = pl.read_parquet(finished / "models" / "vae-R01-s0" / "history.parquet").drop_nulls("validation_loss")
    parts = history["validation_reconstruction"] + history["validation_kl"]
    np.testing.assert_allclose(parts, history["validation_loss"], atol=1e-6)
    assert (history["validation_kl"] > 0).all()
    assert "validation_kl" not in pl.read_parquet(finished / "models" / "gpt-R01-s0" / "history.parquet").columns
    report = (finished / "report.md").read_text()
    assert "of it KL" in report
    assert "the validation loss of vae is an upper bound" in report


def test_a_model_of_sentences_is_gone_through(finished: Path) -> None:
    run = finished / "models" / "vae-R01-s0"
    model = em.load(run)
    way = model.interpolate("red a", "blue b", steps=4)
    assert len(way) == 4
    assert (way[0], way[-1]) == (model.reconstruct("red a"), model.reconstruct("blue b"))
    printed = emergence("interpolate", run, "red a", "blue b", "--steps", "4", cwd=finished)
    assert printed.stdout.rstrip("\n").split("\n") == way
    printed = emergence("sample", run, "-n", "3", "--seed", "5", cwd=finished)
    assert printed.stdout.rstrip("\n").split("\n") == model.sample(3, seed=5)
    refused = emergence("interpolate", finished / "models" / "gpt-R01-s0", "red a", "blue b", cwd=finished)
    assert refused.returncode == 2
    assert "has no latent space" in refused.stderr
    assert em.evaluate(model, "reconstruction", cache=finished.parent / "cache").scores.height == 3
    with pytest.raises(UserError, match="no bottleneck"):
        em.evaluate(finished / "models" / "gpt-R01-s0", "reconstruction", cache=False)


@pytest.mark.parametrize(
    ("family", "tasks", "said"),
    [
        ("gpt", ["text", "reconstruction"], "families that can: vae"),
        (["gpt", "vae"], ["text", "copy"], "the family vae cannot do the task copy, only text, sampling"),
        (["gpt", "vae"], ["reconstruction"], "the family gpt can do no task"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, family: Any, tasks: list[str], said: str) -> None:
    model = {"family": family, "ladder": {"counts": [4e3]}, "context": 16}
    with pytest.raises(UserError, match=said):
        make_plan(settings(tmp_path, model=model, tasks=[{"name": name} for name in tasks]))


@pytest.mark.parametrize("task", ["text", "sampling", "reconstruction"])
def test_documents_that_are_all_too_long_are_found_when_planned(tmp_path: Path, task: str) -> None:
    changes = {
        "model": {"family": "vae", "ladder": {"counts": [4e3]}, "context": 5},
        "tasks": [{"name": task}],
    }
    study = settings(tmp_path, **changes)
    with pytest.raises(UserError, match=r"no held-out document fits into a context of 5; raise model\.context"):
        make_plan(study)
    changes["model"] = {**changes["model"], "context": 6}  # "red a" and its end
    assert make_plan(settings(tmp_path, **changes)).rungs


def test_a_task_of_texts_needs_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'sampling' needs a corpus"):
        settings(tmp_path, corpus=None, tasks=[{"name": "copy"}, {"name": "sampling"}])


def test_an_epoch_of_lines_is_every_row_once(tmp_path: Path) -> None:
    training = {"tokens": 16 * 16 * 20, "batch_tokens": 16 * 16, "checkpoints": "epochs"}
    plan = make_plan(settings(tmp_path, training=training))
    rows = len(plan.texts.training)
    assert plan.checkpoint_steps[0] == round(rows / 16)


def test_the_built_in_study_is_sound(tmp_path: Path) -> None:
    document, _ = parse_yaml(built_in_studies()["sentences"], source="sentences")
    (tmp_path / "text.txt").write_text("\n".join(LINES * 2))
    document["corpus"]["files"] = [str(tmp_path / "text.txt")]
    assert {rung.family for rung in make_plan(validate_study(document, source="sentences")).rungs} == {"gpt", "vae"}
