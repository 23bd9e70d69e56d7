"""`finetune:` in a study: learning curves and ladders, killed in the middle, changed, damaged, grown, and refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

import emergence as em
from emergence.core.errors import UserError
from emergence.core.store import read_sealed, sha256, write_sealed
from emergence.core.tuning_settings import TuningSettings
from tests.hub import save_llama
from tests.tiny import emergence, write_study

STUDY = """\
name: tiny
model: {family: [gpt, ngram], ladder: {smallest: 3e3, largest: 1e4, rungs: 2}, context: 24}
replicas: 1
training: {tokens: 2e4, batch_tokens: 480, checkpoints: 2}
tasks:
  - {name: copy, length: 4, letters: 4}
  - name: letters
    task: classification
    files: train.tsv
    validation: {files: held.tsv}
    tests: {test: {files: test.tsv}}
  - {name: first, task: classification, files: first.tsv}
mixture: {copy: 1.0}
evaluation: {examples: 32}
analysis: {resamples: 100, axes: [examples, params, training_tasks], hold_out: 0}
finetune:
  tasks: [letters]
  examples: [8, all]
  settings: {epochs: 1, least_steps: 12, reading_steps: 6}
  variants: {tuned: {}, probe: {freeze: all}}
  baselines: [majority, naive_bayes]
  before: {tasks: [first], counts: [0, 1], methods: [multitask, reptile], settings: {epochs: 1, least_steps: 10}}
