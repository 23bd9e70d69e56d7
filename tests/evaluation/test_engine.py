"""The engine: answers do not depend on what else is asked, and what questions share is read once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_network import tiny_network

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.models.gpt import GPTConfig
from emergence.models.huggingface import export_network
from emergence.text import build_tokenizer

CONFIG = GPTConfig(vocabulary=14, context=40, width=32, depth=2, heads=4, feed_forward=40)
END = 0
ROOM = "emergence.evaluation.likelihood"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small products gain nothing from a second thread, and lose much where others use it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NETWORK = tiny_network(CONFIG)


@torch.inference_mode()
def alone(request: ScoreRequest) -> Likelihood:
    """What scoring means: read prompt and target, as much of them as the context holds."""
    ids = torch.tensor([[*request.prompt, *request.target][-(CONFIG.context + 1) :]])
    logprobs = NETWORK(ids[:, :-1])[0, -len(request.target) :].log_softmax(dim=-1)
    targets = torch.tensor(request.target)
    chosen = logprobs.gather(1, targets[:, None])[:, 0]
    return Likelihood(tuple(chosen.tolist()), tuple((logprobs.argmax(dim=-1) == targets).tolist()))


def assert_alike(found: Answer, expected: Answer) -> None:
    if isinstance(found, Likelihood) and isinstance(expected, Likelihood):
        assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)
        assert found.hits == expected.hits
    else:
        assert found == expected


def branching(seed: int, n: int, longest: int) -> list[tuple[int, ...]]:
    """Return sequences that begin like earlier ones, of all lengths, some of them equal."""
    draw = random.Random(seed)
    grown: list[tuple[int, ...]] = [()]
    for _ in range(n):
        more = tuple(draw.randrange(14) for _ in range(draw.choice([1, 1, 2, 5, 20])))
        grown.append((draw.choice(grown) + more)[:longest])
    return [draw.choice(grown[1:]) for _ in range(n)]


def scoring(seed: int, n: int, longest: int = 60) -> list[ScoreRequest]:
    draw = random.Random(seed)
    asked = []
    for ids in branching(seed, n, longest):
        ids = ids if len(ids) > 1 else (*ids, 1)
        count = draw.randint(1, min(len(ids) - 1, CONFIG.context))
        asked.append(ScoreRequest(ids[:-count], ids[-count:]))
    return asked


@given(st.integers(0, 10**6), st.integers(1, 40), st.data())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("maskable", [True, False])
def test_a_score_depends_on_its_request_alone(maskable: bool, seed: int, n: int, data: st.DataObject) -> None:
    asked = scoring(seed, n)
    tokens = data.draw(st.sampled_from([1, 30, 200, 2048]))
    with (
        patch(f"{ROOM}.WORTH_READING_ONCE", data.draw(st.sampled_from([1, 4, 20, 512]))),
        patch(f"{ROOM}.MOST_BRANCHING", data.draw(st.sampled_from([3, 20, 256]))),
        patch(f"{ROOM}.LOGITS_AT_ONCE", data.draw(st.sampled_from([14, 100, 2**20]))),
        patch(f"{ROOM}.WINDOW_TOKENS", data.draw(st.sampled_from([50, 2**20]))),
        patch(f"{ROOM}.tokens_at_once", lambda device: tokens),
        patch("emergence.models.cache.LONG_STEM", data.draw(st.sampled_from([1, 256]))),
        patch.object(type(NETWORK), "maskable", maskable),
    ):
        found = answer(NETWORK, asked, end_id=END)
    for request, one in zip(asked, found, strict=True):
        assert_alike(one, alone(request))


def test_every_beginning_of_one_document_can_be_asked() -> None:
    document = tuple(random.Random(0).choices(range(1, 14), k=CONFIG.context - 1))
    asked = [ScoreRequest(document[:i], (document[-i], 1)) for i in range(1, len(document) - 1)]
    with patch(f"{ROOM}.WORTH_READING_ONCE", 1), patch(f"{ROOM}.MOST_BRANCHING", 3):
        found = answer(NETWORK, asked, end_id=0)
    for request, one in zip(asked, found, strict=True):
        assert_alike(one, alone(request))


def test_order_and_company_change_nothing() -> None:
    prompts = branching(1, 40, 30)
    asked: list[Request] = [*scoring(1, 80), *(GenerateRequest(ids, 3 + i % 20) for i, ids in enumerate(prompts))]
    together = answer(NETWORK, asked, end_id=END)
    mixed = random.Random(2).sample(range(len(asked)), len(asked))
    for place, one in zip(mixed, answer(NETWORK, [asked[i] for i in mixed], end_id=END), strict=True):
        assert_alike(one, together[place])
    for request, one in zip(asked, together, strict=True):
        assert_alike(one, answer(NETWORK, [request], end_id=END)[0])


def test_answers_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    export_network(
        "gpt", NETWORK, build_tokenizer(TokenizerSettings(kind="char"), [], "abcdefghijkl"), tmp_path / "llama"
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llama").eval()
    scored = scoring(5, 60, longest=40)
    prompts = branching(6, 30, 20)
    with patch(f"{ROOM}.WORTH_READING_ONCE", 20):
        found = answer(NETWORK, [*scored, *(GenerateRequest(ids, 12) for ids in prompts)], end_id=END)
    for request, one in zip(scored, found, strict=False):
        assert isinstance(one, Likelihood)
        with torch.inference_mode():
            logits = theirs(torch.tensor([[*request.prompt, *request.target]])).logits[0]
        logprobs = logits[len(request.prompt) - 1 : -1].log_softmax(dim=-1)
        assert one.logprobs == pytest.approx([float(logprobs[i, t]) for i, t in enumerate(request.target)], abs=1e-5)
    for ids, one in zip(prompts, found[len(scored) :], strict=True):
        asked = torch.tensor([ids])
        whole = theirs.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=12, do_sample=False, eos_token_id=END
        )
        written = whole[0, len(ids) :].tolist()
        assert one == Continuation(tuple(written[: written.index(END)] if END in written else written))


@contextmanager
def counting() -> Iterator[dict[str, list[int]]]:
    """Note how many tokens each forward pass reads, and for how many it computes logits."""
    counts: dict[str, list[int]] = {"read": [], "predicted": []}
    hooks = [
        NETWORK.embedding.register_forward_hook(lambda module, ids, out: counts["read"].append(ids[0].numel())),
        NETWORK.register_forward_hook(lambda module, ids, out: counts["predicted"].append(len(out))),
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def few_shot(items: int, shots: int = 24) -> list[ScoreRequest]:
    """Return questions of six tokens with four choices of two, after the same worked examples."""
    draw = random.Random(7)
    before = tuple(draw.randrange(14) for _ in range(shots))
    asked = []
    for _ in range(items):
        prompt = before + tuple(draw.randrange(14) for _ in range(6))
        asked += [ScoreRequest(prompt, (choice, draw.randrange(14))) for choice in range(4)]
    return asked


def test_what_questions_share_is_read_once() -> None:
    asked = few_shot(50)
    with counting() as counts:
        answer(NETWORK, asked, end_id=END)
    assert sum(counts["read"]) == 24 + 50 * (6 + 4)
    # The first token of all choices is predicted at one position.
    assert sum(counts["predicted"]) <= 50 * (1 + 4)


def test_equal_requests_are_answered_once() -> None:
    asked: list[Request] = [*few_shot(3), GenerateRequest((1, 2, 3), 6)]
    with counting() as once:
        single = answer(NETWORK, asked, end_id=END)
    with counting() as thrice:
        assert answer(NETWORK, asked * 3, end_id=END) == single * 3
    assert once == thrice


def test_a_pass_is_bounded_however_much_is_asked() -> None:
    for items in (50, 500):
        with patch(f"{ROOM}.tokens_at_once", lambda device: 300), counting() as counts:
            answer(NETWORK, few_shot(items), end_id=END)
        assert max(counts["read"]) <= 300
        assert max(counts["predicted"]) <= 300


def test_impossible_requests_are_refused() -> None:
    assert answer(NETWORK, [], end_id=END) == []
    with pytest.raises(UserError, match="max_tokens"):
        GenerateRequest((1,), 0)
    with pytest.raises(UserError, match="empty prompt"):
        answer(NETWORK, [GenerateRequest((), 3)], end_id=END)
    with pytest.raises(UserError, match="at least one"):
        answer(NETWORK, [ScoreRequest((1,), ())], end_id=END)
