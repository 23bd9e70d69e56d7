"""Tasks: right answers, splits that share nothing, floors that guessing reaches, options that are checked."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graphs import distances

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.tasks.catalogue import TASKS, make_task
from emergence.tasks.sampling import distinct
from emergence.tasks.task import GeneratedTask, Question, TaskContext, bucket_of
from emergence.text import build_tokenizer
from emergence.text.sentiment import LEXICONS, Language

GENERATED: list[tuple[str, dict[str, Any]]] = [
    ("addition", {"digits": 2}),
    ("addition", {"digits": 4, "reverse": True}),
    ("modular_addition", {"modulus": 97}),
    ("recall", {"pairs": 2}),
    ("recall", {"pairs": 8}),
    ("copy", {"length": 3, "letters": 10}),
    ("copy", {"length": 12}),
    ("sentiment", {}),
    ("sentiment", {"language": "zh"}),
    ("sentiment", {"clauses": 2}),
    ("sentiment", {"clauses": 2, "language": "zh"}),
    ("analogy", {}),
    ("analogy", {"stems": 19, "endings": 21}),
    ("reversal", {"length": 3, "letters": 10}),
    ("reversal", {"length": 12}),
    ("reachability", {"distance": 3, "nodes": 16}),
    ("shortest_path", {"distance": 4, "nodes": 16}),
]


def generated(name: str, options: dict[str, Any]) -> GeneratedTask:
    task = make_task(name, options)
    assert isinstance(task, GeneratedTask)
    return task


def answer(name: str, options: dict[str, Any], prompt: str) -> str:
    """Work out the answer from the prompt alone, another way than the task does."""
    if name == "addition":
        a, b = prompt.rstrip("=").split("+")
        total = str(int(a) + int(b)).rjust(options["digits"] + 1, "0")
        return total[::-1] if options.get("reverse") else total
    if name == "modular_addition":
        a, b = prompt.rstrip("=").split("+")
        return str((int(a) + int(b)) % options["modulus"]).rjust(2, "0")
    if name == "recall":
        pairs, asked = prompt.split("?")
        return pairs[pairs.index(asked[0]) + 1]
    if name == "sentiment":
        return "+" if sum(map(judgement, re.split(r" and | but |，而且|，但", prompt))) > 0 else "-"
    if name == "analogy":  # every syllable is a consonant and a vowel, and each of them occurs twice
        letters = [unicodedata.normalize("NFD", word) for word in re.findall("[가-힣]", prompt)]
        stem, ending = (min(column, key=column.count) for column in (list(c) for c in zip(*letters, strict=True)))
        return unicodedata.normalize("NFC", stem + ending)
    if name == "reversal":
        return "".join(reversed(prompt.rstrip("<")))
    if name in ("reachability", "shortest_path"):
        edges, (source, target) = prompt.split("?")
        steps = distances(edges, source).get(target)
        return str(steps) if name == "shortest_path" else str(int(steps is not None))
    return prompt.rstrip("|")


def judgement(clause: str) -> int:
    """Weigh one clause by looking for words in it."""
    lexicon = LEXICONS["en" if clause.isascii() else "zh"]
    text = clause.rstrip(":").replace("并不", " not ")
    weight = next((w for word, w in lexicon.intensifiers.items() if word in text), 2)
    last = max((*lexicon.positive, *lexicon.negative), key=lambda word: len(word) * text.endswith(word))
    return weight * (1 if last in lexicon.positive else -1) * (-1 if " not " in text else 1)


@pytest.mark.parametrize(("name", "options"), GENERATED)
def test_targets_are_right(name: str, options: dict[str, Any]) -> None:
    task = generated(name, options)
    for example in task.examples(stream(0, "check"), 500, "train"):
        assert example.target == answer(name, options, example.prompt)
        assert set(example.prompt + example.target) <= set(task.alphabet)


@pytest.mark.parametrize(("name", "options"), GENERATED)
def test_no_example_is_in_two_splits(name: str, options: dict[str, Any]) -> None:
    task = generated(name, options)
    splits = ("train", "validation", "test")
    seen = {split: {e.prompt for e in task.examples(stream(k, split), 4000, split)} for k, split in enumerate(splits)}
    for k, first in enumerate(splits):
        for second in splits[k + 1 :]:
            assert not seen[first] & seen[second]
        assert seen[first]


def test_a_sum_and_its_mirror_image_are_one_example() -> None:
    task = generated("addition", {"digits": 2})
    trained = {e.prompt for e in task.examples(stream(0, "t"), 60_000, "train")}
    tested = task.examples(stream(1, "t"), 400, "test", distinct=True)
    mirrors = {"{1}+{0}=".format(*e.prompt.rstrip("=").split("+")) for e in tested}
    assert not mirrors & trained
    assert len(trained) > 8000  # nearly all 8,500 pairs of the training split were drawn


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_a_bucket_depends_on_the_row_alone(rows: list[tuple[int, int]]) -> None:
    together = bucket_of(np.array(rows, dtype=np.int64))
    alone = [bucket_of(np.array([row], dtype=np.int64))[0] for row in rows]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < 1)).all()


def test_buckets_are_uniform() -> None:
    grid = np.stack(np.meshgrid(np.arange(100), np.arange(100)), axis=-1).reshape(-1, 2)
    counts, _ = np.histogram(bucket_of(grid), bins=20, range=(0, 1))
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-squared with 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("name", "options"), GENERATED)
def test_guessing_reaches_the_floor(name: str, options: dict[str, Any]) -> None:
    """The most frequent answer, given always, does not beat the floor by more than chance."""
    task = generated(name, options)
    targets = [e.target for e in task.examples(stream(0, "guess"), 4000, "train")]
    best = max(targets.count(t) for t in set(targets)) / len(targets)
    space = 1 / task.floor if task.floor else math.inf
    if space <= 100:
        assert best == pytest.approx(task.floor, rel=0.6)  # the luckiest of up to 100 answers over 4,000 examples
    else:
        assert best < 0.03


def context(task: GeneratedTask, length: int = 288) -> TaskContext:
    return TaskContext(build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet), length, seed=4)


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize(("name", "options"), GENERATED)
def test_questions_are_distinct_and_tokenised_as_trained(name: str, options: dict[str, Any], shots: int) -> None:
    task = generated(name, options)
    given_context = context(task)
    questions = task.questions(given_context, 40, shots)
    tokenizer = given_context.tokenizer
    assert len({q.prompt for q in questions}) == len(questions) >= 8
    for q in questions:
        pieces = [*q.prompt_ids, *q.target_ids]
        assert pieces[0] == tokenizer.end_id
        assert pieces.count(tokenizer.end_id) == shots + 1
        last = q.prompt.split("\n")[-1]
        assert answer(name, options, last) == q.target
        assert tokenizer.decode(q.target_ids) == q.target
        assert q.answer_length == len(q.target_ids)
    assert task.questions(given_context, 40, shots) == questions


def test_shots_come_from_the_training_split() -> None:
    task = generated("addition", {"digits": 2})
    tested = {e.prompt for e in task.examples(stream(9, "x"), 5000, "test")}
    for q in task.questions(context(task), 100, 4):
        worked = [line.split("=")[0] + "=" for line in q.prompt.split("\n")[:-1]]
        assert len(worked) == 4
        assert not set(worked) & tested


def test_scores_of_known_answers() -> None:
    task = generated("addition", {"digits": 2})
    question = Question("12+30=", "042", (0, 1), (1, 2, 3), 3)
    right = task.score(question, "042", [math.log(0.5), math.log(0.5), 0.0], [True, True, True])
    assert right == {
        "exact_match": 1.0,
        "target_logprob": pytest.approx(2 * math.log(0.5) / 3),
        "target_prob": pytest.approx(0.25),
    }
    assert task.score(question, "43", [0.0], [True])["exact_match"] == 0
    assert set(right) == {task.headline, *task.smooth}


@pytest.mark.parametrize("options", [{}, {"clauses": 2}, {"language": "zh"}])
def test_praise_and_blame_are_equally_likely(options: dict[str, Any]) -> None:
    examples = generated("sentiment", options).examples(stream(0, "balance"), 4000, "train")
    assert sum(e.target == "+" for e in examples) / 4000 == pytest.approx(0.5, abs=0.04)  # five standard errors


def test_a_lexicon_is_right_about_what_it_has_words_for() -> None:
    """Planted sentences: negations, intensifiers, words within words, and what the list does not hold."""
    said = {
        "the film was not very good": -4,
        "never bad, really lovely": 2 + 4,
        "not bad but not great": 2 - 2,
        "not never good": 2,
        "goodness, notable goods": None,  # words that only begin like others
        "the plot was gripping": None,
        "not good. bad": -2 - 2,  # a negation does not reach beyond its clause
    }
    assert {text: LEXICONS["en"].strength(text) for text in said} == said
    zh = {"电影不错": 2, "饭菜不好": -2, "并不很好，但房间很干净": -4 + 4, "并不不错": -2, "今天下雨": None}
    assert {text: LEXICONS["zh"].strength(text) for text in zh} == zh


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_word_of_a_lexicon_is_of_two_kinds(language: Language) -> None:
    own = LEXICONS[language]
    words = [*own.positive, *own.negative, *own.negations, *own.intensifiers, *own.breaks]
    assert len(set(words)) == len(words)


def test_a_lesson_is_a_sentence_or_a_question() -> None:
    task = generated("analogy", {"questions": 0.25})
    lessons = task.lessons(stream(0, "lessons"), 2000, "train")
    sentences = [e for e in lessons if not e.prompt]
    assert len(sentences) / len(lessons) == pytest.approx(0.75, abs=0.05)
    assert all(re.fullmatch("[a-h][가-힣][A-L]", e.target) for e in sentences)
    assert len({e.target for e in sentences}) == 12 * 8  # each word has its company
    tested = {e.prompt for e in task.examples(stream(1, "t"), 3000, "test")}
    asked = {e.prompt for e in lessons if e.prompt}
    assert asked
    assert not asked & tested
    assert not any(e.prompt for e in generated("analogy", {"questions": 0}).lessons(stream(0, "l"), 500, "train"))


def test_text_counts_bits_per_byte_of_utf8() -> None:
    task = make_task("text", {})
    question = Question("床前", "明月", (0, 1), (2, 3), 0, target_bytes=6)
    scores = task.score(question, None, [math.log(0.25), math.log(0.5)], [True, False])
    assert scores["bits_per_byte"] == pytest.approx(3 / 6)  # three bits over two characters of three bytes
    assert scores["token_accuracy"] == 0.5


def test_the_end_of_a_whole_document_costs_no_bits_per_byte() -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["abcdef"])
    tokens = np.array([i for ids in tokenizer.encode_batch(["abcdef"] * 2) for i in (*ids, tokenizer.end_id)])
    task = make_task("text", {})
    bits = math.log(0.5)
    for whole in (True, False):
        (question,) = task.questions(TaskContext(tokenizer, 8, 0, tokens, whole_documents=whole), 1, 0)
        *text, last = question.target_ids
        assert (last == tokenizer.end_id) == whole
        logprobs = [2 * bits] * len(text) + [100 * bits if whole else 2 * bits]
        scores = task.score(question, None, logprobs, [True] * len(logprobs))
        assert scores["target_logprob"] == pytest.approx(math.fsum(logprobs) / len(logprobs))
        read = tokenizer.utf8_bytes(question.target_ids)
        assert scores["bits_per_byte"] == pytest.approx(2 * (len(text) + (not whole)) / read)


def test_text_windows_are_held_out_tokens() -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["abcdefghij"])
    tokens = np.array(tokenizer.encode("abcdefghij" * 30))
    task = make_task("text", {"samples": 2})
    questions = task.questions(TaskContext(tokenizer, 16, 0, tokens), 10, 0)
    assert len(questions) == 10
    assert [q.answer_length for q in questions] == [8, 8] + [0] * 8
    assert all((q.prompt + q.target) in "abcdefghij" * 4 for q in questions)
    assert task.questions(TaskContext(tokenizer, 16, 0, tokens), 10, 4) == []


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("additon", {}, "did you mean 'addition'"),
        ("addition", {"digit": 2}, "did you mean 'digits'"),
        ("addition", {"digits": 0}, "greater than or equal to 1"),
        ("recall", {"pairs": 40}, "less than or equal to 26"),
        ("copy", {"length": "long"}, "integer"),
    ],
)
def test_wrong_tasks_and_options_are_named(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_task(name, options)


def test_a_task_that_is_too_small_or_too_long_says_so() -> None:
    small = generated("addition", {"digits": 1})
    with pytest.raises(UserError, match="make it larger"):
        small.questions(context(small), 100, 0)
    long = generated("recall", {"pairs": 8})
    with pytest.raises(UserError, match=r"model\.context is 16"):
        long.questions(context(long, length=16), 10, 0)


@settings(max_examples=20)
@given(st.integers(1, 2000))
def test_asking_for_more_than_there_is_gives_what_there_is(n: int) -> None:
    task = generated("addition", {"digits": 2})
    examples = task.examples(stream(0, "all"), n, "test", distinct=True)
    assert len({e.prompt for e in examples}) == len(examples)
    assert len(examples) == n or 400 < len(examples) < 600  # a tenth of 5,050 unordered pairs


def test_every_task_in_the_catalogue_can_be_made() -> None:
    for name in TASKS:
        task = make_task(name, {})
        assert task.name == name
        assert task.headline not in task.smooth
        assert task.smooth
        assert 0 <= task.floor < 1
        assert TASKS.summary(name)


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("a b a b", 1, 0.5),
        ("a b a b", 2, 2 / 3),
        ("a b\na b", 2, 0.5),  # bigrams do not cross lines
        ("春眠不觉晓", 1, 1.0),
        ("春春, 春", 1, 0.5),
        ("Yes, yes", 2, 1.0),
        ("", 1, 0.0),
    ],
)
def test_distinct_n_counts_different_ngrams_of_words(text: str, n: int, share: float) -> None:
    assert distinct(text, n) == pytest.approx(share)


@pytest.mark.parametrize("name", ["text", "sampling", "reconstruction"])
@pytest.mark.parametrize("whole", [False, True])
def test_held_out_texts_are_windows_or_whole_documents(name: str, whole: bool) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), ["abcdefghij"])
    documents = ["abcde", "fg", "abcdefghij" * 3, "hijab"]
    tokens = np.array([i for ids in tokenizer.encode_batch(documents) for i in (*ids, tokenizer.end_id)])
    given_context = TaskContext(tokenizer, 12, 0, tokens, whole_documents=whole)
    task = make_task(name, {})
    questions = task.questions(given_context, 10, 0)
    texts = [[*q.prompt_ids, *q.target_ids] for q in questions]
    if whole:
        assert [tokenizer.decode(ids) for ids in texts] == ["abcde", "fg", "hijab"]  # one is longer than the context
    else:
        assert all(len(ids) == 12 for ids in texts)
    assert all(
        q.source_ids == (tuple(ids) if name == "reconstruction" else ())
        for q, ids in zip(questions, texts, strict=True)
    )
    assert task.questions(given_context, 10, 1) == []
    with pytest.raises(UserError, match="needs a corpus"):
        task.questions(TaskContext(tokenizer, 12, 0), 10, 0)


def test_what_is_wrong_with_a_task_is_said_by_its_own_name() -> None:
    with pytest.raises(UserError, match=r"^task short: unknown option 'lenght'; did you mean 'length'"):
        make_task("short", {"task": "copy", "lenght": 3})
    short, plain = make_task("short", {"task": "copy", "length": 3}), make_task("copy", {"length": 3})
    assert (short.name, plain.name) == ("short", "copy")
    assert isinstance(short, type(plain))
