"""Labelled data: what is read, how it is split, what is said of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.tasks.catalogue import make_task
from emergence.tasks.labelled import Labelled, LabelledData, LabelledTask
from emergence.tasks.labelled_data import key_of, place_of
from emergence.tasks.labelled_files import class_of
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer
from emergence.text.tables import read_cells

WORDS = ("sun", "sea", "tree", "bird", "book", "road", "tea", "rain")


def made(name: str, **options: Any) -> LabelledTask:
    task = make_task(name, options)
    assert isinstance(task, LabelledTask)
    return task


def read(**options: Any) -> LabelledData:
    return made("classification", **options).data()


def sentences(n: int, label: str) -> list[str]:
    return [f"{label} {WORDS[i % 8]} {WORDS[i // 8 % 8]} {i}" for i in range(n)]


@pytest.fixture
def by_class(tmp_path: Path) -> dict[str, list[str]]:
    """Two files with a text on every line."""
    for label in ("good", "bad"):
        (tmp_path / f"rt.{label}").write_text("\n".join(sentences(300, label)) + "\n\n", encoding="utf-8")
    return {"positive": [str(tmp_path / "rt.good")], "negative": [str(tmp_path / "*.bad")]}


def texts(data: LabelledData) -> dict[str, set[str]]:
    sets = {"train": data.train, "validation": data.validation, **data.tests}
    return {name: {example.text for example in examples} for name, examples in sets.items()}


def test_files_by_class_and_folds_that_cover_everything(by_class: dict[str, list[str]]) -> None:
    folds = [read(files=by_class, split={"fold": k}) for k in range(5)]
    seen: list[str] = []
    for data in folds:
        assert data.kind == "classification"
        assert data.labels == ("negative", "positive")
        assert data.leaks == {"validation": 0, "test": 0}
        found = texts(data)
        assert sum(map(len, found.values())) == 600
        assert len(set.union(*found.values())) == 600
        assert len(found["test"]) == pytest.approx(120, abs=35)
        assert len(found["validation"]) == pytest.approx(60, abs=30)
        assert all(e.label == ("positive" if e.text.startswith("good") else "negative") for e in data.train)
        seen += found["test"]
    assert sorted(seen) == sorted(sentences(300, "good") + sentences(300, "bad"))
    assert len({data.fingerprint for data in folds}) == 5
    assert folds[0].fingerprint == read(files=by_class).fingerprint


def test_an_example_stays_where_it_is_when_others_are_added(by_class: dict[str, list[str]]) -> None:
    before = texts(read(files=by_class))
    path = Path(by_class["positive"][0])
    path.write_text("new at the top\n" + path.read_text(encoding="utf-8") + "new at the end\n", encoding="utf-8")
    after = texts(read(files=by_class))
    assert all(before[name] <= after[name] for name in before)


def test_a_smaller_limit_is_part_of_a_larger_one(by_class: dict[str, list[str]]) -> None:
    whole = read(files=by_class)
    few, more = (read(files=by_class, limit=n) for n in (10, 50))
    assert len(few.train) == 10
    assert set(few.train) < set(more.train) < set(whole.train)
    assert few.tests == more.tests == whole.tests
    assert few.validation == whole.validation
    assert any("10 of" in note for note in few.notes)


def pairs_file(path: Path, n: int = 240) -> Path:
    """Premises with three hypotheses each; classes by hypothesis."""
    lines = ["id\tsentence1\tsentence2\tgold_label"]
    for i in range(n):
        label = ("entailment", "neutral", "contradiction")[i % 3]
        lines.append(f"{i}\tA premise number {i // 3}.\t{label} {WORDS[i % 8]} {i}\t{label}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_examples_of_one_group_are_on_one_side(tmp_path: Path) -> None:
    path = str(pairs_file(tmp_path / "pairs.tsv"))
    own = tmp_path / "own.csv"
    own.write_text("text,second,label\nno,column of the group,neutral\n", encoding="utf-8")
    for group in ("text", "sentence1"):
        data = read(files=path, group=group, tests={"other": str(own)})
        found = texts(data)
        assert not found["train"] & found["test"]
        assert not found["train"] & found["validation"]
        assert not found["validation"] & found["test"]
        assert not any("first text" in note for note in data.notes)
    parted = read(files=path)  # whole pairs are never parted, premises are
    assert parted.leaks == {"validation": 0, "test": 0}
    assert any("share their first text with training" in note for note in parted.notes)
    assert parted.train[0].second


def test_one_text_of_a_pair_alone(tmp_path: Path) -> None:
    path = str(pairs_file(tmp_path / "pairs.tsv"))
    both, second, first = (read(files=path, read=which) for which in ("both", "second", "first"))
    assert [e.second for e in both.train] == [e.text for e in second.train]
    assert [e.text for e in both.train] == [e.text for e in first.train]
    assert all(not e.second for e in (*second.train, *first.tests["test"]))
    assert first.leaks["test"] > 0  # other hypotheses of the same premises
    assert second.leaks["test"] == 0
    with pytest.raises(UserError, match="read: second is for pairs"):
        read(files={"a": [path], "b": [str(pairs_file(tmp_path / "other.tsv"))]}, read="second")


def test_leaks_are_counted_whatever_case_and_white_space(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\nIt is  fine,yes\nNot at all,no\nOnce more,yes\nOnce more,no\n", encoding="utf-8")
    test.write_text("text,label\nit is fine,yes\nNOT AT ALL,no\nquite new,no\n", encoding="utf-8")
    data = read(files=str(train), tests={"test": str(test), "again": str(test)}, split={"validation": 0})
    assert data.leaks == {"validation": 0, "test": 2, "again": 2}
    assert list(data.tests) == ["test", "again"]
    assert any(note.startswith("test: 2 of 3 examples stand in the training set too") for note in data.notes)
    assert any(note.startswith("train: texts with several different labels there: 1") for note in data.notes)


def test_cells_with_several_ids(tmp_path: Path) -> None:
    """XED's: ids by commas, of which some belong to no class."""
    path = tmp_path / "xed.tsv"
    rows = [("one", "2"), ("both", "2, 5"), ("mixed", "2, 1"), ("known only", "7, 5"), ("unmapped", "7"), ("low", "3")]
    path.write_text("".join(f"{text}\t{ids}\r\n" for text, ids in [*rows, ("", "2"), ("bare", " ")]), encoding="utf-8")
    labels = {"positive": [2, 5, 8], "negative": ["1", "3"]}
    options = {"files": str(path), "columns": {"text": 1, "label": 2}, "labels": labels}
    data = read(**options, tests={"test": str(path)}, split={"validation": 0})
    kept = {"one": "positive", "both": "positive", "known only": "positive", "low": "negative"}
    assert {e.text: e.label for e in data.train} == kept
    assert data.notes[0] == (
        "train: 4 rows were left out: 1 with labels of several classes, 1 with a label of no class, 1 without a text, "
        "1 without a label"
    )
    emotions = {name: [str(k)] for k, name in enumerate(("anger", "hope", "disgust", "fear", "joy"), start=1)}
    exact = read(**{**options, "labels": emotions}, tests={"test": str(path)}, split={"validation": 0})
    assert {e.text: e.label for e in exact.train} == {"one": "hope", "known only": "joy", "low": "disgust"}


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("12345"), min_size=1), min_size=1), st.data())
def test_a_cell_counts_where_all_known_ids_are_of_one_class(labels: dict[str, list[str]], data: st.DataObject) -> None:
    owner = {raw: name for name, raws in labels.items() for raw in raws}
    unique = {name: tuple(raw for raw in raws if owner[raw] == name) for name, raws in labels.items()}
    ids = data.draw(st.lists(st.sampled_from("123456789"), min_size=1, max_size=4))
    classes = {owner[one] for one in ids if one in owner}
    found, reason = class_of(", ".join(ids), unique)
    assert found == (next(iter(classes)) if len(classes) == 1 else None)
    assert bool(reason) == (found is None)


