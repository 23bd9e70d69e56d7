"""`emergence compress` and `export --format onnx` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import emergence as em
from emergence.cli.main import cli
from tests.compression.test_stored import own


def call(*arguments: str | Path) -> str:
    """Run a command in this process and return what it prints; what it raises is raised."""
    done = CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_model_is_compressed_and_used(tmp_path: Path) -> None:
    model = own("lstm").export(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 9)
    found = call(
        *("compress", model, tmp_path / "half", "--method", "wanda", "--sparsity", "0.5"),
        *("--calibration", text, "--json"),
    )
    assert json.loads(found)["sparsity"] == pytest.approx(0.5, abs=0.02)
    said = call("compress", tmp_path / "half", tmp_path / "four", "--method", "quantised", "--bits", "4")
    assert "2 matrices" in said
    assert "bits a weight" in said
    assert call("generate", tmp_path / "four", "the", "--max-tokens", "3").endswith("\n")
    pytest.importorskip("onnxruntime")
    call("export", tmp_path / "four", tmp_path / "onnx", "--format", "onnx")
    assert (tmp_path / "onnx" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "wanda", "--sparsity", "1.5"], "above 0 and below 1"),
        (["--method", "magnitude", "--sparsity", "-1"], "above 0 and below 1"),
        (["--method", "wanda", "--sparsity", "0.5"], "--calibration"),
        (["--method", "wanda", "--sparsity", "0.5", "--calibration", "nowhere.txt"], "nowhere.txt"),
        (["--method", "wanda-2:4", "--sparsity", "0.7"], "keeps half"),
        (["--method", "quantised", "--bits", "6"], "8, 4, 3 or 2"),
        (["--method", "quantised", "--bits", "4", "--group", "32"], "does not divide"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, arguments: list[str], says: str) -> None:
    model = own("gpt2").export(tmp_path / "model")
    with pytest.raises(em.UserError, match=says):
        call("compress", model, tmp_path / "small", *arguments)
    assert not (tmp_path / "small").exists()
