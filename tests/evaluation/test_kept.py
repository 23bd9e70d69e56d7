"""Answers kept on disk: exact, found again, and safe whatever happens to the process or the file."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.evaluation.kept import FILE, KeptAnswers, default_folder
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest

ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5).map(tuple)
sources = ids | st.just(())
scores = st.builds(ScoreRequest, ids, ids, sources)
texts = st.builds(GenerateRequest, ids, st.integers(1, 1000), sources)
doubles = st.floats(width=64, allow_nan=False, max_value=0)


class Asked:
    """Answers, and remembers what it was asked."""

    def __init__(self, answers: dict[Request, Answer] | None = None) -> None:
        self.requests: list[Request] = []
        self._answers = answers or {}

    def __call__(self, requests: list[Request]) -> list[Answer]:
        self.requests += requests
        return [self._answers.get(r, Likelihood((-float(r.prompt[0]),), (True,))) for r in requests]


def score(*numbers: int) -> ScoreRequest:
    return ScoreRequest(numbers[:-1], numbers[-1:])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_answers_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    asked = data.draw(st.lists(scores | texts, min_size=1, max_size=8))
    answers: dict[Request, Answer] = {}
    for request in asked:
        if isinstance(request, GenerateRequest):
            answers[request] = Continuation(data.draw(st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple)))
        else:
            logprobs = data.draw(st.lists(doubles | st.just(-math.inf), min_size=1, max_size=4).map(tuple))
            hits = data.draw(st.lists(st.booleans(), min_size=len(logprobs), max_size=len(logprobs)).map(tuple))
            answers[request] = Likelihood(logprobs, hits)
    folder = tmp_path_factory.mktemp("kept")
    first, second = Asked(answers), Asked()
    with KeptAnswers(folder) as kept:
        assert kept.answer("m", asked, first, end_id=0) == [answers[request] for request in asked]
        assert kept.answer("m", asked, second, end_id=0) == [answers[request] for request in asked]
    with KeptAnswers(folder) as again:
        assert again.answer("m", asked, second, end_id=0) == [answers[request] for request in asked]
    assert sorted(map(repr, first.requests)) == sorted(map(repr, set(asked)))  # duplicates are computed once
    assert not second.requests


def test_what_differs_in_anything_is_another_question(tmp_path: Path) -> None:
    asked = Asked()
    different: list[tuple[str, Request, int]] = [
        ("a", ScoreRequest((1, 2), (3,)), 0),
        ("b", ScoreRequest((1, 2), (3,)), 0),  # another model
        ("a", ScoreRequest((1,), (2, 3)), 0),  # the same tokens, divided elsewhere
        ("a", ScoreRequest((1, 2), (4,)), 0),
        ("a", GenerateRequest((1, 2), 3), 0),
        ("a", GenerateRequest((1, 2), 4), 0),
        ("a", GenerateRequest((1, 2), 3), 1),  # a text that ends elsewhere
        ("a", GenerateRequest((1, 2, 3), 3), 0),
    ]
    with KeptAnswers(tmp_path) as kept:
        for model, request, end in different:
            kept.answer(model, [request], asked, end_id=end)
    assert len(asked.requests) == len(different)


def test_the_oldest_answers_go_and_the_file_stays_small(tmp_path: Path) -> None:
    limit = 400_000
    with KeptAnswers(tmp_path, limit_bytes=limit) as kept:
        for batch in range(20):
            kept.answer("m", [score(batch, i, 0) for i in range(1000)], Asked(), end_id=0)
        newest, oldest = Asked(), Asked()
        kept.answer("m", [score(19, i, 0) for i in range(1000)], newest, end_id=0)
        assert not newest.requests
        kept.answer("m", [score(0, i, 0) for i in range(1000)], oldest, end_id=0)
        assert len(oldest.requests) == 1000
    assert (tmp_path / FILE).stat().st_size < 1.5 * limit


KILLED = """
import sys
from pathlib import Path
from emergence.evaluation.kept import KeptAnswers
from emergence.evaluation.requests import Likelihood, ScoreRequest
with KeptAnswers(Path(sys.argv[1])) as kept:
    for batch in range(10**6):
        asked = [ScoreRequest((batch, i), (0,)) for i in range(200)]
        kept.answer("m", asked, lambda missing: [Likelihood((-float(batch),), (True,))] * len(missing), end_id=0)
        print(batch, flush=True)
