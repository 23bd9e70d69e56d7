"""A study of models that somebody else trained: four saved Llamas of growing size, the largest at three revisions."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

import emergence as em
from emergence.cli.tables import plan_document, plan_table
from emergence.core.forecasts import ForecastFile
from emergence.core.schema import RECORD_COLUMNS, Verdict
from emergence.core.settings import validate_study
from emergence.core.store import read_sealed, sha256
from emergence.models.huggingface_files import stored_parameters
from emergence.study.plan import make_plan
from emergence.study.published import PublishedPlan
from tests.hub import offline, put_into_cache, save_llama
from tests.study.test_run import START
from tests.tiny import emergence

SIZES = {"tiny-0": 664, "tiny-1": 2_608, "tiny-2": 10_336, "tiny": 41_152}
STUDY = """\
name: tiny
model:
  huggingface:
    - lab/tiny@step1
    - lab/tiny@step2
    - {name: lab/tiny, revision: step4, loss: 2.5}
    - {name: ladder/tiny-0, tokens: 1e5}
    - {name: ladder/tiny-1, tokens: 2e5}
    - {name: ladder/tiny-2, tokens: 4e5}
tasks:
  - {name: copy, length: 4}
  - {name: recall}
evaluation: {examples: 16, shots: [0, 8]}
analysis: {resamples: 100, axes: [params, tokens]}
execution: {workers: 1}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the hub, and nothing else of it, for every process that is started."""
    home = tmp_path_factory.mktemp("cache")
    revisions = {f"step{n}": save_llama(home / f"made-{n}", 64, seed=n) for n in (1, 2, 4)}
    put_into_cache(home / "hub", "lab/tiny", revisions)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in offline(home / "hub").items():
            patch.setenv(key, value)
        yield home


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study, which was killed in the middle and run again."""
    home = tmp_path_factory.mktemp("others")
    for index, width in enumerate((8, 16, 32)):
        save_llama(home / "ladder" / f"tiny-{index}", width, seed=index)
    (home / "tiny.yaml").write_text(STUDY)
    folder = home / "runs" / "tiny"
    with subprocess.Popen(START, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (folder / "records" / "tiny-s0-000001.parquet").exists():  # the largest model goes first
            time.sleep(0.005)
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(children, timeout=10)
    before = stamps(folder)
    again = emergence("run", "tiny.yaml", cwd=home)
    assert again.returncode == 0, again.stderr
    assert "6 models that were trained elsewhere (4 runs), up to 64 questions each, 1 processes" in again.stderr
    assert "tiny-0-s0 done" in again.stderr
    assert before.items() <= stamps(folder).items()
    return folder


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "records").glob("[!.]*.parquet")}


def read(document: str, **model: Any) -> PublishedPlan:
    study = validate_study({"name": "x", "model": model, "tasks": [{"name": "copy"}]}, source=document)
    plan = make_plan(study)
    assert isinstance(plan, PublishedPlan)
    return plan


def test_it_leaves_what_a_study_leaves(finished: Path) -> None:
    assert {path.name for path in (finished / "models").iterdir()} == {f"{name}-s0" for name in SIZES}
    for name in ("scores.parquet", "verdicts.json", "forecasts.json", "report.html", "report.md"):
        assert (finished / name).stat().st_size > 0
    manifest = read_sealed(finished / "manifest.json")
    for name, digest in manifest["files"].items():
        assert sha256(finished / name) == digest
    assert {f"records/{name}" for name in stamps(finished)} <= set(manifest["files"])
    assert "transformers" in manifest["versions"]
    verdicts = json.loads((finished / "verdicts.json").read_text())["verdicts"]
    judged = [Verdict.model_validate(verdict) for verdict in verdicts]
    assert {(v.task, v.axis) for v in judged} >= {(task, "params") for task in ("copy", "recall")}
    assert {v.model for v in judged if v.axis == "tokens"} >= {"tiny-0"}
    forecasts = ForecastFile.model_validate_json((finished / "forecasts.json").read_bytes())
    assert {f.at_model for f in forecasts.held_out if f.axis == "params"} == {"tiny"}


