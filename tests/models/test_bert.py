"""The `bert` family: sizes, counts, agreement with BertForMaskedLM, masked training and how it is asked."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.engine import answer
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.masked import fill_masks, pseudo_log_likelihoods
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.models.bert import BertConfig, size_for
from emergence.models.bert_network import BertNetwork
from emergence.models.family import Vary, build_network, ladder
from emergence.models.huggingface import export_network
from emergence.tasks.copying import Copy
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer
from emergence.training.batch import Batch, collate
from emergence.training.data import Draw
from emergence.training.masked import MASKED_TOKEN, choose
from emergence.training.stack import Stack

END = 0
SMALL = BertConfig(vocabulary=23, context=24, width=32, depth=3, heads=4, feed_forward=50)


def network(config: BertConfig = SMALL, seed: int = 0) -> BertNetwork:
    """A network whose every weight is random, biases and norms too: at their start they would hide mistakes."""
    built: BertNetwork = build_network("bert", config, torch.Generator().manual_seed(seed))
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return built.eval()


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, SMALL.vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def sequences(count: int, longest: int, seed: int) -> list[tuple[int, ...]]:
    lengths = torch.randint(1, longest + 1, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return [tuple(tokens(n, seed=100 * seed + i).tolist()) for i, n in enumerate(lengths)]


def seeded(seed: int) -> partial[torch.Generator]:
    return partial(torch.Generator().manual_seed, seed)


@given(parameters=st.floats(3e3, 2e9))
@settings(max_examples=200)
def test_the_ladder_hits_the_asked_size(parameters: float) -> None:
    assert abs(size_for(parameters, 100, 64).non_embedding_parameters / parameters - 1) <= 0.05


@pytest.mark.parametrize("vary", ["width", "depth"])
def test_a_ladder_grows_along_its_dial_alone(vary: Vary) -> None:
    configs = ladder("bert", [2e5, 8e5, 3.2e6], vocabulary=50, context=32, vary=vary)
    assert (len({c.width for c in configs}) == 1) == (vary == "depth")
    assert (len({c.depth for c in configs}) == 1) == (vary == "width")


def test_a_size_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="3,000 or more"):
        size_for(100, 50, 32)


def test_bert_base_has_its_known_size() -> None:
    from transformers import BertConfig as TheirConfig
    from transformers import BertForMaskedLM

    config = BertConfig(vocabulary=30_521, context=512, width=768, depth=12, heads=12, feed_forward=3072)
    with torch.device("meta"):
        theirs = BertForMaskedLM(TheirConfig())  # google-bert/bert-base-uncased
    assert config.parameters + 2 * 768 == theirs.num_parameters()  # two types of sentences, which ours does without


@pytest.mark.parametrize("size", [3e3, 3e4, 3e5])
def test_parameter_counts_are_those_of_the_network(size: float) -> None:
    config = size_for(size, 37, 32)
    built = build_network("bert", config, torch.Generator().manual_seed(0))
    total = sum(weight.numel() for weight in built.parameters())
    assert total == config.parameters
    tables = built.embedding.weight.numel() + built.position_embedding.weight.numel() + built.bias.numel()
    assert total - tables == config.non_embedding_parameters


@pytest.mark.parametrize("predicted", [None, 17])
def test_flop_counts_are_those_that_torch_counts(predicted: int | None) -> None:
    select = None if predicted is None else torch.arange(predicted)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it does not count fused kernels
        network()(tokens(3, 20), select=select)
    assert counter.get_total_flops() == SMALL.forward_flops(60, 20, predicted)


@pytest.mark.parametrize("size", [3e3, 1e5, 3e6])
def test_the_first_loss_is_near_that_of_guessing(size: float) -> None:
    (config,) = ladder("bert", [size], vocabulary=50, context=32)
    logits = build_network("bert", config, torch.Generator().manual_seed(0))(torch.arange(32)[None])
    loss = torch.nn.functional.cross_entropy(logits[0], torch.arange(1, 33))
    assert float(loss.detach()) == pytest.approx(math.log(51), abs=0.5)


def exported(config: BertConfig, folder: Path) -> tuple[BertNetwork, Path]:
    alphabet = "".join(chr(ord("a") + i) for i in range(config.vocabulary - 2))
    own = network(config)
    return own, export_network("bert", own, build_tokenizer(TokenizerSettings(kind="char"), [], alphabet), folder)


@pytest.mark.parametrize("config", [SMALL, size_for(3e3, 40, 24), size_for(2e5, 40, 160)])
def test_its_weights_are_those_of_bert_there_and_back(config: BertConfig, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    own, folder = exported(config, tmp_path / "bert")
    theirs = AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert type(theirs).__name__ == "BertForMaskedLM"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.mask_token_id == own.mask_id == len(tokenizer) - 1
    ids = torch.randint(0, config.rows, (2, config.context), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(own(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    back = em.load(folder)
    assert (back.family, back.params) == ("bert", config.non_embedding_parameters)
    assert back.tokenizer.vocabulary_size == config.rows
    asked = [ScoreRequest((1, 4), (5, 6, 7)), ScoreRequest((1, 4, 2), (3,)), GenerateRequest((1, 4, 2), 6)]
    for mine, other in zip(answer(own, asked, end_id=END), answer(back.network, asked, end_id=END), strict=True):
        if isinstance(mine, Likelihood):
            assert isinstance(other, Likelihood)
            assert other.logprobs == pytest.approx(mine.logprobs, abs=1e-5)
        else:
            assert mine == other


def test_likelihoods_are_pseudo_log_likelihoods() -> None:
    own = network()
    pairs = [*zip(sequences(12, 9, 1), sequences(12, 6, 2), strict=True), ((3, 4), (5, END)), ((9,) * 30, (5, 6))]
    for (prompt, target), found in zip(pairs, pseudo_log_likelihoods(own, pairs, end_id=END), strict=True):
        close = () if target[-1] == END else (END,)
        whole = (*prompt, *target, *close) if len(prompt) < 24 else (*prompt, *target)[-24:]
        first = len(whole) - len(target) - (len(prompt) < 24 and bool(close))
        for i, token in enumerate(target):
            ids = torch.tensor([whole])
            ids[0, first + i] = own.mask_id
            with torch.inference_mode():
                logits = own(ids)[0, first + i]
            assert found.logprobs[i] == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-5)
            assert found.hits[i] == (int(logits.argmax()) == token)


def test_answers_do_not_depend_on_company_or_order() -> None:
    own = network()
    asked = [ScoreRequest(p, t) for p, t in zip(sequences(30, 12, 3), sequences(30, 6, 4), strict=True)]
    asked += [GenerateRequest(p, 1 + i % 7) for i, p in enumerate(sequences(30, 20, 5))]  # some outgrow the context
    together = answer(own, asked, end_id=END)
    for request, found, last in zip(asked, together, answer(own, asked[::-1], end_id=END)[::-1], strict=True):
        (alone,) = answer(own, [request], end_id=END)
        if isinstance(alone, Continuation):
            assert found == alone == last
        else:
            assert isinstance(found, Likelihood)
            assert isinstance(last, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
            assert last.logprobs == pytest.approx(alone.logprobs, abs=1e-5)


def test_the_most_certain_place_is_filled_first() -> None:
    own, prompt = network(), tokens(5).tolist()
    ids = torch.tensor([[*prompt, *[own.mask_id] * 4, END]])
    for _ in range(4):
        open_T = ids[0] == own.mask_id
        with torch.inference_mode():
            shares = own(ids)[0].softmax(-1)[:, : own.mask_id]
        at = int(torch.where(open_T, shares.max(-1).values, -1.0).argmax())
        ids[0, at] = shares[at].argmax()
    expected = ids[0, 5:9].tolist()
    expected = expected[: expected.index(END)] if END in expected else expected
    assert fill_masks(own, [prompt], [4], end_id=END) == [expected]


def test_what_cannot_be_asked_is_refused() -> None:
    own = network()
    with pytest.raises(UserError, match="at least one token"):
        pseudo_log_likelihoods(own, [((), (1,))], end_id=END)
    with pytest.raises(UserError, match="does not fit"):
        pseudo_log_likelihoods(own, [((1,), (1,) * 25)], end_id=END)
    with pytest.raises(UserError, match="empty prompt"):
        fill_masks(own, [()], [3], end_id=END)
    (long,) = fill_masks(own, [tuple(tokens(23).tolist())], [60], end_id=99)  # written in pieces
    assert len(long) == 60
    assert own.mask_id not in long


def packed(rows: int, context: int, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Masks as `training.rows` packs them: prompts, answers with their ends, and padding; the first row is text."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((rows, context), dtype=np.bool_)
    mask[0] = True
    for row in mask[1:]:
        at = 0
        while at + 8 <= context:
            prompt, answered = rng.integers(1, 5), rng.integers(2, 5)
            row[at + prompt : at + prompt + answered] = True
            at += prompt + answered + 1
    return mask


@given(seed=st.integers(0, 10_000), context=st.integers(12, 40))
@settings(max_examples=40, deadline=None)  # a busy machine is slow at times
def test_what_is_chosen(seed: int, context: int) -> None:
    mask = torch.from_numpy(packed(4, context, seed))
    choice = choose(mask, torch.Generator().manual_seed(seed))
    chosen = torch.zeros(4 * context, dtype=torch.bool)
    chosen[choice.places] = True
    assert int(chosen.sum()) == len(choice.places)
    counts = torch.cat([torch.zeros(4, 1, dtype=torch.bool), mask[:, :-1]], dim=1)
    chosen = chosen.view(4, context)
    assert not bool((chosen & ~counts).any())
    assert int(chosen[0].sum()) == max(1, round(0.15 * context))
    assert choice.of_text.tolist() == [place < context for place in choice.places.tolist()]
    assert choice.example is not None
    for b in range(1, 4):
        example = 0
        for t in range(context):
            example += bool(t and counts[b, t - 1] and not counts[b, t])
            assert choice.example[b, t] == example
        answers = set(choice.example[b][counts[b]].tolist())
        assert answers == set(choice.example[b][chosen[b]].tolist())  # of every answer something


def test_of_an_answer_every_number_of_tokens_is_hidden_equally_often() -> None:
    mask = torch.zeros(4000, 8, dtype=torch.bool)
    mask[:, 3:7] = True
    places = choose(mask, torch.Generator().manual_seed(0)).places
    number = torch.bincount(places // 8, minlength=4000)
    np.testing.assert_allclose(torch.bincount(number, minlength=5)[1:] / 4000, [0.25] * 4, atol=0.03)
    np.testing.assert_allclose(torch.bincount(places % 8, minlength=8)[4:] / len(places), [0.25] * 4, atol=0.02)


class Spy:
    """Notes what it reads and gives every token the same probability."""

    config, mask_id = SMALL, SMALL.mask_id

    def __call__(self, ids: torch.Tensor, select: torch.Tensor, part: torch.Tensor | None = None) -> torch.Tensor:
        self.ids, self.select, self.part = ids, select, part
        return torch.zeros(len(select), SMALL.rows)


def test_a_text_is_masked_80_10_10_and_answers_always() -> None:
    spy, ids = Spy(), tokens(800, 24, seed=2)
    mask = torch.ones(800, 24, dtype=torch.bool)
    batch = Batch(ids, None, torch.empty(0), torch.empty(0), 800 * 24, (800 * 24.0,))
    loss = MASKED_TOKEN.losses(spy, batch, seeded(3))
    assert float(loss) == pytest.approx(math.log(SMALL.rows), abs=1e-5)  # rows weigh one in all
    read, told = spy.ids.flatten()[spy.select], ids.flatten()[spy.select]
    masked, kept = (read == spy.mask_id).double().mean(), (read == told).double().mean()
    assert float(masked) == pytest.approx(0.8, abs=0.02)
    assert float(kept) == pytest.approx(0.1 + 0.1 / 23, abs=0.02)
    untouched = torch.ones(800 * 24, dtype=torch.bool)
    untouched[spy.select] = False
    assert torch.equal(spy.ids.flatten()[untouched], ids.flatten()[untouched])
    assert spy.part is None
    mask = torch.from_numpy(packed(9, 24, 0))[1:]
    select = mask.flatten().nonzero()[:, 0]
    MASKED_TOKEN.losses(spy, Batch(ids[:8], select, torch.empty(0), torch.empty(0), 192, (1.0,)), seeded(4))
    assert bool((spy.ids.flatten()[spy.select] == spy.mask_id).all())
    assert spy.part is not None


@pytest.mark.parametrize("length", [1, 9, 20, 23])
def test_a_line_before_its_padding_is_masked_as_a_text_is(length: int) -> None:
    spy, ids = Spy(), tokens(800, 24, seed=2)
    mask = torch.zeros(800, 24, dtype=torch.bool)
    mask[:, :length] = True
    select = mask.flatten().nonzero()[:, 0]
    MASKED_TOKEN.losses(spy, Batch(ids, select, torch.empty(0), torch.empty(0), 800 * 24, (800.0 * length,)), seeded(3))
    number = max(1, round(0.15 * length))
    assert torch.bincount(spy.select // 24).tolist() == [number] * 800
    assert set((spy.select % 24).tolist()) == set(range(1, length + 1))
    assert float((spy.ids.flatten()[spy.select] == spy.mask_id).double().mean()) == pytest.approx(0.8, abs=0.04)
    assert spy.part is not None
    assert torch.equal(spy.part, (torch.arange(24) > length).long().expand(800, 24))  # no text sees its padding


def test_an_example_does_not_see_those_after_it() -> None:
    own, ids = network(), tokens(2, 24)
    part = torch.tensor([[0] * 10 + [1] * 8 + [2] * 6, [0] * 5 + [1] * 19])
    with torch.inference_mode():
        packed_rows = own(ids, part=part)
        torch.testing.assert_close(packed_rows[0, :10], own(ids[:1, :10])[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed_rows[1, :5], own(ids[1:, :5])[0], atol=1e-5, rtol=1e-5)
        changed = ids.clone()
        changed[0, 18:] = 1
        torch.testing.assert_close(own(changed, part=part)[0, :18], packed_rows[0, :18], atol=1e-6, rtol=1e-6)


def test_the_held_out_loss_is_the_same_for_the_same_masks() -> None:
    own, ids = network(), tokens(6, 24)
    mask = torch.from_numpy(packed(6, 24, 1))
    with torch.inference_mode():
        first, again = (MASKED_TOKEN.held_out(own, ids, ids, mask, seeded(7)) for _ in range(2))
        other = MASKED_TOKEN.held_out(own, ids, ids, mask, seeded(8))
    assert first == again != other


def test_it_learns_to_copy_and_is_asked_by_filling_masks() -> None:
    rng = np.random.default_rng(0)
    config = size_for(2e4, 12, 9)
    stack = Stack("bert", config, [0], learning_rate=0.003, weight_decay=0.1, clip=1.0, stacked=False)
    for step in range(400):
        words = rng.integers(2, 12, (1, 16, 4))
        rows = np.concatenate([np.full((1, 16, 1), END), words, words, np.full((1, 16, 1), END)], axis=2)
        mask = np.zeros((1, 16, 9), dtype=np.bool_)
        mask[..., 4:] = True
        (batch,) = collate([Draw(rows[..., :-1], rows[..., 1:], mask, np.array([80]))], stacked=False)
        stack.step(batch, min(1.0, step / 20), step)
    own = stack.alone(0)
    words = [tuple(word) for word in rng.integers(2, 12, (50, 4)).tolist()]
    written = answer(own, [GenerateRequest((END, *word), 4) for word in words], end_id=END)
    assert (
        np.mean([isinstance(w, Continuation) and w.ids == word for w, word in zip(written, words, strict=True)]) > 0.9
    )
    scored = answer(own, [ScoreRequest((END, *word), word) for word in words], end_id=END)
    assert np.mean([isinstance(s, Likelihood) and s.total for s in scored]) > -0.5


class Ending(Copy):
    """Copying whose answers end with the end token."""

    ends = True


def test_it_is_told_how_long_an_answer_is() -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], "abcdef|")
    task = Ending({"length": 4, "letters": 6})
    questions = task.questions(TaskContext(tokenizer=tokenizer, context=24, seed=0), 8, 0)
    asked: list[Request] = []

    def ask(network: Any, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
        asked.extend(requests)
        return answer(network, requests, end_id=end_id)

    (records,) = evaluate(network(), tokenizer, [(task, questions)], seed=0, ask=ask)
    assert {request.max_tokens for request in asked if isinstance(request, GenerateRequest)} == {4}
    assert {len(request.target) for request in asked if isinstance(request, ScoreRequest)} == {5}
    assert records.height == 8


def test_a_masked_model_without_a_mask_is_refused(tmp_path: Path) -> None:
    _, folder = exported(SMALL, tmp_path / "bert")
    said = json.loads((folder / "tokenizer_config.json").read_text())
    del said["mask_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="no mask token; set mask_token"):
        em.load(folder)


def test_masked_models_of_transformers_are_asked_alike(tmp_path: Path) -> None:
    from transformers import BertConfig as TheirConfig
    from transformers import BertForMaskedLM, BertTokenizerFast

    letters = string.ascii_lowercase + string.digits
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *"|?", *("##" + letter for letter in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        theirs = BertForMaskedLM(TheirConfig(vocab_size=len(words), max_position_embeddings=40, **shape)).eval()
        for parameter in theirs.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path)
    model = em.load(tmp_path)
    assert (model.network.reads, model.network.config.context) == ("masked", 40)
    found = model.loglikelihood("abc|", "ab")
    ids = [2, *(words.index(w) for w in ("a", "##b", "##c", "|", "a", "##b")), 3]
    assert len(found.logprobs) == 2
    for place, logprob in zip((5, 6), found.logprobs, strict=True):
        hidden = torch.tensor([ids])
        hidden[0, place] = words.index("[MASK]")
        with torch.inference_mode():
            logits = theirs(hidden).logits[0, place]
        assert logprob == pytest.approx(float(logits.log_softmax(-1)[ids[place]]), abs=1e-5)
    assert em.evaluate(model, {"name": "recall", "pairs": 2}, examples=16, cache=False).scores.height
    with pytest.raises(UserError, match="leave temperature at 0"):
        model.generate("ab", temperature=1.0)
    assert len(model.generate("ab", max_tokens=3).split()) <= 3
