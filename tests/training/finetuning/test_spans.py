"""Spans: where tokens stand in a text, how passages are cut into windows, and answers found in them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_huggingface import write_tokenizer
from tests.training.finetuning.planted import letters, network_of

from emergence.core.errors import UserError
from emergence.core.finetune_settings import FinetuneSettings
from emergence.core.settings import TokenizerSettings
from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer
from emergence.tasks.answer_scores import answer_scores
from emergence.text import LanguageTokenizer, build_tokenizer
from emergence.training.finetuning.heads import SpanHead
from emergence.training.finetuning.loop import finetune
from emergence.training.finetuning.spans import LONGEST_ANSWER, Spans, Window, _best_span, encode_passages

DOCUMENTS = ["the quick brown fox jumps over the lazy dog", "我爱北京天安门, 天气很好。", "naïve café 😀 a  b\nc"] * 4
ALPHABET = "".join(sorted(set("".join(DOCUMENTS))))
KINDS = ("byte", "char", "bpe", "word", "transformers", "transformers words")


def tokenizer_of(kind: str, home: Path) -> LanguageTokenizer:
    """One of ours, or a fast one of transformers: of bytes, or of words as BERT's are."""
    if kind == "transformers":
        import transformers

        return HuggingFaceTokenizer(transformers.AutoTokenizer.from_pretrained(write_tokenizer(home)))
    if kind == "transformers words":
        import transformers

        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick", "fox", "jump", "##s", "我", "爱", "北"]
        home.mkdir(exist_ok=True)
        (home / "vocab.txt").write_text("\n".join([*words, *"abcdefgh", *(f"##{c}" for c in "abcdefgh")]))
        inner = transformers.BertTokenizerFast(str(home / "vocab.txt"), do_lower_case=False)
        return HuggingFaceTokenizer(inner, masked=True)
    asked = TokenizerSettings(kind=kind, vocabulary=300)  # type: ignore[arg-type]
    return build_tokenizer(asked, DOCUMENTS, ALPHABET)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageTokenizer]:
    home = tmp_path_factory.mktemp("tokenizers")
    return {kind: tokenizer_of(kind, home / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet=ALPHABET, max_size=40))
def test_a_tokens_characters_are_what_it_decodes_to(
    tokenizers: dict[str, LanguageTokenizer], kind: str, text: str
) -> None:
    tokenizer = tokenizers[kind]
    ids, spans = tokenizer.offsets(text)
    assert ids == tokenizer.encode(text)
    assert len(ids) == len(spans)
    for token, (first, last) in zip(ids, spans, strict=True):
        assert 0 <= first < last <= len(text)
        written = tokenizer.decode([token])
        if "\ufffd" not in written and token != tokenizer.unknown_id:  # part of a character has the whole of it
            assert written.replace("##", "") == text[first:last]
    if kind != "transformers words":  # which leaves white space out
        assert not text or (spans[0][0], spans[-1][1]) == (0, len(text))
        assert all(after[0] <= before[1] for before, after in itertools.pairwise(spans))


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 300), context=st.integers(24, 80), data=st.data())
def test_windows_hold_every_token_and_say_where_the_answer_is(length: int, context: int, data: st.DataObject) -> None:
    tokenizer = letters()
    text = "".join("abcdefghij"[i] for i in np.random.default_rng(length).integers(0, 10, length))
    start = data.draw(st.integers(0, length - 1))
    answer = text[start : start + data.draw(st.integers(1, 10))]
    (passage,) = encode_passages(tokenizer, [(text, "xyz", start, answer)], context)
    covered: set[int] = set()
    marked = 0
    for window in passage.windows:
        assert len(window.ids) <= context
        assert window.ids[0] == tokenizer.begin_id
        assert window.ids[window.first - 1] == window.ids[-1] == tokenizer.separator_id
        inside = window.ids[window.first : -1]
        assert len(inside) == len(window.spans)
        assert tokenizer.decode(inside) == text[window.spans[0][0] : window.spans[-1][1]]
        covered |= {place for first, last in window.spans for place in range(first, last)}
        if window.ends != (0, 0):
            marked += 1
            first, last = (window.spans[end - window.first] for end in window.ends)
            assert text[first[0] : last[1]] == answer
    assert covered == set(range(length))
    room = context - 6
    assert marked or len(answer) > room // 2  # a short answer lies whole in some window


def test_a_question_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"a question of 20 tokens leaves 9 of the model's context of 32.*longer context"
    ):
        encode_passages(letters(), [("abc", "q" * 20, None, "")], 32)


def test_the_best_span_is_that_of_all_pairs_and_never_too_long() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 60):
        window = Window((0,) * (n + 3), 2, tuple((i, i + 1) for i in range(n)), (0, 0))
        first, last = (torch.tensor(rng.normal(size=n + 3), dtype=torch.float32) for _ in range(2))
        pairs = [(i, j) for i in range(n) for j in range(i, min(n, i + LONGEST_ANSWER))]
        i, j = max(pairs, key=lambda pair: float(first[2 + pair[0]] + last[2 + pair[1]]))
        odds, span = _best_span(window, first, last)
        assert span == (i, j + 1)
        assert odds == pytest.approx(float(first[2 + i] + last[2 + j] - first[0] - last[0]), abs=1e-6)


def marked_passages(n: int, seed: int, longest: int, *, behind: bool) -> list[tuple[str, str, int, str]]:
    """Texts in which the answer is the three letters behind the only z, or goes from the only x to the only y."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        body = ["abcdefgh"[i] for i in rng.integers(0, 8, int(rng.integers(12, longest)))]
        place = int(rng.integers(0, len(body) - 4))
        length = 3 if behind else int(rng.integers(2, 5))
        if behind:
            body[place], place = "z", place + 1
        else:
            body[place], body[place + length - 1] = "x", "y"
        text = "".join(body)
        found.append((text, "q", place, text[place : place + length]))
    return found


@pytest.mark.parametrize(("family", "behind"), [("lstm", True), ("bert", False), ("seq2seq", False)])
def test_a_planted_span_is_learnt_and_found_across_windows(family: str, behind: bool) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer, 6_000)
    learnt, kept = (marked_passages(n, seed, 26, behind=behind) for n, seed in ((200, 1), (40, 2)))
    train, held = (encode_passages(tokenizer, some, 32) for some in (learnt, kept))
    accepted = [(answer,) for *_, answer in kept]
    head = SpanHead(network.config.width, 0.0)
    aim = Spans("marked", train, held, accepted, head, lambda answer, right: answer_scores(answer, right)["f1"])
    how = FinetuneSettings(epochs=40, patience=12, learning_rate=0.01, dropout=0.0)
    finetune(network, [aim], how, width=network.config.width, seed=0)
    assert aim.validate(network)["f1"] > 0.9
    asked = marked_passages(30, 3, 90, behind=behind)  # of up to six windows
    passages = encode_passages(tokenizer, [(text, question, None, "") for text, question, *_ in asked], 32)
    assert max(len(passage.windows) for passage in passages) > 3
    answers = aim.predict(network, passages)
    assert np.mean([answer == right for (answer, _), (*_, right) in zip(answers, asked, strict=True)]) > 0.7


def test_an_empty_passage_has_an_empty_answer() -> None:
    tokenizer = letters()
    network = network_of("bert", tokenizer, 3_000)
    head = SpanHead(network.config.width, 0.0)
    aim = Spans("marked", [], [], [], head, None)
    passages = encode_passages(tokenizer, [("", "q", None, ""), ("abc", "q", None, "")], 32)
    empty, some = aim.predict(network, passages)
    assert empty[0] == ""
    assert some[0] != ""
