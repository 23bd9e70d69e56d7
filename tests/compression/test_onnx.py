"""A model written as ONNX: onnxruntime gets the network's logits at any batch and length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import emergence as em
from emergence.text import Tokenizer
from tests import tiny_huggingface
from tests.compression.test_stored import own

onnxruntime = pytest.importorskip("onnxruntime")


def check(model: em.Model, folder: Path, known: int) -> None:
    """Compare logits at shapes that the exporter has not seen."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape[:2]) for value in (*session.get_inputs(), *session.get_outputs())] == [
        ("input_ids", ["batch", "length"]),
        ("logits", ["batch", "length"]),
    ]
    generator = torch.Generator().manual_seed(0)
    for B, T in ((1, 1), (1, 2), (4, 11), (2, model.network.config.context)):
        ids = torch.randint(0, known, (B, T), generator=generator)
        with torch.no_grad():
            expected = model.network(ids)
        found = torch.from_numpy(session.run(None, {"input_ids": ids.numpy()})[0])
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "lstm"])
def test_own_families(tmp_path: Path, family: str) -> None:
    model = own(family)
    if family == "gpt":  # what it writes is what a quantised model answers, too
        model.compress(tmp_path / "small", "quantised", bits=4)
        model = em.load(tmp_path / "small")
    folder = model.export(tmp_path / "onnx", "onnx")
    check(model, folder, 250)
    assert Tokenizer.load(folder / "tokenizer.json").identity == model.tokenizer.identity
    about = json.loads((folder / "model.json").read_text())
    assert (about["family"], about["reads"], about["context"]) == (family, model.network.reads, 16)
    assert ("mask_id" in about) == (family == "bert")


def test_models_in_hugging_faces_layout(tmp_path: Path) -> None:
    model = em.load(tiny_huggingface.save("gpt_neox", tmp_path / "whole"))
    folder = model.export(tmp_path / "onnx", "onnx")
    check(model, folder, 260)
    assert (folder / "tokenizer.json").exists()


@pytest.mark.parametrize("family", ["mamba", "seq2seq", "vae"])
def test_families_that_cannot_be_written_are_named(tmp_path: Path, family: str) -> None:
    with pytest.raises(em.UserError, match=f"family {family} cannot.*gpt, gpt2, bert and lstm"):
        own(family).export(tmp_path / "onnx", "onnx")
    assert not (tmp_path / "onnx").exists()


def test_a_recurrent_model_of_transformers_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    model = em.load(tiny_huggingface.save("mamba", tmp_path / "whole"))
    with pytest.raises(em.UserError, match="gpt, gpt2, bert and lstm"):
        model.export(tmp_path / "onnx", "onnx")
    assert not (tmp_path / "onnx").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(em.UserError, match="not an empty folder"):
        own("lstm").export(tmp_path, "onnx")
