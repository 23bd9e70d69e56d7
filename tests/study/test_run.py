"""A study from beginning to end: what it leaves, and that it can be interrupted anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from emergence.core.forecasts import ForecastFile
from emergence.core.schema import SCORE_COLUMNS, Verdict
from emergence.core.store import read_sealed, sha256
from tests.tiny import TINY, emergence, write_study

START = [sys.executable, "-m", "emergence.cli.main", "run", "tiny.yaml"]


def scores(folder: Path) -> pl.DataFrame:
    """The scores of a study, in one order."""
    return pl.read_parquet(folder / "scores.parquet").sort("task", "metric", "model", "seed", "step")


def test_it_leaves_what_the_design_says(finished: Path) -> None:
    runs = sorted(path.name for path in (finished / "models").iterdir())
    assert runs == ["R00-s0", "R00-s1", "R01-s0", "R01-s1", "R02-s0", "R02-s1"]
    for name in runs:
        assert {"config.json", "tokenizer.json", "history.parquet", "checkpoints"} <= {
            path.name for path in (finished / "models" / name).iterdir()
        }
    for name in ("study.yaml", "manifest.json", "scores.parquet", "verdicts.json", "forecasts.json"):
        assert (finished / name).stat().st_size > 0
    for name in ("report.html", "report.md"):
        assert (finished / name).stat().st_size > 0
    assert list((finished / "figures").glob("*.svg"))
    verdicts = json.loads((finished / "verdicts.json").read_text())
    assert verdicts["schema_version"] == 1
    assert {v["task"] for v in verdicts["verdicts"]} == {"copy", "text"}
    for verdict in verdicts["verdicts"]:
        assert Verdict.model_validate(verdict).reason
    assert {c["axis"] for c in verdicts["calibration"]} <= {"params", "loss"}
    assert {c["task"] for c in verdicts["collapses"]} == {"copy", "text"}
    forecasts = ForecastFile.model_validate_json((finished / "forecasts.json").read_bytes())
    assert {f.at_model for f in forecasts.held_out if f.axis == "params"} == {"R02"}
    assert {f.axis for f in forecasts.next} == {"params", "loss"}
    assert not forecasts.kept


def test_the_manifest_vouches_for_every_file_of_the_study(finished: Path) -> None:
    manifest = read_sealed(finished / "manifest.json")
    for name, digest in manifest["files"].items():
        assert sha256(finished / name) == digest
    kept = {
        str(path.relative_to(finished))
        for folder in ("models", "records", "data")
        for path in (finished / folder).rglob("*")
        if path.is_file()
    }
    assert kept | {"scores.parquet", "verdicts.json", "forecasts.json"} <= set(manifest["files"])
    assert {"python", "torch", "emergence"} <= set(manifest["versions"])
    assert manifest["hardware"]["cores"] >= 1


def test_scores_have_their_place_on_every_axis(finished: Path) -> None:
    table = scores(finished)
    assert set(SCORE_COLUMNS) <= set(table.columns)
    assert table.select("params", "tokens", "flops", "loss", "score").null_count().row(0) == (0, 0, 0, 0, 0)
    assert len(table) == 6 * 4 * 6  # runs, checkpoints, metrics of both tasks
    records = pl.read_parquet(finished / "records" / "R02-s1-000125.parquet")
    copied = records.filter(pl.col("task") == "copy")["score_exact_match"]
    row = table.filter(
        (pl.col("model") == "R02")
        & (pl.col("seed") == 1)
        & (pl.col("step") == 125)
        & (pl.col("metric") == "exact_match")
    )
    assert row["score"].item() == pytest.approx(copied.mean())
    assert row["n"].item() == len(copied)
    assert row["tokens"].item() == 125 * 480


def test_a_second_run_does_nothing_and_says_so(finished: Path) -> None:
    before, forecasts = scores(finished), json.loads((finished / "forecasts.json").read_text())
    stamps = {path: path.stat().st_mtime_ns for path in (finished / "models").rglob("*.safetensors")}
    done = emergence("run", "tiny.yaml", cwd=finished.parent.parent)
    assert done.returncode == 0
    assert "6 of 6 runs are finished already" in done.stderr
    assert scores(finished).equals(before)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    again = json.loads((finished / "forecasts.json").read_text())
    for part in ("held_out", "next", "kept"):
        assert again[part] == forecasts[part]  # dates and all


def test_one_worker_and_two_give_the_same_scores(finished: Path, tmp_path: Path) -> None:
    home = write_study(tmp_path)
    done = emergence("run", "tiny.yaml", "--set", "execution.workers=1", cwd=home)
    assert done.returncode == 0, done.stderr
    assert scores(home / "runs" / "tiny").equals(scores(finished))


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """kill -9 for the study's process alone; its workers must notice by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a worker outlived its parent"


