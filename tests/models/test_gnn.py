"""The families `gnn`, `gcn` and `gat`: sizes, counts, the formulas written out, what theory says they cannot see."""

from __future__ import annotations

import itertools
import math
import random
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
from emergence.core.settings import TokenizerSettings, validate_study
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.gnn import Aggregation, GNNConfig
from emergence.models.gnn_network import EPSILON, SLOPE, GNNNetwork
from emergence.models.graph_rows import read_graphs
from emergence.study.plan import make_plan
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask
from emergence.text import build_tokenizer
from emergence.text.graph_text import END_ID, FIRST_NODE_ID, GRAPH_ALPHABET, GRAPH_NODES, GRAPH_VOCABULARY, QUESTION_ID
from emergence.training.batch import collate
from emergence.training.data import Draw
from emergence.training.rows import pack_rows
from emergence.training.stack import Stack

TOKENIZER = build_tokenizer(TokenizerSettings(kind="char"), [], GRAPH_ALPHABET)
AGGREGATIONS: dict[str, Aggregation] = {"gnn": "mean", "gcn": "convolution", "gat": "attention"}
families = pytest.mark.parametrize("family", list(AGGREGATIONS))


def config_of(family: str, depth: int = 3, width: int = 16) -> GNNConfig:
    return GNNConfig(vocabulary=39, context=40, width=width, depth=depth, aggregation=AGGREGATIONS[family])


def network(config: GNNConfig, seed: int = 0) -> GNNNetwork:
    """A network with a head that is not zero."""
    generator = torch.Generator().manual_seed(seed)
    name = next(name for name, aggregation in AGGREGATIONS.items() if aggregation == config.aggregation)
    built: GNNNetwork = build_network(name, config, generator)
    with torch.no_grad():
        built.head.weight.normal_(0.0, 1.0, generator=generator)
    return built.eval()


def row(*texts: str) -> list[int]:
    """The ids of examples as they stand in a row, without the last end."""
    return [END_ID, *(token for text in texts for token in (*TOKENIZER.encode(text), END_ID))][:-1]


@torch.inference_mode()
def asked(net: GNNNetwork, *texts: str) -> torch.Tensor:
    """The logits [B, V] of the answers to questions of one length."""
    logits: torch.Tensor = net(torch.tensor([row(text) for text in texts]))
    return logits[:, -1]


def test_ids_are_those_of_the_tokenizer_of_the_tasks() -> None:
    assert TOKENIZER.vocabulary_size == GRAPH_VOCABULARY
    assert TOKENIZER.end_id == END_ID
    assert TOKENIZER.encode("?" + GRAPH_NODES) == [QUESTION_ID, *range(FIRST_NODE_ID, FIRST_NODE_ID + 26)]


@given(
    parameters=st.floats(4e3, 1e7), family=st.sampled_from(list(AGGREGATIONS)), vary=st.sampled_from(["both", "width"])
)
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float, family: str, vary: Vary) -> None:
    (config,) = ladder(family, [parameters], vocabulary=39, context=53, vary=vary)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05


@pytest.mark.parametrize(("family", "layer"), [("gnn", 2048), ("gcn", 1024), ("gat", 1088)])
def test_a_ladder_in_equal_steps_has_every_depth(family: str, layer: int) -> None:
    configs = ladder(family, [layer * depth for depth in range(1, 8)], vocabulary=39, context=53, vary="depth")
    assert [(config.depth, config.width) for config in configs] == [(depth, 32) for depth in range(1, 8)]
    wide = ladder(family, [1e4, 1e5], vocabulary=39, context=53, vary="width")
    assert [config.depth for config in wide] == [4, 4]
    both = ladder(family, [1e4, 1e6], vocabulary=39, context=53)
    assert both[0].depth < both[1].depth
    assert both[0].width < both[1].width


