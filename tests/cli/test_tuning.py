"""``emergence finetune`` and ``predict`` as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emergence.cli.main import main
from emergence.core.settings import TokenizerSettings
from emergence.models.exported import write_exported
from emergence.text import build_tokenizer
from tests.training.finetuning.planted import network_of

LABELS = ("[/好]", "坏")
QUICK = ("--set", "epochs=1", "--set", "least_steps=6", "--set", "reading_steps=3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and Chinese examples whose classes have names that look like markup."""
    home = tmp_path_factory.mktemp("home")
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], "天气很好坏我爱北京 abc")
    write_exported("gpt", network_of("gpt", tokenizer, 3_000), tokenizer, home / "model", step=0)
    lines = [f"{'天气我爱北京'[i % 6]}{'abc '[i // 6 % 4]}很{'好坏'[i % 2]}\t{LABELS[i % 2]}" for i in range(120)]
    (home / "train.tsv").write_text("\n".join(["text\tlabel", *dict.fromkeys(lines)]), encoding="utf-8")
    return home


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    exit_code: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, in a small terminal."""
    monkeypatch.setenv("COLUMNS", "72")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["emergence", *arguments])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        said = capfd.readouterr()
        return Done(code, said.out, said.err)

    return run


def task(home: Path) -> str:
    return f"{{name: classification, files: {home / 'train.tsv'}}}"


def test_a_model_is_tuned_and_used(call: Call, home: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "tuned")
    done = call("finetune", str(home / "model"), "--task", task(home), *QUICK, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.replace(f"Tuned model: {out}", "").splitlines())) <= 72
    assert all(label in done.stdout for label in LABELS)
    assert "macro_f1" in done.stdout
    shown = call("predict", out, "天气很好", "我爱北京", "--json")
    assert shown.exit_code == 0, shown.stderr
    answers: list[dict[str, Any]] = json.loads(shown.stdout)
    assert [answer["text"] for answer in answers] == ["天气很好", "我爱北京"]
    assert all(answer["answer"] in LABELS for answer in answers)
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5) for answer in answers)
    plain = call("predict", out, "天气很好")
    assert plain.stdout.startswith(tuple(LABELS))
    assert plain.stdout.endswith("%)\t天气很好\n")


def test_everything_is_there_as_json(call: Call, home: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "tuned")
    asked = ["--task", task(home), "--examples", "10", *QUICK, "--set", "adapter={method: lora, rank: 1}"]
    done = call("finetune", str(home / "model"), *asked, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["folder"], said["examples"], said["labels"]) == (out, 10, list(LABELS))
    assert 0 < said["share"] < 0.5
    assert said["reports"]["test"]["n"] > 0
    assert [entry["step"] for entry in said["history"]] == sorted(entry["step"] for entry in said["history"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "clasification"], "did you mean 'classification'"),
        (["--task", "{name: classification"], "--task"),
        (["--task", "TASK", "--set", "epoch=3"], "unknown setting 'epoch'; did you mean 'epochs'"),
        (["--task", "TASK", "--set", "epochs"], "epochs"),
        (["--task", "TASK", "--set", "freeze=12"], "freeze is 12"),
        (["--task", "TASK", "--step", "3"], "step"),
        (["--task", "{name: classification, files: nowhere.tsv}"], "nowhere.tsv"),
    ],
)
def test_wrong_input_ends_with_one_line(
    call: Call, home: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    arguments = [task(home) if argument == "TASK" else argument for argument in arguments]
    out = str(tmp_path / "out")
    done = call("finetune", str(home / "model"), *arguments, "--out", out)
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("emergence: ")
    assert says in line
    assert "Traceback" not in done.stderr
    assert not Path(out).exists()


def test_predictions_are_asked_of_what_was_tuned(call: Call, home: Path, tmp_path: Path) -> None:
    nothing = call("predict", str(home / "model"), "天气")
    assert nothing.exit_code == 2
    assert "holds no fine-tuned model" in nothing.stderr
    out = str(tmp_path / "tuned")
    assert call("finetune", str(home / "model"), "--task", task(home), *QUICK, "--out", out).exit_code == 0
    for arguments, says in (([], "give one or more texts"), (["--pair", "天", "气"], "reads one text")):
        done = call("predict", out, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert says in done.stderr
    done = call("generate", out, "天气")
    assert done.exit_code == 2
    assert "emergence predict" in done.stderr