def test_a_set_may_be_read_otherwise(tmp_path: Path) -> None:
    train, other, third = tmp_path / "train.csv", tmp_path / "other.txt", tmp_path / "third.jsonl"
    train.write_text("text,label\n" + "".join(f"{s},{s[:3]}\n" for s in sentences(40, "bad") + sentences(40, "fin")))
    other.write_bytes("caf\xe9 @ home@-1\nagain@1\n".encode("latin-1"))
    third.write_text('{"label": ["fin"], "text": "a"}\n\n{"text": "b\u2028c", "label": "bad"}\n', encoding="utf-8")
    mapped = {"fin": ["1"], "bad": ["-1"]}
    tests = {
        "cafe": {"files": str(other), "separator": "@", "encoding": "latin-1", "labels": mapped},
        "lines": str(third),
    }
    data = read(files=[str(train)], tests=tests)
    assert list(data.tests) == ["test", "cafe", "lines"]
    assert [(e.text, e.label) for e in data.tests["cafe"]] == [("café @ home", "bad"), ("again", "fin")]
    assert [(e.text, e.label) for e in data.tests["lines"]] == [("a", "fin"), ("b c", "bad")]


def test_quotes_between_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('"a ""b"" c"\tx\n"open\ty\n"so" he "said"\t"z"\nplain\t\n', encoding="utf-8")
    rows = [cells.values for cells in read_cells(path)]
    assert rows == [('a "b" c', "x"), ('"open', "y"), ('"so" he "said"', "z"), ("plain", "")]


