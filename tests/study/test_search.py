"""A search in a real study: what it finds and leaves, how it is gone on with, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emergence.cli.search import search_lines
from emergence.core.errors import UserError
from emergence.core.search import SearchRecord
from emergence.core.settings import StudySettings, validate_study
from emergence.core.store import read_sealed
from emergence.core.yaml import parse_yaml, read_yaml
from emergence.study.load import load_study
from emergence.study.plan import Plan, make_plan
from emergence.study.run import run_study
from emergence.study.search_plan import trial_study
from tests.tiny import emergence

STUDY = """\
name: searched
model: {family: gpt, ladder: {smallest: 3e3, largest: 5477, rungs: 2}, context: 12}
replicas: 1
training: {tokens: 12000, batch_tokens: 240, checkpoints: 4}
tasks:
  - {name: copy, length: 4, letters: 4}
evaluation: {examples: 32}
analysis: {resamples: 100, axes: [params]}
search:
  settings:
    training.learning_rate: {low: 1e-3, high: 1e+3, log: true}
  trials: 6
  startup: 4
  rungs: all
"""
START = [sys.executable, "-m", "emergence.cli.main", "run", "study.yaml"]


def record_of(home: Path) -> SearchRecord:
    return SearchRecord.model_validate(read_sealed(home / "runs" / "searched" / "search" / "result.json"))


def told(record: SearchRecord) -> list[Any]:
    """What does not depend on how busy the machine is: of runs side by side one may diverge before another is seen."""
    told = [trial.model_dump(exclude={"seconds"}) for trial in record.trials]
    return [trial | ({"flops": 0, "note": ""} if trial["status"] == "diverged" else {}) for trial in told]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study was run to its end."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "study.yaml").write_text(STUDY)
    done = emergence("run", "study.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Search: The best values were training.learning_rate" in " ".join(done.stdout.split())
    assert "trial 6 of 6" in done.stderr
    return folder


def test_the_absurd_end_is_left_and_the_ladder_has_the_best(home: Path) -> None:
    study, record = home / "runs" / "searched", record_of(home)
    best = record.values["training.learning_rate"]
    assert best < 0.3
    assert record.count("diverged") + record.count("pruned") > 0
    assert all(t.status != "complete" for t in record.trials if t.values["training.learning_rate"] > 30)
    assert record.trials[record.best].value == min(t.value for t in record.trials if t.status == "complete")
    resolved, _ = read_yaml(study / "study.yaml")
    assert resolved["training"]["learning_rate"] == best
    manifest = read_sealed(study / "manifest.json")
    assert SearchRecord.model_validate(manifest["search"]) == record
    assert {"search/result.json", "search/journal.log", "search/search.json"} <= set(manifest["files"])
    assert "optuna" in manifest["versions"]


def test_a_trial_is_a_study_whose_history_stays_and_whose_weights_go(home: Path) -> None:
    folders = sorted((home / "runs" / "searched" / "search").glob("trial-*"))
    assert [folder.name for folder in folders] == [f"trial-{n:04d}" for n in range(6)]
    record = record_of(home)
    for folder, trial in zip(folders, record.trials, strict=True):
        resolved, _ = read_yaml(folder / "study.yaml")
        assert resolved["training"]["learning_rate"] == trial.values["training.learning_rate"]
        assert resolved["search"] is None
        assert not list(folder.rglob("*.safetensors"))
        if trial.status == "complete":
            assert len(trial.curve) == 4
            assert (folder / "models" / "R00-s0" / "history.parquet").exists()


def test_the_cost_is_that_of_the_histories(home: Path) -> None:
    import polars as pl

    study = home / "runs" / "searched"
    trial = next(trial for trial in record_of(home).trials if trial.status == "complete")
    spent = [
        pl.read_parquet(path)["flops_spent"].max()
        for path in (study / "search" / f"trial-{trial.number:04d}").glob("models/*/history.parquet")
    ]
    assert trial.flops == pytest.approx(sum(map(float, spent)))  # type: ignore[arg-type]
    assert trial.seconds > 0


def test_the_report_shows_it(home: Path) -> None:
    study, record = home / "runs" / "searched", record_of(home)
    page = (study / "report.html").read_text()
    text = (study / "report.md").read_text()
    assert 'id="search"' in page
    assert "## Search" in text
    for shown in (page, text):
        assert f"{record.count('complete')} complete" in shown
        assert "of the ladder's" in shown.replace("&#39;", "'")
    assert (
        sum(
            line.startswith("| ") and line.count("|") == 7
            for line in text.partition("## Search")[2].partition("## What")[0].splitlines()
        )
        == 8
    )
    assert {"search-trials.svg", "search-training.learning_rate.svg"} <= {p.name for p in (study / "figures").iterdir()}


def test_it_is_not_searched_again_when_the_study_grows(home: Path) -> None:
    before = (home / "runs" / "searched" / "search" / "result.json").stat().st_mtime_ns
    done = emergence("run", "study.yaml", "--set", "model.ladder={smallest: 3e3, largest: 10000, rungs: 3}", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "trial" not in done.stderr
    assert "2 of 3 runs are finished already" in done.stderr
    assert (home / "runs" / "searched" / "search" / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("search.trials=9", "trained with the best of 6 trials"),
        ("search.settings={training.clip: {low: 0.5, high: 2}}", "'search.settings"),
        ("training.tokens=13000", "'training.tokens' differs"),
        ("search=null", "belongs to another study"),
    ],
)
def test_another_search_in_its_folder_is_refused(home: Path, change: str, says: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.json")}
    with pytest.raises(UserError, match=re.escape(says)):
        run_study(load_study(str(home / "study.yaml"), [change]), home / "runs" / "searched")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_killed_it_goes_on_and_ends_with_the_same(home: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    journal = tmp_path / "runs" / "searched" / "search" / "journal.log"
    with subprocess.Popen(START, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            # An intermediate value of a third trial: two have ended, and one is under way.
            if journal.exists() and b'"trial_id":2,"step":1' in journal.read_bytes():
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (journal.parent / "result.json").exists()
    ended = [folder for folder in journal.parent.glob("trial-*") if not list(folder.rglob("*.safetensors"))]
    stamps = {path: path.stat().st_mtime_ns for folder in ended for path in folder.rglob("*.parquet")}
    done = emergence("run", "study.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 6 trials are finished already" in done.stderr
    assert stamps
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert told(record_of(tmp_path)) == told(record_of(home))


def write(folder: Path) -> Path:
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"


def study(**changes: Any) -> StudySettings:
    document, _ = parse_yaml(STUDY, source="test")
    document["search"] |= changes
    return validate_study(document, source="test")


def test_the_plan_shows_its_trials_and_its_cost(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    done = emergence("plan", "study.yaml", "--set", "search.trials=5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["search"]["trials"] == 5
    assert planned["search"]["runs_each"] == 2
    assert planned["search"]["flops_at_most"] == pytest.approx(5 * planned["flops"])
    plan = make_plan(study())
    assert isinstance(plan, Plan)
    assert plan.search is not None
    what, cost = search_lines(plan.search, plan.flops)
    assert "training.learning_rate 0.001 to 1000, log" in what
    assert "6 trials of 2 runs (all rungs) each for the least validation loss" in cost
    assert "600% of the ladder's" in cost


@pytest.mark.parametrize(("rungs", "sizes"), [("smallest", 1), ("largest", 1), ("all", 2)])
def test_a_trial_trains_the_rungs_asked_for(rungs: str, sizes: int) -> None:
    asked = study(rungs=rungs, replicas=2)
    ladder, own = make_plan(asked), make_plan(trial_study(asked, {"training.learning_rate": 0.5}))
    assert isinstance(ladder, Plan)
    assert isinstance(own, Plan)
    assert len(own.rungs) == sizes
    expected = ladder.rungs if rungs == "all" else [ladder.rungs[0 if rungs == "smallest" else -1]]
    assert [rung.config for rung in own.rungs] == [rung.config for rung in expected]
    assert len(own.jobs) == 2 * sizes
    assert own.learning_rate("gpt") == 0.5
    assert ladder.search is not None
    assert own.search is None
    assert ladder.search.runs == 2 * sizes
    assert ladder.search.flops == pytest.approx(6 * own.flops)


def test_settings_are_not_chosen_by_the_questions_of_the_verdict(tmp_path: Path) -> None:
    """A trial that is judged by a task is asked its validation examples, none of which the ladder is asked."""
    import polars as pl

    goal = "{task: copy, metric: target_logprob}"
    change = f"search={{settings: {{training.clip: {{low: 0.5, high: 2}}}}, trials: 1, goal: {goal}}}"
    run_study(load_study(str(write(tmp_path)), [change]), tmp_path / "out")
    asked = {
        name: set(pl.concat(map(pl.read_parquet, (tmp_path / "out" / folder).glob("R00-*.parquet")))["prompt"])
        for name, folder in (("ladder", "records"), ("trial", "search/trial-0000/records"))
    }
    assert all(asked.values())
    assert not asked["ladder"] & asked["trial"]
    (trial,) = SearchRecord.model_validate(read_sealed(tmp_path / "out" / "search" / "result.json")).trials
    records = pl.read_parquet(tmp_path / "out" / "search" / "trial-0000" / "records" / "R00-s0-000050.parquet")
    assert trial.value == pytest.approx(records["score_target_logprob"].mean())


def test_the_cost_bound_is_that_of_the_dearest_values() -> None:
    longer = make_plan(study(settings={"training.tokens": {"low": 6000, "high": 48000}}))
    assert isinstance(longer, Plan)
    assert longer.search is not None
    assert longer.search.flops == pytest.approx(6 * 4 * longer.flops)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": {}}, "search.settings"),
        ({"settings": {"training.learnin_rate": {"low": 1, "high": 2}}}, "did you mean 'learning_rate'"),
        ({"settings": {"training.learning_rate": {"low": -1.0, "high": 2.0}}}, "greater than 0"),
        ({"settings": {"training.decay": {"low": 0.1, "high": 1.5}}}, "less than or equal to 1"),
        ({"settings": {"training.warmup": {"low": 0.1, "high": 0.9}}}, "exceed the whole run"),
        ({"settings": {"training.learning_rate": {"low": 2, "high": 1}}}, "low (2) must lie below high (1)"),
        ({"settings": {"training.learning_rate": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"settings": {"training.learning_rate": {"low": 1}}}, "give a range"),
        ({"settings": {"training.learning_rate": {"low": 1, "high": 2, "choices": [1, 2]}}}, "take the place"),
        ({"settings": {"training.learning_rate": {"choices": [1]}}}, "at least 2"),
        ({"settings": {"training.learning_rate": {"choices": [1, 1]}}}, "listed twice"),
        ({"settings": {"training.clip": {"low": 1, "high": 2, "step": 0.3}}}, "whole number of steps"),
        ({"settings": {"training.batch_tokens": {"low": 240.0, "high": 480.0}}}, "in whole numbers"),
        ({"settings": {"model.family": {"choices": ["gpt", "gpd"]}}}, "did you mean 'gpt'"),
        ({"settings": {"model.context": {"choices": [6, 12]}}}, "context"),
        ({"settings": {"model.ladder.rungs": {"low": 1, "high": 3}}}, "cannot be searched: the ladder"),
        ({"settings": {"seed": {"low": 1, "high": 3}}}, "is luck"),
        ({"settings": {"tasks.copy.length": {"low": 1, "high": 3}}}, "different questions"),
        ({"settings": {"mixture.copy": {"low": 1, "high": 3}}}, "give search.goal a task"),
        ({"goal": {"task": "copi", "metric": "exact_match"}}, "did you mean 'copy'"),
        ({"goal": {"task": "copy", "metric": "exact_mach"}}, "did you mean 'exact_match'"),
        ({"goal": {"task": "copy"}}, "leave out the task"),
        ({"goal": {"metric": "exact_match"}}, "name the task"),
        ({"goal": {"task": "copy", "metric": "exact_match", "shots": 3}}, "evaluation.shots"),
        ({"goal": {"direction": "maximize"}}, "less validation loss"),
        ({"settings": {"finetune.settings.batch": {"low": 8, "high": 64}}}, "ends with pre-training"),
        ({"trials": 0}, "search.trials"),
        ({"pruner": "mean"}, "search.pruner"),
        ({"trails": 3}, "did you mean 'trials'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as fault:
        make_plan(study(**changes))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_models_that_somebody_else_trained_have_no_search() -> None:
    document = {
        "name": "x",
        "model": {"huggingface": ["a/b"]},
        "tasks": [{"name": "copy"}],
        "search": {"settings": {"training.clip": {"low": 1, "high": 2}}},
    }
    with pytest.raises(UserError, match="leave out search"):
        validate_study(document, source="test")
