"""A network with an adapter is asked as any other: what the engine finds is what the plain network says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.adapted import SETTINGS, VOCABULARY, masked, network_of, seeded, train

from emergence.core.adapter_settings import AdapterSettings, PrefixSettings
from emergence.evaluation.engine import READERS, answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.generation import SamplingSettings
from emergence.models.adapters import Adapter, attach

END = 0
MANY: dict[str, AdapterSettings] = {**SETTINGS, "shifted": PrefixSettings(length=3, shifted=True)}
STEM = (5, 9, 2, 7, 1)


def adapted(name: str, method: str) -> tuple[Any, Adapter]:
    network = network_of(name)
    adapter = attach(network, MANY[method], seeded(5))
    train(network, adapter, steps=4)
    return network, adapter


def questions() -> list[ScoreRequest]:
    """Prompts that begin alike, choices that branch, and one that has nothing to do with the others."""
    asked = [ScoreRequest((*STEM, a), (b, c)) for a in (3, 4) for b in (6, 8) for c in (1, 2)]
    return [*asked, ScoreRequest(STEM, (11,)), ScoreRequest((13, 2), (4, 4, 5))]


@torch.inference_mode()
def plain_score(network: Any, request: ScoreRequest) -> list[float]:
    ids = torch.tensor([[*request.prompt, *request.target]])
    logprobs = network(ids[:, :-1])[0, -len(request.target) :].log_softmax(dim=-1)
    return [logprobs[i, token].item() for i, token in enumerate(request.target)]


@torch.inference_mode()
def plain_greedy(network: Any, prompt: tuple[int, ...], limit: int) -> list[int]:
    ids = list(prompt)
    for _ in range(limit):
        token = int(network(torch.tensor([ids]))[0, -1].argmax())
        if token == END:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("method", list(MANY))
@pytest.mark.parametrize("name", ["gpt", "gpt2", "hf-llama"])
def test_answers_of_causal_networks_are_those_without_a_cache(name: str, method: str) -> None:
    network, _ = adapted(name, method)
    asked = questions()
    prompts = [(*STEM, 3), (*STEM, 4, 4), (8,), (*STEM, 3, 1, 1)]
    found = answer(network, [*asked, *(GenerateRequest(prompt, 5) for prompt in prompts)], end_id=END)
    for request, likelihood in zip(asked, found, strict=False):
        assert isinstance(likelihood, Likelihood)
        assert likelihood.logprobs == pytest.approx(plain_score(network, request), abs=2e-5)
    for prompt, continuation in zip(prompts, found[len(asked) :], strict=True):
        assert continuation == Continuation(tuple(plain_greedy(network, prompt, 5)))


@pytest.mark.parametrize("name", ["gpt", "hf-llama"])
def test_the_adapter_makes_the_difference(name: str) -> None:
    for method in MANY:
        network, adapter = adapted(name, method)
        with_it = answer(network, questions(), end_id=END)
        adapter.detach()
        without = answer(network, questions(), end_id=END)
        for a, b in zip(with_it, without, strict=True):
            assert isinstance(a, Likelihood)
            assert isinstance(b, Likelihood)
            assert a.logprobs != pytest.approx(b.logprobs, abs=1e-3)


@pytest.mark.parametrize("name", ["lstm", "mamba", "hf-mistral_sliding"])
def test_networks_that_mask_nothing_answer_too(name: str) -> None:
    for method in ("lora", "bottleneck", *(["prefix"] if name == "hf-mistral_sliding" else [])):
        network, _ = adapted(name, method)
        for request, found in zip(questions(), answer(network, questions(), end_id=END), strict=True):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(plain_score(network, request), abs=2e-5)
        (written,) = answer(network, [GenerateRequest(STEM, 5)], end_id=END)
        assert written == Continuation(tuple(plain_greedy(network, STEM, 5)))


@pytest.mark.parametrize("method", list(SETTINGS))
@pytest.mark.parametrize("name", ["seq2seq", "hf-t5"])
def test_encoder_decoders_write_what_is_most_probable(name: str, method: str) -> None:
    network, _ = adapted(name, method)
    (written,) = answer(network, [GenerateRequest(STEM, 5)], end_id=END)
    assert isinstance(written, Continuation)
    source = torch.tensor([network.source(STEM)])
    ids = [network.start_id]
    with torch.inference_mode():
        memory = network.encode(source, torch.tensor([source.shape[1]]))
        for _ in range(5):
            token = int(network.decode(torch.tensor([ids]), memory)[0, -1].argmax())
            if token == END:
                break
            ids.append(token)
    assert list(written.ids) == ids[1:]


@pytest.mark.parametrize("method", list(SETTINGS))
@pytest.mark.parametrize("name", ["bert", "hf-bert", "vae"])
def test_masked_and_latent_networks_answer(name: str, method: str) -> None:
    network, adapter = adapted(name, method)
    asked = [*questions()[:3], GenerateRequest(STEM, 3)]
    found = answer(network, asked, end_id=END)
    assert found == answer(network, asked, end_id=END)
    adapter.detach()
    assert found[:3] != answer(network, asked, end_id=END)[:3]


def test_a_masked_network_is_asked_position_by_position() -> None:
    network = masked()
    adapter = attach(network, SETTINGS["prefix"], seeded(5))
    train(network, adapter, steps=4)
    (found,) = READERS["masked"].score(network, [(STEM, (3,))], end_id=END)
    with torch.inference_mode():
        logits = network(torch.tensor([[*STEM, VOCABULARY - 1, END]]))[0, -2]
    assert found.logprobs[0] == pytest.approx(logits.log_softmax(dim=-1)[3].item(), abs=2e-5)


def test_samples_are_drawn_from_the_adapted_network() -> None:
    network, adapter = adapted("gpt", "prefix")
    settings = SamplingSettings(max_tokens=6, temperature=1.0)
    sample = READERS["causal"].sample
    assert sample is not None
    first = sample(network, [STEM] * 4, settings, end_id=END, generator=seeded(1))
    adapter.detach()
    assert first != sample(network, [STEM] * 4, settings, end_id=END, generator=seeded(1))
