"""A compressed model in its folder: what `load` reads is what was compressed, bit for bit, in the bytes it claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import emergence as em
from emergence.compression.compressing import compress_network
from emergence.compression.matrices import find_matrices
from emergence.core.compression_settings import compression
from emergence.core.settings import TokenizerSettings
from emergence.models.trunk import module_of
from emergence.text import build_tokenizer
from tests import tiny_huggingface
from tests.compression.networks import build

TEXT = ["the quick brown fox jumps over the lazy dog " * 30]
WAYS: list[dict[str, Any]] = [
    {"method": "wanda", "sparsity": 0.6},
    {"method": "quantised", "bits": 8},
    {"method": "quantised", "bits": 3, "zero_point": True, "embeddings": True},
]


def own(family: str) -> em.Model:
    """Return a model of a family with a byte tokenizer, as `load` gives it."""
    tokenizer = build_tokenizer(TokenizerSettings(kind="byte"), [])
    network = build(family, vocabulary=tokenizer.vocabulary_size)
    return em.Model(network, tokenizer, Path("nowhere"), 7, "R00", family, 0)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "lstm", "mamba", "seq2seq", "vae"])
def test_own_families_come_back_bit_for_bit(tmp_path: Path, family: str, how: dict[str, Any]) -> None:
    model = own(family)
    before = model.network.fingerprint()
    done = model.compress(tmp_path / "small", calibration=TEXT, **how)
    assert model.network.fingerprint() == before
    back = em.load(tmp_path / "small")
    assert (back.family, back.step, back.name) == (family, 7, "small")
    assert back.tokenizer.identity == model.tokenizer.identity
    known = {matrix.name: matrix.weight for matrix in done.matrices}
    state = back.network.state_dict()
    for name, weight in known.items():
        assert torch.equal(state[name].view(torch.int32), weight.contiguous().view(torch.int32))
    for name, weight in model.network.state_dict().items():
        if name not in known:
            assert torch.equal(state[name], weight)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba"])
@pytest.mark.parametrize("how", WAYS)
def test_models_in_hugging_faces_layout_come_back_bit_for_bit(tmp_path: Path, family: str, how: dict[str, Any]) -> None:
    model = em.load(tiny_huggingface.save(family, tmp_path / "whole"))
    done = model.compress(tmp_path / "small", calibration=TEXT, **how)
    back = em.load(tmp_path / "small")
    state = module_of(back.network).state_dict()
    for matrix in done.matrices:
        assert torch.equal(state[matrix.name].view(torch.int32), matrix.parameter.data.view(torch.int32))
    prompt = torch.arange(5)[None]
    twin = em.load(tmp_path / "whole").network
    rows = [[i % 250 for i in range(start, start + 40)] for start in range(20)]
    if how["method"] == "quantised":
        compress_network(twin, compression(**how), rows)
        with torch.no_grad():
            assert torch.equal(twin(prompt), back.network(prompt))
    assert back.generate("the", max_tokens=4) == back.generate("the", max_tokens=4)
    if family == "gpt2":  # the head is the table of tokens
        assert module_of(back.network).lm_head.weight is module_of(back.network).transformer.wte.weight


def test_the_file_is_as_small_as_the_bits_say(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="byte"), [])
    network = build("gpt2", 300_000, vocabulary=tokenizer.vocabulary_size)
    model = em.Model(network, tokenizer, Path("nowhere"), 0, "R00", "gpt2", 0)
    for number, how in enumerate(({"method": "quantised", "bits": 4}, {"method": "magnitude", "sparsity": 0.9})):
        done = model.compress(tmp_path / str(number), **how)
        size = (tmp_path / str(number) / "compressed.safetensors").stat().st_size
        assert size == pytest.approx(done.all_bits / 8 * network.config.parameters, rel=0.02)


def test_a_compressed_model_is_a_model(tmp_path: Path) -> None:
    own("gpt").compress(tmp_path / "small", "quantised", bits=4)
    small = em.load(tmp_path / "small")
    assert len(small.loglikelihood("a", "bc").logprobs) == 2
    small.export(tmp_path / "llama")
    assert em.load(tmp_path / "llama").generate("a", max_tokens=3) == small.generate("a", max_tokens=3)
    again = small.compress(tmp_path / "smaller", "magnitude", sparsity=0.5)
    assert again.sparsity >= 0.5


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(em.UserError, match="not an empty folder"):
        own("gpt").compress(tmp_path, "quantised", bits=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["compressed.json", "compressed.safetensors"])
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str) -> None:
    own("gpt").compress(tmp_path / "small", "quantised", bits=4)
    file = tmp_path / "small" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(em.UserError, match="compress the model again"):
        em.load(tmp_path / "small")


def test_wanda_needs_text_and_a_compressed_model_has_no_steps(tmp_path: Path) -> None:
    with pytest.raises(em.UserError, match="--calibration"):
        own("gpt").compress(tmp_path / "small", "wanda", sparsity=0.5)
    with pytest.raises(em.UserError, match="calibration text is empty"):
        own("gpt").compress(tmp_path / "small", "wanda", sparsity=0.5, calibration=[""])
    assert not (tmp_path / "small").exists()
    own("gpt").compress(tmp_path / "small", "quantised", bits=4)
    with pytest.raises(em.UserError, match="leave out step"):
        em.load(tmp_path / "small", 3)


def test_names_of_matrices_are_those_of_parameters() -> None:
    network = build("mamba")
    names = dict(network.named_parameters())
    assert all(matrix.parameter is names[matrix.name] for matrix in find_matrices(network, tables=True))