def test_scores_have_their_place_on_the_axes_that_are_known(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    assert dict(scores.select("model", "params").unique().rows()) == SIZES
    assert set(scores["family"]) == {"ladder"}
    places = set(scores.select("model", "step", "tokens", "flops", "loss").unique().rows())
    assert places == {
        *(("tiny", step, None, None, 2.5 if step == 4 else None) for step in (1, 2, 4)),
        *((f"tiny-{i}", 0, t, 6 * SIZES[f"tiny-{i}"] * t, None) for i, t in enumerate((1e5, 2e5, 4e5))),
    }


def test_the_answers_are_those_that_a_model_gives_by_itself(finished: Path) -> None:
    records = pl.read_parquet(finished / "records" / "tiny-1-s0-000000.parquet")
    assert set(RECORD_COLUMNS) <= set(records.columns)
    tasks = [{"name": "copy", "length": 4}, "recall"]
    for shots in (0, 8):
        alone = em.evaluate(finished.parents[1] / "ladder" / "tiny-1", tasks, examples=16, shots=shots, cache=False)
        own = records.filter(pl.col("shots") == shots).sort("task", "example")
        theirs = alone.records.sort("task", "example")
        for column in ("prompt", "target", "output", "truncated"):
            assert own[column].to_list() == theirs[column].to_list()
        logprobs = zip(own["logprobs"].to_list(), theirs["logprobs"].to_list(), strict=True)
        assert all(mine == pytest.approx(other, abs=1e-5) for mine, other in logprobs)


def test_questions_beyond_the_context_are_counted(finished: Path) -> None:
    records = pl.read_parquet(finished / "records" / "tiny-1-s0-000000.parquet")
    cut = records.group_by("task", "shots").agg(pl.col("truncated").min()).rows()
    # A recall with eight examples: a start, nine times six pairs, a mark and a key, and eight answers with their ends.
    assert set(cut) == {("copy", 0, 0), ("copy", 8, 0), ("recall", 0, 0), ("recall", 8, 1 + 9 * 14 + 8 * 2 - 96)}
    said = "tiny-1: 16 of 16 questions of recall with 8 shots are longer than its context and lost the start"
    assert said in (finished / "report.md").read_text()
    assert said in (finished / "report.html").read_text()
    assert any(said in note for note in read_sealed(finished / "manifest.json")["notes"])


def test_the_run_of_a_study_loads_as_the_model_that_was_asked(finished: Path) -> None:
    model = em.load(finished / "models" / "tiny-1-s0")
    assert (model.name, model.replica, model.params) == ("tiny-1", 0, SIZES["tiny-1"])
    with pytest.raises(em.UserError, match="has no step 3"):
        em.load(finished / "models" / "tiny-1-s0", step=3)


def test_it_grows_and_asks_again_only_what_changed(finished: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished.parents[1], home)
    folder = home / "runs" / "tiny"
    # A copy lies elsewhere: its models are others.
    refused = emergence("run", "tiny.yaml", cwd=home)
    assert refused.returncode == 2
    assert "has no place in this ladder" in refused.stderr
    shutil.rmtree(folder)
    (home / "tiny.yaml").write_text(STUDY.replace("    - lab/tiny@step1\n    - lab/tiny@step2\n", ""))
    em.run(home / "tiny.yaml", out=folder)
    first = stamps(folder)
    save_llama(home / "ladder" / "tiny-0", 8, seed=7)
    (home / "tiny.yaml").write_text(STUDY)
    result = em.run(home / "tiny.yaml", out=folder)
    changed = {name for name, stamp in stamps(folder).items() if first.get(name) != stamp}
    assert changed == {"tiny-0-s0-000000.parquet", "tiny-s0-000001.parquet", "tiny-s0-000002.parquet"}
    assert any("tiny-0 was asked again" in note for note in result.notes)
    mine = result.scores.filter(pl.col("model") != "tiny-0")
    theirs = pl.read_parquet(finished / "scores.parquet").filter(pl.col("model") != "tiny-0")
    keys = ["model", "step", "task", "metric", "shots"]
    assert mine.sort(keys).equals(theirs.sort(keys))
    (home / "tiny.yaml").write_text(STUDY.replace("    - {name: ladder/tiny-1, tokens: 2e5}\n", ""))
    with pytest.raises(em.UserError, match="its model tiny-1-s0 has no place in this ladder"):
        em.run(home / "tiny.yaml", out=folder)


def test_models_that_cannot_be_asked_are_named_and_the_others_are_finished(finished: Path, tmp_path: Path) -> None:
    bare = save_llama(tmp_path / "bare", 8)
    (bare / "tokenizer.json").unlink()
    save_llama(tmp_path / "sound", 8)
    study = STUDY.split("model:")[0] + (
        "model: {huggingface: [bare, sound, lab/tiny@step3]}\n"
        "tasks: [{name: copy, length: 4}]\nevaluation: {examples: 16}\n"
    )
    (tmp_path / "tiny.yaml").write_text(study)
    done = emergence("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "(and 1 more); what else was asked for is finished" in done.stderr
    assert "tiny-s0 failed: cannot load lab/tiny at revision step3" in done.stderr
    assert "look the name and its revisions up at https://huggingface.co/lab/tiny" in done.stderr
    assert (tmp_path / "runs" / "tiny" / "records" / "sound-s0-000000.parquet").exists()
    assert "tokenizer" in (tmp_path / "runs" / "tiny" / "models" / "bare-s0" / "failure.txt").read_text()


def test_the_names_of_known_models_place_their_checkpoints() -> None:
    plan = read("known", huggingface=["EleutherAI/pythia-70m@step3000", "EleutherAI/pythia-70m", "facebook/opt-125m"])
    pythia, opt = plan.runs
    assert (pythia.name, pythia.family, pythia.parameters) == ("pythia-70m-s0", "pythia", 70_426_624)
    assert [(c.step, c.tokens) for c in pythia.checkpoints] == [(3000, 3000 * 2**21), (143_000, 143_000 * 2**21)]
    assert (opt.name, opt.family) == ("opt-125m-s0", "opt")
    assert plan.jobs[0] is pythia
    document = plan_document(plan)
    assert [c["model"] for c in document["models"][0]["checkpoints"]] == [
        "EleutherAI/pythia-70m@step3000",
        "EleutherAI/pythia-70m",
    ]
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    for part in plan_table(plan):
        console.print(part)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "EleutherAI/pythia-70m@step3000" in shown
    assert "3 models to load, each asked up to 512 questions (copy; 0 shots)" in shown


def test_rungs_replicas_and_steps_follow_from_names_or_are_given(tmp_path: Path) -> None:
    made = save_llama(tmp_path / "made", 8)
    assert stored_parameters(made) == 2 * 260 * 8 + SIZES["tiny-0"]
    for name in ("a/out/checkpoint-5", "a/out/checkpoint-10", "b/out", "c-seed1", "c-seed2"):
        shutil.copytree(made, tmp_path / name)
    names = ["a/out/checkpoint-10", "a/out/checkpoint-5", "b/out", "c-seed1", "c-seed2"]
    runs = read("named", huggingface=[str(tmp_path / name) for name in names]).runs
    assert [(run.name, run.steps) for run in runs] == [
        ("a-out-s0", (5, 10)),
        ("b-out-s0", (0,)),
        ("c-s1", (0,)),
        ("c-s2", (0,)),
    ]
    given = [{"name": str(tmp_path / name), "rung": "big", "seed": 3, "step": i} for i, name in enumerate(names)]
    (run,) = read("given", huggingface=given).runs
    assert (run.name, run.steps) == ("big-s3", (0, 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["made@step1"], "a folder has no revisions"),
        (["empty"], "has no config.json that names a model_type"),
        (["pickled"], "model.allow_pickle: true"),
        (["owner/model@a", "owner/model@b"], r"does not say which step of the training it is; add it"),
        (["EleutherAI/pythia-70m@odd"], r"does not say which step"),
        ([{"name": "made", "rung": "r"}, {"name": "other", "rung": "r"}], "does not say which step"),
        (
            [{"name": "made", "rung": "r", "step": 1}, {"name": "other", "rung": "r", "step": 1}],
            "are both step 1 of r",
        ),
        (
            [{"name": "a/x-1b", "rung": "r", "step": 1}, {"name": "a/y-1b", "rung": "r", "step": 2}],
            "belong to the families x, y",
        ),
        ([{"name": "made", "seed": 0}, {"name": "huge/model-900000b"}], "900000b has .* parameters, which take"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    models: list[Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("made", "other", "pickled"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"no")
    with pytest.raises(em.UserError, match=says):
        read("wrong", huggingface=models)
    assert read("pickled", huggingface=["pickled"], allow_pickle=True).runs[0].name == "pickled-s0"


def test_a_study_that_trains_nothing_has_no_design_to_vary() -> None:
    study = validate_study(
        {"name": "x", "model": {"huggingface": ["owner/model-1b"]}, "tasks": [{"name": "copy"}]}, source="x"
    )
    with pytest.raises(em.UserError, match="give that of its ladder without a study"):
        em.power(study)


def test_models_of_two_architectures_are_two_ladders(tmp_path: Path) -> None:
    for name, kind in (("one", "llama"), ("two", "bert")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind}))
    plan = read("here", huggingface=[str(tmp_path / "one"), str(tmp_path / "two")])
    assert {run.rung: run.family for run in plan.runs} == {"one": "llama", "two": "bert"}
    mixed = read("here", huggingface=[str(tmp_path / "one"), "lab/other"])
    assert {run.family for run in mixed.runs} == {"ladder"}
