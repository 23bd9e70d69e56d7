"""The contests' own arithmetic, and that the contestants are what they are said to be."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import quick
from benchmarks.contest import Contestant, alternate, spread, table
from benchmarks.costs import small_table
from benchmarks.items import SETS, choices_of, context_of, read_items, write_items
from benchmarks.ladders import nanogpt_flops
from benchmarks.own.ladder import Watch
from benchmarks.peers.llama import llama_settings
from benchmarks.peers.nanogpt import NanoGPT, cosine
from benchmarks.peers.pipeline.examples import write_examples
from benchmarks.peers.pipeline.fit import intervals, logistic
from benchmarks.questions import AnswersDifferError, agreement

from emergence.models.gpt import size_for


def test_contestants_take_turns_and_each_begins_a_round() -> None:
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_spread_keeps_median_and_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "n": 3}


def test_table_is_markdown() -> None:
    assert table(["a", "b"], [["x", "1"]]) == ["| a | b |", "| --- | --: |", "| x | 1 |"]


def test_a_contestant_answers_and_its_end_is_noticed() -> None:
    with Contestant("benchmarks.own.judging", {"scores": small_table()}, threads=1) as one:
        assert one.startup > 0
        assert one.ask(resamples=100)["seconds"] > 0
        with pytest.raises(RuntimeError, match="ended with status 1"):
            one.ask(no_such_key=1)


def test_only_ratios_that_fell_by_a_fifth_are_named() -> None:
    recorded = {"held": 2.0, "a little less": 2.0, "fell": 2.0, "gone": 2.0}
    now = {"held": 2.5, "a little less": 1.61, "fell": 1.59, "new": 0.1}
    assert quick.fallen(now, recorded) == ["fell", "gone"]


def test_answers_that_differ_stop_the_contest() -> None:
    assert agreement([[1.0, 2.0]], [[1.0, 2.00005]])["largest_difference"] == pytest.approx(5e-5)
    assert agreement(["a", "b"], ["a", "c"]) == {"same": 1, "of": 2}
    with pytest.raises(AnswersDifferError, match="nats"):
        agreement([[1.0]], [[1.001]])
    with pytest.raises(AnswersDifferError, match="1 answers beside 2"):
        agreement(["a"], ["a", "b"])


def test_our_speed_counts_all_runs_from_the_first_tenth_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plan:
        tokens = 1000

    reports = [(1.0, "a", 0.05), (2.0, "a", 0.1), (2.0, "b", 0.1), (6.0, "a", 1.0), (7.0, "b", 1.0)]
    clock = iter([0.0, 0.0, *(when for when, _, _ in reports)])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    watch = Watch()
    watch({"event": "plan", "plan": Plan})
    for _, run, share in reports:
        watch({"event": "training", "run": run, "share": share})
    assert watch.first == 1.0
    assert watch.tokens_per_second() == pytest.approx(2 * 900 / 5)


def test_items_are_the_same_every_time_and_have_the_shape_they_are_said_to_have(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for name in SETS:
            write_items(folder, name, 5)
    for name, shape in SETS.items():
        items, shots = (read_items(tmp_path / "a", name, part) for part in ("", "-dev"))
        assert items == read_items(tmp_path / "b", name)
        assert (len(items), len(shots)) == (5, shape["shots"])
        context = context_of(items[0], shots)
        assert context.count("Answer:") == shape["shots"] + 1
        assert context.endswith(f"Question: {items[0]['question']}\nAnswer:")
        assert all(re.fullmatch(r" [a-z ]*", choice) for choice in choices_of(items[0]))


def test_nanogpt_is_causal_tied_and_of_our_size() -> None:
    torch.manual_seed(0)
    own = size_for(200_000, 64, 64)
    model = NanoGPT(64, 64, own.width, own.depth, own.heads)
    assert model.head.weight is model.tokens.weight
    products = sum(weight.numel() for weight in model.blocks.parameters() if weight.dim() == 2)
    assert nanogpt_flops(own) == 2 * products + 4 * own.depth * 64 * own.width + 2 * 64 * own.width
    ids = torch.randint(64, (2, 64))
    first = torch.cat((ids[:, :32], ids[:, :32]), dim=1)
    assert model(ids, torch.randint(64, (2, 64))).item() == pytest.approx(np.log(64), abs=0.2)
    seen: list[torch.Tensor] = []
    model.norm.register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    model(ids, ids)
    model(first, first)
    assert torch.allclose(seen[0][:, :32], seen[1][:, :32], atol=1e-6)
    assert not torch.allclose(seen[0][:, 32:], seen[1][:, 32:], atol=1e-3)


def test_cosine_rises_then_falls_to_a_tenth() -> None:
    rates = [cosine(step) for step in range(2001)]
    assert max(rates) == pytest.approx(1e-3)
    assert rates[0] < rates[50] < rates[100] > rates[1000] > rates[2000] == pytest.approx(1e-4)


def test_the_trainer_trains_a_network_of_exactly_our_size() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    own = size_for(30_000, 64, 64)
    assert LlamaForCausalLM(LlamaConfig(**llama_settings(own))).num_parameters() == own.parameters


def test_the_pipeline_starts_from_whole_examples(tmp_path: Path) -> None:
    from benchmarks.time_to_verdict import STUDY

    from emergence.text import Tokenizer

    few = re.sub("tokens: 3[^,]*,", "tokens: 6e4,", STUDY)
    (tmp_path / "study.yaml").write_text(few)
    write_examples(tmp_path / "study.yaml", tmp_path)
    ids, counts = np.load(tmp_path / "ids.npy"), np.load(tmp_path / "counts.npy")
    tokenizer = Tokenizer.load(tmp_path / "own.json")
    assert ids.shape == counts.shape == (3330, 18)
    for row, mask in zip(ids, counts, strict=True):
        text, answer = tokenizer.decode(row), tokenizer.decode(row[mask])
        if "|" in text:
            assert text == f"{answer}|{answer}"
        else:
            pairs, key = text[:-1].split("?")
            assert pairs[pairs.index(key) + 1] == answer


def test_the_pipelines_fit_recovers_a_planted_threshold() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(np.linspace(4, 6, 8), 3)
    y = logistic(x, 0.9, 5.0, 6.0) + rng.normal(0, 0.02, len(x))
    found = intervals(x, y, rng, 100)
    low, high = found["threshold"]["interval"]
    assert low < found["threshold"]["estimate"] < high
    assert found["threshold"]["estimate"] == pytest.approx(1e5, rel=0.1)
    assert found["gain"]["estimate"] == pytest.approx(0.9, abs=0.05)