def test_commas_keep_lines_within_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('"two\r\nlines",x\r\n\r\n"a ""b""",y\u2028z\r\n'.encode())
    assert [cells.values for cells in read_cells(path)] == [("two\nlines", "x"), ('a "b"', "y\u2028z")]


@settings(max_examples=30)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=20), st.floats(0.05, 0.9))
def test_where_a_text_goes_follows_from_itself(found: list[str], share: float) -> None:
    examples = [Labelled(text) for text in found]
    places = [place_of(key_of(e), "test") for e in examples]
    assert all(0 <= place < 1 for place in places)
    assert [place < share for place in places] == [place_of(key_of(e), "test") < share for e in reversed(examples)][
        ::-1
    ]
    assert place_of("a", "test") != place_of("a", "validation")


def test_regression_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("sentence1,sentence2,score\n" + "".join(f"a {i},b {i},{i / 4}\n" for i in range(60)))
    task = made("regression", files=str(path))
    data = task.data()
    assert data.kind == "regression"
    assert data.labels == ()
    assert all(e.value == int(e.text[2:]) / 4 and e.second == f"b {e.text[2:]}" for e in data.train)
    assert task.answer(Labelled("x", value=2.0)) == "2"
    path = tmp_path / "long.jsonl"
    rows = [{"document": f"long {i}\n text ", "summary": [f"short {i}", f"brief {i}"]} for i in range(60)]
    path.write_text("\n".join(map(json.dumps, [*rows, {"document": "none", "summary": []}])))
    for name in ("summarisation", "completion"):
        data = made(name, files=str(path)).data()
        assert data.kind == "generation"
        assert data.train[0].answers[1].startswith("brief ")
        assert data.train[0].text.endswith("\n text")  # lines are kept where text is to be written
        assert any("1 without an answer" in note for note in data.notes)


def squad(path: Path, paragraphs: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), encoding="utf-8")
    return str(path)


def passage(i: int) -> dict[str, Any]:
    context = f"In the year {i} a  city fell; in {i} it rose."
    qas = [
        {"question": f"which  year {i}?", "id": f"{i}a", "answers": [{"text": str(i), "answer_start": 12}]},
        {"question": "what?", "id": f"{i}b", "answers": [{"text": "a  city", "answer_start": context.find("a  city")}]},
    ]
    return {"context": context, "qas": qas}


def test_questions_on_one_passage_stay_together(tmp_path: Path) -> None:
    data = made("question_answering", files=squad(tmp_path / "s.json", [passage(i) for i in range(1000, 1100)])).data()
    assert data.kind == "span"
    found = texts(data)
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    sets = (data.train, data.validation, data.tests["test"])
    assert sum(map(len, sets)) == 200
    for example in (e for examples in sets for e in examples):
        assert example.start is not None
        assert example.text[example.start :].startswith(example.answers[0])
    assert "a  city" in {e.answers[0] for e in data.train}  # white space is left as it is, for the offsets


