"""Study files: what is right is read, what is wrong is named with its line and a mend."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.settings import TEXT_TASKS, LadderSettings, StudySettings, validate_study
from emergence.core.yaml import override, parse_yaml, to_yaml
from emergence.tasks.catalogue import TASKS, make_task

STUDY = """\
name: trial
model: {family: gpt, ladder: {smallest: 3e3, largest: 3e5, rungs: 6}, context: 64}
corpus:
  files: [texts/*.txt]
  tokenizer: {kind: bpe, vocabulary: 1024}
training:
  tokens: 2e6
  batch_tokens: 8192
tasks:
  - {name: addition, digits: 2}
  - name: recall
    pairs: 8
mixture: {corpus: 0.5, addition: 0.25, recall: 0.25}
evaluation: {examples: 512, shots: [0, 4]}
analysis: {axes: [params, loss], hold_out: largest}
"""


def read(text: str, *changes: str) -> StudySettings:
    document, lines = parse_yaml(text, source="trial.yaml")
    return validate_study(override(document, changes), source="trial.yaml", lines=lines)


def test_the_study_file_of_the_design_is_read() -> None:
    study = read(STUDY)
    assert study.training.tokens == 2_000_000
    assert study.model.ladder.smallest == 3000
    assert study.tasks[1].options == {"pairs": 8}
    assert study.evaluation.shots == (0, 4)
    assert study.analysis.held_out_rungs == 1
    assert read(STUDY, "analysis.hold_out=0").analysis.held_out_rungs == 0
    assert read(STUDY, "analysis.forecast_above={flops: 1e9}").analysis.forecast_above == {"flops": 1e9}


def test_a_resolved_study_reads_back_the_same() -> None:
    study = read(STUDY)
    again = validate_study(parse_yaml(to_yaml(study.model_dump(mode="json")), source="x")[0], source="x")
    assert again == study


@pytest.mark.parametrize(
    ("text", "wrong", "line", "says"),
    [
        ("  batch_tokens: 8192", "  batch_token: 8192", 8, "did you mean 'batch_tokens'"),
        ("  tokens: 2e6", "  tokens: many", 7, "training.tokens"),
        ("  tokens: 2e6", "  tokens: -5", 7, "greater than or equal to 1"),
        ("smallest: 3e3", "smallest: 0", 2, "greater than 0"),
        ("smallest: 3e3", "smallest: 3e9", 2, "below smallest"),
        ("rungs: 6", "rungs: 0", 2, "rungs"),
        ("context: 64", "context: -1", 2, "context"),
        ("kind: bpe", "kind: words", 5, "'byte', 'char', 'bpe' or 'word'"),
        ("hold_out: largest", "hold_out: smallest", 15, "analysis.hold_out"),
        ("hold_out: largest", "hold_out: -1", 15, "analysis.hold_out"),
        ("hold_out: largest", "holdout: 1", 15, "did you mean 'hold_out'"),
        ("hold_out: largest", "forecast_above: {params: -1}", 15, "greater than 0"),
        ("hold_out: largest", "forecast_above: {size: 1}", 15, "forecast_above"),
        ("hold_out: largest", "forecast_above: {params: 1, loss: 1}", 15, "one axis"),
        ("hold_out: largest", "hold_out: 0, forecast_above: {params: 1}", 15, "forecasts nothing"),
        ("shots: [0, 4]", "shots: [0, 0]", 14, "each number of shots once"),
        ("recall: 0.25}", "recal: 0.25}", None, "did you mean 'recall'"),
        ("  - name: recall\n    pairs: 8", "  - {name: addition}", None, "listed twice"),
    ],
)
def test_a_wrong_study_names_line_and_mend(text: str, wrong: str, line: int | None, says: str) -> None:
    assert text in STUDY
    with pytest.raises(UserError) as caught:
        read(STUDY.replace(text, wrong))
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    if line is not None:
        assert f"trial.yaml, line {line}:" in message


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "a: b: c",
        "\tname: x",
        "name: *nobody",
        "- 1\n- 2",
        "plain words",
        "",
        "name: !!python/object:os.system x",
    ],
)
def test_what_is_not_a_study_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^x\.yaml") as caught:
        validate_study(parse_yaml(text, source="x.yaml")[0], source="x.yaml")
    assert "\n" not in str(caught.value)


def test_a_task_without_training_examples_is_no_part_of_a_mixture() -> None:
    assert set(TEXT_TASKS) == {name for name in TASKS if not make_task(name, {}).trains}
    for name in TEXT_TASKS:
        with pytest.raises(UserError, match=f"mixture names '{name}', a task without training examples"):
            read(STUDY.replace("name: recall\n    pairs: 8", f"name: {name}").replace("recall: 0.25", f"{name}: 0.25"))


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_models_that_are_trained_already_are_not_asked_for_a_corpus(task: str) -> None:
    document = {"name": "theirs", "model": {"huggingface": ["a/b"]}, "tasks": [{"name": "copy"}, {"name": task}]}
    with pytest.raises(UserError, match=f"the task '{task}' asks for the held-out part"):
        validate_study(document, source="here")


def test_set_changes_one_value_and_keeps_the_rest() -> None:
    study = read(STUDY, "training.tokens=5e5", "corpus.files=a.txt", "evaluation.shots=[0]")
    assert study.training.tokens == 500_000
    assert study.training.batch_tokens == 8192
    assert study.corpus is not None
    assert study.corpus.files == ("a.txt",)
    assert study.evaluation.shots == (0,)


def test_set_reaches_an_entry_of_a_list_by_its_name() -> None:
    study = read(STUDY, "tasks.recall.pairs=4", "tasks.addition.reverse=true", "tasks.recall.pairs=5")
    assert [task.options for task in study.tasks] == [{"digits": 2, "reverse": True}, {"pairs": 5}]
    for change in ("tasks.copy.length=3", "tasks.recall=3"):
        with pytest.raises(UserError, match="'tasks' holds a list, not a mapping"):
            read(STUDY, change)


@pytest.mark.parametrize(
    "change", ["training.tokens", "=5", "name.first=x", "training.tokens=[1", "training..tokens=1"]
)
def test_a_wrong_set_is_refused(change: str) -> None:
    with pytest.raises(UserError, match="--set"):
        read(STUDY, change)


@given(smallest=st.floats(1e3, 1e6), factor=st.floats(1.5, 1e3), rungs=st.integers(2, 20))
def test_a_ladder_climbs_in_equal_ratios(smallest: float, factor: float, rungs: int) -> None:
    sizes = LadderSettings(smallest=smallest, largest=smallest * factor, rungs=rungs).sizes()
    ratios = [b / a for a, b in itertools.pairwise(sizes)]
    assert len(sizes) == rungs
    assert math.isclose(sizes[0], smallest)
    assert math.isclose(sizes[-1], smallest * factor)
    assert max(ratios) / min(ratios) < 1 + 1e-9


def test_settings_cannot_be_changed_after_validation() -> None:
    study: Any = read(STUDY)
    with pytest.raises(ValueError, match="frozen"):
        study.training.tokens = 1


def test_a_kind_of_task_may_be_there_twice_under_names_of_its_own() -> None:
    both = STUDY.replace(
        "- {name: addition, digits: 2}", "- {name: addition}\n  - {name: long, task: copy, length: 12}"
    )
    study = read(both)
    assert [(task.name, task.kind) for task in study.tasks][:2] == [("addition", "addition"), ("long", "copy")]
    assert make_task("long", study.tasks[1].options).name == "long"
    with pytest.raises(UserError, match="leave it its name"):
        read(STUDY.replace("name: recall", "name: prose\n    task: text"))
