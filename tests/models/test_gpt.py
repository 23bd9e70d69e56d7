"""The `gpt` family: sizes, counts, and agreement with LlamaForCausalLM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.gpt import GPTConfig, depth_for, size_for
from emergence.models.huggingface import export_network
from emergence.text import build_tokenizer
from emergence.text.graph_text import GRAPH_VOCABULARY

SMALL = GPTConfig(vocabulary=23, context=24, width=32, depth=3, heads=4, feed_forward=50)


def network(config: GPTConfig = SMALL, seed: int = 0) -> torch.nn.Module:
    """A network whose every weight is random; the head starts at zero, which would hide mistakes."""
    built: torch.nn.Module = build_network("gpt", config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        built.head.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed + 1))
    return built.eval()


@given(parameters=st.floats(3e3, 2e9))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    config = size_for(parameters, 100, 64)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05
    assert config.depth == depth_for(config.width)
    assert config.width % config.heads == 0
    assert config.head_width % 2 == 0  # rotary positions turn pairs


@pytest.mark.parametrize("vary", ["both", "width", "depth"])
def test_a_ladder_grows_along_its_dial_alone(vary: Vary) -> None:
    configs = ladder("gpt", [1e5, 4e5, 1.6e6, 6.4e6], vocabulary=50, context=32, vary=vary)
    widths, depths = [c.width for c in configs], [c.depth for c in configs]
    assert (len(set(widths)) == 1) == (vary == "depth")
    assert (len(set(depths)) == 1) == (vary == "width")
    assert widths == sorted(widths)
    assert depths == sorted(depths)


def test_the_dial_goes_through_known_models() -> None:
    assert depth_for(768) == 12  # GPT-2 small, Radford et al. 2019
    assert depth_for(4096) == 32  # Llama 7B, Touvron et al. 2023


def test_a_size_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="3,000 or more"):
        size_for(100, 50, 32)


@pytest.mark.parametrize("size", [3e3, 3e4, 3e5])
def test_parameter_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("gpt", config, torch.Generator().manual_seed(0))
    embeddings = built.embedding.weight.numel() + built.head.weight.numel()
    total = sum(p.numel() for p in built.parameters())
    assert total == config.parameters
    assert total - embeddings == config.non_embedding_parameters


@pytest.mark.parametrize("predicted", [None, 17])
def test_flop_counts_are_those_that_torch_counts(predicted: int | None) -> None:
    B, T = 3, 20
    ids = torch.randint(0, SMALL.vocabulary, (B, T), generator=torch.Generator().manual_seed(0))
    select = None if predicted is None else torch.arange(predicted)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it does not count fused kernels
        network()(ids, select=select)
    assert counter.get_total_flops() == SMALL.forward_flops(B * T, T, predicted)


def test_a_training_step_costs_three_forward_passes() -> None:
    B, T = 3, 20
    ids = torch.randint(0, SMALL.vocabulary, (B, T), generator=torch.Generator().manual_seed(0))
    built = network().train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        built(ids).square().mean().backward()
    assert counter.get_total_flops() == 3 * SMALL.forward_flops(B * T, T)


def test_the_first_loss_is_that_of_guessing() -> None:
    built = build_network("gpt", SMALL, torch.Generator().manual_seed(0))
    assert torch.equal(built(torch.arange(10)[None]), torch.zeros(1, 10, SMALL.vocabulary))


def test_the_same_generator_gives_the_same_weights() -> None:
    first, second, other = (build_network("gpt", SMALL, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_activations_keep_their_size_along_the_ladder() -> None:
    sizes = []
    for config in ladder("gpt", [3e3, 1e5, 3e6], vocabulary=50, context=32):
        built = build_network("gpt", config, torch.Generator().manual_seed(0))
        x = built.embedding(torch.arange(32)[None])
        for block in built.blocks:
            x = block(x, built.turn, built.future, None)
        sizes.append(float(x.square().mean().sqrt().detach()))
    assert max(sizes) / min(sizes) < 1.3


def test_nothing_sees_the_future() -> None:
    built = network()
    ids = torch.randint(0, SMALL.vocabulary, (1, 20), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[0, 12:] = 0
    before, after = built(ids), built(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 5, 7]])
def test_the_cache_changes_nothing(pieces: list[int]) -> None:
    built = network()
    ids = torch.randint(0, SMALL.vocabulary, (4, 20), generator=torch.Generator().manual_seed(0))
    cache = built.new_cache(4, 20)
    with torch.inference_mode():
        parts = [built(piece, cache) for piece in ids.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), built(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [SMALL, size_for(3e3, 40, 24), size_for(2e5, 40, 24)])
def test_an_export_gives_the_same_logits_in_transformers(config: GPTConfig, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    alphabet = "".join(chr(ord("a") + i) for i in range(config.vocabulary - 2))
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], alphabet)
    own = network(config)
    export_network("gpt", own, tokenizer, tmp_path / "llama")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama").eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    ids = torch.randint(0, config.vocabulary, (5, config.context), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(own(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    text = alphabet[:7][::-1]
    assert AutoTokenizer.from_pretrained(tmp_path / "llama").encode(text) == tokenizer.encode(text)


def test_an_export_does_not_overwrite(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], "abc")
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not an empty folder"):
        export_network("gpt", network(), tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_every_family_in_the_catalogue_builds() -> None:
    for name in FAMILIES:
        own = FAMILIES.load(name)
        reads_text = own.tasks is None or "text" in own.tasks
        vocabulary = 30 if reads_text else GRAPH_VOCABULARY
        config = own.size(1e4, vocabulary, 16, "both")
        network = build_network(name, config, torch.Generator().manual_seed(0))
        if network.reads == "causal" and reads_text:
            assert network(torch.zeros(2, 16, dtype=torch.long)).shape == (2, 16, vocabulary)
        assert FAMILIES.load(name).config_from(config.to_dict()) == config
