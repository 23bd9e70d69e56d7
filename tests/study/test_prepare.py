"""What the runs of a study share, where its preparation was interrupted and its settings changed before any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings, validate_study
from emergence.models.exported import write_exported
from emergence.models.family import build_network, ladder
from emergence.models.vectors import load_vectors, read_vectors
from emergence.study.folder import open_folder
from emergence.study.plan import Plan, make_plan
from emergence.study.prepare import open_mixture, prepare
from emergence.study.texts import study_context
from emergence.text import Tokenizer
from emergence.training.data import CorpusSource, RowsSource

CONTEXT = 16


def settings(folder: Path, rows: str, size: float = 3e3, **training: Any) -> StudySettings:
    (folder / "text.txt").write_text("the quick fox\njumps over\nthe lazy dog\n" * 50)
    document = {
        "name": "begun",
        "model": {"family": "gpt", "ladder": {"counts": [size]}, "context": CONTEXT},
        "corpus": {"files": [str(folder / "text.txt")], "rows": rows},
        "training": {"tokens": 1e4, "batch_tokens": 8 * CONTEXT, **training},
        "tasks": [{"name": "text"}],
    }
    return validate_study(document, source="here")


def prepared(study: StudySettings, out: Path) -> Plan:
    """Prepare a study in a folder, and be interrupted before its first model."""
    plan = make_plan(study, out)
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
    context = study_context(out / "data", Tokenizer.load(out / "data"), CONTEXT, 0)
    assert context.whole_documents == (rows == "lines")


def exported(folder: Path, study: StudySettings, width: int, seed: int) -> Path:
    """Write a model with the tokens of a study and token vectors of its own."""
    tokenizer = make_plan(study).texts.tokenizer  # type: ignore[union-attr]
    sizes = [16.0 * width * (width + 1)]
    (config,) = ladder("lstm", sizes, vocabulary=tokenizer.vocabulary_size, context=CONTEXT, vary="width")
    network = build_network("lstm", config, torch.Generator().manual_seed(seed))
    return write_exported("lstm", network, tokenizer, folder, step=seed)


def test_token_vectors_of_an_interrupted_preparation_are_not_begun_with(tmp_path: Path) -> None:
    plain, out = settings(tmp_path, "lines"), tmp_path / "out"
    width = make_plan(plain).rungs[0].config.width  # type: ignore[union-attr]
    kept = out / "data" / "embeddings.safetensors"
    sources = [exported(tmp_path / name, plain, width, seed) for name, seed in (("a", 1), ("b", 2))]
    for source in sources:
        study = settings(tmp_path, "lines", initialise_embeddings=str(source))
        prepared(study, out)
        np.testing.assert_array_equal(load_vectors(kept), read_vectors(source)[0])
    manifest = (out / "manifest.json").read_text()
    assert f"token vectors of {sources[1]}" in manifest
    assert f"token vectors of {sources[0]}" not in manifest


def test_a_study_goes_on_with_the_vectors_it_keeps_when_their_run_is_gone(tmp_path: Path) -> None:
    plain, out = settings(tmp_path, "lines"), tmp_path / "out"
    width = make_plan(plain).rungs[0].config.width  # type: ignore[union-attr]
    source = exported(tmp_path / "a", plain, width, 1)
    study = settings(tmp_path, "lines", initialise_embeddings=str(source))
    plan = prepared(study, out)
    vectors, _ = read_vectors(source)
    source.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="is not a model folder"):
        make_plan(study, out)  # no model is begun yet
    (out / "models").mkdir()
    assert make_plan(study, out).shapes == plan.shapes
    prepared(study, out)
    np.testing.assert_array_equal(load_vectors(out / "data" / "embeddings.safetensors"), vectors)
    wider = settings(tmp_path, "lines", size=4e4, initialise_embeddings=str(source))
    with pytest.raises(UserError, match=f"wide, but the vectors in .* are {width}"):
        make_plan(wider, out)
    with pytest.raises(UserError, match="is not a model folder"):
        make_plan(study)
