"""Students in the one loop: they learn from a teacher, resume bit for bit, and count what it computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from emergence.models.checkpoint import load_network, write_config
from emergence.models.family import FAMILIES, build_network, ladder
from emergence.models.gpt import size_for
from emergence.training.batch import collate
from emergence.training.data import CorpusSource, Mixture
from emergence.training.distillation import Distilled, Teaching
from emergence.training.loop import RunSpec, train
from emergence.training.objectives import OBJECTIVES
from emergence.training.schedule import Schedule

CONTEXT, VOCABULARY = 16, 12


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def chain(length: int, seed: int) -> Any:
    """A Markov chain over 12 letters: every letter has two followers, one three times as frequent as the other."""
    rng = np.random.default_rng(seed)
    follow = np.random.default_rng(0).permuted(np.tile(np.arange(VOCABULARY), (2, 1)), axis=1)
    letters = [0]
    for rare in rng.random(length) < 0.25:
        letters.append(int(follow[int(rare), letters[-1]]))
    return np.array(letters, dtype=np.uint16)


TEXT, HELD_OUT = chain(20_000, 1), chain(4000, 2)


def mixture(seed: int, tokens: int = 20_000) -> Mixture:
    return Mixture([CorpusSource(TEXT[:tokens], HELD_OUT, CONTEXT)], [1.0], batch_rows=8, seed=seed)


SPEC = RunSpec(
    family="gpt",
    config=size_for(3e3, VOCABULARY, CONTEXT),
    seeds=(5,),
    stacked=False,
    learning_rate=0.005,
    weight_decay=0.1,
    clip=1.0,
    schedule=Schedule(steps=60, warmup=0.05, decay=0.3, checkpoints=(6, 19, 60)),
)
STACK = dataclasses.replace(SPEC, seeds=(5, 6, 7), stacked=True)


class Interrupted(BaseException):
    """Stands for whatever ends a process."""


def learn(
    folders: list[Path],
    spec: RunSpec,
    teaching: Teaching | None = None,
    stop_at: int | None = None,
    tokens: int = 20_000,
) -> list[pl.DataFrame]:
    def progress(share: float, losses: Sequence[float]) -> None:
        if round(share * spec.schedule.computed_steps) == stop_at:
            raise Interrupted

    data = [mixture(seed, tokens) for seed in spec.seeds]
    outcomes = train(spec, data, folders, at_checkpoint=lambda *_: None, progress=progress, teaching=teaching)
    assert all(outcome.diverged is None for outcome in outcomes)
    for folder in folders:
        write_config(folder, spec.family, spec.config)
    return [pl.read_parquet(folder / "history.parquet") for folder in folders]


def weights(folder: Path, step: int = 60) -> bytes:
    return (folder / "checkpoints" / f"{step:06d}" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teaching:
    """A model that has read much of the chain."""
    folder = tmp_path_factory.mktemp("teacher")
    schedule = dataclasses.replace(SPEC.schedule, steps=400, checkpoints=(400,))
    learn([folder], dataclasses.replace(SPEC, config=size_for(8e3, VOCABULARY, CONTEXT), schedule=schedule))
    network, _ = load_network(folder)
    return Teaching(network, 2.0, 0.5, network.config.forward_flops)


def test_a_student_of_little_text_knows_more_with_a_teacher(teacher: Teaching, tmp_path: Path) -> None:
    """On 300 letters it learns them by heart; what a teacher says of them is what the whole text says."""
    schedule = dataclasses.replace(SPEC.schedule, steps=200, checkpoints=(200,))
    spec = dataclasses.replace(STACK, schedule=schedule, config=size_for(8e3, VOCABULARY, CONTEXT))
    lost = {}
    for name, teaching in (("alone", None), ("taught", dataclasses.replace(teacher, weight=0.9))):
        histories = learn([tmp_path / name / str(s) for s in spec.seeds], spec, teaching, tokens=300)
        lost[name] = [history["validation_loss"][-1] for history in histories]
    assert max(lost["taught"]) < min(lost["alone"]) - 0.1
    best = float(np.log(4) - 0.75 * np.log(3))  # the entropy of the chain
    assert max(lost["taught"]) < best + 0.25


@pytest.mark.parametrize("stop_at", [3, 19, 40])
def test_an_interrupted_student_ends_with_the_same_bits(teacher: Teaching, tmp_path: Path, stop_at: int) -> None:
    whole, broken = ([tmp_path / kind / str(s) for s in STACK.seeds] for kind in ("whole", "broken"))
    before = learn(whole, STACK, teacher)
    with pytest.raises(Interrupted):
        learn(broken, STACK, teacher, stop_at)
    after = learn(broken, STACK, teacher)
    assert [weights(folder) for folder in broken] == [weights(folder) for folder in whole]
    timeless = ["step", "tokens", "flops", "train_loss", "validation_loss"]
    assert all(a.select(timeless).equals(b.select(timeless)) for a, b in zip(before, after, strict=True))


def test_a_replica_learns_the_same_alone_and_among_others(teacher: Teaching, tmp_path: Path) -> None:
    together = [tmp_path / "stack" / str(s) for s in STACK.seeds]
    learn(together, STACK, teacher)
    for seed, folder in zip(STACK.seeds, together, strict=True):
        learn([tmp_path / str(seed)], dataclasses.replace(STACK, seeds=(seed,)), teacher)
        assert weights(tmp_path / str(seed)) == weights(folder)


def test_a_teacher_without_weight_changes_nothing(teacher: Teaching, tmp_path: Path) -> None:
    learn([tmp_path / "alone"], SPEC)
    learn([tmp_path / "taught"], SPEC, dataclasses.replace(teacher, weight=0.0))
    assert weights(tmp_path / "alone") == weights(tmp_path / "taught")


def test_its_forward_passes_are_counted(teacher: Teaching, tmp_path: Path) -> None:
    (alone,) = learn([tmp_path / "alone"], SPEC)
    (taught,) = learn([tmp_path / "taught"], SPEC, teacher)
    passes = teacher.network.config.forward_flops(60 * 8 * CONTEXT, CONTEXT)
    assert taught["flops"][-1] == alone["flops"][-1] + passes
    spec = dataclasses.replace(SPEC, beforehand=1e9, sharers=4)
    with pytest.raises(Interrupted):
        learn([tmp_path / "written"], spec, stop_at=30)
    (written,) = learn([tmp_path / "written"], spec)
    assert written["flops"][-1] == alone["flops"][-1] + 1e9
    assert written["flops_spent"][-1] == alone["flops_spent"][-1] + 0.25e9
    assert written["utilisation"].max() < 1.5  # what was computed before is no speed


@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES.load(name).corpus])
def test_every_family_learns_from_one_of_its_own_or_says_that_it_cannot(family: str, tmp_path: Path) -> None:
    own = FAMILIES.load(family)
    (config,) = ladder(family, [4e3], vocabulary=VOCABULARY, context=CONTEXT)
    objective = OBJECTIVES.load(own.objective)
    network = build_network(family, config, torch.Generator().manual_seed(1))
    teaching = Teaching(network, 2.0, 0.5, config.forward_flops)
    if own.learner != "gradient" or own.objective not in ("next_token", "masked_token", "pairs"):
        if own.objective in ("skipgram", "evidence_bound"):
            with pytest.raises(TypeError, match="no predictions"):
                Distilled(objective, teaching)
        return
    draw = mixture(3).draw(0, 1)
    (batch,) = collate([draw], stacked=False)
    noise = partial(torch.Generator().manual_seed, 7)
    # A teacher that is the student itself agrees with it: what is left is the loss of the right answers.
    student = network.eval()
    with torch.no_grad():
        taught = Distilled(objective, dataclasses.replace(teaching, weight=0.25)).losses(student, batch, noise)
        plain = objective.losses(student, batch, noise)
    torch.testing.assert_close(taught, 0.75 * plain, rtol=1e-5, atol=1e-6)
    spec = dataclasses.replace(SPEC, family=family, config=config, learning_rate=SPEC.learning_rate * own.rate)
    learn([tmp_path / "whole"], spec, teaching)
    with pytest.raises(Interrupted):
        learn([tmp_path / "broken"], spec, teaching, stop_at=33)
    learn([tmp_path / "broken"], spec, teaching)
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")


def test_a_hot_teacher_is_no_divergence(teacher: Teaching, tmp_path: Path) -> None:
    """T^2 makes the loss of the first steps large, without a fault."""
    sharp = dataclasses.replace(teacher, temperature=8.0, weight=1.0)
    assert sharp.scale == 64
    learn([tmp_path], SPEC, sharp)


def test_counts_teach_too(tmp_path: Path) -> None:
    """An n-gram model has no gradients, but probabilities."""
    (config,) = ladder("ngram", [4e3], vocabulary=VOCABULARY, context=CONTEXT)
    learn([tmp_path / "counts"], dataclasses.replace(SPEC, family="ngram", config=config))
    network, _ = load_network(tmp_path / "counts")
    lost = [
        learn([tmp_path / str(w)], SPEC, Teaching(network, 1.0, w, config.forward_flops), tokens=300)[0]
        for w in (0.0, 0.9)
    ]
    assert lost[1]["validation_loss"][-1] < lost[0]["validation_loss"][-1]
