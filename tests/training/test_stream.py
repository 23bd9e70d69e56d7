"""The training stream: proportions, order, and independence from how often it was interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.core.settings import TokenizerSettings
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask
from emergence.text import Tokenizer, build_tokenizer
from emergence.training.data import CorpusSource, Mixture, RowsSource
from emergence.training.rows import Rows, pack_rows


def addition() -> tuple[GeneratedTask, Tokenizer]:
    task = make_task("addition", {"digits": 2})
    assert isinstance(task, GeneratedTask)
    return task, build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)


def packed(path: Path, rows: int = 50, context: int = 32, seed: int = 0) -> Rows:
    task, tokenizer = addition()
    return pack_rows(
        task, tokenizer, path, split="train", rows=rows, context=context, rng=stream(seed, "rows"), identity={"s": seed}
    )


def test_rows_hold_whole_examples_and_supervise_answers_alone(tmp_path: Path) -> None:
    rows = packed(tmp_path / "rows.bin")
    _, tokenizer = addition()
    for tokens, supervised in zip(rows.tokens, rows.supervised, strict=True):
        examples = [
            part
            for part in "".join(
                "\n" if token == tokenizer.end_id else tokenizer.decode([token]) for token in tokens
            ).split("\n")
            if part
        ]
        assert len(examples) == 3  # of nine characters and an end each, in a row of 33
        for example in examples:
            question, answer = example.split("=")
            a, b = question.split("+")
            assert int(a) + int(b) == int(answer)
        learnt = tokenizer.decode([t for t, keep in zip(tokens[1:], supervised, strict=True) if keep])
        assert learnt == "".join(example.split("=")[1] for example in examples)
        assert supervised.sum() == 3 * (3 + 1)  # three digits and the end


def test_rows_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    first = np.array(packed(path).tokens)
    stamp = path.stat().st_mtime_ns
    assert np.array_equal(packed(path).tokens, first)
    assert path.stat().st_mtime_ns == stamp
    assert not np.array_equal(packed(path, seed=1).tokens, first)


def test_damaged_rows_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    first = np.array(packed(path).tokens)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert np.array_equal(packed(path).tokens, first)


def test_an_example_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="raise the context"):
        packed(tmp_path / "rows.bin", context=8)


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    text = np.arange(1000, dtype=np.uint16) % 10
    rows = packed(tmp_path / "rows.bin")
    sources = [CorpusSource(text, text[:200], 32), RowsSource("addition", rows, packed(tmp_path / "held.bin", rows=5))]
    return Mixture(sources, [0.3, 0.7], batch_rows=7, seed=11)


def test_each_source_gives_its_share(mixture: Mixture) -> None:
    from_text = [int((mixture.draw(step, 1).supervised[0].sum(axis=1) == 32).sum()) for step in range(200)]
    assert abs(sum(from_text) - 0.3 * 7 * 200) <= 1
    assert max(from_text) - min(from_text) <= 1


def test_a_step_does_not_depend_on_the_steps_before(mixture: Mixture, tmp_path: Path) -> None:
    late = mixture.draw(57, 1)
    for step in (3, 90, 0):
        mixture.draw(step, 1)
    again = mixture.draw(57, 1)
    assert np.array_equal(late.inputs, again.inputs)
    assert np.array_equal(late.inputs[..., 1:], late.targets[..., :-1])


def test_steps_drawn_together_are_those_drawn_alone(mixture: Mixture) -> None:
    together = mixture.draw(50, 9)
    for k in range(9):
        alone = mixture.draw(50 + k, 1)
        for name in ("inputs", "targets", "supervised", "most"):
            assert np.array_equal(getattr(together, name)[k], getattr(alone, name)[0])


def test_an_epoch_shows_every_row_once(tmp_path: Path) -> None:
    rows = packed(tmp_path / "rows.bin", rows=40)
    source = RowsSource("addition", rows, rows)
    for epoch in range(3):
        seen = np.concatenate(
            [source.rows(np.array([40 * epoch + k, 40 * epoch + k + 5]), seed=2)[0] for k in range(0, 40, 5)]
        )
        assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, rows.tokens.tolist()))
    first, second = source.rows(np.array([0, 40]), seed=2)[0], source.rows(np.array([40, 80]), seed=2)[0]
    assert not np.array_equal(first, second)


def test_validation_tiles_the_held_out_text() -> None:
    text = np.arange(321, dtype=np.uint16)
    source = CorpusSource(text, text, 32)
    tokens, _ = source.validation(10**6)
    assert tokens[:, 1:].ravel().tolist() == list(range(1, 321))  # every token is predicted exactly once
    fewer, _ = source.validation(96)
    assert len(fewer) == 3
