"""Several families in one study: each has the ladder, and the report lays their curves over one another."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import validate_study
from emergence.evaluation.engine import READERS
from emergence.models.family import FAMILIES
from emergence.report.study import read_study
from emergence.study.plan import make_plan
from tests.tiny import TINY, emergence, write_study

TWO = TINY.replace("family: gpt", "family: [gpt, lstm]").replace("rungs: 3", "rungs: 2")


def test_each_family_has_the_whole_ladder() -> None:
    study = validate_study(
        {
            "name": "two",
            "model": {"family": ["gpt", "lstm"], "ladder": {"smallest": 5e3, "largest": 2e4, "rungs": 2}},
            "training": {"tokens": 1e5},
            "tasks": [{"name": "copy"}],
        },
        source="here",
    )
    rungs = make_plan(study).rungs
    assert [rung.name for rung in rungs] == ["gpt-R00", "gpt-R01", "lstm-R00", "lstm-R01"]
    for small, large in zip(rungs[:2], rungs[2:], strict=True):
        assert large.config.non_embedding_parameters == pytest.approx(small.config.non_embedding_parameters, rel=0.1)
    assert study.model_dump(mode="json")["model"]["family"] == ["gpt", "lstm"]


@pytest.mark.parametrize(
    ("family", "said"), [(["gpt", "gpt"], "listed twice"), (["gpt", "ltsm"], "lstm"), ([], "family")]
)
def test_wrong_families_are_refused(family: list[str], said: str) -> None:
    document = {
        "name": "two",
        "model": {"family": family, "ladder": {"smallest": 5e3, "largest": 2e4, "rungs": 2}},
        "training": {"tokens": 1e5},
        "tasks": [{"name": "copy"}],
    }
    with pytest.raises(UserError, match=said):
        make_plan(validate_study(document, source="here"))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_says_whether_its_networks_can_be_sampled_from(family: str) -> None:
    own = FAMILIES.load(family)
    module, _, attribute = own.network.partition(":")
    reads = getattr(importlib.import_module(module), attribute).reads
    assert own.sampled == (READERS[reads].sample is not None)


@pytest.mark.parametrize(
    ("family", "task", "said"),
    [
        ("bert", "sampling", "the family bert cannot do the task sampling; families that can: gpt, gpt2, lstm, mamba"),
        (["gpt", "seq2seq"], "sampling", "the family seq2seq cannot do the task sampling; .* numpy, vae$"),
        (["rules", "gpt"], "reversal", "the family rules cannot do the task reversal, only addition, analogy, copy"),
        (["rules", "gpt"], "text", "the family rules cannot do the task text, only addition"),
    ],
)
def test_a_task_that_a_family_cannot_do_is_refused_when_planned(
    tmp_path: Path, family: str | list[str], task: str, said: str
) -> None:
    write_study(tmp_path)
    document = {
        "name": "unable",
        "model": {"family": family, "ladder": {"smallest": 5e3, "largest": 2e4, "rungs": 2}, "context": 24},
        "corpus": {"files": [str(tmp_path / "text.txt")]},
        "training": {"tokens": 1e5},
        "tasks": [{"name": task}],
    }
    with pytest.raises(UserError, match=said):
        make_plan(validate_study(document, source="here"))
    rest = {"tasks": [{"name": "copy", "length": 4}]}
    assert make_plan(validate_study({**document, **rest}, source="here")).rungs  # a corpus is no hindrance


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two families that ran to its end."""
    folder = write_study(tmp_path_factory.mktemp("two"), TWO)
    done = emergence("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 rungs of each of gpt, lstm" in done.stderr + done.stdout
    return folder / "runs" / "tiny"


def test_every_run_has_scores_under_its_family(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    runs = scores.select("family", "model", "seed").unique()
    assert sorted(runs.rows()) == [(f, f"{f}-R0{r}", s) for f in ("gpt", "lstm") for r in (0, 1) for s in (0, 1)]
    verdicts = json.loads((finished / "verdicts.json").read_text())["verdicts"]
    assert {verdict["family"] for verdict in verdicts} == {"gpt", "lstm"}


def test_a_family_without_a_counterpart_is_exported_in_our_layout(finished: Path, tmp_path: Path) -> None:
    model = em.load(finished / "models" / "lstm-R01-s0")
    assert (model.name, model.family) == ("lstm-R01", "lstm")
    assert len(model.generate("abcd|", max_tokens=5)) <= 5
    out = model.export(tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    back = em.load(out)
    assert (back.name, back.family, back.step, back.params) == ("out", "lstm", model.step, model.params)
    ids = torch.arange(20)[None] % model.network.config.vocabulary
    with torch.inference_mode():
        assert torch.equal(back.network(ids), model.network(ids))
    assert back.tokenizer.identity == model.tokenizer.identity
    assert back.export(tmp_path / "again").exists()  # with a card that knows less
    for wrong, says in (({"step": 3}, "holds step"), ({"revision": "x"}, "the folder of a run")):
        with pytest.raises(UserError, match=says):
            em.load(out, **wrong)
    with pytest.raises(UserError, match="not an empty folder"):
        model.export(out)
    weights = bytearray((out / "model.safetensors").read_bytes())
    weights[-1] ^= 8
    (out / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="does not match its checksum"):
        em.load(out)


def test_an_export_has_a_card(finished: Path, tmp_path: Path) -> None:
    folder = finished / "models" / "gpt-R01-s1"
    card = (em.load(folder).export(tmp_path / "llama") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\ntags:\n- emergence\n- gpt\n---\n\n# tiny gpt-R01-s1\n")
    config, last = em.load(folder).network.config, pl.read_parquet(folder / "history.parquet").row(-1, named=True)
    rows = dict(
        line.strip("| ").split(" | ")
        for line in card.splitlines()
        if line.startswith("| ") and "---" not in line and line.count("|") == 3 and line != "| | |"
    )
    assert rows["family"] == "`gpt`, `LlamaForCausalLM` in transformers"
    assert rows["parameters without embeddings"] == f"{config.non_embedding_parameters:,}"
    assert rows["all parameters"] == f"{config.parameters:,}"
    assert rows["training tokens"] == "60,000"
    assert rows["training FLOPs"] == f"{last['flops']:.3g}"
    assert rows["validation loss"] == f"{last['validation_loss']:.4f} nats per token"
    assert rows["study"] == "`tiny`, seed 0"
    assert rows["trained on"] == "text.txt, the task `copy`"
    scores = pl.read_parquet(finished / "scores.parquet")
    own = scores.filter(model="gpt-R01", seed=1, step=125, task="copy", metric="exact_match").row(0, named=True)
    assert f"| copy | 0 | exact_match | {own['score']:.4f} | {own['stderr']:.4f} | {own['n']} |" in card
    assert "from transformers import AutoTokenizer, LlamaForCausalLM" in card
    assert "## Licence\n\nNot stated." in card
    early = (em.load(folder, step=6).export(tmp_path / "early") / "README.md").read_text()
    assert "## Scores at step 6" in early
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    bare = (em.load(alone).export(tmp_path / "bare") / "README.md").read_text()
    assert "## Scores" not in bare
    assert "in the study" not in bare
    assert f"| training FLOPs | {last['flops']:.3g} |" in bare


def test_the_report_lays_the_families_over_one_another(finished: Path) -> None:
    data = read_study(finished)
    assert {fit.family for fit in data.scaling} <= {"gpt", "lstm"}
    page = (finished / "report.html").read_text()
    assert "Families over one another" in page
    drawn = {path.name for path in (finished / "figures").glob("families-*.svg")}
    assert {"families-1-params.svg", "families-1-flops.svg", "families-1-loss.svg", "families-1-tokens.svg"} <= drawn
    assert "lstm" in (finished / "figures" / "families-1-params.svg").read_text()


def test_a_third_family_joins_the_same_folder(finished: Path) -> None:
    folder = finished.parent.parent
    before = pl.read_parquet(finished / "scores.parquet")
    done = emergence("run", "tiny.yaml", "--set", "model.family=[gpt,lstm,mamba]", cwd=folder)
    assert done.returncode == 0, done.stderr
    after = pl.read_parquet(finished / "scores.parquet")
    assert set(after["family"]) == {"gpt", "lstm", "mamba"}
    kept = after.filter(pl.col("family") != "mamba").sort(before.columns)
    assert kept.select("model", "seed", "task", "metric", "score").equals(
        before.sort(before.columns).select("model", "seed", "task", "metric", "score")
    )
    refused = emergence("run", "tiny.yaml", "--set", "model.family=lstm", cwd=folder)
    assert refused.returncode == 2
    assert "has no place in this ladder" in refused.stderr
