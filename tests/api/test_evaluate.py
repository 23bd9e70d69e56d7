"""`em.evaluate` and `emergence evaluate`: the questions of a study, put to any model, and free when put again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import emergence as em
from emergence.core.schema import RECORD_COLUMNS, SCORE_COLUMNS
from emergence.evaluation import engine
from tests.tiny import emergence
from tests.tiny_huggingface import save

COPY: dict[str, Any] = {"name": "copy", "length": 4, "letters": 6}
RUN = "R02-s1"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("gpt2", tmp_path_factory.mktemp("hub") / "tiny-gpt2")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMERGENCE_CACHE", str(tmp_path / "answers"))
    return tmp_path / "answers"


def test_a_run_gets_the_scores_that_its_study_gave_it(finished: Path) -> None:
    found = em.evaluate(finished / "models" / RUN, [COPY, {"name": "text", "samples": 2}], examples=64)
    assert set(SCORE_COLUMNS) <= set(found.scores.columns)
    assert set(RECORD_COLUMNS) <= set(found.records.columns)
    study = em.open_study(finished).scores
    mine = study.filter(pl.col("model") == "R02", pl.col("seed") == 1, pl.col("step") == 125)
    assert found.scores.height == mine.height == 6
    keys = ["task", "metric"]
    for theirs, row in zip(mine.sort(keys).to_dicts(), found.scores.sort(keys).to_dicts(), strict=True):
        for column in SCORE_COLUMNS:
            value = theirs[column]
            assert row[column] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), column
    records = pl.read_parquet(finished / "records" / f"{RUN}-000125.parquet")
    assert found.records["output"].to_list() == records["output"].to_list()


def test_a_model_of_transformers_is_asked_the_same(gpt2: Path) -> None:
    found = em.evaluate(gpt2, [{"name": "addition", "digits": 2}, "recall"], examples=20, shots=1)
    assert found.scores["model"].unique().to_list() == ["tiny-gpt2"]
    assert found.scores["family"].unique().to_list() == ["gpt2"]
    assert set(found.scores["n"]) == {20}
    first = found.records.row(0, named=True)
    model = em.load(gpt2)
    assert first["prompt"].count("\n") == 1  # one worked example, which ends with its line
    expected = model.loglikelihood(first["prompt"], first["target"]).logprobs
    assert first["logprobs"] == pytest.approx(expected, abs=1e-5)


def test_questions_beyond_the_context_lose_the_start_of_their_prompt_and_say_so(gpt2: Path, tmp_path: Path) -> None:
    model = em.load(gpt2)
    found = em.evaluate(model, ["copy", "recall"], examples=16, shots=8)
    copied = 1 + 8 * (9 + 8 + 1) + 9 + 8  # a start, eight worked examples with their ends, a question and its answer
    recalled = 1 + 8 * (14 + 1 + 1) + 14 + 1
    assert found.records.group_by("task").agg(pl.col("truncated").unique()).sort("task").rows() == [
        ("copy", [copied - 1 - 96]),  # the last token of an answer is never read
        ("recall", [recalled - 1 - 96]),
    ]
    assert [note.partition(" are longer")[0] for note in found.notes] == [
        f"tiny-gpt2: 16 of 16 questions of {task} with 8 shots" for task in ("copy", "recall")
    ]
    record = found.records.row(0, named=True)
    ids = [model.tokenizer.begin_id, *model.tokenizer.encode(record["prompt"])]
    target = model.tokenizer.encode(record["target"])
    with torch.inference_mode():
        logits = model.network(torch.tensor([[*ids, *target][-97:-1]]))[0, -len(target) :]
    expected = logits.log_softmax(-1)[range(len(target)), target]
    assert record["logprobs"] == pytest.approx(expected.tolist(), abs=1e-5)
    short = em.evaluate(model, "copy", examples=16)
    assert (short.notes, set(short.records["truncated"])) == ((), {0})
    told = emergence("evaluate", gpt2, "--task", "recall", "--shots", "8", "--examples", "16", "--json", cwd=tmp_path)
    assert "note: tiny-gpt2: 16 of 16 questions of recall with 8 shots are longer" in told.stderr
    assert json.loads(told.stdout)["notes"] == [found.notes[1]]


def test_what_was_asked_before_is_not_computed_again(
    gpt2: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    asked: list[int] = []
    real = engine.answer

    def counting(network: Any, requests: Any, *, end_id: int) -> Any:
        asked.append(len(requests))
        return real(network, requests, end_id=end_id)

    monkeypatch.setattr(engine, "answer", counting)
    model = em.load(gpt2)
    first = em.evaluate(model, "copy", examples=16)
    again = em.evaluate(gpt2, "copy", examples=16)
    assert asked == [32]
    assert again.records.equals(first.records)
    assert again.scores.equals(first.scores)
    more = em.evaluate(model, "copy", examples=20)
    assert asked == [32, 8]  # the other sixteen are the same questions
    assert more.records.head(16).equals(first.records)
    em.evaluate(model, "copy", examples=16, cache=False)
    em.evaluate(model, "copy", examples=16, cache=own_cache / "elsewhere")
    assert asked == [32, 8, 32, 32]


def test_other_weights_have_other_answers(tmp_path: Path) -> None:
    folder = save("gpt_neox", tmp_path / "model")
    model = em.load(folder)
    first = em.evaluate(model, "copy", examples=16)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-64:] = bytes(64)
    (folder / "model.safetensors").write_bytes(weights)
    other = em.evaluate(folder, "copy", examples=16)
    assert not other.records.equals(first.records)
    assert other.records.equals(em.evaluate(folder, "copy", examples=16, cache=False).records)
    # A network answers for the weights it has now, whatever became of its file, which may be mapped into its memory.
    assert em.evaluate(model, "copy", examples=16).records.equals(
        em.evaluate(model, "copy", examples=16, cache=False).records
    )
    with torch.no_grad():
        next(iter(model.network._network.parameters())).mul_(-2)
    changed = em.evaluate(model, "copy", examples=16)
    assert not changed.records.equals(first.records)
    assert changed.records.equals(em.evaluate(model, "copy", examples=16, cache=False).records)


def test_a_folder_without_a_tokenizer_or_with_another_is_refused(tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(em.UserError, match="tokenizer"):
        em.load(folder)
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = 100
    small = save("gpt2", tmp_path / "small")
    AutoModelForCausalLM.from_config(config).save_pretrained(small)
    with pytest.raises(em.UserError, match="belongs to another model"):
        em.load(small)


def test_the_default_cache_is_a_convenience(monkeypatch: pytest.MonkeyPatch, gpt2: Path) -> None:
    monkeypatch.setenv("EMERGENCE_CACHE", "/proc/nowhere")
    said: list[str] = []
    assert em.evaluate(gpt2, "copy", examples=16, progress=said.append).records.height == 16
    assert any("without a cache" in words for words in said)
    with pytest.raises(em.UserError, match="choose another cache"):
        em.evaluate(gpt2, "copy", examples=16, cache=Path("/proc/nowhere"))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tasks": "copi"}, "did you mean 'copy'"),
        ({"tasks": []}, "no task"),
        ({"tasks": ["copy", "copy"]}, "twice"),
        ({"tasks": [{"length": 4}]}, "a task is a name"),
        ({"tasks": {"name": "copy", "lenght": 4}}, "did you mean 'length'"),
        ({"tasks": "copy", "shots": -1}, "shots is -1"),
        ({"tasks": "copy", "examples": 0}, "examples is 0"),
        ({"tasks": {"name": "copy", "length": 200}}, "does not fit into a context of 96"),
        ({"tasks": "text"}, "needs a corpus"),
    ],
)
def test_what_cannot_be_asked_is_said(gpt2: Path, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(em.UserError, match=says):
        em.evaluate(gpt2, **asked)


def test_a_task_whose_letters_the_tokenizer_does_not_know_is_refused(finished: Path, tmp_path: Path) -> None:
    from emergence.core.settings import TokenizerSettings
    from emergence.text import build_tokenizer

    folder = save("llama", tmp_path / "letters")
    build_tokenizer(TokenizerSettings(kind="char"), ["abcdef|"]).save(folder / "tokenizer.json")
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "unk_token": "<|unk|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"example_separator": "<|endoftext|>"}))
    assert em.evaluate(folder, COPY, examples=8).scores.height == 3
    with pytest.raises(em.UserError, match="cannot write the task modular_addition"):
        em.evaluate(folder, "modular_addition", examples=8)


def test_the_command_line_prints_and_writes_the_scores(gpt2: Path, tmp_path: Path) -> None:
    asked = ("evaluate", gpt2, "--task", "{name: copy, length: 4}", "--task", "recall", "--examples", "10")
    plain = emergence(*asked, "--out", "scores.parquet", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert plain.stderr == ""
    assert {"tiny-gpt2", "recall", "exact_match"} <= set(plain.stdout.replace(",", " ").split())
    document = json.loads(emergence(*asked, "--json", cwd=tmp_path).stdout)
    assert document["scores"] == pl.read_parquet(tmp_path / "scores.parquet").to_dicts()
    for wrong, says in [
        (("evaluate", gpt2, "--task", "{name: copy"), "not YAML"),
        (("evaluate", gpt2), "--task"),
        (("evaluate", "nowhere", "--task", "copy"), "is not a folder"),
        (("evaluate", gpt2, "--task", "copy", "--out", "scores.txt"), ".parquet or .csv"),
    ]:
        done = emergence(*wrong, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert says in done.stderr