def test_answers_that_are_elsewhere_or_nowhere(tmp_path: Path) -> None:
    odd = {"context": "one two one", "qas": []}
    odd["qas"] = [
        {"question": "a", "answers": [{"text": "one", "answer_start": 7}, {"text": "two", "answer_start": 4}]},
        {"question": "b", "answers": [{"text": "three", "answer_start": 0}]},
        {"question": "c", "is_impossible": True, "answers": []},
    ]
    files = squad(tmp_path / "s.json", [odd])
    data = made("question_answering", files=files, tests={"test": files}, split={"validation": 0}).data()
    (example,) = data.train
    assert example.start == 8
    assert example.answers == ("one", "two")
    said = " ".join(data.notes)
    assert "1 with an answer that is not in the passage" in said
    assert "1 without an answer" in said
    assert "answers that did not stand where the file says: 1" in said


def context_of(task: LabelledTask, size: int = 256) -> TaskContext:
    return TaskContext(build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet), size, seed=3)


def test_a_language_model_is_asked_with_all_classes_to_choose_from(by_class: dict[str, list[str]]) -> None:
    task = made("classification", files=by_class)
    context = context_of(task)
    data, end = task.data(), context.tokenizer.separator_id
    for shots in (0, 2):
        questions = task.questions(context, 40, shots)
        assert len({q.prompt for q in questions}) == 40
        for q in questions:
            asked = q.prompt.split("\n")[-2]
            assert asked in {e.text for e in data.tests["test"]}
            assert q.target == (" positive" if asked.startswith("good") else " negative")
            assert [context.tokenizer.decode(c[:-1]) for c in q.choices] == [" negative", " positive"]
            assert all(c[-1] == end for c in q.choices)
            assert q.target_ids in q.choices
            assert q.prompt.count("label:") == shots + 1
            assert task.score(q, q.target, [-1.0], [True])["accuracy"] == 1.0
            assert task.score(q, q.target.strip(), [-1.0], [True])["accuracy"] == 1.0
            assert task.score(q, "posit", [-1.0], [True])["accuracy"] == 0.0
    test = [e.label for e in data.tests["test"]]
    assert task.floor == max(test.count("positive"), test.count("negative")) / len(test)
    with pytest.raises(UserError, match="leave longer examples out with the task's option longest"):
        task.questions(context_of(task, 24), 40, 0)


def test_lessons_come_from_training_alone(by_class: dict[str, list[str]]) -> None:
    task = made("classification", files=by_class, template="{text} → ")
    found = texts(task.data())
    for split in ("train", "validation", "test"):
        lessons = task.lessons(stream(0, split), 10_000, split)
        assert {lesson.prompt.removesuffix(" →") for lesson in lessons} == found[split]
        assert len(lessons) == 10_000
    assert len(task.examples(stream(0, "x"), 2000, "test", distinct=True)) == len(found["test"])
    assert task.fingerprint == task.data().fingerprint


def test_all_accepted_answers_count(tmp_path: Path) -> None:
    files = squad(tmp_path / "s.json", [passage(i) for i in range(1000, 1060)])
    task = made("question_answering", files=files)
    questions = task.questions(context_of(task), 12, 1)
    lengths = {q.answer_length for q in questions}
    assert lengths == {len(" a  city") + 1}  # how long an answer is is not given away
    by_question = {e.second: e.answers for e in task.data().tests["test"]}
    for q in questions:
        asked = q.prompt.split("\n")[-2]
        assert q.accepted == by_question[asked]
        scores = task.score(q, f" The {q.accepted[0]}!", [-1.0], [False])
        assert scores["exact_match"] == scores["f1"] == 1.0
        assert task.score(q, None, [-1.0], [False])["f1"] == 0.0


