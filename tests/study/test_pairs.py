"""An encoder-decoder beside a decoder in one study, on pairs from a file: curves, verdicts, report, and beams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import emergence as em
from emergence.core.errors import UserError
from emergence.study.load import load_study
from tests.tiny import emergence

STUDY = """\
name: pairs
model: {family: [seq2seq, gpt], ladder: {smallest: 5e3, largest: 1e4, rungs: 2}, context: 24}
replicas: 1
training: {tokens: 2e4, batch_tokens: 480, checkpoints: 2}
tasks:
  - {name: reversal, length: 3, letters: 6}
  - {name: translation, file: pairs.tsv}
evaluation: {examples: 16}
analysis: {resamples: 100, axes: [params, loss], hold_out: 0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two families that ran to its end, and its file of pairs."""
    home = tmp_path_factory.mktemp("pairs")
    words = np.random.default_rng(0).integers(0, 9, (600, 3)).tolist()
    lines = [f"{' '.join(map(str, row))}\t{''.join('一二三四五六七八九'[w] for w in row)}" for row in words]
    (home / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    (home / "pairs.yaml").write_text(STUDY)
    done = emergence("run", home / "pairs.yaml", "--out", home / "out", cwd=home.parent)
    assert done.returncode == 0, done.stderr
    return home


def test_both_families_have_curves_verdicts_and_a_report(folder: Path) -> None:
    scores = pl.read_parquet(folder / "out" / "scores.parquet")
    asked = scores.filter(pl.col("task") == "translation")
    for metric in ("exact_match", "target_logprob", "target_prob", "bleu", "chrf", "sentence_bleu", "sentence_chrf"):
        own = asked.filter(pl.col("metric") == metric)
        assert sorted(own["model"].unique()) == ["gpt-R00", "gpt-R01", "seq2seq-R00", "seq2seq-R01"]
        assert own["score"].is_finite().all()
    verdicts = json.loads((folder / "out" / "verdicts.json").read_text())["verdicts"]
    assert {(v["family"], v["task"], v["metric"]) for v in verdicts} == {
        (family, task, metric)
        for family in ("seq2seq", "gpt")
        for task, metrics in (("reversal", ["exact_match"]), ("translation", ["exact_match", "bleu", "chrf"]))
        for metric in metrics
    }
    assert "chrf" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_beams_are_searched_with_from_the_command_line(folder: Path) -> None:
    run = folder / "out" / "models" / "seq2seq-R01-s0"
    model = em.load(run)
    greedy, found = (model.generate("abc<", max_tokens=3, beams=beams) for beams in (1, 5))
    totals = [model.loglikelihood("abc<", text).total for text in (greedy, found)]
    assert len(greedy) < 3 or len(found) < 3 or totals[1] >= totals[0] - 1e-4
    done = emergence("generate", run, "abc<", "--max-tokens", "3", "--beams", "5", cwd=folder)
    assert done.stdout.rstrip("\n") == found
    refused = emergence("generate", folder / "out" / "models" / "gpt-R01-s0", "abc<", "--beams", "5", cwd=folder)
    assert refused.returncode == 2
    assert "without beams" in refused.stderr


def test_a_file_that_changed_is_refused_where_models_have_read_it(folder: Path) -> None:
    pairs = folder / "pairs.tsv"
    text = pairs.read_text(encoding="utf-8")
    pairs.write_text("\n".join(reversed(text.split("\n"))), encoding="utf-8")  # the letters are the same
    with pytest.raises(UserError, match="have changed since it was begun"):
        em.run(folder / "pairs.yaml", out=folder / "out")
    pairs.write_text(text, encoding="utf-8")


def test_the_file_of_a_task_is_seen_from_the_study_or_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {task.name: task.options for task in load_study(str(folder / "pairs.yaml")).tasks}
    assert tasks["translation"]["file"] == str(folder / "pairs.tsv")
    monkeypatch.chdir(folder)
    study = load_study("translation", ["tasks.translation.file=pairs.tsv", "tasks.translation.longest=20"])
    assert study.tasks[0].options == {"file": str(folder / "pairs.tsv"), "longest": 20}
    with pytest.raises(UserError, match=r"--set tasks\.translation\.file="):
        em.plan("translation")


def test_the_files_of_labelled_tasks_are_seen_from_the_study(tmp_path: Path) -> None:
    (tmp_path / "labelled.yaml").write_text(
        """
name: labelled
model: {family: gpt, ladder: {smallest: 2e3, largest: 4e3, rungs: 2}, context: 64}
training: {tokens: 1e4}
tasks:
  - name: classification
    files: {good: [a.txt, "b/*.txt"], bad: c.txt}
    validation: dev.tsv
    tests: {test: [t.tsv], other: {files: o.tsv, columns: {text: 1, label: 2}}, far: {files: {good: /g.txt}}}
  - {name: regression, files: "*.csv"}
""",
        encoding="utf-8",
    )
    first, second = (task.options for task in load_study(str(tmp_path / "labelled.yaml")).tasks)
    here = str(tmp_path) + "/"
    assert first["files"] == {"good": [here + "a.txt", here + "b/*.txt"], "bad": here + "c.txt"}
    assert first["validation"] == here + "dev.tsv"
    assert first["tests"] == {
        "test": [here + "t.tsv"],
        "other": {"files": here + "o.tsv", "columns": {"text": 1, "label": 2}},
        "far": {"files": {"good": "/g.txt"}},
    }
    assert second["files"] == here + "*.csv"
