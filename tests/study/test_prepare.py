"""What the runs of a study share, where its preparation was interrupted and its settings changed before any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emergence.core.settings import StudySettings, validate_study
from emergence.study.asking import study_context
from emergence.study.folder import open_folder
from emergence.study.plan import Plan, make_plan
from emergence.study.prepare import open_mixture, prepare
from emergence.text import Tokenizer
from emergence.training.data import CorpusSource, RowsSource

CONTEXT = 16


def settings(folder: Path, rows: str, **training: Any) -> StudySettings:
    (folder / "text.txt").write_text("the quick fox\njumps over\nthe lazy dog\n" * 50)
    document = {
        "name": "begun",
        "model": {"family": "gpt", "ladder": {"counts": [3e3]}, "context": CONTEXT},
        "corpus": {"files": [str(folder / "text.txt")], "rows": rows},
        "training": {"tokens": 1e4, "batch_tokens": 8 * CONTEXT, **training},
        "tasks": [{"name": "text"}],
    }
    return validate_study(document, source="here")


def prepared(study: StudySettings, out: Path) -> Plan:
    """Prepare a study in a folder, and be interrupted before its first model."""
    plan = make_plan(study)
    assert isinstance(plan, Plan)
    with open_folder(out, study, plan.shapes) as folder:
        prepare(plan, folder)
    return plan


@pytest.mark.parametrize(("rows", "kind"), [("windows", CorpusSource), ("lines", RowsSource)])
def test_rows_of_an_interrupted_preparation_are_not_read(tmp_path: Path, rows: str, kind: type) -> None:
    out = tmp_path / "out"
    for other in ("lines", "windows", rows):
        plan = prepared(settings(tmp_path, other), out)
    mixture = open_mixture(out / "data", plan.sources, CONTEXT, plan.batch_rows, 1)
    assert [type(source) for source in mixture._sources] == [kind]
    job = {"folder": str(out), "spec": {"config": {"context": CONTEXT}}, "study_seed": 0}
    context = study_context(job, Tokenizer.load(out / "data"))
    assert context.whole_documents == (rows == "lines")
