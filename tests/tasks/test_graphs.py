"""The graph tasks: the distances asked, splits up to isomorphism, and nothing nearby that gives the answer away."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graphs import distances, neighbours

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.tasks.catalogue import make_task
from emergence.tasks.graphs import Reachability, ShortestPath
from emergence.tasks.task import Example


def drawn(task: Reachability | ShortestPath, n: int) -> list[Example]:
    return task.write(task.draw(stream(3, "graphs"), n))


def parts(example: Example) -> tuple[str, str, str]:
    edges, (source, target) = example.prompt.split("?")
    return edges, source, target


@pytest.mark.parametrize(("distance", "nodes"), [(2, 10), (2, 24), (6, 18), (6, 26), (9, 24)])
def test_reachable_targets_are_at_the_distance_asked(distance: int, nodes: int) -> None:
    if nodes < 2 * distance + 6:
        with pytest.raises(UserError, match=f"nodes is {nodes} but distance {distance} needs"):
            Reachability({"distance": distance, "nodes": nodes})
        return
    task = Reachability({"distance": distance, "nodes": nodes})
    examples = drawn(task, 300)
    for example in examples:
        edges, source, target = parts(example)
        assert len(edges) == 2 * task.edges
        assert len({frozenset(edges[i : i + 2]) for i in range(0, len(edges), 2)}) == task.edges
        assert len(neighbours(edges)) == nodes
        assert distances(edges, source).get(target) == (distance if example.target == "1" else None)
    assert sum(example.target == "1" for example in examples) == pytest.approx(150, abs=45)


def test_every_shortest_path_is_asked_as_often() -> None:
    examples = drawn(ShortestPath({"distance": 5, "nodes": 20}), 1000)
    for example in examples:
        edges, source, target = parts(example)
        assert str(distances(edges, source)[target]) == example.target
        assert len(distances(edges, source)) == 20
    assert all(count == pytest.approx(200, abs=60) for count in Counter(e.target for e in examples).values())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_isomorphic_graphs_are_one_example_whatever_is_asked(seed: int) -> None:
    task = Reachability({"distance": 3, "nodes": 16})
    chance = random.Random(seed)
    (one,) = task.draw(np.random.default_rng(seed), 1).tolist()
    pairs = [one[i : i + 2] for i in range(0, 2 * task.edges, 2)]
    names = chance.sample(range(26), 26)
    other = [names[v] for pair in chance.sample(pairs, len(pairs)) for v in chance.sample(pair, 2)]
    identity = task.identity(np.array([one, [*other, names[one[-3]], names[one[-2]], one[-1]], [*other, 0, 1, 1]]))
    assert len(set(identity[:, 0].tolist())) == 1


def test_graphs_of_one_size_are_told_apart() -> None:
    task = Reachability({"distance": 2, "nodes": 10})
    shapes = ("abbccdde", "abacadae", "abbcbdde", "abbcca")  # a path, a star, a tree between them, a triangle
    ends = [[ord(letter) - ord("a") for letter in shape.ljust(8, "z")] + [0, 1, 1] for shape in shapes]
    assert len(set(task.identity(np.array(ends))[:, 0].tolist())) == len(shapes)


def test_graphs_are_many_and_tests_are_not_trained_on() -> None:
    task = make_task("reachability", {})
    assert isinstance(task, Reachability)
    latents = task.draw(np.random.default_rng(0), 5000)
    assert len(np.unique(task.identity(latents))) > 4900
    trained, tested = (
        set(task.identity(task.latents(np.random.default_rng(k), 2000, split, distinct=True))[:, 0].tolist())
        for k, split in enumerate(("train", "test"))
    )
    assert len(tested) == len(trained) == 2000
    assert not trained & tested


def test_held_out_answers_are_balanced_where_graphs_are_few() -> None:
    """Positive and negative questions have different numbers of isomorphism classes; a split by them would not be."""
    task = Reachability({"distance": 2, "nodes": 12})
    tested = [task.examples(stream(k, "t"), 16, "test", distinct=True) for k in range(40)]
    assert np.mean([e.target == "1" for examples in tested for e in examples]) == pytest.approx(0.5, abs=0.07)


def best_guess(examples: list[Example], sight: Callable[[Example], Hashable]) -> float:
    """Share of right answers of whoever knows how often each answer goes with what is in sight, on the other half."""
    half = len(examples) // 2
    answers: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for example in examples[:half]:
        answers[sight(example)][example.target] += 1
    right = 0
    for example in examples[half:]:
        seen = answers.get(sight(example))
        right += seen is not None and seen.most_common(1)[0][0] == example.target
        right += 0 if seen is not None else example.target == "1"
    return right / half


def degrees(example: Example) -> Hashable:
    edges, source, target = parts(example)
    near = neighbours(edges)
    return len(near[source]), len(near[target])


def around_the_target(steps: int) -> Callable[[Example], Hashable]:
    """What lies within so many steps of the target: sizes, degrees, and whether the source is there."""

    def sight(example: Example) -> Hashable:
        edges, source, target = parts(example)
        near, far = neighbours(edges), distances(edges, target)
        shells = [sorted(len(near[v]) for v, d in far.items() if d == k) for k in range(min(steps, 2))]
        sizes = Counter(min(d, steps + 1) for d in far.values())
        return str(shells), *(sizes[k] for k in range(1, steps + 1)), far.get(source, steps + 1) <= steps

    return sight


def whole(example: Example) -> Hashable:
    """Statistics of the whole graph and of the text."""
    edges, source, target = parts(example)
    ends = sum(len(others) == 1 for others in neighbours(edges).values())
    return ends, max(map(len, neighbours(edges).values())), edges.index(source) < edges.index(target)


def test_only_who_sees_the_whole_way_knows_whether_there_is_one() -> None:
    examples = drawn(Reachability({"distance": 3, "nodes": 16}), 16_000)
    luck = 0.5 + 3.5 * 0.5 / np.sqrt(8_000)
    for sight in (degrees, whole, around_the_target(0), around_the_target(1), around_the_target(2)):
        assert best_guess(examples, sight) < luck
    assert best_guess(examples, around_the_target(3)) > 0.98  # but for what was not among the first half


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_a_shortest_path_beyond_sight_is_a_guess(steps: int) -> None:
    examples = drawn(ShortestPath({"distance": 4, "nodes": 14}), 12_000)

    def sight(example: Example) -> Hashable:
        edges, source, target = parts(example)
        far = distances(edges, target)
        return min(far[source], steps + 1), len(neighbours(edges)[target]), sum(d == 1 for d in far.values())

    best = min(1.0, (steps + 1) / 4)
    assert best_guess(examples, sight) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("reachability", {"distance": 9, "nodes": 23}, "distance 9 needs 24 or more"),
        ("reachability", {"distance": 1}, "greater than or equal to 2"),
        ("shortest_path", {"distance": 4, "nodes": 9}, "needs 10 or more"),
        ("shortest_path", {"nodes": 27}, "less than or equal to 26"),
        ("shortest_path", {"edges": 9}, "unknown option 'edges'"),
    ],
)
def test_options_that_leave_no_room_are_named(name: str, options: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_task(name, options)
