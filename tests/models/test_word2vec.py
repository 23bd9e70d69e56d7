"""The `word2vec` family: its loss written out, planted clusters and analogies found, what is read off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.api.model import Model
from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.evaluate import evaluate
from emergence.models.family import FAMILIES, build_network, ladder
from emergence.models.word2vec import Word2VecConfig, size_for
from emergence.models.word2vec_network import Word2VecNetwork
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask, TaskContext
from emergence.text import Tokenizer, build_tokenizer
from emergence.training.batch import Batch, collate
from emergence.training.data import CorpusSource, Draw, Mixture, RowsSource
from emergence.training.rows import Rows, pack_rows
from emergence.training.skipgram import SKIPGRAM, CountingStack, pairs, words_of

SMALL = Word2VecConfig(vocabulary=12, context=9, width=5, separators=(0,), question=(1, 2))
SETTINGS = {"learning_rate": 0.006, "weight_decay": 0.1, "clip": 1.0, "stacked": False}


def network(config: Word2VecConfig = SMALL, seed: int = 0) -> Word2VecNetwork:
    """A network that has read something."""
    built: Word2VecNetwork = build_network("word2vec", config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        built.company_embedding.weight.normal_(generator=torch.Generator().manual_seed(seed + 1))
        built.counts.copy_(torch.arange(1, config.vocabulary + 1))
    return built.eval()


def batch_of(rows: np.ndarray, mask: np.ndarray) -> Batch:
    (batch,) = collate([Draw(rows[None, :, :-1], rows[None, :, 1:], mask[None], np.array([mask.sum()]))], stacked=False)
    return batch


@given(parameters=st.floats(4e3, 2e8))
@settings(max_examples=100)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    config = size_for(parameters, 100, 64)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05


def test_a_size_out_of_reach_says_what_can_be() -> None:
    with pytest.raises(UserError, match=r"the nearest has 1,000 \(width 1\)"):
        size_for(1400, 1000, 32)
    with pytest.raises(UserError, match=r"set model\.ladder\.vary to width"):
        ladder("word2vec", [1e4], vocabulary=50, context=32, vary="depth")


def test_counts_are_those_of_the_network() -> None:
    config = size_for(3e3, 37, 32)
    built = network(config)
    assert sum(weight.numel() for weight in built.parameters()) == config.parameters
    assert built.company_embedding.weight.numel() == config.non_embedding_parameters
    assert FAMILIES.load("word2vec").config_from(config.to_dict()) == config


@given(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=4), st.data())
@settings(max_examples=60)
def test_pairs_are_those_within_reach_and_text(rows: list[list[int]], data: st.DataObject) -> None:
    """Against two loops; 0 ends a text and belongs to the text before it."""
    flags = st.lists(st.booleans(), min_size=7, max_size=7)
    learnt = [data.draw(flags) for _ in rows]
    reach = [data.draw(st.lists(st.integers(1, 3), min_size=7, max_size=7)) for _ in rows]
    expected = []
    for b, row in enumerate(rows):
        for i, word in enumerate(row):
            for j, other in enumerate(row):
                apart = 0 in row[min(i, j) : max(i, j)]
                if i != j and abs(i - j) <= reach[b][i] and learnt[b][i] and learnt[b][j] and not apart:
                    expected.append((word, other))
    words, company = pairs(torch.tensor(rows), torch.tensor(learnt), (0,), torch.tensor(reach))
    assert sorted(zip(words.tolist(), company.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_flops_count_the_pairs_there_are_on_average(window: int) -> None:
    config = Word2VecConfig(vocabulary=50, context=2000, width=8, window=window, negatives=3)
    words = torch.randint(0, 50, (4, 2000), generator=torch.Generator().manual_seed(0))
    reach = torch.randint(1, window + 1, words.shape, generator=torch.Generator().manual_seed(1))
    found, _ = pairs(words, torch.ones_like(words, dtype=torch.bool), (), reach)
    assert config.forward_flops(words.numel(), 2000) == pytest.approx(len(found) * (1 + 3) * 2 * 8, rel=0.03)


def test_what_counts_of_a_row_is_what_others_are_trained_to_predict() -> None:
    rows = np.array([[0, 5, 6, 7, 0], [0, 8, 9, 1, 2]])
    mask = np.array([[False, True, False, True], [True, True, True, True]])
    words, learnt = words_of(batch_of(rows, mask))
    assert words[learnt].tolist() == [6, 0, 8, 9, 1, 2]
    assert words[:, :-1].tolist() == rows[:, :-1].tolist()
    whole, everything = words_of(batch_of(rows, np.ones_like(mask)))
    assert whole.tolist() == rows.tolist()
    assert everything[:, 1:].all()


def test_the_loss_is_that_of_the_paper_written_out() -> None:
    net = network()
    words, company = torch.tensor([3, 7, 3]), torch.tensor([4, 1, 3])
    negatives = torch.tensor([[5, 6], [7, 7], [0, 11]])
    own, other = (table.weight.detach().numpy().astype(float) for table in (net.embedding, net.company_embedding))

    def log_sigmoid(x: float) -> float:
        return -math.log(1 + math.exp(-x))

    expected = [
        -log_sigmoid(other[o] @ own[c]) - sum(log_sigmoid(-(other[k] @ own[c])) for k in drawn)
        for c, o, drawn in zip(words.tolist(), company.tolist(), negatives.tolist(), strict=True)
    ]
    np.testing.assert_allclose(net.pair_losses(words, company, negatives).detach().numpy(), expected, rtol=1e-5)


def test_the_objective_is_the_mean_over_its_pairs_and_what_it_drew() -> None:
    net = network()
    rows = np.random.default_rng(1).integers(1, 12, (3, 10))
    batch = batch_of(rows, np.ones((3, 9), dtype=np.bool_))

    def noise() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    loss = SKIPGRAM.losses(net, batch, noise)
    generator = noise()
    words, learnt = words_of(batch)
    reach = torch.randint(1, SMALL.window + 1, words.shape, generator=generator)
    one, other = pairs(words, learnt, SMALL.separators, reach)
    drawn = torch.multinomial(net.noise(), len(one) * SMALL.negatives, replacement=True, generator=generator)
    torch.testing.assert_close(loss, net.pair_losses(one, other, drawn.view(len(one), -1)).mean())
    nothing = SKIPGRAM.losses(net, batch_of(rows, np.zeros((3, 9), dtype=np.bool_)), noise)
    assert float(nothing.detach()) == 0.0
    nothing.backward()  # type: ignore[no-untyped-call]


def test_negatives_are_drawn_by_counts_to_three_quarters() -> None:
    stack = CountingStack("word2vec", SMALL, [0], **SETTINGS)
    rows = np.random.default_rng(2).choice(12, size=(4, 10), p=np.arange(1, 13) / 78)
    mask = np.ones((4, 9), dtype=np.bool_)
    for step in range(3):
        stack.step(batch_of(rows, mask), 1.0, step)
    counts = 3.0 * np.bincount(rows[:, 1:].ravel(), minlength=12)
    weights = stack.weights(0)
    np.testing.assert_array_equal(weights["counts"].numpy(), counts)
    np.testing.assert_allclose(stack.alone(0).noise().numpy(), counts**0.75 / (counts**0.75).sum(), rtol=1e-5)


def test_a_word_is_counted_however_often_it_was_met() -> None:
    """A 32-bit float stays at 2^24 when one is added."""
    stack = CountingStack("word2vec", SMALL, [0], **SETTINGS)
    batch = batch_of(np.arange(12).reshape(1, 12), np.ones((1, 11), dtype=np.bool_))
    stack.step(batch, 1.0, 0)
    earlier = torch.full((12,), 2.0**24)  # floats, as versions before kept them
    stack.restore(1, [{**stack.weights(0), "counts": earlier}], [stack.moments(0)])
    for step in range(1, 4):
        stack.step(batch, 1.0, step)
    assert stack.weights(0)["counts"].tolist() == [2**24] + [2**24 + 3] * 11


def test_branches_return_to_the_counts_of_the_trunk() -> None:
    stack = CountingStack("word2vec", SMALL, [0], **SETTINGS)
    rows = np.random.default_rng(2).integers(0, 12, (4, 10))
    batch = batch_of(rows, np.ones((4, 9), dtype=np.bool_))
    stack.step(batch, 1.0, 0)
    before, trunk = stack.weights(0), stack.snapshot()
    stack.step(batch, 1.0, 1)
    stack.return_to(trunk)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.weights(0).items())


def train_on(config: Word2VecConfig, mixture: Mixture, steps: int) -> Word2VecNetwork:
    stack = CountingStack("word2vec", config, [0], **SETTINGS)
    for step, batch in enumerate(collate([mixture.draw(0, steps)], stacked=False)):
        stack.step(batch, min(1.0, 2 * (1 - step / steps)), step)
    found: Word2VecNetwork = stack.alone(0)
    return found


def as_model(net: Word2VecNetwork, tokenizer: Tokenizer) -> Model:
    return Model(net, tokenizer, Path(), step=0, name="R00", family="word2vec", replica=0)


def test_planted_clusters_are_found() -> None:
    """Words of a cluster never meet; they only keep the same company."""
    clusters = ["abcdef", "ghijkl", "mnopqr", "stuvwx"]
    company = ["0123", "4567", "89+-", "!?*%"]
    rng = np.random.default_rng(0)
    sentences = []
    for cluster in rng.integers(0, 4, 4000).tolist():
        letters = [str(rng.choice(list(signs))) for signs in (company[cluster], clusters[cluster], company[cluster])]
        sentences.append("".join(letters))
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["".join(clusters + company)])
    text = np.concatenate([[*tokenizer.encode(sentence), tokenizer.end_id] for sentence in sentences])
    informed = FAMILIES.load("word2vec").informed
    assert informed is not None
    V = tokenizer.vocabulary_size
    config = informed(size_for(16 * V, V, 32), tokenizer.spellings(), {})
    mixture = Mixture([CorpusSource(text, text[:400], 32)], [1.0], batch_rows=16, seed=0)
    model = as_model(train_on(config, mixture, 200), tokenizer)
    for cluster in clusters:
        for word in cluster:
            near = [other for other, _ in model.nearest(word, 5)]
            assert set(near) == set(cluster) - {word}
    cosines = [cosine for _, cosine in model.nearest("a", 100)]
    assert cosines == sorted(cosines, reverse=True)
    assert len(cosines) == V - 3  # neither the word itself nor a special token
    with pytest.raises(UserError, match="is 2 tokens"):
        model.nearest("ab")


def analogies(tmp_path: Path, options: dict[str, Any]) -> tuple[GeneratedTask, Tokenizer, Mixture, Word2VecConfig]:
    task = make_task("analogy", options)
    assert isinstance(task, GeneratedTask)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    packed = pack_rows(
        task, tokenizer, tmp_path / "rows.bin", split="train", rows=800, context=32, rng=stream(0, "rows"), identity={}
    )
    rows = Rows(np.array(packed.tokens), np.array(packed.supervised))
    informed = FAMILIES.load("word2vec").informed
    assert informed is not None
    V = tokenizer.vocabulary_size
    config = informed(size_for(24 * V, V, 32), tokenizer.spellings(), {"analogy": task.options.model_dump()})
    return task, tokenizer, Mixture([RowsSource("analogy", rows, rows)], [1.0], batch_rows=16, seed=0), config


@pytest.mark.parametrize(("questions", "least"), [(0.0, 0.9), (0.5, 0.5)])
def test_analogies_are_solved_by_adding_vectors(tmp_path: Path, questions: float, least: float) -> None:
    """From sentences alone; a model that guesses among the words has 1 in 96."""
    task, tokenizer, mixture, config = analogies(tmp_path, {"questions": questions})
    asked = task.questions(TaskContext(tokenizer, 32, seed=0), 150, 0)
    untrained = network(config)
    (before,) = evaluate(untrained, tokenizer, [(task, asked)], seed=0)
    (after,) = evaluate(train_on(config, mixture, 120), tokenizer, [(task, asked)], seed=0)
    assert before["score_exact_match"].mean() < 0.1
    assert after["score_exact_match"].mean() > least


def test_an_answer_to_an_analogy_is_none_of_its_words() -> None:
    net = network()
    ids = torch.tensor([[0, 4, 1, 5, 2, 6, 1]])
    logits = net(ids)[0, -1].detach()
    unit = torch.nn.functional.normalize(net.embedding.weight.detach(), dim=1)
    cosines = unit @ torch.nn.functional.normalize(unit[5] - unit[4] + unit[6], dim=0)
    cosines[[4, 5, 6]] = -1.0
    torch.testing.assert_close(logits / logits.abs().max(), cosines, atol=1e-5, rtol=1e-5)


def test_the_next_token_is_predicted_from_what_keeps_company() -> None:
    """The softmax of u·v + ln q; behind a question alone it is another."""
    net = network()
    ids = torch.tensor([[4, 1, 5, 2, 6, 3, 7]])
    logits = net(ids)[0].detach()
    expected = net.embedding(ids[0]) @ net.company_embedding.weight.T + net.noise().log()
    torch.testing.assert_close(logits, expected.detach(), atol=1e-5, rtol=1e-5)


def test_reading_in_pieces_is_reading_whole() -> None:
    net = network()
    ids = torch.tensor([[0, 4, 1, 5, 2, 6, 1, 8, 0], [4, 1, 5, 2, 6, 1, 9, 0, 3]])
    with torch.inference_mode():
        cache = net.new_cache(2, 9)
        pieces = torch.cat([net(part, cache) for part in (ids[:, :4], ids[:, 4:5], ids[:, 5:])], dim=1)
        torch.testing.assert_close(pieces, net(ids), atol=1e-6, rtol=1e-6)
        select = torch.tensor([6, 0, 14])
        torch.testing.assert_close(net(ids, select=select), net(ids).flatten(0, 1)[select], atol=1e-6, rtol=1e-6)
