"""Translation: files of pairs, a split that leaks nothing, and scores that are sacrebleu's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.scores import score_records
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Pooled, Question, TaskContext
from emergence.tasks.translation import Translation, _groups, _letters
from emergence.text import build_tokenizer
from emergence.text.pairs import read_pairs

WORDS = ["dog", "cat", "sun", "sea", "tree", "bird", "book", "road"]
HAN = "狗猫日海树鸟书路"


def invented(n: int = 400) -> list[tuple[str, str]]:
    """Sentences of three words with one translation or two, now and then the same but for a full stop."""
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(n):
        words = rng.integers(0, 8, 4)
        english, chinese = " ".join(WORDS[w] for w in words), "".join(HAN[w] for w in words)
        pairs.append((english, chinese))
        if i % 3 == 0:
            pairs.append((english + ".", chinese[::-1] + "呢"))
    return pairs


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{english}\t{chinese}\n" for english, chinese in invented()), encoding="utf-8")
    return path


def translation(file: Path, **options: Any) -> Translation:
    task = make_task("translation", {"file": str(file), **options})
    assert isinstance(task, Translation)
    return task


def splits(task: Translation) -> dict[str, set[tuple[str, str]]]:
    return {
        split: {(e.prompt, e.target) for e in task.examples(stream(k, split), 8000, split)}
        for k, split in enumerate(("train", "validation", "test"))
    }


def check_apart(found: dict[str, set[tuple[str, str]]]) -> None:
    """No sentence of either language is in two splits, whatever its case and punctuation."""
    for side in (0, 1):
        seen = {split: {_letters(pair[side].removesuffix("→")) for pair in pairs} for split, pairs in found.items()}
        assert not seen["train"] & seen["test"]
        assert not seen["train"] & seen["validation"]
        assert not seen["validation"] & seen["test"]


def test_no_sentence_is_in_two_splits(file: Path) -> None:
    found = splits(translation(file))
    check_apart(found)
    assert set.union(*found.values()) == {(english + "→", chinese) for english, chinese in invented()}


def test_no_real_sentence_is_in_two_splits(shared_data: Path) -> None:
    path = shared_data / "open" / "translation" / "tatoeba_en_zh" / "cmn.txt"
    task = translation(path, longest=30)
    found = splits(task)
    check_apart(found)
    assert all(len(english) - 1 + len(chinese) <= 30 for english, chinese in found["train"])
    assert ("Hi.→", "嗨。") in set.union(*found.values())
    shares = [len(found[split]) / sum(map(len, found.values())) for split in ("test", "validation")]
    assert shares == pytest.approx([0.1, 0.05], abs=0.04)  # of training not every pair was drawn


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("12345678")), min_size=1, max_size=14))
def test_groups_are_what_pairs_with_a_side_in_common_make(pairs: list[tuple[str, str]]) -> None:
    groups = _groups(pairs)
    reached = [{i} for i in range(len(pairs))]
    for _ in pairs:  # the definition, by spreading from pair to pair
        for i, first in enumerate(pairs):
            for j, second in enumerate(pairs):
                if first[0] == second[0] or first[1] == second[1]:
                    reached[i] |= reached[j]
    for i in range(len(pairs)):
        assert {j for j in range(len(pairs)) if groups[j] == groups[i]} == reached[i]


def test_a_pair_stays_where_it_is_when_others_are_added(file: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.tsv"
    more.write_text("new words\t新字\n" + file.read_text(encoding="utf-8") + "others still\t别的\n", encoding="utf-8")
    before, after = splits(translation(file)), splits(translation(more))
    assert all(pairs <= after[split] for split, pairs in before.items())
    assert translation(file).fingerprint != translation(more).fingerprint


def test_questions_end_and_come_once_a_group(file: Path) -> None:
    task = translation(file)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    questions = task.questions(TaskContext(tokenizer, 64, seed=1), 500, 0)
    assert len({q.prompt for q in questions}) == len(questions) > 20
    for q in questions:
        assert q.target_ids[-1] == tokenizer.end_id
        assert tokenizer.unknown_id not in (*q.prompt_ids, *q.target_ids)
        assert tokenizer.decode(q.prompt_ids) == q.prompt
    longest = max(len(q.target_ids) for q in questions)
    assert {q.answer_length for q in questions} == {longest} != {len(q.target_ids) for q in questions}
    tight = task.questions(TaskContext(tokenizer, 28, seed=1), 500, 0)
    assert all(len(q.target_ids) <= q.answer_length <= 28 - len(q.prompt_ids) for q in tight)


def test_how_long_an_answer_may_be_does_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    """A masked model fills as many places as it is told of."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{e}\t{c}\n" for e, c in [*invented(), ("all of them", HAN * 3)]), encoding="utf-8")
    task = translation(path)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    for n in (8, 500):
        asked = task.questions(TaskContext(tokenizer, 64, seed=1), n, 0)
        assert {q.answer_length for q in asked} == {len(HAN * 3) + 1}


