"""Models that somebody else trained, as a study names them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.published import PublishedModel, split_revision
from emergence.core.settings import StudySettings, validate_study
from emergence.core.yaml import override, parse_yaml, to_yaml

STUDY = """\
name: others
model:
  huggingface:
    - EleutherAI/pythia-70m@step1000
    - {name: EleutherAI/pythia-70m, revision: step3000, tokens: 6.3e9}
    - path/to/folder/
tasks:
  - {name: copy}
"""


def read(text: str, *changes: str) -> StudySettings:
    document, lines = parse_yaml(text, source="others.yaml")
    return validate_study(override(document, changes), source="others.yaml", lines=lines)


def test_a_study_of_models_needs_neither_family_nor_ladder_nor_training() -> None:
    study = read(STUDY)
    first, second, folder = study.model.huggingface
    assert (first.name, first.revision, first.tokens) == ("EleutherAI/pythia-70m", "step1000", None)
    assert (second.shown, second.tokens) == ("EleutherAI/pythia-70m@step3000", 6.3e9)
    assert (folder.name, folder.revision) == ("path/to/folder", None)
    assert (study.training, study.corpus, study.replicas) == (None, None, 1)
    alone = read(STUDY, "model.huggingface=owner/model@refs/pr/1").model.huggingface
    assert [(m.name, m.revision) for m in alone] == [("owner/model", "refs/pr/1")]


def test_a_resolved_study_reads_back_the_same() -> None:
    study = read(STUDY)
    written = to_yaml(study.model_dump(mode="json"))
    assert validate_study(parse_yaml(written, source="x")[0], source="x") == study
    assert "ladder" not in written
    assert "family" not in written


@pytest.mark.parametrize(
    ("text", "wrong", "line", "says"),
    [
        ("revision: step3000, tokens", "revison: step3000, tokens", 5, "did you mean 'revision'"),
        ("tokens: 6.3e9", "tokens: many", 5, "model.huggingface.1.tokens"),
        ("tokens: 6.3e9", "tokens: -1", 5, "greater than or equal to 0"),
        ("tokens: 6.3e9", "loss: 0", 5, "greater than 0"),
        ("tokens: 6.3e9", "rung: a/b", 5, "model.huggingface.1.rung"),
        ("name: EleutherAI/pythia-70m, ", "", 5, "the key 'model.huggingface.1.name' is missing"),
        ("    - path/to/folder/", "    - 7", 6, "a model is a folder or a name, or a mapping"),
        ("    - path/to/folder/", "    - folder@", 6, "model.huggingface.2.revision"),
        ("@step1000", "@step3000", 3, "'EleutherAI/pythia-70m@step3000' is listed twice"),
        ("path/to/folder/", "{name: EleutherAI/pythia-70m@step1000}", None, None),
        ("  huggingface:", "  family: gpt\n  huggingface:", 2, "leave out model.family"),
        (
            "  huggingface:",
            "  ladder: {smallest: 1, largest: 2, rungs: 2}\n  huggingface:",
            2,
            "leave out model.ladder",
        ),
        ("  huggingface:", "  hugginface:", 3, "did you mean 'huggingface'"),
        ("tasks:", "training: {tokens: 1e6}\ntasks:", None, "leave out training"),
        ("tasks:", "corpus: {files: a.txt}\ntasks:", None, "leave out corpus"),
        ("tasks:", "mixture: {copy: 1}\ntasks:", None, "leave out mixture"),
        ("tasks:", "replicas: 3\ntasks:", None, "leave out replicas"),
        ("{name: copy}", "{name: text}", None, "asks for the held-out part"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, wrong: str, line: int | None, says: str | None) -> None:
    assert text in STUDY
    changed = STUDY.replace(text, wrong)
    if says is None:
        assert read(changed).model.huggingface[2].name == "EleutherAI/pythia-70m@step1000"  # as a mapping says it
        return
    with pytest.raises(UserError) as caught:
        read(changed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert str(caught.value).startswith(f"others.yaml, line {line}: ")


def test_the_same_revision_twice_is_noticed_however_it_is_written() -> None:
    for twice in (["a/b", "a/b@main"], ["here/", "here"], [{"name": "a/b", "revision": "x"}, "a/b@x"]):
        with pytest.raises(UserError, match="listed twice"):
            read(STUDY, f"model.huggingface={twice}")
    with pytest.raises(UserError, match="no model is named"):
        read(STUDY, "model.huggingface=[]")


def test_a_study_that_trains_still_needs_a_ladder_and_a_training() -> None:
    own: dict[str, Any] = {"name": "own", "model": {"family": "gpt"}, "tasks": [{"name": "copy"}]}
    with pytest.raises(UserError, match=r"'model\.ladder' is missing; or name models"):
        validate_study(own | {"training": {"tokens": 1e5}}, source="x")
    own["model"]["ladder"] = {"smallest": 1e3, "largest": 1e4, "rungs": 3}
    with pytest.raises(UserError, match="the key 'training' is missing"):
        validate_study(own, source="x")
    own["model"]["allow_pickle"] = True
    with pytest.raises(UserError, match="allow_pickle is for models under huggingface"):
        validate_study(own | {"training": {"tokens": 1e5}}, source="x")


@given(name=st.text(min_size=1).filter(lambda text: "@" not in text), revision=st.text().filter(lambda t: "@" not in t))
def test_a_revision_comes_back(name: str, revision: str) -> None:
    assert split_revision(f"{name}@{revision}") == (name, revision)
    assert split_revision(name) == (name, None)


def test_what_is_not_said_is_not_written() -> None:
    assert PublishedModel.model_validate("a/b@c").model_dump() == {"name": "a/b", "revision": "c"}
