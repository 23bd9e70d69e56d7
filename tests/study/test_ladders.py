"""Ladders whose sizes are given one by one, and checkpoints after every pass through the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings, validate_study
from emergence.study.load import built_in_studies
from emergence.study.plan import make_plan

CONTEXT = 16


def settings(folder: Path, ladder: dict[str, Any], **training: Any) -> StudySettings:
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 50)
    document = {
        "name": "epochs",
        "model": {"family": "gpt", "ladder": ladder, "context": CONTEXT},
        "corpus": {"files": [str(folder / "text.txt")]},
        "training": {"tokens": 1e4, "batch_tokens": 8 * CONTEXT, **training},
        "tasks": [{"name": "text"}],
    }
    return validate_study(document, source="here")


def test_sizes_may_be_given_one_by_one(tmp_path: Path) -> None:
    plan = make_plan(settings(tmp_path, {"counts": [3e3, 5e3, 2e4]}))
    sizes = [rung.config.non_embedding_parameters for rung in plan.rungs]
    assert sizes == pytest.approx([3e3, 5e3, 2e4], rel=0.05)


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ({"counts": [3e3], "rungs": 2}, "take the place"),
        ({"counts": [5e3, 3e3]}, "put them in order"),
        ({"counts": [3e3, 3e3]}, "put them in order"),
        ({"counts": []}, "at least 1"),
        ({"smallest": 3e3}, "add what is missing"),
        ({}, "add what is missing"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(tmp_path: Path, ladder: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings(tmp_path, ladder)


def test_a_checkpoint_ends_every_pass_through_the_corpus(tmp_path: Path) -> None:
    plan = make_plan(settings(tmp_path, {"counts": [3e3]}, checkpoints="epochs"))
    read = sum(len(document) + 1 for document in plan.texts.training)
    step = plan.batch_rows * CONTEXT
    *epochs, last = plan.checkpoint_steps
    assert last == plan.steps
    assert epochs == [round(n * read / step) for n in range(1, int(plan.steps * step / read) + 1)]
    assert len(epochs) > 1


def test_less_than_one_pass_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0\.5 of them"):
        make_plan(settings(tmp_path, {"counts": [3e3]}, checkpoints="epochs", tokens=1e3))


def test_passes_need_a_corpus() -> None:
    document = {
        "name": "none",
        "model": {"ladder": {"counts": [3e3]}},
        "training": {"tokens": 1e4, "checkpoints": "epochs"},
        "tasks": [{"name": "copy"}],
    }
    with pytest.raises(UserError, match="add a corpus"):
        validate_study(document, source="here")


def test_three_sizes_of_lstm_have_the_widths_they_are_named_for(tmp_path: Path) -> None:
    from emergence.core.yaml import parse_yaml

    document = parse_yaml(built_in_studies()["three-sizes"], source="three-sizes")[0]
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 25_000)
    document["corpus"]["files"] = [str(tmp_path / "text.txt")]
    plan = make_plan(validate_study(document, source="three-sizes"))
    assert [rung.config.width for rung in plan.rungs] == [32, 128, 512]
    assert len(plan.checkpoint_steps) >= 3
