"""Continuing many prompts at once gives what each gives alone, and reads no token more often than it must."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_network import tiny_network

from emergence.generation import decode
from emergence.models.gpt import GPTConfig

CONFIG = GPTConfig(vocabulary=12, context=16, width=16, depth=2, heads=2, feed_forward=20)
END = 0
ROOM = "emergence.generation.decoding"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small products gain nothing from a second thread, and lose much where others use it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NETWORK = tiny_network(CONFIG)
PROMPTS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=14), st.lists(st.integers(0, 11), min_size=1, max_size=4)).map(
        lambda parts: tuple(parts[0] * 2 + parts[1])
    ),
    min_size=1,
    max_size=10,
)


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(dim=-1)


@cache
@torch.inference_mode()
def alone(prompt: tuple[int, ...], limit: int) -> list[int]:
    """What decoding means: read everything anew for each token, and the later half where the context is full."""
    ids, written = list(prompt[-CONFIG.context :]), []
    while len(written) < limit:
        token = int(NETWORK(torch.tensor([ids]))[0, -1].argmax())
        if token == END:
            break
        ids, written = [*ids, token], [*written, token]
        if len(ids) > CONFIG.context:
            ids = ids[-(CONFIG.context // 2) :]
    return written


@given(PROMPTS, st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("maskable", [True, False])
def test_together_is_as_alone(maskable: bool, prompts: list[tuple[int, ...]], data: st.DataObject) -> None:
    limits = data.draw(st.lists(st.integers(1, 25), min_size=len(prompts), max_size=len(prompts)))
    rows = data.draw(st.sampled_from([1, 3, 100]))
    tokens = data.draw(st.sampled_from([1, 40, 2048]))
    with (
        patch(f"{ROOM}.STEP_TOKENS", data.draw(st.sampled_from([1, 16]))),
        patch(f"{ROOM}.CACHE_BYTES", rows * CONFIG.context * NETWORK.position_bytes),
        patch(f"{ROOM}.LEAST_ROWS", 1),
        patch(f"{ROOM}.REFILL", data.draw(st.sampled_from([0.01, 0.25, 1.0]))),
        patch(f"{ROOM}.tokens_at_once", lambda device: tokens),
        patch.object(type(NETWORK), "maskable", maskable),
    ):
        together = decode(NETWORK, prompts, limits, most_probable, end_id=END)
    assert together == [alone(prompt, limit) for prompt, limit in zip(prompts, limits, strict=True)]


def tokens_read(prompts: list[tuple[int, ...]], limit: int) -> tuple[int, list[list[int]]]:
    """Return how many tokens the network read, padding included, and the answers."""
    count = 0

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal count
        count += inputs[0].numel()

    hook = NETWORK.embedding.register_forward_hook(note)
    try:
        answers = decode(NETWORK, prompts, [limit] * len(prompts), most_probable, end_id=END)
    finally:
        hook.remove()
    return count, answers


def test_finished_rows_are_read_no_more() -> None:
    draw = torch.Generator().manual_seed(5)
    prompts = [tuple(torch.randint(1, 12, (6,), generator=draw).tolist()) for _ in range(60)]
    count, answers = tokens_read(prompts, 10)
    lengths = [len(answer) for answer in answers]
    assert min(lengths) < 5 < max(lengths)
    # The last token written is not read; where the end token came first, all that was written is.
    assert count == 6 * 60 + sum(min(length, 9) for length in lengths)


def test_a_common_beginning_is_read_once() -> None:
    common = tuple(i % 11 + 1 for i in range(12))
    draw = torch.Generator().manual_seed(6)
    prompts = [(*common, *torch.randint(1, 12, (4,), generator=draw).tolist()) for _ in range(100)]
    count, answers = tokens_read(prompts, 1)
    assert count == 12 + 4 * 100
    assert answers == [alone(prompt, 1) for prompt in prompts]


def test_no_prompts_have_no_answers() -> None:
    assert decode(NETWORK, [], [], most_probable, end_id=END) == []
