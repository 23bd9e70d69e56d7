"""Studies whose models learn from a teacher: what is refused before anything is spent, what is learnt, and what an
interruption costs."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from emergence.cli.tables import plan_document, plan_table
from emergence.core.errors import UserError
from emergence.core.settings import validate_study
from emergence.core.store import read_sealed
from emergence.models.checkpoint import read_config
from emergence.study.plan import Plan, make_plan
from emergence.study.run import run_study
from tests.hub import offline, put_into_cache, save_llama
from tests.study.test_run import START, flip, kill_group
from tests.tiny import emergence, write_study

COPY = """\
name: tiny
model: {family: gpt, ladder: {counts: [1e4]}, context: 24}
replicas: 1
training: {tokens: 1.5e5, batch_tokens: 480, checkpoints: 2}
tasks:
  - {name: copy, length: 4, letters: 6}
evaluation: {examples: 64}
analysis: {resamples: 100, axes: [params, tokens], hold_out: 0}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that copies, and the study that trained it."""
    folder = write_study(tmp_path_factory.mktemp("teacher"), COPY)
    done = emergence("run", "--no-report", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def teacher(home: Path) -> Path:
    return home / "runs" / "tiny" / "models" / "R00-s0"


def study(model: Path | str, changes: dict[str, Any] | None = None, **how: Any) -> Any:
    """The settings of a small student."""
    document = yaml.safe_load(COPY)
    document["model"]["ladder"] = {"counts": [4e3]}
    document["training"] |= {"tokens": 3e4, "teacher": {"model": str(model), **how}}
    for key, value in (changes or {}).items():
        *path, last = key.split(".")
        place = document
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return validate_study(document, source="test")


def plan(model: Path | str, changes: dict[str, Any] | None = None, **how: Any) -> Plan:
    found = make_plan(study(model, changes, **how))
    assert isinstance(found, Plan)
    return found


def test_the_plan_knows_the_teacher_and_what_it_costs(home: Path) -> None:
    alone = validate_study(
        {**yaml.safe_load(COPY), "model": {"family": "gpt", "ladder": {"counts": [4e3]}, "context": 24}}, source="test"
    )
    found = plan(teacher(home), {"training.tokens": 1.5e5})
    before = make_plan(alone)
    assert isinstance(before, Plan)
    _, config = read_config(teacher(home))
    passes = config.forward_flops(found.tokens, 24)
    assert found.teaching_flops == passes
    assert found.flops == before.flops + passes
    assert found.rungs[0].memory > before.rungs[0].memory
    assert found.teacher is not None
    assert found.teacher.parameters == config.parameters
    written = plan(teacher(home), {"training.tokens": 1.5e5}, kind="sequence", texts=100)
    assert written.teaching_flops == config.forward_flops(2400, 24)
    assert written.rungs[0].flops == before.rungs[0].flops


def test_the_plan_is_shown_with_it(home: Path) -> None:
    found = plan(teacher(home))
    words = " ".join(map(str, plan_table(found)))
    assert "Teacher:" in words
    assert "reads every token beside them (weight 0.5, temperature 2)" in words
    shown = plan_document(found)["teacher"]
    assert shown["kind"] == "token"
    assert 0 < shown["flops"] < found.flops


@pytest.mark.parametrize(
    ("model", "how", "changes", "message"),
    [
        ("nowhere", {}, {}, "nowhere is not a folder; give the folder of a run"),
        ("{teacher}", {"step": 7}, {}, "no sound checkpoint of step 7 \\(it has"),
        ("{teacher}", {"texts": 10}, {}, "texts belongs to kind: sequence"),
        ("{teacher}", {"kind": "sequence", "weight": 0.5}, {}, "weight belongs to kind: token"),
        ("{teacher}", {"kind": "sequence", "beams": 4}, {}, "writes without beams"),
        ("{teacher}", {"temperature": 0}, {}, "temperature"),
        (
            "{teacher}",
            {},
            {"model.family": "numpy"},
            "numpy cannot learn .* use kind: sequence, or one of gat, gcn, gnn, gpt",
        ),
        (
            "{teacher}",
            {},
            {"model.family": ["gpt", "vae"], "corpus": "text", "tasks": [{"name": "text"}]},
            "vae cannot learn",
        ),
        ("{teacher}", {}, {"model.family": "bert"}, "predicts other positions than students of the family bert"),
        ("{teacher}", {}, {"model.context": 48}, "reads 24 tokens at once, but model.context is 48"),
        ("{teacher}", {}, {"tasks": [{"name": "copy", "length": 4, "letters": 9}]}, "no token for 'g', 'h', 'i'"),
        (
            "{teacher}",
            {},
            {"corpus": "text", "corpus.tokenizer": {"kind": "byte"}},
            "has 9 tokens and its students 257 others: .* use kind: sequence",
        ),
        ("{llama}", {"step": 3}, {}, "has no steps; leave step out"),
        ("{llama}", {}, {"tasks": [{"name": "copy", "length": 4}], "model.context": 200}, "reads 96 tokens"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    home: Path, tmp_path: Path, model: str, how: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    if "{llama}" in model:
        save_llama(tmp_path / "llama", 16)
    changes = {key: {"files": [str(home / "text.txt")]} if value == "text" else value for key, value in changes.items()}
    with pytest.raises(UserError, match=message):
        plan(model.format(teacher=teacher(home), llama=tmp_path / "llama"), changes, **how)


def test_a_students_tokenizer_is_the_teachers(home: Path) -> None:
    """Of other tasks a student would have other characters."""
    found = plan(teacher(home), {"tasks": [{"name": "copy", "length": 4, "letters": 4}]})
    assert found.texts.tokenizer.identity == read_tokenizer(teacher(home))
    own = plan(teacher(home), {"tasks": [{"name": "copy", "length": 4, "letters": 4}]}, kind="sequence")
    assert own.texts.tokenizer.identity != found.texts.tokenizer.identity


def read_tokenizer(folder: Path) -> str:
    from emergence.text import Tokenizer

    return Tokenizer.load(folder).identity


def test_a_teacher_of_transformers(home: Path, tmp_path: Path) -> None:
    """A Llama of drawn weights knows nothing; but what it says is read, counted and shown."""
    folder = save_llama(tmp_path / "llama", 16)
    settings = study(folder, {"training.tokens": 5e3}, weight=0.9)
    run_study(settings, tmp_path / "run")
    history = pl.read_parquet(tmp_path / "run" / "models" / "R00-s0" / "history.parquet")
    found = make_plan(settings)
    assert isinstance(found, Plan)
    assert found.teacher is not None
    tokens = history["tokens"][-1]
    # Attention has 4 D^2, the feed-forward 3 D 2D, the head D V; grouped keys do not occur here.
    assert found.teacher.forward_flops(1, 24) == pytest.approx(2 * (4 * 16**2 + 6 * 16**2 + 16 * 260 + 3 * 16))
    own = 3 * found.rungs[0].config.forward_flops(tokens, 24)
    assert history["flops"][-1] < own + found.teacher.forward_flops(tokens, 24) + 1
    scores = pl.read_parquet(tmp_path / "run" / "scores.parquet").filter(pl.col("family") == "teacher")
    assert scores["tokens"].unique().len() == 2
    assert scores.select("params", "flops", "loss").null_count().row(0) == (len(scores),) * 3


def test_a_teacher_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_llama(tmp_path / "llama", 16)
    put_into_cache(tmp_path / "cache", "some/llama", {"main": tmp_path / "llama"})
    code = (
        "from emergence.core.teacher_settings import TeacherSettings as S; from emergence.study.teacher import *; "
        "import sys; t = find_teacher(S(model=sys.argv[1])); print(t.family, t.reads, t.context, t.parameters)"
    )
    import os
    import sys

    def find(name: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **offline(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, check=False
        )

    assert find("some/llama").stdout.split()[:3] == ["llama", "causal", "96"]
    missing = find("some/other").stderr
    assert "UserError: cannot load some/other" in missing


def test_what_it_writes_is_learnt_with_other_tokens(home: Path, tmp_path: Path) -> None:
    """The student has bytes and the teacher letters; the task is known to the student from what the teacher wrote."""
    text = {"corpus": {"files": [str(home / "text.txt")], "tokenizer": {"kind": "byte"}}, "mixture": {"copy": 1.0}}
    more = {"training.tokens": 1.5e5, "model.ladder": {"counts": [1e4]}}
    settings = study(teacher(home), text | more, kind="sequence", texts=3000)
    run_study(settings, tmp_path)
    written = [read_sealed(path) for path in sorted((tmp_path / "data" / "teacher").glob("copy-*.json"))]
    assert [len(part["texts"]) for part in written] == [1024, 1024, 952]
    assert len({tuple(part["prompts"]) for part in written}) == 3
    right = [
        text == prompt[:-1] for part in written for prompt, text in zip(part["prompts"], part["texts"], strict=True)
    ]
    assert sum(right) / len(right) > 0.9
    scores = pl.read_parquet(tmp_path / "scores.parquet").filter(pl.col("metric") == "exact_match")
    last = scores.filter(pl.col("step") == pl.col("step").max())
    assert dict(last.select("model", "score").iter_rows())["R00"] > 0.5
    assert dict(last.select("model", "score").iter_rows())["teacher"] > 0.9
    history = pl.read_parquet(tmp_path / "models" / "R00-s0" / "history.parquet")
    passes = make_plan(settings).rungs[0].config.forward_flops  # type: ignore[union-attr]
    assert history["flops"][0] > sum(part["flops"] for part in written) + 3 * passes(480, 24, 0)
    notes = json.dumps(read_sealed(tmp_path / "manifest.json")["notes"])
    assert "it wrote what the models read" in notes


def test_what_no_student_can_write_is_no_lesson(tmp_path: Path) -> None:
    """A Llama that knows nothing writes all bytes; its students have the letters of the task."""
    settings = study(save_llama(tmp_path / "llama", 16), kind="sequence", texts=16)
    with pytest.raises(UserError, match="wrote nothing for copy that the students' tokenizer can write"):
        run_study(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "models").exists()


def test_texts_in_the_place_of_a_corpus(tmp_path: Path) -> None:
    one = {"files": "text.txt"}
    lines = COPY.replace("tasks:\n  - {name: copy, length: 4, letters: 6}", "tasks: [text]").replace(
        "[text]", "[{name: text}]"
    )
    home = write_study(tmp_path, lines + f"corpus: {json.dumps(one)}\n")
    done = emergence("run", "--no-report", "tiny.yaml", "--set", "training.tokens=6e4", cwd=home)
    assert done.returncode == 0, done.stderr
    asked = ["--set", "training.teacher.model=runs/tiny/models/R00-s0", "--set", "training.teacher.kind=sequence"]
    more = ["--set", "training.teacher.texts=300", "--set", "training.tokens=6e4", "--out", "runs/student"]
    done = emergence("run", "--no-report", "tiny.yaml", *asked, *more, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "the teacher writes 300 texts first (corpus)" in done.stderr
    texts = read_sealed(home / "runs" / "student" / "data" / "teacher" / "corpus-0000.json")["texts"]
    known = "the quick brown fox jumps over the lazy dog\n" * 4
    assert sum(text in known for text in texts) > 200
    assert len(set(texts)) > 20


def test_killed_while_the_teacher_writes_it_ends_with_the_same_bits(home: Path, tmp_path: Path) -> None:
    asked = ["--set", f"training.teacher.model={teacher(home)}", "--set", "training.tokens=1e4"]
    asked += ["--set", "training.teacher.kind=sequence", "--set", "training.teacher.texts=3000"]
    write_study(tmp_path, COPY)
    folder, whole = tmp_path / "runs" / "broken", tmp_path / "runs" / "whole"
    command = [*START, *asked, "--out", "runs/broken"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not (folder / "data" / "teacher" / "copy-0000.json").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        kill_group(process)
    assert not list(folder.rglob("outcome.json"))
    for out in ("broken", "whole"):
        done = emergence("run", "--no-report", "tiny.yaml", *asked, "--out", f"runs/{out}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    files = [file for file in sorted(whole.rglob("*")) if file.name in ("model.safetensors", "scores.parquet")]
    files += sorted((whole / "data" / "teacher").iterdir())
    assert len(files) == 3 + 3  # two checkpoints and the scores; three parts
    for file in files:
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes(), file


def test_damage_is_mended_and_another_teacher_is_refused(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "teacher"
    shutil.copytree(teacher(home), model)
    settings = study(model, {"training.tokens": 1e4}, kind="sequence", texts=100)
    run_study(settings, tmp_path / "run")
    victim = tmp_path / "run" / "data" / "teacher" / "copy-0000.json"
    before, asked = victim.read_bytes(), next((tmp_path / "run" / "records").glob("teacher-s0-*.parquet"))
    answers = asked.read_bytes()
    flip(victim)
    flip(asked)
    run_study(settings, tmp_path / "run")
    assert victim.read_bytes() == before
    assert asked.read_bytes() == answers
    shutil.rmtree(sorted((model / "checkpoints").iterdir())[-1])  # the last step is now another
    with pytest.raises(UserError, match=r"is not the one that the models in .* were begun with"):
        run_study(settings, tmp_path / "run")
