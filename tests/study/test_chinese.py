"""A study of Chinese text by words in one script, as a user runs it; and what no tokenizer of it can write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import emergence as em
from emergence.cli.tables import plan_document, plan_table
from emergence.core.settings import TrainingSettings, validate_study
from emergence.study.folder import StudyFolder
from emergence.study.plan import make_plan
from emergence.study.prepare import prepare
from emergence.text import build_tokenizer

pytest.importorskip("rjieba", reason="rjieba is not installed (the extra 'chinese')")
pytest.importorskip("opencc", reason="OpenCC is not installed (the extra 'chinese')")

POEMS = [
    "靜夜思\n李白\n牀前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。",
    "静夜思\n李白\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
    *(f"第{number}首\n白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。" for number in range(60)),
]
STUDY: dict[str, Any] = {
    "name": "poems",
    "model": {"family": "gpt", "ladder": {"smallest": 3e3, "largest": 3e3, "rungs": 1}, "context": 24},
    "replicas": 1,
    "corpus": {"files": ["poems.json"], "fold": "simplified", "tokenizer": {"kind": "word", "vocabulary": 320}},
    "training": {"tokens": 2e4, "batch_tokens": 480, "checkpoints": 2},
    "tasks": [{"name": "copy", "length": 4, "letters": 6}, {"name": "text", "samples": 2}],
    "evaluation": {"examples": 16},
    "analysis": {"resamples": 100, "axes": ["tokens"], "hold_out": 0},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "poems.json").write_text(json.dumps(POEMS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(**corpus: Any) -> em.Study:
    return validate_study({**STUDY, "corpus": {**STUDY["corpus"], **corpus}}, source="the test")


def test_words_in_one_script_are_trained_asked_and_remembered(home: Path) -> None:
    result = em.run(study(), out="run")
    assert set(result.scores["metric"]) >= {"bits_per_byte", "exact_match"}
    assert not [note for note in result.notes if "does not know" in note]
    assert "word of at most 320 tokens, folded into simplified Chinese" in (home / "run" / "report.md").read_text()
    model = em.load("run/models/R00-s0")
    assert model.tokenizer.decode(model.tokenizer.encode("舉頭望明月 abc")) == "举头望明月 abc"
    assert model.loglikelihood("舉頭", "望明月").total == model.loglikelihood("举头", "望明月").total
    assert model.generate("白日依山盡", max_tokens=8) == model.generate("白日依山尽", max_tokens=8)
    assert model.generate("龘🙂", max_tokens=4) is not None  # nothing is unknown
    assert em.evaluate(model, {"name": "copy", "length": 4, "letters": 6}, examples=16, cache=False).scores.height > 0
    with pytest.raises(em.UserError, match=r"opencc and rjieba, which transformers does not.*kind byte, char or bpe"):
        model.export("exported")
    assert not (home / "exported").exists()
    versions = json.loads((home / "run" / "manifest.json").read_text())["versions"]
    assert {"rjieba", "opencc"} <= versions.keys()
    with pytest.raises(em.UserError, match=r"belongs to another study: 'corpus\.fold' differs"):
        em.run(study(fold=None), out="run")


def test_a_poem_in_two_scripts_is_one_document_once_folded(home: Path) -> None:
    folded = make_plan(study()).texts
    plain = make_plan(study(fold=None)).texts
    assert plain.corpus is not None
    assert folded.corpus is not None
    assert len(plain.corpus.documents) == len(POEMS)
    assert len(folded.corpus.documents) == len(POEMS) - 1
    fold = folded.tokenizer.fold
    assert not {fold(text) for text in folded.training} & {fold(text) for text in folded.validation}


def test_an_answer_that_folding_changes_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emergence.tasks.copying.LETTERS", "舉頭望明月思")
    with pytest.raises(em.UserError, match=r"corpus\.fold turns .* an answer of the task copy"):
        make_plan(study())
    make_plan(study(fold=None))


def test_what_the_vocabulary_does_not_cover_is_noted_and_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that has not seen two of the poems."""
    whole = make_plan(study(fold=None, tokenizer={"kind": "char"}))
    whole = replace(whole, study=whole.study.model_copy(update={"training": TrainingSettings(tokens=1e3)}))
    poor = build_tokenizer(whole.study.corpus.tokenizer, POEMS[2:], "abcdef|")  # type: ignore[union-attr]
    texts = replace(whole.texts, tokenizer=poor)
    monkeypatch.setattr("emergence.study.plan.read_texts", lambda study, tasks, given: texts)
    result = em.run(whole.study, out="run")
    notes = [note for note in result.notes if "does not know" in note]
    seen = set("".join(POEMS[2:]))
    for part, documents in (("training", texts.training), ("validation", texts.validation)):
        missing = sum(character not in seen for document in documents for character in document)
        said = [note for note in notes if note.startswith(f"the {part} part of the corpus: {missing:,} of ")]
        assert len(said) == (missing > 0)
    assert notes
    assert all(note in (home / "run" / "report.md").read_text() for note in notes)


def test_what_is_known_is_not_noted(home: Path) -> None:
    plan = make_plan(study(fold=None, tokenizer={"kind": "char"}))
    folder = StudyFolder(home / "run", {"files": {}, "events": []})
    prepare(plan, folder)
    assert folder.manifest["events"] == []


def test_the_plan_says_what_the_corpus_holds(home: Path) -> None:
    plan = make_plan(study())
    lines = [str(part) for part in plan_table(plan)]
    (corpus,) = [line for line in lines if line.startswith("Corpus: ")]
    assert corpus.startswith("Corpus: 61 documents, ")
    assert "word tokenizer" in corpus
    (words,) = [line for line in lines if line.startswith("Frequent words: ")]
    assert "黄河 (60)" in words
    assert plan_document(plan)["corpus"]["documents"] == 61
    assert plan_document(make_plan(study(fold=None)))["corpus"]["documents"] == 62
