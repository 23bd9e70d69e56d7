"""Exports of families that transformers does not have: written, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.models.exported import is_exported, load_exported, write_exported
from emergence.models.family import FAMILIES, build_network, ladder
from emergence.models.huggingface_layouts import LAYOUTS
from emergence.models.vectors import read_vectors
from emergence.tasks.catalogue import make_task
from emergence.text import build_tokenizer

OURS = [name for name in FAMILIES if name not in LAYOUTS]
SIZES = {"lstm": 3e4, "seq2seq": 2e4}


def test_some_families_are_ours_alone() -> None:
    assert "lstm" in OURS


@pytest.mark.parametrize("family", OURS)
def test_a_model_comes_back_as_it_was(family: str, tmp_path: Path) -> None:
    tasks = [make_task(name, {}) for name in FAMILIES.load(family).tasks or ()]  # all it can read
    alphabet = "".join(sorted({letter for task in tasks for letter in task.alphabet})) or "abcdefgh|"
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], alphabet)
    (config,) = ladder(family, [SIZES.get(family, 1e4)], vocabulary=tokenizer.vocabulary_size, context=24)
    network = build_network(family, config, torch.Generator().manual_seed(3)).eval()
    folder = write_exported(family, network, tokenizer, tmp_path / "out", step=7)
    assert is_exported(folder)
    back, named, step = load_exported(folder)
    assert (named, step, back.config) == (family, 7, config)
    assert back.fingerprint() == network.fingerprint()
    model = em.load(folder)
    assert (model.family, model.step, model.tokenizer.identity) == (family, 7, tokenizer.identity)
    if config.parameters and network.reads == "causal" and not tasks:
        ids = torch.arange(8)[None]
        with torch.inference_mode():
            assert torch.equal(model.network(ids), network(ids))


def test_what_is_damaged_or_taken_is_refused(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["abc"])
    (config,) = ladder("lstm", [3e3], vocabulary=tokenizer.vocabulary_size, context=8)
    network = build_network("lstm", config, torch.Generator().manual_seed(0))
    folder = write_exported("lstm", network, tokenizer, tmp_path / "out", step=1)
    with pytest.raises(UserError, match="not an empty folder"):
        write_exported("lstm", network, tokenizer, folder, step=1)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"width"', '"wide"'))
    with pytest.raises(UserError, match="does not match its checksum"):
        em.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        em.load(folder)


def test_token_vectors_are_read_from_an_export_and_not_from_another_layout(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["abc"])
    (config,) = ladder("lstm", [3e3], vocabulary=tokenizer.vocabulary_size, context=8)
    network = build_network("lstm", config, torch.Generator().manual_seed(0))
    folder = write_exported("lstm", network, tokenizer, tmp_path / "out", step=7)
    vectors, step = read_vectors(folder)
    assert step == 7
    assert torch.equal(torch.from_numpy(vectors), network.embedding.weight)
    (folder / "model.safetensors").write_bytes(b"another")
    with pytest.raises(UserError, match="does not match its checksum"):
        read_vectors(folder)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="Hugging Face's layout, not a run of emergence"):
        read_vectors(folder)
