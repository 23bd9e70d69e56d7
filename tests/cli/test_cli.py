"""The command line as a user meets it: help, lists, JSON, pipes, terminals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tiny import emergence

COMMANDS = ["run", "plan", "analyze", "report", "list", "generate", "loglikelihood", "export"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    done = emergence(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example:  emergence {command}" in done.stdout


@pytest.mark.parametrize("what", ["tasks", "families", "studies", "metrics", "augmenters", "perturbations"])
def test_lists_say_the_same_to_people_and_machines(what: str, tmp_path: Path) -> None:
    for_people = emergence("list", what, cwd=tmp_path).stdout
    for_machines = json.loads(emergence("list", what, "--json", cwd=tmp_path).stdout)
    assert for_machines
    for name, summary in for_machines.items():
        assert name in for_people
        assert summary


@pytest.mark.parametrize("study", ["quickstart", "copying"])
def test_built_in_studies_can_be_planned(study: str, tmp_path: Path) -> None:
    plan = json.loads(emergence("plan", study, "--json", cwd=tmp_path).stdout)
    assert plan["study"] == study
    assert plan["seconds"] > 0
    assert plan["flops"] == pytest.approx(sum(r["flops"] for r in plan["rungs"]) * plan["replicas"])
    assert emergence("plan", study, cwd=tmp_path).stdout.count("R0") == len(plan["rungs"])
    assert not list(tmp_path.iterdir())  # nothing is spent


@pytest.mark.parametrize("study", ["shakespeare", "poetry"])
def test_studies_on_a_text_are_planned_on_it(study: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("床前明月光，疑是地上霜。\n" * 200, encoding="utf-8")
    done = emergence("plan", study, "--set", "corpus.files=text.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "R04" in done.stdout


def test_a_finished_study_prints_json_and_nothing_else(finished: Path) -> None:
    done = emergence("run", "tiny.yaml", "--json", cwd=finished.parent.parent)
    document = json.loads(done.stdout)
    assert document["verdicts"]
    assert document.pop("forecasts") == json.loads((finished / "forecasts.json").read_text())
    assert document == json.loads((finished / "verdicts.json").read_text())


def test_models_are_used_from_the_command_line(finished: Path, tmp_path: Path) -> None:
    model = finished / "models" / "R02-s0"
    text = emergence("generate", model, "abcd|", "--max-tokens", "4", cwd=tmp_path).stdout
    assert json.loads(emergence("generate", model, "abcd|", "--max-tokens", "4", "--json", cwd=tmp_path).stdout) == {
        "prompt": "abcd|",
        "output": text.rstrip("\n"),
    }
    total = float(emergence("loglikelihood", model, "abcd|", "abcd", cwd=tmp_path).stdout)
    assert json.loads(emergence("loglikelihood", model, "abcd|", "abcd", "--json", cwd=tmp_path).stdout)[
        "total"
    ] == pytest.approx(total, abs=1e-5)
    assert emergence("export", model, tmp_path / "llama", cwd=tmp_path).returncode == 0
    assert (tmp_path / "llama" / "model.safetensors").exists()


def test_a_report_is_written_again(finished: Path, tmp_path: Path) -> None:
    done = emergence("report", finished, "--out", tmp_path / "again", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "again" / "report.html").stat().st_size > 100_000


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m emergence.cli.main list metrics --json | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_outside_results_are_judged_and_reported(tmp_path: Path) -> None:
    header = "model,params,task,metric,score,n,floor\n"
    rows = [f"m{k},{10**k},诗,acc,{0.1 * k:.2f},1000,0\n" for k in range(1, 9)]
    (tmp_path / "scores.csv").write_text(header + "".join(rows), encoding="utf-8")
    done = emergence("analyze", "scores.csv", "--axis", "params", "--json", "--out", "page", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.stderr == ""  # no words of progress where output is no terminal
    keys = ["verdicts", "calibration", "collapses", "carry_overs", "onset_shifts", "forecasts"]
    assert list(document) == ["schema_version", *keys]
    assert document["forecasts"]["next"]
    (verdict,) = document["verdicts"]
    assert (verdict["task"], verdict["verdict"]) == ("诗", "gradual")
    assert "诗" in (tmp_path / "page" / "report.md").read_text(encoding="utf-8")


def test_a_wide_table_is_read_through_a_mapping_and_its_forecast_kept(tmp_path: Path) -> None:
    wide = ["Model,Size (B),Quiz"] + [f"m{k},{0.1 * 2**k},{score}" for k, score in enumerate((51, 49, 50, 52, 48))]
    (tmp_path / "wide.csv").write_text("\n".join(wide[:-1]) + "\n")
    (tmp_path / "columns.yaml").write_text(
        "model: Model\nparams: {column: Size (B), times: 1e9}\ntasks: [Quiz]\nmetric: acc\nscale: percent\nn: 400\n"
    )
    common = ("analyze", "wide.csv", "--mapping", "columns.yaml", "--axis", "params", "--resamples", "60")
    done = emergence(*common, "--out", "page", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Report: page/report.html" in done.stdout
    (tmp_path / "wide.csv").write_text("\n".join(wide) + "\n")
    done = emergence(*common, "--above", "3e8", "--seed", "4", "--out", "page", "--json", cwd=tmp_path)
    forecasts = json.loads(done.stdout)["forecasts"]
    assert sorted(f["at"] for f in forecasts["held_out"]) == pytest.approx([4e8, 8e8, 16e8])
    (kept,) = forecasts["kept"]
    assert kept["truth"] == pytest.approx(0.48)
    assert json.loads((tmp_path / "page" / "forecasts.json").read_text()) == forecasts


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--above", "1e3"), "--above is a value of one axis"),
        (("--above", "1e3", "--axis", "params", "--axis", "loss"), "--above is a value of one axis"),
        (("--above", "1e9", "--axis", "params"), "reaches from 1 to 1e+04"),
        (("--above", "high", "--axis", "params"), "--above"),
        (("--hold-out", "0"), "hold_out is 0"),
        (("--hold-out", "some"), "--hold-out"),
        (("--resamples", "1"), "resamples is 1"),
        (("--seed", "-1"), "--seed"),
        (("--mapping", "nowhere.yaml"), "cannot read nowhere.yaml"),
        (("--mapping", "wrong.yaml"), "wrong.yaml, line 2"),
        (("--axis", "size"), "--axis"),
        (("--out", "mine"), "holds a study"),
        (("--out", "old"), "forecasts.json holds no forecasts"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    rows = [f"m{k},{10**k},t,acc,0.5,100\n" for k in range(5)]
    (tmp_path / "scores.csv").write_text("model,params,task,metric,score,n\n" + "".join(rows))
    (tmp_path / "wrong.yaml").write_text("model: model\ntsak: task\n")
    for folder, file in (("mine", "study.yaml"), ("old", "forecasts.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{")
    done = emergence("analyze", "scores.csv", *options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_interrupted_simulation_claims_to_have_kept_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emergence.cli.main", "plan", "--power", "--simulations", "5000"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not psutil.Process(process.pid).children():  # until it simulates
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "emergence: interrupted; nothing was written; the same command begins again"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("model,params,task,score\na,1,t,0.5\n", "metric"),
        ("model,params,task,metric,score\na,1,t,acc,high\n", "score"),
        ("model,params,task,metric,score\na,-1,t,acc,0.5\n", "params"),
        ("model,params,task,metric,score\na,1,t,acc,0.5\na,1,t,acc,0.6\n", "row"),
        ("model,params,task,metric,score\na,1,t,acc,1.5\n", "score"),
        ("", "scores.csv"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "scores.csv").write_text(content)
    done = emergence("analyze", "scores.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_truncated_result_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "pythia-70m_step143000.json").write_text('{"results": {"lambada_openai": {"acc": 0.1')
    done = emergence("analyze", "pythia-70m_step143000.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "pythia-70m_step143000.json" in done.stderr


def test_a_result_file_without_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"results": {}, "versions": {}, "config": {}}')
    done = emergence("analyze", "empty.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "empty.json" in done.stderr
