"""`compress:` in a study: verdicts along the bits of a weight, and the same ones after it was killed in the middle."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from emergence.core.store import read_sealed, sha256
from tests.study.test_trouble import refused
from tests.tiny import emergence, write_study

STUDY = """\
name: tiny
model: {family: [gpt, ngram], ladder: {smallest: 3e3, largest: 1e4, rungs: 2}, context: 24}
replicas: 1
training: {tokens: 6e4, batch_tokens: 480, checkpoints: 2}
tasks:
  - {name: copy, length: 4, letters: 4}
evaluation: {examples: 64, shots: [0, 1]}
analysis: {resamples: 100, axes: [bits], hold_out: 0}
compress: {methods: [wanda, "magnitude-2:4", quantised], sparsities: [0.5, 0.9], bits: [8, 2], rows: 40}
"""
LEVELS = {"wanda": ["0.5", "0.9"], "magnitude-2:4": ["0.5"], "quantised": ["8 bits", "2 bits"]}


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study after an uninterrupted run."""
    home = write_study(tmp_path_factory.mktemp("compressed"), STUDY)
    done = emergence("run", "--no-report", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "runs" / "tiny"


def scores(folder: Path) -> pl.DataFrame:
    """The scores of a study, in one order."""
    return pl.read_parquet(folder / "scores.parquet").sort(pl.all())


def test_every_level_is_a_point_of_its_models_curve(compressed: Path) -> None:
    table = scores(compressed).filter(pl.col("metric") == "exact_match", pl.col("shots") == 0)
    for rung in ("gpt-R00", "gpt-R01"):
        own = table.filter(pl.col("model") == rung)
        last = own.filter(pl.col("family") == "gpt").sort("step").row(-1, named=True)
        for method, levels in LEVELS.items():
            curve = own.filter(pl.col("family") == f"gpt {method}").sort("bits")
            assert curve["bits"].n_unique() == len(levels) + 1
            assert curve.select("params", "tokens", "flops", "loss").null_count().row(0) == (len(levels) + 1,) * 4
            untouched = curve.row(-1, named=True)
            assert (untouched["bits"], untouched["score"]) == (32.0, last["score"])
            for level in levels:
                ladder = own.filter(pl.col("family") == f"gpt {method} {level}").row(0, named=True)
                assert (ladder["params"], ladder["bits"]) == (last["params"], None)
        pruned = own.filter(pl.col("family") == "gpt wanda")["bits"].sort().to_list()
        assert pruned == pytest.approx([4.2, 17.0, 32.0], abs=1.0)  # density x 32 + 1, of whole weights
    assert not [family for family in table["family"].unique() if family.startswith("ngram ")]
    records = pl.read_parquet(compressed / "adapted" / "gpt-R01-s0.wanda-0.5" / "records.parquet")
    assert set(records["shots"].unique()) == {0, 1}


def test_it_ends_with_verdicts_along_bits(compressed: Path) -> None:
    verdicts = json.loads((compressed / "verdicts.json").read_text())["verdicts"]
    along = {(v["family"], v["model"]) for v in verdicts if v["axis"] == "bits"}
    assert {("gpt wanda", "gpt-R00"), ("gpt wanda", "gpt-R01"), ("gpt quantised", "gpt-R01")} <= along
    manifest = read_sealed(compressed / "manifest.json")["files"]
    made = [path for path in (compressed / "adapted").rglob("*") if path.is_file()]
    assert len(made) == 2 * 2 * (5 + 1)  # records and outcome of every level and of the untouched model
    for path in made:
        assert manifest[str(path.relative_to(compressed))] == sha256(path)


def test_killed_while_it_compresses_it_goes_on_and_ends_the_same(compressed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    shutil.copytree(compressed, folder)
    shutil.rmtree(folder / "adapted")
    write_study(tmp_path, STUDY)
    command = [sys.executable, "-m", "emergence.cli.main", "run", "--no-report", "tiny.yaml"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(done := list(folder.glob("adapted/*/outcome.json"))) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = {path: path.stat().st_mtime_ns for path in done}
    assert len(kept) >= 3
    again = emergence("run", "--no-report", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items()), "done twice"
    assert scores(folder).equals(scores(compressed))


def test_a_level_that_changed_is_made_again_and_a_new_one_added(compressed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    shutil.copytree(compressed, folder)
    write_study(tmp_path, STUDY)
    (folder / "adapted" / "gpt-R00-s0.wanda-0.5" / "records.parquet").write_bytes(b"damaged")
    same = {path: path.stat().st_mtime_ns for path in folder.glob("adapted/*quantised-8*/outcome.json")}
    done = emergence("run", "--no-report", "tiny.yaml", "--set", "compress.bits=[8, 4, 2]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("adapted/*quantised-4-bits/outcome.json"))) == 2
    assert all(path.stat().st_mtime_ns == when for path, when in same.items())
    before, after = (
        table.filter(pl.col("family") == "gpt wanda").select("model", "bits", "metric", "shots", "score")
        for table in (scores(compressed), scores(folder))
    )
    assert after.equals(before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("compress.sparsities=[1.0]", "above 0 and below 1"),
        ("compress.sparsities=[-0.5]", "above 0 and below 1"),
        ("compress.bits=[5]", "8, 4, 3 or 2"),
        ("compress.group=48", "32, 64 or 128"),
        ("compress.group=64", "compress.group makes groups of 64 inputs"),
        ("compress.methods=[wandda]", "compress.methods"),
        ("compress.methods=[quantised, quantised]", "twice"),
        ("model.family=ngram", "family ngram has no matrices"),
        ("compress.sparsity=0.5", "unknown key 'compress.sparsity'; did you mean 'sparsities'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path, change: str, says: str) -> None:
    home = write_study(tmp_path, STUDY)
    assert says in refused(home, "run", "tiny.yaml", "--set", change)
    assert not (home / "runs" / "tiny" / "models").exists()
