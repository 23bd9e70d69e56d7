"""The `seq2seq` family: sizes, counts, pairs and hidden spans, what the reader asks of it, and that it learns."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.pairs import search_targets, target_likelihoods, write_targets
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.seq2seq import Seq2SeqConfig, hidden_of, size_for, spans_of
from emergence.models.seq2seq_network import Seq2SeqNetwork
from emergence.tasks.reversal import Reversal
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer
from emergence.training.batch import collate
from emergence.training.data import CorpusSource, Draw, Mixture, RowsSource
from emergence.training.pairs import PAIRS, corrupt, pair_up
from emergence.training.rows import Rows, pack_rows
from emergence.training.stack import Stack

SMALL = Seq2SeqConfig(vocabulary=23, context=24, width=16, depth=2, heads=2, feed_forward=40)
seeded = partial(torch.Generator().manual_seed, 0)


def network(config: Seq2SeqConfig = SMALL, seed: int = 0, scale: float = 4.0) -> Seq2SeqNetwork:
    """A network with logits large enough to differ."""
    built: Seq2SeqNetwork = build_network("seq2seq", config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        built.embedding.weight.mul_(scale)
    return built.eval()


def sequences(count: int, longest: int, seed: int) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(seed)
    return [tuple(draw.integers(1, 23, draw.integers(1, longest + 1)).tolist()) for _ in range(count)]


def halves(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is read, and what follows each token."""
    return rows[..., :-1], rows[..., 1:]


@given(parameters=st.floats(3e3, 2e8))
@settings(max_examples=100, deadline=None)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    config = size_for(parameters, 100, 64)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05
    assert config.width % config.heads == 0


@pytest.mark.parametrize("vary", ["both", "width", "depth"])
def test_a_ladder_grows_along_its_dial(vary: Vary) -> None:
    configs = ladder("seq2seq", [1.2e5, 4.8e5, 1.9e6], vocabulary=50, context=32, vary=vary)
    assert (len({c.width for c in configs}) == 1) == (vary == "depth")
    assert (len({c.depth for c in configs}) == 1) == (vary == "width")
    with pytest.raises(UserError, match="no seq2seq with vary: depth"):
        size_for(4e3, 50, 32, "depth")