def test_killed_again_and_again_it_ends_with_the_same_scores(finished: Path, tmp_path: Path) -> None:
    """SIGKILL falls in start-up, training, evaluation and writing alike; the moments are drawn with a seed."""
    home = write_study(tmp_path)
    draw = random.Random(3)
    kills = 0
    for _ in range(8):
        with subprocess.Popen(START, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=draw.uniform(2.5, 5.0))
                break
            except subprocess.TimeoutExpired:
                kill_group(process)
                kills += 1
    done = emergence("run", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    assert kills >= 1
    assert scores(home / "runs" / "tiny").equals(scores(finished))
    assert not list((home / "runs").rglob(".writing-*"))


def test_a_killed_worker_is_named_and_replaced(finished: Path, tmp_path: Path) -> None:
    home = write_study(tmp_path)
    with subprocess.Popen(START, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        victim = None
        while victim is None and time.monotonic() < deadline:
            time.sleep(0.02)
            if list((home / "runs").rglob("state.json")):  # the first checkpoint: it is in the middle of its work
                with contextlib.suppress(psutil.Error):
                    victim = psutil.Process(process.pid).children()[0]
        assert victim is not None
        victim.kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "died (exit status -9)" in errors
    assert scores(home / "runs" / "tiny").equals(scores(finished))
    assert "was replaced" in (home / "runs" / "tiny" / "report.md").read_text()


def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(tmp_path: Path) -> None:
    home = write_study(tmp_path)
    with subprocess.Popen(START, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not list((home / "runs").rglob("outcome.json")):
            time.sleep(0.02)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "goes on from there" in errors
    assert list((home / "runs").rglob("outcome.json"))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


@pytest.mark.parametrize(
    "victims",
    [
        (
            "models/R01-s0/checkpoints/000125/model.safetensors",
            "models/R01-s1/checkpoints/000006/model.safetensors",
            "models/R02-s0/history.parquet",
            "records/R00-s0-000027.parquet",
            "data/copy-train.bin",
            "data/tokenizer.json",
            "scores.parquet",
            "forecasts.json",
        ),
        ("manifest.json", "models/R02-s1/outcome.json", "models/R00-s1/checkpoints/000125/optimizer.safetensors"),
    ],
)
def test_flipped_bits_are_noticed_and_mended(finished: Path, tmp_path: Path, victims: tuple[str, ...]) -> None:
    home = write_study(tmp_path)
    folder = home / "runs" / "tiny"
    shutil.copytree(finished, folder)
    for victim in victims:
        flip(folder / victim)
    done = emergence("run", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    assert scores(folder).equals(scores(finished))
    for victim in victims:
        if "manifest.json" not in victims:
            assert victim == "scores.parquet" or victim in (folder / "report.md").read_text()  # the reader is told
    for name, digest in read_sealed(folder / "manifest.json")["files"].items():
        assert sha256(folder / name) == digest
    assert ("forecasts.json" in victims) == (folder / "forecasts-damaged.json").exists()


def test_a_replica_that_diverges_is_recorded_and_the_study_goes_on(tmp_path: Path) -> None:
    home = write_study(tmp_path, TINY.replace("checkpoints: 4", "checkpoints: 4, learning_rate: 2000, clip: 1e9"))
    done = emergence("run", "tiny.yaml", cwd=home)
    outcomes = [read_sealed(path)["status"] for path in sorted((home / "runs").rglob("outcome.json"))]
    assert len(outcomes) == 6
    assert "diverged" in outcomes
    if "done" in outcomes:
        assert done.returncode == 0
        assert "diverged: loss" in (home / "runs" / "tiny" / "report.md").read_text()
    else:
        assert done.returncode == 2
        assert "lower training.learning_rate" in done.stderr