def test_a_size_out_of_reach_names_the_nearest_and_another_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match=r"no gnn with vary: depth .* nearest has 2,048"):
        ladder("gnn", [3000], vocabulary=39, context=53, vary="depth")
    with pytest.raises(UserError, match=r"gat reads graphs .* with 39 tokens, not 50"):
        ladder("gat", [3000], vocabulary=50, context=53)


@families
@pytest.mark.parametrize("predicted", [None, 6])
def test_counts_are_those_of_the_network(family: str, predicted: int | None) -> None:
    config = config_of(family)
    net = network(config)
    embedding = net.embedding.weight.numel() + net.head.weight.numel() + net.source.numel()
    total = sum(weight.numel() for weight in net.parameters())
    assert total == config.parameters
    assert total - embedding == config.non_embedding_parameters
    ids = torch.tensor([row("abbccd?ad"), row("efaefb?ba"), row("xyyzaz?zx")])
    select = None if predicted is None else torch.tensor([8, 9, 18, 19, 28, 29])
    with FlopCounterMode(display=False) as counter:
        net(ids, select=select)
    assert counter.get_total_flops() == config.forward_flops(30, 10, predicted)


@families
@pytest.mark.parametrize("examples", [1, 2, 3])
def test_the_flops_of_packed_rows_are_those_of_all_their_graphs(family: str, examples: int, tmp_path: Path) -> None:
    task = make_task("reachability", {"distance": 2, "nodes": 12})
    assert isinstance(task, GeneratedTask)
    (example,) = task.lessons(np.random.default_rng(0), 1, "train")
    context = examples * (len(example.prompt) + 2)
    rng = np.random.default_rng(0)
    rows = pack_rows(task, TOKENIZER, tmp_path / "r", split="train", rows=2, context=context, rng=rng, identity={})
    ids = torch.from_numpy(rows.tokens[:, :-1].astype(np.int64))
    select = torch.from_numpy(np.array(rows.supervised)).flatten().nonzero()[:, 0]
    assert len(select) == 2 * examples * 2
    (config,) = ladder(family, [1e4], vocabulary=39, context=context)
    with FlopCounterMode(display=False) as counter:
        network(config)(ids, select=select)
    assert counter.get_total_flops() == config.forward_flops(ids.numel(), context, len(select))


@families
def test_the_states_are_those_of_the_formulas_written_out(family: str) -> None:
    """Node by node in NumPy, from the edges as a reader sees them."""
    net = network(config_of(family, depth=3, width=8))
    text = "abbcacdcefdb?ad"
    edges = [text[i : i + 2] for i in range(0, text.index("?"), 2)]
    near = {v: {e[1 - e.index(v)] for e in edges if v in e} for v in GRAPH_NODES}
    zero = np.zeros(8)
    h = dict.fromkeys(GRAPH_NODES, zero) | {"a": net.source.detach().double().numpy()}
    for layer in net.layers:
        w = {name: weight.detach().double().numpy() for name, weight in layer.named_parameters()}
        n = {v: x / math.sqrt(np.mean(x * x) + EPSILON) for v, x in h.items()}
        after = {}
        for v in GRAPH_NODES:
            with_self = [*near[v], v]
            if family == "gnn":
                mean = sum((n[u] for u in near[v]), zero) / max(1, len(near[v]))
                message = w["own"] @ n[v] + w["near"] @ mean
            elif family == "gcn":
                message = w["near"] @ sum(
                    (n[u] / math.sqrt((len(near[u]) + 1) * (len(near[v]) + 1)) for u in with_self), zero
                )
            else:
                z = {u: w["near"] @ n[u] for u in with_self}
                message = np.zeros(8)
                for k in range(8):  # a head for every unit of the width
                    scores = np.array([w["scores"][0, k] * z[v][k] + w["scores"][1, k] * z[u][k] for u in with_self])
                    weights = np.exp(np.where(scores > 0, scores, SLOPE * scores))
                    message[k] = weights @ [z[u][k] for u in with_self] / weights.sum()
            after[v] = h[v] + np.maximum(message, 0)
        h = after
    ids = torch.tensor([row(text)])
    graphs = read_graphs(ids, torch.tensor([0]), torch.tensor([len(ids[0]) - 1]))
    reached = net.reached(graphs).detach()
    np.testing.assert_allclose(reached[0].numpy(), h["d"], rtol=1e-4, atol=1e-5)
    assert np.abs(h["d"]).max() > 0.1


