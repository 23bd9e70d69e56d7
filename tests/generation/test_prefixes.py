"""The prefix tree holds every common beginning once; groups and rows divide it without loss."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.generation.prefixes import Group, Node, Sequences, group, prefix_tree

SEQUENCES = st.lists(st.lists(st.integers(0, 2) | st.just(70_000), min_size=1, max_size=12), min_size=1, max_size=30)


def paths(root: Node, sequences: Sequences) -> dict[int, list[int]]:
    """Return the tokens from the root to the node where each sequence ends."""
    found: dict[int, list[int]] = {}
    stack: list[tuple[Node, list[int]]] = [(root, [])]
    while stack:
        node, before = stack.pop()
        assert node.start == len(before)
        path = [*before, *sequences.tokens(node.sequence, node.start, node.stop).tolist()]
        found.update(dict.fromkeys(node.ends, path))
        stack.extend((child, path) for child in node.children)
    return found


@given(SEQUENCES)
def test_a_tree_spells_its_sequences_and_holds_no_token_twice(asked: list[list[int]]) -> None:
    sequences = Sequences(asked)
    root = prefix_tree(sequences)
    assert paths(root, sequences) == dict(enumerate(asked))
    assert root.size == len({tuple(ids[:n]) for ids in asked for n in range(1, len(ids) + 1)})
    assert root.height == max(map(len, asked))


@given(SEQUENCES, st.integers(1, 20), st.sampled_from([0, 3, 100]))
@settings(max_examples=200)
def test_groups_and_rows_read_every_sequence_once(asked: list[list[int]], worth: int, branching: int) -> None:
    ends: Counter[int] = Counter()

    def visit(one: Group, above: int) -> None:
        assert one.start == above
        ends.update(one.ends)
        for row in one.rows:
            assert row.size - row.height <= branching
            for node in row.walk():
                ends.update(node.ends)
                for end in node.ends:  # what was read before is the sequence's own beginning
                    assert asked[end][: one.stop] == asked[one.sequence][: one.stop]
        for lower in one.groups:
            visit(lower, one.stop)

    visit(group(prefix_tree(Sequences(asked)), worth=worth, branching=branching), 0)
    assert ends == Counter(range(len(asked)))


def test_a_beginning_is_shared_where_it_pays() -> None:
    shots = list(range(100))
    asked = [[*shots, 200 + item, 300 + choice] for item in range(30) for choice in range(4)]
    outermost = group(prefix_tree(Sequences(asked)), worth=500, branching=50)
    (shared,) = outermost.groups
    assert not outermost.rows
    assert (shared.start, shared.stop) == (0, 100)
    assert [row.size for row in shared.rows] == [5] * 30  # each question with its choices


def test_thousands_of_nested_sequences_need_no_deep_recursion() -> None:
    asked = [[1] * n for n in range(1, 3000)]
    outermost = group(prefix_tree(Sequences(asked)), worth=500, branching=0)
    (row,) = outermost.rows
    assert row.size == 2999