def test_macro_f1_of_all_answers_has_a_jackknife_error(by_class: dict[str, list[str]]) -> None:
    from sklearn.metrics import f1_score

    task = made("classification", files=by_class)
    rng = np.random.default_rng(0)
    targets = [" positive" if x else " negative" for x in rng.random(50) < 0.4]
    outputs = [t if x else " positive" for t, x in zip(targets, rng.random(50) < 0.7, strict=True)]
    score, error = task.pool([""] * 50, targets, outputs)["macro_f1"]  # type: ignore[attr-defined]
    assert score == pytest.approx(f1_score(targets, outputs, average="macro"))
    left = [
        f1_score(targets[:i] + targets[i + 1 :], outputs[:i] + outputs[i + 1 :], average="macro") for i in range(50)
    ]
    assert error == pytest.approx(np.sqrt(49 / 50 * ((left - np.mean(left)) ** 2).sum()))


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("a.csv", b"text,label\na,x\nb,x\n", {}, "all examples are of one class, 'x'"),
        ("a.csv", b"text,label\na,\nb,\n", {}, r"no labelled example in .*2 without a label"),
        ("a.csv", b"", {}, "no labelled example"),
        ("a.csv", b"txet,lable\na,x\n", {}, r"cannot tell which column is the text; did you mean 'txet'\?"),
        ("a.csv", b"text,label\na,x\n", {"columns": {"label": "labl"}}, r"no column 'labl'; did you mean 'label'\?"),
        ("a.csv", b"text,label\na,x\nb\n", {}, "line 3: there are 1 cells but column 2 is wanted"),
        ("a.tsv", b"a\tx\n", {"columns": {"text": 1}}, "which column is the label"),
        ("a.tsv", b"a\tx\n", {"columns": {"text": 1, "label": "b"}}, "name all columns or number all of them"),
        ("a.csv", "text,label\ncaf\xe9,x\n".encode("latin-1"), {}, "byte 14 is not utf-8.*encoding: latin-1"),
        ("a.csv", b"text,label\na,x\n", {"encoding": "utf-99"}, "there is no encoding 'utf-99'"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n[1]\n', {}, "line 2: this is no JSON object"),
        ("a.jsonl", b'{"text": "a"\n', {}, "line 1: this is not JSON"),
        ("a.cvs", b"text,label\n", {}, r"cannot tell the format from '.cvs'; did you mean 'csv'\?"),
        ("a.txt", b"good one@positive\nno sign\n", {"separator": "@"}, "line 2: there is no '@' in 'no sign'"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"split": {"test": 0.6, "validation": 0.4}}, "leave nothing to train on"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"split": {"fold": 5}}, "with test: 0.2 there is no fold 5"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"split": {"test": 0}}, "the split leaves no example for test"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"labels": {"x": ["9"]}}, "2 with a label of no class"),
        ("a.csv", b"text,label\n", {"labels": {"x": ["1", "2"], "y": [2]}}, "'2' cannot mean both x and y"),
        ("a.csv", b"text,label\n", {"tests": {"train": "a.csv"}}, "a test set cannot be called train"),
        ("a.csv", b"text,label\n", {"tests": {"test": "b"}, "split": {"fold": 1}}, "leave out split.test and"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"template": "label: "}, "the template has no {text}"),
        ("a.csv", b"text,label\na,x\nb,y\n", {"lables": {}}, r"unknown option 'lables'; did you mean 'labels'\?"),
    ],
)
def test_bad_input_is_refused_with_its_mend(
    tmp_path: Path, name: str, content: bytes, options: dict[str, Any], says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        made("classification", files=str(tmp_path / name), **options)


def test_a_label_that_training_does_not_know_is_refused(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\na,good\nb,bad\n")
    test.write_text("text,label\nc,god\nd,bad\n")
    options: dict[str, Any] = {"files": str(train), "split": {"validation": 0}}
    with pytest.raises(UserError, match=r"1 examples of test have a label .* 'god'; did you mean 'good'\?; map"):
        read(**options, tests={"test": str(test)})
    mapped = read(**options, tests={"test": str(test)}, labels={"good": ["good", "god"], "bad": ["bad"]})
    assert [e.label for e in mapped.tests["test"]] == ["good", "bad"]


def test_other_kinds_refuse_what_is_not_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,value\na,1\nb,much\n")
    with pytest.raises(UserError, match="line 3: 'much' is no number"):
        made("regression", files=str(path))
    with pytest.raises(UserError, match="files by class are for classification"):
        made("regression", files={"a": str(path)})
    (tmp_path / "s.json").write_text('{"data": [{"paragraphs": [{"qas": []}]}]}')
    with pytest.raises(UserError, match="not in the format of SQuAD"):
        made("question_answering", files=str(tmp_path / "s.json"))
    with pytest.raises(UserError, match="columns is for tables"):
        made("question_answering", files=str(tmp_path / "s.json"), columns={"text": 1})
    for name in ("classification", "regression", "question_answering", "completion", "summarisation"):
        with pytest.raises(UserError, match=rf"--set tasks\.{name}\.files="):
            made(name).data()
    with pytest.raises(UserError, match="no file"):
        made("classification", files=str(tmp_path / "nowhere.csv"))