"""


def test_a_killed_process_leaves_whole_batches(tmp_path: Path) -> None:
    for patience in (3, 17, 40):  # batches after which the process is killed, while it writes the next
        writer = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < patience:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        said = [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.stdout.close()
        writer.wait()
        last = max(said, default=patience)
        with KeptAnswers(tmp_path) as kept:
            asked = Asked()
            for batch in range(last + 1):
                found = kept.answer("m", [score(batch, i, 0) for i in range(200)], asked, end_id=0)
                assert found == [Likelihood((-float(batch),), (True,))] * 200
            assert not asked.requests
        database = sqlite3.connect(tmp_path / FILE)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) % 200 FROM answers").fetchone() == (0,)
        database.close()
    assert not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("damage", ["header", "answer", "middle", "short", "text"])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    requests = [score(i, 7) for i in range(3000)]
    with KeptAnswers(tmp_path) as kept:
        expected = kept.answer("m", requests, Asked(), end_id=0)
    file = tmp_path / FILE
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:16] = b"x" * 16
    elif damage == "answer":  # one bit of one log-probability: -1000.0 in double precision
        at = content.index(struct.pack("<d", -1000.0) + b"\x01")
        content[at + 5] ^= 1
    elif damage == "middle":
        content[4096:-4096] = bytes(len(content) - 8192)
    elif damage == "short":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"something else\n" * 1000)
    file.write_bytes(content)
    again = Asked(dict(zip(requests, expected, strict=True)))
    with KeptAnswers(tmp_path) as kept:
        assert kept.answer("m", requests, again, end_id=0) == expected
        assert again.requests
        assert kept.answer("m", requests, again, end_id=0) == expected
    assert (tmp_path / f"{FILE}.damaged").exists()
    after = Asked()
    with KeptAnswers(tmp_path) as kept:
        kept.answer("m", requests[:10], after, end_id=0)
    assert not after.requests or damage == "answer"


def test_a_damaged_file_that_another_process_uses_is_left_where_it_is(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path) as other:
        other.answer("m", [score(1, 2)], Asked(), end_id=0)
        database = sqlite3.connect(tmp_path / FILE)
        database.execute("UPDATE answers SET value = x'00'")
        database.commit()
        database.close()
        asked = Asked()
        with KeptAnswers(tmp_path) as kept:
            kept.answer("m", [score(1, 2)], asked, end_id=0)
        assert len(asked.requests) == 1
        assert not list(tmp_path.glob("*.damaged"))


SHARED = """
import sys
from pathlib import Path
from emergence.evaluation.kept import KeptAnswers
from emergence.evaluation.requests import Likelihood, ScoreRequest
sys.stdin.readline()
with KeptAnswers(Path(sys.argv[1])) as kept:
    for batch in range(40):
        asked = [ScoreRequest((batch, i), (0,)) for i in range(100)]
        compute = lambda missing: [Likelihood((-float(r.prompt[0]) - r.prompt[1],), (True,)) for r in missing]
        found = kept.answer("m", asked, compute, end_id=0)
        assert found == compute(asked)
"""


def test_two_processes_share_a_file_from_its_beginning(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHARED, tmp_path / "new"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait(120) for process in both] == [0, 0]
    asked = Asked()
    with KeptAnswers(tmp_path / "new") as kept:
        kept.answer("m", [score(batch, i, 0) for batch in range(40) for i in range(100)], asked, end_id=0)
    assert not asked.requests
    assert not list((tmp_path / "new").glob("*.damaged"))


def test_where_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMERGENCE_CACHE", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    monkeypatch.delenv("EMERGENCE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "emergence" / "answers"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another cache"):
        KeptAnswers(tmp_path / "file" / "below")