"""
MODELS = ("gpt-R00", "gpt-R01")


def write_all(home: Path, study: str = STUDY) -> Path:
    """Write the study, its text and its labelled examples; two of a test set stand in training too."""
    write_study(home, study)
    rng = np.random.default_rng(0)
    kept: list[str] = []
    for name, n in (("train", 40), ("held", 20), ("test", 24), ("first", 60)):
        lines = []
        for number in range(n):
            body = ["abcdefgh"[i] for i in rng.integers(0, 8, 8)]
            body[int(rng.integers(8))] = "zy"[number % 2]
            lines.append("".join(body) + "\t" + ("good", "bad")[number % 2])
        kept = kept or lines
        lines = [*kept[:2], *lines] if name == "test" else lines
        (home / f"{name}.tsv").write_text("\n".join(["text\tlabel", *lines]))
    return home


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study after an uninterrupted run."""
    home = write_all(tmp_path_factory.mktemp("tuned"))
    done = emergence("run", "--no-report", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "runs" / "tiny"


def scores(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "scores.parquet").sort(pl.all())


def stamps(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("adapted/*/outcome.json")}


def copied(tuned: Path, home: Path) -> Path:
    """A copy of the finished study, whose tasks read the same files as before."""
    shutil.copytree(tuned, home / "runs" / "tiny")
    study = STUDY
    for name in ("train", "held", "test", "first"):
        study = study.replace(f"{name}.tsv", str(tuned.parent.parent / f"{name}.tsv"))
    write_study(home, study)
    return home / "runs" / "tiny"


def test_every_model_has_a_learning_curve_and_a_place_on_ladders(tuned: Path) -> None:
    table = scores(tuned).filter(pl.col("task") == "letters", pl.col("metric") == "accuracy")
    for model in MODELS:
        family = model.split("-")[0]
        for variant in ("tuned", "probe"):
            curve = table.filter(pl.col("model") == f"{model} {variant}", pl.col("family") == f"{family} {variant}")
            assert curve["examples"].sort().to_list() == [8.0, 40.0]
            assert curve["params"].null_count() == 2
            for size in (8, 40):
                ladder = table.filter(pl.col("family") == f"{family} {variant} on {size}")
                assert ladder["params"].n_unique() == 2
                assert ladder["examples"].null_count() == ladder.height == 2
    for baseline in ("majority", "naive_bayes"):
        assert table.filter(pl.col("family") == baseline)["examples"].sort().to_list() == [8.0, 40.0]
    assert not [family for family in table["family"].unique() if family.startswith("ngram ")]


def test_what_was_learnt_before_is_an_axis_and_sizes_are_kept_apart(tuned: Path) -> None:
    table = scores(tuned).filter(pl.col("task") == "letters", pl.col("metric") == "accuracy")
    for method in ("multitask", "reptile"):
        for size in (8, 40):
            rows = table.filter(
                pl.col("family") == f"gpt {method} on {size}", pl.col("model").str.starts_with("gpt-R00")
            )
            assert rows["training_tasks"].sort().to_list() == [0.0, 1.0]
    outcomes = [read_sealed(path) for path in tuned.glob("adapted/gpt-R00-s0.multitask*8.after*/outcome.json")]
    less, more = sorted(outcome["flops"] for outcome in outcomes)
    assert more > less  # what the other task cost is counted


def test_notes_say_what_leaks_and_files_are_those_of_the_manifest(tuned: Path) -> None:
    manifest = read_sealed(tuned / "manifest.json")
    assert any("2 of 26 examples stand in the training set too" in note for note in manifest["notes"])
    made = [path for path in (tuned / "adapted").rglob("*") if path.is_file()]
    assert len(made) == 2 * (2 * 2 * (2 + 2 * 2) + 2 * 2)
    for path in made:
        assert manifest["files"][str(path.relative_to(tuned))] == sha256(path)
    verdicts = json.loads((tuned / "verdicts.json").read_text())["verdicts"]
    assert {"gpt tuned", "gpt probe"} <= {v["family"] for v in verdicts if v["axis"] == "examples"}


def test_killed_while_it_tunes_it_goes_on_and_ends_the_same(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    shutil.rmtree(folder / "adapted")
    command = [sys.executable, "-m", "emergence.cli.main", "run", "--no-report", "tiny.yaml"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(stamps(folder)) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = stamps(folder)
    assert 3 <= len(kept) < len(stamps(tuned))
    again = emergence("run", "--no-report", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert kept.items() <= stamps(folder).items(), "done twice"
    assert scores(folder).equals(scores(tuned))


def test_what_changed_alone_is_done_again(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    (folder / "adapted" / "gpt-R00-s0.tuned.letters.8" / "records.parquet").write_bytes(b"damaged")
    (folder / "adapted" / "gpt-R01-s0.tuned.letters.8" / "outcome.json").write_text("{}")
    before = stamps(folder)
    changes = ["--set", "finetune.variants.probe.epochs=2", "--set", "finetune.examples=[8, 16, all]"]
    done = emergence("run", "--no-report", "tiny.yaml", *changes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = stamps(folder)
    redone = {name for name in before if before[name] != after[name]}
    probes = {name for name in before if ".probe." in name}
    assert redone == probes | {"gpt-R00-s0.tuned.letters.8", "gpt-R01-s0.tuned.letters.8"}
    assert {name.rpartition(".letters.")[2] for name in after.keys() - before.keys()} == {
        "16",
        "16.after0",
        "16.after1",
    }
    unchanged = pl.col("family").str.contains("tuned on")
    assert (
        scores(folder)
        .filter(unchanged, ~pl.col("family").str.contains("on 16"))
        .equals(scores(tuned).filter(unchanged))
    )


def test_a_study_that_grows_tunes_the_new_replica_alone(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    before = stamps(folder)
    done = emergence("run", "--no-report", "tiny.yaml", "--set", "replicas=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = stamps(folder)
    assert before.items() <= after.items()
    assert all("-s1." in name for name in after.keys() - before.keys())
    assert len(after) == 2 * len(before)


def test_a_variant_that_diverges_is_noted_and_the_rest_is_kept(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    wild = "{learning_rate: 1e6, optimiser: sgd, clip: 1e9, warmup: 0.0}"
    changes = ["--set", f"finetune.variants.wild={wild}", "--set", "finetune.rungs=[gpt-R00]"]
    done = emergence("run", "--no-report", "tiny.yaml", *changes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    notes = read_sealed(folder / "manifest.json")["notes"]
    assert any(note.startswith("gpt-R00-s0.wild.letters.8: fine-tuning diverged") for note in notes)
    families = set(scores(folder)["family"])
    assert "gpt tuned" in families
    assert "gpt wild" not in families
    assert "gpt-R01 tuned" not in set(scores(folder)["model"])  # which `rungs` leaves out now


def test_the_largest_of_each_family_may_be_tuned_alone(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    done = emergence("run", "--no-report", "tiny.yaml", "--set", "finetune.rungs=largest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = scores(folder)
    assert set(table.filter(pl.col("family").str.ends_with(" tuned"))["model"]) == {"gpt-R01 tuned"}


def test_a_study_whose_runs_diverged_in_part_still_ends(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    run = folder / "models" / "gpt-R00-s0"
    outcome = read_sealed(run / "outcome.json")
    write_sealed(run / "outcome.json", {**outcome, "status": "diverged", "notes": ["it diverged"]})
    manifest = read_sealed(folder / "manifest.json")
    manifest["files"]["models/gpt-R00-s0/outcome.json"] = sha256(run / "outcome.json")
    write_sealed(folder / "manifest.json", manifest)
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(folder / "adapted")
    done = emergence("run", "--no-report", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [model for model in scores(folder)["model"].unique() if model.startswith("gpt-R00")]


def test_a_report_that_was_left_out_is_written_later(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned, tmp_path)
    assert not list(folder.glob("report.*"))
    done = emergence("report", "runs/tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Adaptation" in (folder / "report.md").read_text()
    assert (folder / "report.html").exists()


def planned(home: Path, *changes: str, study: str = "tiny.yaml") -> str:
    """Return with which sentence a plan of the study is refused."""
    with contextlib.chdir(home), pytest.raises(UserError) as caught:
        em.plan(home / study, changes=changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("finetune.tasks=[leters]", "did you mean 'letters'"),
        ("finetune.tasks=[text]", "text"),
        ("finetune.rungs=[gpt-R07]", "gpt-R07"),
        ("finetune.variants={tuned: {epoch: 3}}", "variants.tuned.epoch"),
        ("finetune.variants={}", "finetune.variants"),
        ("finetune.variants={a b: {}, a-b: {}}", "two ways of fine-tuning are called 'a-b'"),
        ("finetune.variants={reptile: {}}", "two ways of fine-tuning are called 'reptile'"),
        ("finetune.variants={deep: {freeze: 9}}", "deep freezes 9 depths, but gpt-R01 has 3 below its head"),
        ("finetune.settings.freeze=-1", "finetune.settings.freeze"),
        ("finetune.examples=[0]", "finetune.examples"),
        ("finetune.before.counts=[2]", "counts ask for 2 of 1 tasks"),
        ("finetune.before.tasks=[letters, copyy]", "did you mean 'copy'"),
        ("finetune.before.settings.start=untrained", "leave start out"),
        ("finetune.before.settings.adapter={method: lora}", "leave adapter out"),
        ("finetune.settings.start=untrained", "would forget what was learnt before"),
        ("model.family=[ngram]", "no model of this study can be tuned for letters"),
        ("finetune={tasks: [copy], variants: {probe: {freeze: all}}}", "probe freezes all, and copy is answered by"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path, change: str, says: str) -> None:
    assert says in planned(write_all(tmp_path), change)
    assert list(tmp_path.glob("runs")) == []


def test_models_that_only_read_are_not_asked_to_write(tmp_path: Path) -> None:
    line = planned(write_all(tmp_path), "model.family=[bert]", "finetune.tasks=[copy]")
    assert "no model of this study can be tuned for copy, which is answered by writing" in line


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("train.tsv", "text\tlabel\nabc\tgood\nabd\tgood\n", "all examples are of one class, 'good'"),
        ("train.tsv", "text\tlabel\nabc\nabd\n", "train.tsv"),
        ("test.tsv", "text\tlabel\nabc\tgod\n", "did you mean 'good'"),
    ],
)
def test_labels_that_are_wrong_are_refused(tmp_path: Path, file: str, content: str, says: str) -> None:
    home = write_all(tmp_path)
    (home / file).write_text(content)
    assert says in planned(home)


def test_settings_of_variants_are_those_of_the_study_with_changes() -> None:
    asked: Any = {"settings": {"epochs": 3, "dropout": 0.2}, "variants": {"a": {"epochs": 7}, "b": {}}}
    found = TuningSettings.model_validate(asked)
    assert (found.variant("a").epochs, found.variant("a").dropout, found.variant("b").epochs) == (7, 0.2, 3)
    with pytest.raises(ValidationError, match="an adapter freezes the model itself"):
        TuningSettings.model_validate({"variants": {"x": {"adapter": {"method": "lora"}, "freeze": 1}}})


def test_models_trained_elsewhere_are_tuned(tmp_path: Path) -> None:
    write_all(tmp_path)
    for number, width in enumerate((8, 16)):
        save_llama(tmp_path / "ladder" / f"tiny-{number}", width, seed=number)
    study = STUDY[STUDY.index("tasks:") : STUDY.index("mixture:")]
    (tmp_path / "theirs.yaml").write_text(f"""\
name: theirs
model: {{huggingface: [ladder/tiny-0, ladder/tiny-1]}}
{study}
evaluation: {{examples: 8}}
analysis: {{resamples: 100, axes: [examples, params]}}
finetune:
  tasks: [letters, copy]
  examples: [8]
  settings: {{epochs: 1, least_steps: 6}}
  variants: {{lora: {{adapter: {{method: lora}}}}}}
""")
    done = emergence("run", "--no-report", "theirs.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = scores(tmp_path / "runs" / "theirs")
    assert table.filter(pl.col("family").str.ends_with("lora on 8"))["params"].n_unique() == 2
    assert set(table.filter(pl.col("family").str.ends_with(" lora"))["task"]) == {"letters", "copy"}
    assert "finetune.rungs: largest is for ladders" in planned(tmp_path, "finetune.rungs=largest", study="theirs.yaml")
