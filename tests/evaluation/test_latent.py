"""How a model with a latent is asked: against numerical integration, one distribution, and the bottleneck."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_network import tiny_network
from torch.distributions import Normal

import emergence.evaluation.latent as latent
from emergence.api.model import Model
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.generation import SamplingSettings
from emergence.models.family import build_network
from emergence.models.gpt import GPTConfig
from emergence.models.vae import VAEConfig, size_for
from emergence.models.vae_network import VAENetwork
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer
from emergence.training.batch import collate
from emergence.training.data import Draw
from emergence.training.stack import Stack

SMALL = VAEConfig(vocabulary=9, context=12, width=16, depth=2, heads=1, feed_forward=40, latent=2)
WORDS = ["aaaa", "bbb", "cccccc", "abab", "dd"]
TOKENIZER = build_tokenizer(TokenizerSettings(kind="char"), WORDS)


def network(config: VAEConfig = SMALL) -> VAENetwork:
    """A network whose every weight is random, and whose latent matters."""
    built: VAENetwork = build_network("vae", config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in (built.head.weight, built.posterior.weight):
            weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    return built.eval()


def test_the_estimate_is_near_the_integral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a single latent dimension p(y|x) can be integrated on a grid."""
    net = network(VAEConfig(**{**SMALL.to_dict(), "latent": 1}))
    grid = torch.linspace(-6, 6, 2001)[:, None]
    prior = Normal(0.0, 1.0).log_prob(grid[:, 0])

    def logprob(ids: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            rows = torch.tensor([ids]).expand(len(grid), -1)
            logprobs = net(rows[:, :-1], grid).log_softmax(-1)
            return logprobs.gather(2, rows[:, 1:, None])[..., 0].sum(dim=1)

    monkeypatch.setattr(latent, "PARTICLES", 20_000)
    monkeypatch.setattr(latent, "TOKENS_AT_ONCE", 2**20)
    for prompt, target in (((0, 3, 5, 5, 1), (2, 7, 4)), ((0,), (5, 5, 1, 2))):
        whole = (prior + logprob((*prompt, *target))).logsumexp(0)
        before = (prior + logprob(prompt)).logsumexp(0) if len(prompt) > 1 else prior.logsumexp(0)
        (found,) = latent.score(net, [(prompt, target)], end_id=0)
        assert found.total == pytest.approx(float(whole - before), abs=0.03)
        plain = float(logprob((*prompt, *target))[1000] - (logprob(prompt)[1000] if len(prompt) > 1 else 0))
        assert abs(plain - float(whole - before)) > 0.1  # the latent matters here


def test_the_answers_are_those_of_one_distribution() -> None:
    net, prompt = network(), (0, 4, 4, 2)
    targets = list(itertools.product(range(9), repeat=2))
    found = latent.score(net, [(prompt, target) for target in targets], end_id=0)
    assert sum(np.exp(one.total) for one in found) == pytest.approx(1, abs=1e-4)
    (written,) = latent.write(net, [prompt], [5], end_id=99)
    (likelihood,) = latent.score(net, [(prompt, written)], end_id=0)
    assert all(likelihood.hits)
    assert len(written) == 5


def test_answers_do_not_depend_on_company() -> None:
    net, draw = network(), np.random.default_rng(3)
    questions = [(0, *draw.integers(1, 9, draw.integers(0, 8)).tolist()) for _ in range(30)]
    requests = [
        *(ScoreRequest(question, (3, 5, 1)) for question in questions),
        *(GenerateRequest(question, int(draw.integers(1, 9))) for question in questions),
        *(ScoreRequest((0,), question, (0, *question)) for question in questions),
        *(GenerateRequest((0,), 6, (0, *question)) for question in questions),
    ]
    together = answer(net, requests, end_id=0)  # type: ignore[arg-type]
    for request, found in zip(requests, together, strict=True):
        (alone,) = answer(net, [request], end_id=0)  # type: ignore[arg-type]
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


@pytest.mark.parametrize(
    ("prompt", "target", "says"), [((), (1,), "at least one"), ((1,), (), "at least one"), ((1,), (1,) * 30, "fit")]
)
def test_impossible_questions_are_refused(prompt: tuple[int, ...], target: tuple[int, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        latent.score(network(), [(prompt, target)], end_id=0)


def test_a_prompt_longer_than_the_context_loses_its_start_and_writing_ends_with_the_context() -> None:
    net, prompt = network(), tuple(i % 9 for i in range(30))
    whole, tail = latent.score(net, [(prompt, (1, 2)), (prompt[-11:], (1, 2))], end_id=0)
    assert whole.logprobs == pytest.approx(tail.logprobs, abs=1e-6)
    (written,) = latent.write(net, [prompt[:10]], [50], end_id=99)
    assert len(written) == 3  # the last of them is not read any more


def test_a_network_without_a_bottleneck_says_so() -> None:
    config = GPTConfig(vocabulary=9, context=12, width=16, depth=2, heads=2, feed_forward=40)
    with pytest.raises(UserError, match="no bottleneck"):
        answer(tiny_network(config), [ScoreRequest((0,), (1, 2), (0, 1, 2))], end_id=0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words() -> Model:
    """A model that knows five words by heart."""
    end = TOKENIZER.end_id
    rows = np.full((1, len(WORDS), 9), end)
    mask = np.zeros((1, len(WORDS), 8), dtype=np.bool_)
    for row, ids in enumerate(TOKENIZER.encode_batch(WORDS)):
        rows[0, row, 1 : len(ids) + 1] = ids
        mask[0, row, : len(ids) + 1] = True
    config = size_for(6e3, TOKENIZER.vocabulary_size, 8)
    stack = Stack("vae", config, [0], learning_rate=0.01, weight_decay=0.0, clip=1.0, stacked=False)
    (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([int(mask.sum())]))], stacked=False)
    for step in range(1500):
        stack.step(batch, 1 - step / 1500, step)
    return Model(stack.alone(0), TOKENIZER, Path(), 250, "R00", "vae", 0)


def test_an_interpolation_ends_in_the_reconstructions_of_both(words: Model) -> None:
    assert [words.reconstruct(word) for word in WORDS] == WORDS
    way = words.interpolate("aaaa", "cccccc", steps=7)
    assert len(way) == 7
    assert (way[0], way[-1]) == ("aaaa", "cccccc")
    assert len(set(way)) > 1
    for wrong, says in (
        (("", "a", 1), "two or more"),
        (("a" * 20, "b", 3), "no latent here"),
        (("xyz", "a", 3), "know"),
    ):
        with pytest.raises(UserError, match=says):
            words.interpolate(*wrong)


def test_samples_from_the_prior_are_what_was_learnt(words: Model) -> None:
    samples = words.sample(60, seed=3)
    assert samples == words.sample(60, seed=3) != words.sample(60, seed=4)
    assert sum(sample in WORDS for sample in samples) > 30
    assert len(set(samples) & set(WORDS)) >= 4  # each sample has its own latent
    assert words.generate("ccc", temperature=0.5, seed=1)[:2] == "cc"
    with pytest.raises(UserError, match="at least one"):
        words.sample(0)


def test_other_families_sample_too_but_have_nothing_to_go_through() -> None:
    config = GPTConfig(vocabulary=TOKENIZER.vocabulary_size, context=12, width=16, depth=2, heads=2, feed_forward=40)
    model = Model(tiny_network(config), TOKENIZER, Path(), 1, "R03", "gpt", 0)
    assert len(set(model.sample(5, max_tokens=6))) > 1
    with pytest.raises(UserError, match=r"R03 \(gpt\) has no latent space to go through"):
        model.interpolate("aaaa", "bbb")


def test_reconstruction_and_sampling_are_scored(words: Model) -> None:
    end = TOKENIZER.end_id
    tokens = np.array([token for ids in TOKENIZER.encode_batch(WORDS) for token in (*ids, end)])
    context = TaskContext(TOKENIZER, 8, 0, tokens, whole_documents=True)
    asked = [
        (task, task.questions(context, 20, 0)) for task in map(make_task, ("reconstruction", "sampling"), ({}, {}))
    ]
    assert all(len(questions) == 5 for _, questions in asked)
    again, sampled = evaluate(words.network, TOKENIZER, asked, seed=0)
    assert again["score_exact_match"].to_list() == again["score_token_accuracy"].to_list() == [1.0] * 5
    assert again["output"].to_list() == WORDS
    assert [len(output.split("\n")) for output in sampled["output"]] == [16] * 5
    assert sampled["score_distinct_1"].mean() < 0.6  # sixteen words out of five
    unlearnt = build_network("vae", words.network.config, torch.Generator().manual_seed(0)).eval()
    worse, _ = evaluate(unlearnt, TOKENIZER, asked, seed=0)
    assert worse["score_exact_match"].sum() == 0


def test_the_same_generator_draws_the_same_samples() -> None:
    net, settings = network(), SamplingSettings(max_tokens=6, temperature=1.0)

    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return latent.sample(net, [(0,), (0, 3, 3)], settings, end_id=0, generator=generator)

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(5)}) > 1