@families
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_neither_names_nor_the_order_of_edges_matter(family: str, seed: int) -> None:
    chance = random.Random(seed)
    pairs = [tuple(chance.sample("abcdefgh", 2)) for _ in range(9)]
    question = chance.sample("abcdefgh", 2)
    letters = dict(zip(GRAPH_NODES, chance.sample(GRAPH_NODES, 26), strict=True))
    shuffled = [pair if chance.random() < 0.5 else pair[::-1] for pair in chance.sample(pairs, 9)]
    one = "".join(a + b for a, b in pairs) + "?" + "".join(question)
    other = "".join(letters[a] + letters[b] for a, b in shuffled) + "?" + "".join(letters[v] for v in question)
    logits = asked(network(config_of(family)), one, other)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


def chain(letters: str) -> str:
    return "".join(a + b for a, b in itertools.pairwise(letters))


@families
@pytest.mark.parametrize("distance", [2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_way_is_seen_from_as_many_layers_on_as_it_has_edges(family: str, distance: int, depth: int) -> None:
    """One graph of two equal strands, asked about the end of either: no weights tell them apart below the distance."""
    strands = GRAPH_NODES[: distance + 1], GRAPH_NODES[10 : 11 + distance]
    edges = "".join(map(chain, strands))
    twins = [f"{edges}?a{strand[-1]}" for strand in strands]
    for seed in range(5):
        there, not_there = asked(network(config_of(family, depth), seed), *twins)
        if depth < distance:
            assert torch.equal(there, not_there)
        else:
            assert float((there - not_there).abs().max()) > 1e-2


@families
def test_what_the_task_asks_is_hidden_below_the_distance(family: str) -> None:
    task = make_task("reachability", {"distance": 4, "nodes": 16})
    assert isinstance(task, GeneratedTask)
    examples = task.examples(stream(0, "hidden"), 200, "train")
    right = np.array([example.target == "1" for example in examples])
    shallow, deep = (asked(network(config_of(family, L)), *(e.prompt for e in examples)) for L in (3, 4))
    assert torch.equal(shallow, shallow[:1].expand_as(shallow))
    changed = (deep - deep[int(right.argmin())]).abs().amax(dim=1) > 1e-3
    assert changed.numpy().tolist() == right.tolist()


def test_an_answer_depends_on_its_own_example_alone() -> None:
    net = network(config_of("gnn"))
    first, second = "abbccd?ad", "bccedf?bf"
    logits = net(torch.tensor([row(first + "1", second + "0", "ab?ab")]))[0]
    torch.testing.assert_close(logits[9], asked(net, first)[0])
    torch.testing.assert_close(logits[20], asked(net, second)[0])


@families
def test_text_without_a_question_is_read_too(family: str) -> None:
    """As when a model writes by itself: no target is there to send messages to."""
    net = network(config_of(family))
    with torch.inference_mode():
        assert net(torch.tensor([[END_ID]])).isfinite().all()


def test_reading_in_pieces_is_reading_whole() -> None:
    net = network(config_of("gcn"))
    ids = torch.tensor([row("abbccd?ad1"), row("abdccd?ab1"), row("xyyzaz?zx0")])
    with torch.inference_mode():
        cache = net.new_cache(3, 12)
        pieces = torch.cat([net(ids[:, :5], cache), net(ids[:, 5:6], cache), net(ids[:, 6:], cache)], dim=1)
        torch.testing.assert_close(pieces, net(ids), atol=1e-5, rtol=1e-5)
        select = torch.tensor([9, 0, 31, 20])
        torch.testing.assert_close(net(ids, select=select), net(ids).flatten(0, 1)[select], atol=1e-5, rtol=1e-5)


@families
def test_answers_do_not_depend_on_company(family: str) -> None:
    net = network(config_of(family))
    chance = random.Random(3)
    questions = []
    for _ in range(40):
        edges = "abbc" + "".join("".join(chance.sample("abcdef", 2)) for _ in range(chance.randrange(5)))
        questions.append(tuple(row(f"{edges}?{''.join(chance.sample('abcdef', 2))}")))
    scored = [ScoreRequest(question, tuple(TOKENIZER.encode("1"))) for question in questions]
    written = [GenerateRequest(question, 1) for question in questions]
    together = answer(net, [*scored, *written], end_id=0)
    for request, found in zip([*scored, *written], together, strict=True):
        (alone,) = answer(net, [request], end_id=0)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a3f7?ad", "an edge is two letters"),
        ("abb?ad", "a question follows edges"),
        ("?ad", "a question follows edges"),
        ("abbc?a1", "a question names two nodes"),
        ("abbc?ac1?", "one question to a graph"),
        ("ab bc?ac", "an edge is two letters"),
    ],
)
def test_rows_that_are_no_graphs_are_refused(text: str, says: str) -> None:
    net = network(config_of("gnn"))
    with pytest.raises(UserError, match=f"{says}.*reachability and shortest_path"):
        net(torch.tensor([row("abbc?ac"[: len(text)].ljust(len(text), "1")), row(text)]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tasks": [{"name": "copy"}]}, r"gnn cannot do the task copy, only reachability, .* can: gpt, gpt2"),
        ({"corpus": {"files": "poems.txt"}}, "gnn cannot read a corpus"),
    ],
)
def test_a_study_of_text_is_refused(change: dict[str, Any], says: str) -> None:
    document = {
        "name": "graphs",
        "model": {"family": "gnn", "ladder": {"smallest": 4e3, "largest": 1e4, "rungs": 2}, "context": 64},
        "training": {"tokens": 1e5},
        "tasks": [{"name": "reachability"}],
    }
    assert [rung.family for rung in make_plan(validate_study(document, source="here")).rungs] == ["gnn", "gnn"]
    with pytest.raises(UserError, match=says):
        make_plan(validate_study(document | change, source="here"))