@pytest.mark.parametrize("size", [3e3, 1e4, 5e4])
def test_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("seq2seq", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    assert total - built.embedding.weight.numel() == config.non_embedding_parameters
    ids = partial(torch.ones, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(ids(3, 11), torch.full((3,), 11), ids(3, 7), torch.arange(21))
    assert counter.get_total_flops() == 3 * config.pair_flops(11, 7)
    assert config.forward_flops(3 * 18, 18, 3 * 7) == pytest.approx(3 * config.pair_flops(11, 7))


def test_text_is_counted_as_its_pairs_are_on_average() -> None:
    config = size_for(1e4, 37, 40)
    text = torch.randint(0, 37, (2000, 41), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2000, 40, dtype=torch.bool)
    pairs = pair_up(text[:, :-1], text[:, 1:], mask, config, seeded)
    assert len(pairs.targets) / 2000 == pytest.approx(config.predicted_of_text, rel=0.03)


@given(st.integers(2, 200), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_corrupted_text_and_its_spans_make_the_text_again(context: int, seed: int) -> None:
    config = Seq2SeqConfig(vocabulary=50, context=context, width=8, depth=1, heads=1, feed_forward=8)
    text = np.random.default_rng(seed).integers(0, 50, context)
    source, target = corrupt(text, config, torch.Generator().manual_seed(seed))
    spans: dict[int, list[int]] = {}
    for token in target.tolist():
        if token >= 50:
            spans[token] = []
        else:
            spans[max(spans)].append(token)
    *hidden, last = spans
    assert spans[last] == []
    whole = [t for token in source.tolist() for t in (spans[token] if token >= 50 else [token])]
    assert whole == text.tolist()
    assert [token for token in source.tolist() if token >= 50] == hidden == list(range(51, 51 + config.spans))
    assert all(spans[token] for token in hidden)
    assert len(source) <= context
    assert last < 50 + config.extra


@pytest.mark.parametrize("length", [1, 2, 7, 23, 24])
def test_a_line_before_its_padding_is_cut_or_corrupted_as_a_text_is(length: int) -> None:
    rows = torch.arange(1, 26).repeat(400, 1) % 23
    rows[:, length + 1 :] = 0
    mask = torch.zeros(400, 24, dtype=torch.bool)
    mask[:, :length] = True
    pairs = pair_up(rows[:, :-1], rows[:, 1:], mask, SMALL, seeded)
    line, end = rows[0, :length].tolist(), int(rows[0, length])
    cut = set()
    per_pair = pairs.targets.split(torch.bincount(pairs.select // pairs.inputs.shape[1]).tolist())
    for source, count, target in zip(pairs.sources.tolist(), pairs.lengths.tolist(), per_pair, strict=True):
        if max(target) < SMALL.start_id:  # cut in two: the prompt is a beginning of any length
            cut.add(count)
            assert [*source[:count], *target.tolist()] == [*line, end]
            continue
        hidden = [token for token in target.tolist() if token < SMALL.start_id]
        shown = [token for token in source[:count] if token < SMALL.start_id]
        assert len(hidden) == hidden_of(length)
        assert sorted([*shown, *hidden]) == sorted(line)
        assert count == len(shown) + spans_of(length)
    assert cut == set(range(1, length + 1))
    whole = int((pairs.targets >= SMALL.start_id).sum()) // (1 + spans_of(max(2, length)))
    assert whole == pytest.approx(200 if length > 1 else 0, abs=40)


def test_rows_of_examples_are_taken_apart_by_their_mask() -> None:
    rows = np.array([[0, 5, 6, 7, 8, 0, 9, 4, 0, 0], [0, 1, 2, 3, 3, 3, 3, 3, 3, 0]])
    mask = np.zeros((2, 9), dtype=np.bool_)
    mask[0, [2, 3, 4, 6, 7]] = True  # 0 5 6 -> 7 8 0; then 0 is over: 0 9 -> 4 0
    mask[1, 2:9] = True
    pairs = pair_up(*map(torch.from_numpy, (rows[:, :-1], rows[:, 1:], mask)), SMALL, seeded)
    assert [s[:n].tolist() for s, n in zip(pairs.sources, pairs.lengths, strict=True)] == [[0, 5, 6], [0, 9], [0, 1, 2]]
    assert pairs.targets.tolist() == [7, 8, 0, 4, 0, 3, 3, 3, 3, 3, 3, 0]
    assert pairs.inputs[:, 0].tolist() == [SMALL.start_id] * 3
    assert pairs.inputs[2].tolist() == [SMALL.start_id, 3, 3, 3, 3, 3, 3]
    assert pairs.shares.tolist() == [5.0] * 5 + [7.0] * 7


def test_every_row_counts_the_same_in_the_loss() -> None:
    """By the definition: the mean over rows of the mean over the targets' tokens, one pair at a time."""
    net = network()
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 23, (1, 4, 25))
    mask = np.zeros((1, 4, 24), dtype=np.bool_)
    runs = {0: [(2, 5), (9, 12)], 1: [(4, 5)], 2: [(1, 20)], 3: [(3, 4), (6, 7), (10, 24)]}
    for row, own in runs.items():
        for first, stop in own:
            mask[0, row, first:stop] = True
    (batch,) = collate([Draw(*halves(rows), mask, np.array([96]))], stacked=False)
    expected = []
    for row, own in runs.items():
        lost, begin = [], 0
        for first, stop in own:
            source, target = (
                torch.from_numpy(rows[0, row, a:b])[None] for a, b in ((begin, first + 1), (first + 1, stop + 1))
            )
            inputs = torch.cat((torch.tensor([[SMALL.start_id]]), target[:, :-1]), dim=1)
            logits = net(source, torch.tensor([source.shape[1]]), inputs, torch.arange(target.shape[1]))
            lost.append(torch.nn.functional.cross_entropy(logits, target[0], reduction="none"))
            begin = stop
        expected.append(torch.cat(lost).mean())
    found = PAIRS.losses(net, batch, seeded)
    torch.testing.assert_close(found, torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        lost, counted = PAIRS.held_out(net, *(torch.from_numpy(p[0]) for p in (*halves(rows), mask)), seeded)
    assert counted == mask.sum()
    sums = [float(mean.detach()) * len(own) for mean, own in zip(expected, map(np.flatnonzero, mask[0]), strict=True)]
    assert lost == pytest.approx(sum(sums), rel=1e-5)


def test_writing_in_steps_is_reading_the_target_whole() -> None:
    net = network()
    sources, ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), torch.randint(0, 23, (2, 9))
    with torch.inference_mode():
        memory = net.encode(sources, torch.tensor([4, 2]))
        cache = net.new_cache(2, 9)
        pieces = torch.cat([net.decode(ids[:, t : t + 1], memory, cache) for t in range(9)], dim=1)
        torch.testing.assert_close(pieces, net.decode(ids, memory), atol=1e-5, rtol=1e-5)
        alone = net.decode(ids[1:], net.encode(sources[1:, :2], torch.tensor([2])))
        torch.testing.assert_close(pieces[1:], alone, atol=1e-5, rtol=1e-5)


def test_the_decoder_sees_the_whole_prompt_and_nothing_of_what_follows() -> None:
    net = network()
    prompt, ids = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[23, 2, 9, 4]])
    with torch.inference_mode():
        memory = net.encode(prompt, torch.tensor([4]))
        before = net.decode(ids, memory)
        changed = ids.clone()
        changed[0, 2] = 1
        after = net.decode(changed, memory)
        assert torch.equal(before[0, :2], after[0, :2])
        assert not torch.allclose(before[0, 2:], after[0, 2:])
        for position in range(4):
            other = prompt.clone()
            other[0, position] = 11
            assert not torch.allclose(net.decode(ids, net.encode(other, torch.tensor([4])))[0, 0], before[0, 0])


def test_answers_do_not_depend_on_company() -> None:
    net = network()
    prompts = sequences(30, 24, 5)
    scored = [ScoreRequest(p, t) for p in prompts for t in sequences(3, 6, len(p))]
    written = [GenerateRequest(p, 1 + len(p) % 9) for p in prompts]
    together = answer(net, [*scored, *written], end_id=0)
    for request, found in zip([*scored, *written], together, strict=True):
        (alone,) = answer(net, [request], end_id=0)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
            assert len(found.logprobs) == len(request.target) if isinstance(request, ScoreRequest) else False
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


def test_a_prompt_is_read_once_for_all_its_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    read: list[int] = []
    encode = Seq2SeqNetwork.encode

    def counted(self: Seq2SeqNetwork, ids: torch.Tensor, lengths: torch.Tensor) -> object:
        read.append(int(lengths.sum()))
        return encode(self, ids, lengths)

    monkeypatch.setattr(Seq2SeqNetwork, "encode", counted)
    target_likelihoods(net, [(prompt, target) for prompt in ([1, 2, 3], [4, 5]) for target in ([1], [2], [3, 4])])
    assert sum(read) == 5


def test_a_long_prompt_loses_its_beginning_and_a_long_target_is_refused() -> None:
    net = network()
    prompt = [5] * 10 + list(range(24))[:24]
    cut, whole = target_likelihoods(net, [(prompt, [3, 4]), (prompt[-24:], [3, 4])])
    assert cut == whole
    with pytest.raises(UserError, match="does not fit"):
        target_likelihoods(net, [([1], [2] * 25)])
    for prompt, target in (([], [1]), ([1], [])):
        with pytest.raises(UserError, match="at least one token"):
            target_likelihoods(net, [(prompt, target)])
    with pytest.raises(UserError, match="empty prompt"):
        write_targets(net, [[]], [3], end_id=0)


def totals(net: Seq2SeqNetwork, prompts: list[tuple[int, ...]], texts: list[list[int]], limit: int) -> list[float]:
    """Log-probabilities of texts with their ends, where they have one."""
    pairs = [(prompt, [*text, 0][:limit]) for prompt, text in zip(prompts, texts, strict=True)]
    return [likelihood.total for likelihood in target_likelihoods(net, pairs)]


def test_beams_beat_greedy_in_log_probability() -> None:
    net, prompts, limit = network(scale=2.0), sequences(24, 12, 3), 6
    limits = [limit] * len(prompts)
    greedy = totals(net, prompts, write_targets(net, prompts, limits, end_id=0), limit)
    searched = {beams: search_targets(net, prompts, limits, beams=beams, end_id=0) for beams in (1, 4, 16)}
    found = {beams: totals(net, prompts, texts, limit) for beams, texts in searched.items()}
    assert found[1] == pytest.approx(greedy, abs=1e-4)
    assert all(f >= g - 1e-4 for f, g in zip(found[4], greedy, strict=True))
    assert sum(f > g + 1e-3 for f, g in zip(found[4], greedy, strict=True)) >= 8
    assert np.mean(found[16]) >= np.mean(found[4]) > np.mean(greedy) + 0.05
    alone = [search_targets(net, [prompt], [limit], beams=4, end_id=0)[0] for prompt in prompts]
    assert alone == searched[4]


def test_enough_beams_find_the_most_probable_text_of_all() -> None:
    config = Seq2SeqConfig(vocabulary=4, context=8, width=8, depth=1, heads=1, feed_forward=16)
    net = network(config, seed=2, scale=2.0)
    prompts = [(1, 2), (3, 3, 1), (2,)]
    every = [list(ids) for n in range(4) for ids in itertools.product((1, 2, 3), repeat=n)]
    for prompt, found in zip(prompts, search_targets(net, prompts, [3] * 3, beams=27, end_id=0), strict=True):
        scores = totals(net, [prompt] * len(every), every, 3)
        assert found == every[int(np.argmax(scores))]


def test_it_learns_to_write_backwards_from_packed_rows(tmp_path: Path) -> None:
    task = Reversal({"length": 5, "letters": 8})
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    context, steps = 24, 300  # two examples a row

    def packed(split: str, rows: int) -> Rows:
        asked: dict[str, Any] = {"split": split, "rows": rows, "context": context, "identity": {}}
        return pack_rows(task, tokenizer, tmp_path / f"{split}.bin", rng=stream(0, split), **asked)

    config = size_for(1e4, tokenizer.vocabulary_size, context)
    stack = Stack("seq2seq", config, [0], learning_rate=0.006, weight_decay=0.1, clip=1.0, stacked=False)
    source = RowsSource("reversal", packed("train", 2000), packed("validation", 32))
    mixture = Mixture([source], [1.0], batch_rows=24, seed=1)
    losses = []
    for step in range(steps):
        (batch,) = collate([mixture.draw(step, 1)], stacked=False)
        losses.append(float(stack.step(batch, min(1.0, (step + 1) / 20, (steps - step) / 90), step)))
    assert losses[0] == pytest.approx(math.log(config.vocabulary + config.extra), abs=0.6)
    questions = task.questions(TaskContext(tokenizer, context, seed=0), 64, 0)
    (records,) = evaluate(stack.alone(0), tokenizer, [(task, questions)], seed=0)
    assert records["score_exact_match"].mean() > 0.9  # type: ignore[operator]


def test_what_is_drawn_of_a_text_depends_on_seed_and_step_alone() -> None:
    text = np.arange(4000) % 7
    mixture = Mixture([CorpusSource(text, text[:200], 24)], [1.0], batch_rows=4, seed=0)
    (batch,) = collate([mixture.draw(0, 1)], stacked=False)
    net = network()
    first, again, other = (
        float(PAIRS.losses(net, batch, partial(torch.Generator().manual_seed, s)).detach()) for s in (3, 3, 4)
    )
    assert first == again != other


def test_its_replicas_are_not_stacked() -> None:
    assert not FAMILIES.load("seq2seq").stackable