def test_scores_are_those_of_sacrebleu(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    lines = [
        ("Hi.", "嗨。"),
        ("Hi.", "你好。"),
        ("I won!", "我赢了。"),
        ("He ran home.", "他跑回家了。"),
        ("Wait", "等等"),
    ]
    path.write_text("".join(f"{english}\t{chinese}\n" for english, chinese in lines), encoding="utf-8")
    task = translation(path)
    assert isinstance(task, Pooled)
    answers = {"Hi.": "你好。", "I won!": "我贏了。", "He ran home.": "他回家了。", "Wait": None}
    references = {"Hi.": ["嗨。", "你好。"], "I won!": ["我赢了。"], "He ran home.": ["他跑回家了。"], "Wait": ["等等"]}
    rows = []
    for english, output in answers.items():
        question = Question(english + "→", references[english][0], (0,), (1,), 1)
        scores = task.score(question, output, [math.log(0.5)], [True])
        single = sacrebleu.sentence_bleu(output or "", references[english], tokenize="zh").score
        assert scores["sentence_bleu"] == pytest.approx(single)
        assert scores["sentence_chrf"] == pytest.approx(
            sacrebleu.sentence_chrf(output or "", references[english]).score
        )
        assert scores["exact_match"] == (english == "Hi.")
        rows.append(
            {
                "model": "R00",
                "seed": 0,
                "step": 5,
                "task": "translation",
                "shots": 0,
                "prompt": "a→b\n" + question.prompt,
            }
            | {"target": question.target, "output": output, "logprobs": [math.log(0.5)]}
            | {f"score_{name}": value for name, value in scores.items()}
        )
    streams = [[own[r] if r < len(own) else None for own in references.values()] for r in range(2)]
    texts = [output or "" for output in answers.values()]
    records = pl.DataFrame(rows)
    table = score_records(
        pl.concat([records, records.with_columns(seed=pl.lit(1, dtype=pl.Int64))]), {"translation": task}
    )
    for name, expected in (
        ("bleu", sacrebleu.corpus_bleu(texts, streams, tokenize="zh").score),
        ("chrf", sacrebleu.corpus_chrf(texts, streams).score),
    ):
        own = table.filter(metric=name)
        assert own["score"].to_list() == pytest.approx([expected] * 2)
        assert own["role"].to_list() == ["headline"] * 2
        assert own["n"].to_list() == [4, 4]
        left = []
        for i in range(4):
            rest = [[s for j, s in enumerate(part) if j != i] for part in (texts, *streams)]
            kept = [part for part in rest[1:] if any(part)]
            without = (
                sacrebleu.corpus_bleu(rest[0], kept, tokenize="zh")
                if name == "bleu"
                else sacrebleu.corpus_chrf(rest[0], kept)
            )
            left.append(without.score)
        spread = math.sqrt(3 / 4 * float(((np.array(left) - np.mean(left)) ** 2).sum()))
        assert own["stderr"].to_list() == pytest.approx([spread] * 2)
    mean = np.mean([row["score_sentence_chrf"] for row in rows])
    assert table.filter(metric="sentence_chrf")["score"][0] == pytest.approx(mean)
    assert table.filter(metric="sentence_chrf")["role"][0] is None


def test_one_answer_alone_has_no_standard_error(file: Path) -> None:
    pooled = translation(file).pool(["dog→"], ["狗"], ["狗"])
    assert pooled["chrf"][1] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", 'Hi "you".\t嗨\tCC-BY\nI won!\t我赢了\n'),
        ("a.txt", '\ufeffenglish\tchinese\nHi "you".\t嗨\n\nI  won!\t我赢了\n'),
        ("a.csv", 'id,zh,en\n1,嗨,"Hi ""you""."\n2,我赢了,I won!\n'),
        ("a.csv", '"Hi ""you"".",嗨\nI won!,我赢了\nI won!,我赢了\n'),
        ("a.jsonl", '{"English": "Hi \\"you\\".", "Chinese": "嗨"}\n\n{"target": "我赢了", "source": "I won!"}\n'),
    ],
)
def test_files_of_pairs_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_pairs(tmp_path / name) == [('Hi "you".', "嗨"), ("I won!", "我赢了")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", "Hi. 嗨。\n".encode(), r"line 1: there is no translation beside 'Hi. 嗨。'; put a tab"),
        ("a.tsv", "Hi.\t嗨。\nRun.\t \n".encode(), "line 2: one side of the pair is empty"),
        ("a.csv", 'Hi.,"嗨。\n'.encode(), "line 1: unexpected end"),
        ("a.jsonl", b'{"english": "Hi."}\n', "line 1: a pair is an object with text under 'english' and 'chinese'"),
        ("a.jsonl", b"[1\n", "line 1: this is not JSON"),
        ("a.tsv", b"", "holds no pairs"),
        ("a.tsv", "Hi.\t嗨。\n".encode("gb18030"), "is not UTF-8 at byte 4"),
        ("a.jsno", b"", "cannot read pairs from '.jsno'"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        translation(tmp_path / name)


def test_what_is_missing_is_named(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        translation(tmp_path / "nowhere.tsv")
    with pytest.raises(UserError, match=r"no pair of .* has 3 characters or fewer"):
        translation(file, longest=3)
    tokenizer = build_tokenizer(TokenizerSettings(kind="byte"), [])
    with pytest.raises(UserError, match=r"--set tasks\.translation\.file="):
        make_task("translation", {}).questions(TaskContext(tokenizer, 64, seed=0), 8, 0)
