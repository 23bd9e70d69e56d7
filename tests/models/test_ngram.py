"""The `ngram` family: agreement with the arithmetic and with the formula in plain Python, sums, backing off, room."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.generation import SamplingSettings, generate
from emergence.models.family import FAMILIES, Vary, build_network, ladder
from emergence.models.ngram import NgramConfig, most_order, size_for
from emergence.models.ngram_network import NgramNetwork
from emergence.training import counts
from emergence.training.batch import Batch, collate
from emergence.training.counts import Counting
from emergence.training.data import Draw
from emergence.training.kneser_ney import FALLBACK, discounts
from emergence.training.learners import make_learner

Rows = Sequence[Sequence[int]]


def batch_of(rows: Rows, mask: Sequence[Sequence[bool]] | None = None) -> Batch:
    """A training batch of token rows; ``mask`` says which next tokens are supervised, by default all."""
    ids = np.array(rows)[None]
    supervised = np.ones(ids[..., 1:].shape, dtype=np.bool_) if mask is None else np.array(mask)[None]
    (batch,) = collate([Draw(ids[..., :-1], ids[..., 1:], supervised, np.array([supervised.sum()]))], stacked=False)
    return batch


def learner_of(config: NgramConfig, *batches: Batch) -> Counting:
    learner = make_learner("ngram", config, [0], learning_rate=1.0, weight_decay=0.1, clip=1.0, stacked=False)
    assert isinstance(learner, Counting)
    for batch in batches:
        learner.step(batch, 1.0)
    return learner


def counted(config: NgramConfig, *batches: Batch) -> NgramNetwork:
    return learner_of(config, *batches).alone(0)


def probabilities(network: NgramNetwork, ids: Sequence[int]) -> np.ndarray:
    """What may follow the last of some tokens."""
    return network(torch.tensor([list(ids)]))[0, -1].double().exp().numpy()


def small(vocabulary: int, order: int, entries: int = 10_000) -> NgramConfig:
    return NgramConfig(vocabulary=vocabulary, context=64, entries=entries, order=order)


def test_perplexity_equals_the_example_computed_by_hand() -> None:
    """Bigrams of ``a b a a b`` over the vocabulary a, b, c.

    Counts: ab 2, ba 1, aa 1. No bigram was seen three times, so that the discounts cannot be estimated: a half is taken
    from a count of 1, and 1 from a count of 2.

    After a (3 bigrams): ab keeps (2 - 1) / 3 = 1/3 and aa (1 - 1/2) / 3 = 1/6, which leaves 1/2 for backing off.
    After b (1 bigram): ba keeps 1/2, which leaves 1/2.

    Single tokens count their left neighbours: a has two (a and b), b has one (a), c none; together 3. a keeps
    (2 - 1) / 3 = 1/3 and b (1 - 1/2) / 3 = 1/6; the half that is left is spread over the three tokens, 1/6 each:
    p(a) = 1/2, p(b) = 1/3, p(c) = 1/6.

    p(b|a) = 1/3 + 1/2 1/3 = 1/2    p(a|a) = 1/6 + 1/2 1/2 = 5/12    p(c|a) = 1/2 1/6 = 1/12
    p(a|b) = 1/2 + 1/2 1/2 = 3/4    p(b|b) = 1/2 1/3 = 1/6           p(c|b) = 1/2 1/6 = 1/12

    ``a b a c b``: p(b|a) p(a|b) p(c|a) p(b|c) = 1/2 3/4 1/12 1/3 = 1/96 (nothing is known of c: p(b|c) = p(b)), so that
    the perplexity of its four predictions is 96 ** (1/4) = 3.130.
    """
    a, b, c = 0, 1, 2
    network = counted(small(3, order=2), batch_of([[a, b, a, a, b]]))
    np.testing.assert_allclose(probabilities(network, [a]), [5 / 12, 1 / 2, 1 / 12], rtol=1e-6)
    np.testing.assert_allclose(probabilities(network, [b]), [3 / 4, 1 / 6, 1 / 12], rtol=1e-6)
    np.testing.assert_allclose(probabilities(network, [c]), [1 / 2, 1 / 3, 1 / 6], rtol=1e-6)
    (found,) = answer(network, [ScoreRequest((a,), (b, a, c, b))], end_id=0)
    assert isinstance(found, Likelihood)
    assert math.exp(-found.total / 4) == pytest.approx(96 ** (1 / 4), rel=1e-6)
    assert network.numbers == 5  # ab, aa, ba, and what is left after a and after b


def test_discounts_are_those_of_chen_and_goodman() -> None:
    """Ten n-grams seen once, four twice, two three times, one four times, three more often:
    Y = 10 / 18 = 5/9; D1 = 1 - 2 5/9 4/10 = 5/9; D2 = 2 - 3 5/9 2/4 = 7/6; D3 = 3 - 4 5/9 1/2 = 17/9."""
    seen = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 3])
    assert discounts(seen) == pytest.approx((5 / 9, 7 / 6, 17 / 9))
    assert discounts(np.array([7, 7, 7])) == FALLBACK


class Reference:
    """The formula in plain Python, one n-gram at a time."""

    def __init__(self, rows: Rows, mask: Sequence[Sequence[bool]], config: NgramConfig) -> None:
        V, K = config.vocabulary, config.order
        self.V, self.K = V, K
        count: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(K + 1)]
        for row, own in zip(rows, mask, strict=True):
            sentence = (V, *row)  # the beginning of a row stands to the left of its first token
            for i, counts_here in enumerate(own):
                end = i + 3
                for n in range(1, min(K, end) + 1):
                    if counts_here:
                        count[n][sentence[end - n : end]] += 1
        order = sorted((-c, n, g) for n in range(2, K + 1) for g, c in count[n].items())
        kept: set[tuple[int, ...]] = set()
        contexts: set[tuple[int, ...]] = set()
        for _, _, g in order:
            if len(kept) + len(contexts) + 1 + (g[:-1] not in contexts) > config.entries:
                break
            kept.add(g)
            contexts.add(g[:-1])
        self.kept, self.contexts = kept, contexts
        self.adjusted: list[dict[tuple[int, ...], int]] = [{} for _ in range(K + 1)]
        for n in range(1, K + 1):
            for g, c in count[n].items():
                left = [(v, *g) for v in range(V + 1) if n < K and (v, *g) in count[n + 1]]
                self.adjusted[n][g] = sum(1 if w in kept else count[n + 1][w] for w in left) if left else c
        self.off = [self._off(list(table.values())) for table in self.adjusted]

    @staticmethod
    def _off(values: list[int]) -> dict[int, float]:
        n1, n2, n3, n4 = (values.count(i) for i in (1, 2, 3, 4))
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            found = {1: 1 - 2 * y * n2 / n1, 2: 2 - 3 * y * n3 / n2, 3: 3 - 4 * y * n4 / n3}
            if all(0 < d < i for i, d in found.items()):
                return found
        return {1: 0.5, 2: 1.0, 3: 1.5}

    def p(self, token: int, context: tuple[int, ...]) -> float:
        if context and context not in self.contexts:
            return self.p(token, context[1:])
        n = len(context) + 1
        table, off = self.adjusted[n], self.off[n]
        total = sum(a for g, a in table.items() if g[:-1] == context)
        shares = {
            g[-1]: (a - off[min(a, 3)]) / total
            for g, a in table.items()
            if g[:-1] == context and (n == 1 or g in self.kept)
        }
        lower = self.p(token, context[1:]) if context else 1 / self.V
        return shares.get(token, 0.0) + (1 - sum(shares.values())) * lower

    def after(self, tokens: Sequence[int]) -> list[float]:
        context = ((self.V, *tokens))[-(self.K - 1) :]
        return [self.p(token, context) for token in range(self.V)]


@st.composite
def texts(draw: st.DrawFn) -> tuple[int, Rows, Sequence[Sequence[bool]]]:
    """A vocabulary, rows of one length, and which of their next tokens are supervised."""
    vocabulary, length = draw(st.integers(2, 5)), draw(st.integers(3, 24))
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    skew = rng.dirichlet(np.full(vocabulary, 0.5))
    rows = rng.choice(vocabulary, size=(n, length), p=skew).tolist()
    mask = rng.random((n, length - 1)) < draw(st.sampled_from([0.4, 1.0]))
    mask[:, -1] = True
    return vocabulary, rows, mask.tolist()


@given(text=texts(), order=st.integers(2, 5), entries=st.sampled_from([2, 7, 30, 10_000]))
@settings(max_examples=60, deadline=None)
def test_it_is_the_formula_in_plain_python(
    text: tuple[int, Rows, Sequence[Sequence[bool]]], order: int, entries: int
) -> None:
    vocabulary, rows, mask = text
    config = small(vocabulary, order, entries)
    network = counted(config, batch_of(rows, mask))
    reference = Reference(rows, mask, config)
    assert network.numbers == len(reference.kept) + len(reference.contexts) <= entries
    asked = np.random.default_rng(0).integers(0, vocabulary, (3, 7)).tolist()
    for tokens in [*rows[:2], *asked]:
        logits = network(torch.tensor([tokens]))[0].double().exp().numpy()
        expected = [reference.after(tokens[: i + 1]) for i in range(len(tokens))]
        np.testing.assert_allclose(logits, expected, rtol=2e-5)


@given(text=texts(), order=st.integers(2, 4), room=st.integers(3, 40), entries=st.sampled_from([5, 10_000]))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one_in_every_context_also_after_forgetting(
    text: tuple[int, Rows, Sequence[Sequence[bool]]], order: int, room: int, entries: int
) -> None:
    vocabulary, rows, mask = text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "ROOM", room)
        network = counted(
            small(vocabulary, order, entries), *(batch_of([r], [m]) for r, m in zip(rows, mask, strict=True))
        )
    every = np.indices([vocabulary] * (order - 1)).reshape(order - 1, -1).T
    logits = network(torch.from_numpy(every.copy()))
    assert bool(torch.isfinite(logits).all())
    torch.testing.assert_close(logits.double().exp().sum(dim=-1), torch.ones(*every.shape).double(), atol=1e-5, rtol=0)


def test_contexts_that_were_never_seen_back_off() -> None:
    rng = np.random.default_rng(1)
    network = counted(small(8, order=4), batch_of(rng.integers(0, 6, (20, 30)).tolist()))  # 6 and 7 never occur
    after = probabilities(network, [7, 2, 3])  # 7 2 3 was never seen, 2 3 was
    np.testing.assert_allclose(probabilities(network, [1, 6, 2, 3]), after, rtol=1e-6)
    assert not np.allclose(probabilities(network, [0, 2, 3]), after, rtol=1e-3)  # 0 2 3 was seen
    assert not np.allclose(probabilities(network, [2, 3]), after, rtol=1e-3)  # so was 2 3 at the beginning of a row
    alone = probabilities(network, [2, 3, 7])  # nothing is known of 7: the single tokens are left
    np.testing.assert_allclose(probabilities(network, [6]), alone, rtol=1e-6)
    assert not np.allclose(alone, after, rtol=1e-3)
    assert (after > 0).all()


def test_only_supervised_tokens_are_learnt() -> None:
    """After 0 comes 1 where it counts and 2 where it does not: only the first is learnt, after any context."""
    rows = [[0, 1, 0, 2, 0, 1, 0, 2, 0]] * 4
    mask = [[token != 2 for token in row[1:]] for row in rows]
    network = counted(small(3, order=3), batch_of(rows, mask))
    assert probabilities(network, [0])[1] > 0.7
    assert probabilities(network, [0])[2] < 0.1
    assert probabilities(network, [0, 2])[0] > 0.7  # what does not count is read none the less


def test_the_room_is_filled_and_never_passed() -> None:
    rows = np.random.default_rng(2).integers(0, 20, (50, 64)).tolist()
    for entries in (2, 3, 50, 999, 4_000):
        assert entries - counted(small(20, 4, entries), batch_of(rows)).numbers in (0, 1)
    everything = counted(small(20, 4, 10**6), batch_of(rows))
    assert everything.numbers < everything.config.non_embedding_parameters
    assert everything.config.parameters == 10**6 + 20
    assert everything.config.forward_flops(8, 64, 5) == pytest.approx(5 * (2 * 4 + 3 * math.log2(10**6)))


def test_the_most_frequent_are_kept() -> None:
    rows = [[0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 0]]
    network = counted(small(4, 2, 2), batch_of(rows))
    np.testing.assert_allclose(probabilities(network, [2]), probabilities(network, [3]), rtol=1e-6)  # both forgotten
    assert probabilities(network, [0])[1] > 0.5


def test_merging_does_not_depend_on_when_it_is_looked_at() -> None:
    rng = np.random.default_rng(3)
    batches = [batch_of(rng.integers(0, 9, (2, 17)).tolist()) for _ in range(40)]
    config = small(9, 4, 300)
    whole = learner_of(config, *batches)
    for stop in (1, 7, 23, 39):
        first = learner_of(config, *batches[:stop])
        first.alone(0)
        again = learner_of(config)
        again.restore(stop, [first.weights(0)], [first.moments(0)])
        before = first.snapshot()
        losses = [[float(learner.step(batch, 1.0)) for batch in batches[stop:]] for learner in (first, again)]
        assert losses[0] == losses[1]
        first.return_to(before)
        for batch in batches[stop:]:
            first.step(batch, 1.0)
        for learner in (first, again):
            for kind in ("weights", "moments"):
                ours, theirs = getattr(learner, kind)(0), getattr(whole, kind)(0)
                assert ours.keys() == theirs.keys()
                assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # All batches at once are as many one after the other.
    together = batch_of(
        torch.cat([torch.cat([b.inputs, b.targets.view(2, -1)[:, -1:]], dim=1) for b in batches]).tolist()
    )
    at_once = learner_of(config, together).weights(0)
    assert all(torch.equal(at_once[name], tensor) for name, tensor in whole.weights(0).items())


def test_the_weights_of_another_order_are_refused() -> None:
    other = learner_of(small(9, 3), batch_of([[1, 2, 3, 4]]))
    with pytest.raises(UserError, match="another version"):
        learner_of(small(9, 4)).restore(1, [other.weights(0)], [other.moments(0)])


def test_a_million_tokens_are_counted_in_seconds_and_in_bounded_memory() -> None:
    """Random tokens are the worst case: nearly every n-gram of order 4 and 5 is a new one."""
    rng = np.random.default_rng(4)
    config = small(60, 5, 300_000)
    learner = learner_of(config)
    start = time.process_time()
    for _ in range(62):
        learner.step(batch_of(rng.integers(0, 60, (250, 65))), 1.0)
    learner.alone(0)
    assert time.process_time() - start < 20
    kept = sum(tensor.numel() for name, tensor in learner.moments(0).items() if name.endswith("keys"))
    assert kept <= counts.ROOM + 60


def test_the_rarest_and_longest_are_forgotten_first() -> None:
    keys = [np.arange(size) for size in (4, 3, 5, 2)]
    seen = [np.array(own) for own in ([9, 9, 9, 9], [7, 3, 1], [3, 2, 2, 1, 1], [2, 1])]
    left = [1, 2, 3, 5, 6, 7, 9, 10]  # sums of the groups 7; 3; 3; 2 2; 2; 1; 1 1; 1
    for room in range(2, 11):
        kept = counts.forget_rarest(list(zip(keys, seen, strict=True)), room)
        assert len(kept[0][0]) == 4
        assert sum(len(own) for own, _ in kept[1:]) == max(n for n in left if n <= room)
    kept = counts.forget_rarest(list(zip(keys, seen, strict=True)), 6)
    assert [own.tolist() for _, own in kept] == [[9, 9, 9, 9], [7, 3], [3, 2, 2], [2]]


def test_half_a_thousand_rows_are_evaluated_in_seconds() -> None:
    rng = np.random.default_rng(5)
    network = counted(small(60, 5, 300_000), batch_of(rng.integers(0, 60, (2_000, 65))))
    ids = torch.from_numpy(rng.integers(0, 60, (500, 64)))
    start = time.process_time()
    assert network(ids).shape == (500, 64, 60)
    assert time.process_time() - start < 5


def random_network(order: int = 4) -> NgramNetwork:
    rng = np.random.default_rng(6)
    return counted(small(23, order), batch_of(rng.integers(0, 23, (40, 25))))


@pytest.mark.parametrize("order", [2, 4])
def test_reading_in_pieces_is_reading_whole(order: int) -> None:
    net = random_network(order)
    ids = torch.randint(0, 23, (3, 12), generator=torch.Generator().manual_seed(0))
    cache = net.new_cache(3, 12)
    pieces = torch.cat([net(ids[:, :5], cache), net(ids[:, 5:6], cache), net(ids[:, 6:], cache)], dim=1)
    assert torch.equal(pieces, net(ids))
    select = torch.tensor([4, 0, 30])
    assert torch.equal(net(ids, select=select), net(ids).flatten(0, 1)[select])


def test_answers_do_not_depend_on_company() -> None:
    net, draw = random_network(), np.random.default_rng(3)
    shared = draw.integers(0, 23, 9).tolist()
    questions = [
        (*shared[: draw.integers(1, 9)], *draw.integers(0, 23, draw.integers(1, 9)).tolist()) for _ in range(40)
    ]
    scored = [ScoreRequest(question, (3, 5, 1)) for question in questions]
    written = [GenerateRequest(question, int(draw.integers(1, 9))) for question in questions]
    together = answer(net, [*scored, *written], end_id=0)
    for request, found in zip([*scored, *written], together, strict=True):
        (alone,) = answer(net, [request], end_id=0)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


def test_it_writes_what_it_has_read() -> None:
    net = counted(small(10, 4), batch_of([[i % 7 for i in range(50)]] * 5))
    settings_ = SamplingSettings(max_tokens=100)
    (ids,) = generate(net, [[3, 4]], settings_, end_id=9, generator=torch.Generator())
    assert ids == [(5 + i) % 7 for i in range(100)]


@given(parameters=st.floats(20, 2e8), vary=st.sampled_from(["both", "width"]))
def test_the_ladder_hits_the_asked_size(parameters: float, vary: Vary) -> None:
    config = size_for(parameters, 100, 64, vary)
    assert abs(config.non_embedding_parameters / parameters - 1) <= 0.05
    assert 2 <= config.order <= most_order(100)
    assert (config.vocabulary + 1) ** config.order < 2**63


def test_the_order_follows_from_the_size_and_the_vocabulary() -> None:
    sizes = [3e3, 1.4e4, 6.5e4, 3e5]
    assert [c.order for c in ladder("ngram", sizes, vocabulary=65, context=64)] == [3, 4, 5, 6]
    assert [c.order for c in ladder("ngram", sizes, vocabulary=65, context=64, vary="width")] == [5] * 4
    assert [c.order for c in ladder("ngram", sizes, vocabulary=4096, context=64)] == [2, 2, 2, 3]
    assert size_for(1e9, 50_000, 64).order == most_order(50_000) == 4
    assert size_for(3e5, 65, 2).order == 3  # a longer context does not fit into the model's


@pytest.mark.parametrize(("size", "vary", "said"), [(1e4, "depth", "vary: both or width"), (1.2, "both", "10 or more")])
def test_sizes_out_of_reach_say_what_is_possible(size: float, vary: Vary, said: str) -> None:
    with pytest.raises(UserError, match=said):
        size_for(size, 50, 32, vary)


def test_before_it_has_read_anything_every_token_is_equally_likely() -> None:
    built = build_network("ngram", size_for(3e3, 50, 32), torch.Generator())
    torch.testing.assert_close(built(torch.tensor([[1, 2, 3]])), torch.full((1, 3, 50), -math.log(50)))
    assert not FAMILIES.load("ngram").stackable


def test_a_network_is_its_tables() -> None:
    net = random_network()
    copy = NgramNetwork(net.config)
    copy.load_state_dict(net.state_dict())
    assert copy.fingerprint() == net.fingerprint() != random_network(3).fingerprint()
    ids = torch.arange(20)[None]
    assert torch.equal(copy.eval()(ids), net(ids))