@families
@pytest.mark.parametrize(("depth", "right"), [(1, 0.5), (2, 1.0)])
def test_it_learns_to_see_two_edges_with_two_layers(family: str, depth: int, right: float) -> None:
    task = make_task("reachability", {"distance": 2, "nodes": 14})
    assert isinstance(task, GeneratedTask)
    trained, tested = (
        np.array([[*row(e.prompt + e.target), END_ID] for e in task.examples(stream(0, s), 960, s)])
        for s in ("train", "test")
    )
    config = config_of(family, depth, width=32)
    stack = Stack(family, config, [0], learning_rate=0.006, weight_decay=0.1, clip=1.0, stacked=False)
    mask = np.zeros((1, 32, trained.shape[1] - 1), dtype=np.bool_)
    mask[..., -2:] = True
    losses = []
    for step in range(60):
        rows = trained[None, 32 * (step % 30) :][:, :32]
        (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([64]))], stacked=False)
        losses.append(float(stack.step(batch, 1.0)))
    assert losses[0] == pytest.approx(math.log(GRAPH_VOCABULARY), abs=1e-5)
    with torch.inference_mode():
        predicted = stack.alone(0)(torch.tensor(tested[:, :-1]))[:, -2].argmax(dim=-1).numpy()
    assert np.mean(predicted == tested[:, -2]) == pytest.approx(right, abs=0.06 if right < 1 else 0.0)


def test_its_replicas_are_not_stacked() -> None:
    assert not any(FAMILIES.load(family).stackable for family in AGGREGATIONS)
