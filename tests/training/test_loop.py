"""The loop: it learns, it resumes bit for bit, it notices divergence and damage."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from emergence.core.settings import TokenizerSettings
from emergence.models.checkpoint import find_checkpoints
from emergence.models.family import FAMILIES, ladder
from emergence.models.gpt import size_for
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask
from emergence.text import build_tokenizer
from emergence.training.batch import collate
from emergence.training.data import CorpusSource, Draw, Mixture, RowsSource
from emergence.training.loop import Outcome, RunSpec, train
from emergence.training.rows import pack_rows
from emergence.training.schedule import Schedule
from emergence.training.stack import Stack

CONTEXT = 16


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mixture(seed: int) -> Mixture:
    """A text that repeats with period 7: learnable to a loss of nearly zero."""
    text = (np.arange(4000) % 7).astype(np.uint16)
    return Mixture([CorpusSource(text, text[:400], CONTEXT)], [1.0], batch_rows=8, seed=seed)


SPEC = RunSpec(
    family="gpt",
    config=size_for(3e3, 10, CONTEXT),
    seeds=(5,),
    stacked=False,
    learning_rate=0.005,
    weight_decay=0.1,
    clip=1.0,
    schedule=Schedule(steps=60, warmup=0.05, decay=0.3, checkpoints=(6, 19, 60)),
)


class Interrupted(BaseException):
    """Stands for whatever ends a process."""


def train_all(
    folders: list[Path],
    spec: RunSpec = SPEC,
    stop_at: int | None = None,
    data: Callable[[int], Mixture] = mixture,
) -> tuple[list[pl.DataFrame], list[tuple[int, int]], list[Outcome]]:
    """Train, optionally broken off at a step; return histories, evaluated (replica, step) and outcomes."""
    seen: list[tuple[int, int]] = []

    def progress(share: float, losses: Sequence[float]) -> None:
        if round(share * spec.schedule.computed_steps) == stop_at:
            raise Interrupted

    outcomes = train(
        spec,
        [data(seed) for seed in spec.seeds],
        folders,
        at_checkpoint=lambda replica, network, step: seen.append((replica, step)),
        progress=progress,
    )
    return [pl.read_parquet(folder / "history.parquet") for folder in folders], seen, outcomes


def run(
    folder: Path, spec: RunSpec = SPEC, stop_at: int | None = None
) -> tuple[pl.DataFrame, list[int], tuple[str, ...]]:
    histories, seen, outcomes = train_all([folder], spec, stop_at)
    return histories[0], [step for _, step in seen], outcomes[0].notes


def weights(folder: Path, step: int = 60) -> bytes:
    return (folder / "checkpoints" / f"{step:06d}" / "model.safetensors").read_bytes()


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    history, seen, _ = run(tmp_path)
    checked = history.drop_nulls("validation_loss")
    assert seen == checked["step"].to_list() == [6, 19, 60]
    assert checked["validation_loss"][-1] < 0.1 < 0.5 < checked["validation_loss"][0]
    assert checked["validation_loss"][-1] == checked["validation_loss_corpus"][-1]
    assert history["tokens"][-1] == 60 * 8 * CONTEXT
    assert history["flops"][-1] == 3 * SPEC.config.forward_flops(60 * 8 * CONTEXT, CONTEXT)
    assert (history["utilisation"] > 0).all()
    assert (history["utilisation"] < 1.5).all()


@pytest.mark.parametrize("stop_at", [3, 6, 7, 40, 59])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, _, _ = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", stop_at=stop_at)
    resumed, _, _ = run(tmp_path / "broken")
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    timeless = ["step", "tokens", "flops", "train_loss", "learning_rate", "validation_loss"]
    assert resumed.select(timeless).equals(whole.select(timeless))


def graphs(folder: Path) -> tuple[Callable[[int], Mixture], int, int]:
    """What families that read no text are given instead: graphs, the size of their vocabulary, and the context."""
    task = make_task("reachability", {"distance": 2, "nodes": 10})
    assert isinstance(task, GeneratedTask)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    train, held_out = (
        pack_rows(
            task, tokenizer, folder / name, split="train", rows=n, context=25, rng=np.random.default_rng(n), identity={}
        )
        for name, n in (("train.bin", 300), ("held_out.bin", 50))
    )
    source = RowsSource(task.name, train, held_out)
    return lambda seed: Mixture([source], [1.0], batch_rows=8, seed=seed), tokenizer.vocabulary_size, 25


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_learns_and_resumes_bit_for_bit(tmp_path: Path, family: str) -> None:
    own, data, vocabulary, context = FAMILIES.load(family), mixture, 10, CONTEXT
    if not own.corpus:
        data, vocabulary, context = graphs(tmp_path)
    (config,) = ladder(family, [4e3], vocabulary=vocabulary, context=context)
    steps = 60 * int(1 / own.predicted_share)  # who learns from some of the tokens needs more of them
    schedule = dataclasses.replace(SPEC.schedule, steps=steps, checkpoints=(6, 19, steps))
    rate = SPEC.learning_rate * own.rate
    spec = dataclasses.replace(SPEC, family=family, config=config, schedule=schedule, learning_rate=rate)
    (history,), _, (outcome,) = train_all([tmp_path / "whole"], spec, data=data)
    assert outcome.diverged is None
    if config.parameters:  # a family without any knows what it knows
        assert history["validation_loss"].drop_nulls()[-1] < 0.7 * np.log(10)
    with pytest.raises(Interrupted):
        train_all([tmp_path / "broken"], spec, stop_at=33, data=data)
    train_all([tmp_path / "broken"], spec, data=data)
    assert weights(tmp_path / "broken", steps) == weights(tmp_path / "whole", steps)


@pytest.mark.parametrize("family", ["ngram", "numpy"])
def test_branches_of_other_learners_end_where_runs_of_their_own_would(tmp_path: Path, family: str) -> None:
    (config,) = ladder(family, [4e3], vocabulary=10, context=CONTEXT)
    spec = dataclasses.replace(BRANCHES, family=family, config=config, seeds=(5,), stacked=False)
    train_all([tmp_path / "whole"], spec)
    with pytest.raises(Interrupted):
        train_all([tmp_path / "broken"], spec, stop_at=33)
    train_all([tmp_path / "broken"], spec)
    for end in spec.schedule.checkpoints:
        schedule = Schedule(steps=end, warmup=0.05 * 60 / end, decay=0.3, checkpoints=(end,))
        train_all([tmp_path / str(end)], dataclasses.replace(spec, schedule=schedule))
        assert (
            weights(tmp_path / "whole", end) == weights(tmp_path / "broken", end) == weights(tmp_path / str(end), end)
        )


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_flipped_byte_costs_only_the_way_from_the_checkpoint_before(tmp_path: Path, name: str) -> None:
    run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", stop_at=40)
    path = tmp_path / "broken" / "checkpoints" / "000019" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    _, seen, notes = run(tmp_path / "broken")
    assert seen == [19, 60]
    assert len(notes) == 1
    assert "000019" in notes[0]
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    run(tmp_path)
    before = weights(tmp_path)
    history, seen, _ = run(tmp_path)
    assert seen == []
    assert history["step"][-1] == 60
    assert weights(tmp_path) == before


def test_only_the_last_two_checkpoints_can_be_trained_on(tmp_path: Path) -> None:
    run(tmp_path)
    found = find_checkpoints(tmp_path)
    assert [checkpoint.step for checkpoint in found] == [6, 19, 60]
    assert [checkpoint.optimiser() is not None for checkpoint in found] == [False, True, True]
    for checkpoint in found:
        checkpoint.state()  # sound, with and without the optimiser


def test_resume_points_between_checkpoints_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emergence.training.loop.SECONDS_AT_RISK", 0.0)
    run(tmp_path)
    assert [checkpoint.step for checkpoint in find_checkpoints(tmp_path)] == [6, 19, 59, 60]


def test_an_exploding_loss_is_noticed(tmp_path: Path) -> None:
    wild = dataclasses.replace(SPEC, learning_rate=1e4, clip=1e9)
    _, seen, outcomes = train_all([tmp_path], wild)
    assert outcomes[0].diverged is not None
    assert "at step" in outcomes[0].diverged
    assert (0, 60) not in seen


def test_seeds_differ(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b", dataclasses.replace(SPEC, seeds=(6,)))
    assert weights(tmp_path / "a") != weights(tmp_path / "b")


STACK = dataclasses.replace(SPEC, seeds=(5, 6, 7), stacked=True)


def test_stacked_replicas_learn_as_each_does_alone(tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in STACK.seeds]
    histories, seen, _ = train_all(folders, STACK)
    assert sorted(seen) == [(replica, step) for replica in range(3) for step in (6, 19, 60)]
    for seed, history in zip(STACK.seeds, histories, strict=True):
        alone, _, _ = run(tmp_path / f"alone-{seed}", dataclasses.replace(SPEC, seeds=(seed,)))
        for column in ("train_loss", "validation_loss"):
            ours, theirs = (table.drop_nulls(column)[column].to_numpy() for table in (history, alone))
            np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # sums in another order, over sixty steps
        assert history["flops"].equals(alone["flops"])


@pytest.mark.parametrize(("context", "rows", "size"), [(CONTEXT, 8, 3e3), (18, 7, 1e4), (25, 3, 2.3e4)])
def test_a_stacked_replica_does_not_depend_on_the_others(context: int, rows: int, size: float) -> None:
    """Bit for bit, also where rows and positions do not come in the processor's own numbers."""

    def weights_of(replica: int, seeds: tuple[int, ...]) -> dict[str, torch.Tensor]:
        config = size_for(size, 30, context)
        stack = Stack("gpt", config, seeds, learning_rate=0.01, weight_decay=0.1, clip=0.1, stacked=True)
        for step in range(25):
            draws = []
            for seed in seeds:
                rng = np.random.default_rng([step, seed])
                ids = rng.integers(0, 30, (1, rows, context + 1))
                mask = rng.random((1, rows, context)) < 0.4
                draws.append(Draw(ids[..., :-1], ids[..., 1:], mask, np.array([rows * (context - 1)])))
            stack.step(collate(draws, stacked=True)[0], 1.0)
        return stack.weights(seeds.index(replica))

    together = weights_of(6, (5, 6, 7))
    for others in ((6,), (6, 7)):
        apart = weights_of(6, others)
        assert all(torch.equal(together[name], apart[name]) for name in together)


@pytest.mark.parametrize("stop_at", [6, 7, 40])
def test_an_interrupted_stack_ends_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, broken = ([tmp_path / kind / str(seed) for seed in STACK.seeds] for kind in ("whole", "broken"))
    train_all(whole, STACK)
    with pytest.raises(Interrupted):
        train_all(broken, STACK, stop_at)
    train_all(broken, STACK)
    assert [weights(folder) for folder in broken] == [weights(folder) for folder in whole]


def test_one_that_diverges_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / str(seed) for seed in STACK.seeds]
    train_all(folders, STACK)
    learn = Stack.step

    def poisoned(self: Stack, batch: Any, factor: float, step: int) -> torch.Tensor:
        losses = learn(self, batch, factor, step)
        if factor < 1:  # the last phase: replica 1 breaks
            with torch.no_grad():
                next(self.network.parameters())[1] = float("nan")
        return losses

    monkeypatch.setattr(Stack, "step", poisoned)
    broken = [tmp_path / "broken" / str(seed) for seed in STACK.seeds]
    _, seen, outcomes = train_all(broken, STACK)
    assert [outcome.diverged is None for outcome in outcomes] == [True, False, True]
    assert (1, 60) not in seen
    assert [weights(broken[s]) == weights(folders[s]) for s in (0, 1, 2)] == [True, False, True]


BRANCHES = dataclasses.replace(
    STACK, schedule=dataclasses.replace(SPEC.schedule, branches=True, checkpoints=(20, 35, 60))
)


def test_a_branch_ends_where_a_run_of_its_own_would(tmp_path: Path) -> None:
    histories, seen, _ = train_all([tmp_path / str(s) for s in STACK.seeds], BRANCHES)
    assert sorted(seen) == [(replica, step) for replica in range(3) for step in (20, 35, 60)]
    for end in (20, 35, 60):
        schedule = Schedule(steps=end, warmup=0.05 * 60 / end, decay=0.3, checkpoints=(end,))
        train_all([tmp_path / f"{end}-{s}" for s in STACK.seeds], dataclasses.replace(STACK, schedule=schedule))
        for s in STACK.seeds:
            assert weights(tmp_path / str(s), end) == weights(tmp_path / f"{end}-{s}", end)
            own = pl.read_parquet(tmp_path / f"{end}-{s}" / "history.parquet").tail(1)
            branch = histories[STACK.seeds.index(s)].filter(pl.col("step") == end).drop_nulls("validation_loss")
            same = ["tokens", "flops", "validation_loss", "learning_rate"]
            assert branch.select(same).equals(own.select(same))
    spent = histories[0]["flops_spent"].max() / histories[0]["flops"].max()
    assert spent == pytest.approx(BRANCHES.schedule.computed_steps / 60)
    assert BRANCHES.schedule.computed_steps == 42 + 6 + 10 + 18 < 20 + 35 + 60


@pytest.mark.parametrize("stop_at", [14, 16, 20, 21, 33, 60, 75])
def test_interrupted_branches_end_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, broken = ([tmp_path / kind / str(seed) for seed in STACK.seeds] for kind in ("whole", "broken"))
    before, _, _ = train_all(whole, BRANCHES)
    with pytest.raises(Interrupted):
        train_all(broken, BRANCHES, stop_at)
    after, _, _ = train_all(broken, BRANCHES)
    for end in (20, 35, 60):
        assert [weights(folder, end) for folder in broken] == [weights(folder, end) for folder in whole]
    timeless = ["step", "tokens", "flops", "train_loss", "validation_loss"]
    for a, b in zip(before, after, strict=True):
        assert a.select(timeless).sort(timeless).equals(b.select(timeless).sort(timeless))


@pytest.mark.parametrize("decay", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("lost", ["checkpoints/000020", "checkpoints/000060", "trunk", "history.parquet"])
def test_what_is_lost_of_branches_grows_again(tmp_path: Path, lost: str, decay: float) -> None:
    schedule = dataclasses.replace(BRANCHES.schedule, decay=decay, warmup=0.0)
    spec = dataclasses.replace(BRANCHES, schedule=schedule, seeds=(5, 6))
    folders = [tmp_path / str(seed) for seed in spec.seeds]
    before, _, _ = train_all(folders, spec)
    kept = [weights(folder, end) for folder in folders for end in (20, 35, 60)]
    if (folders[1] / lost).is_dir():
        shutil.rmtree(folders[1] / lost)
    else:
        (folders[1] / lost).unlink(missing_ok=True)
    after, _, _ = train_all(folders, spec)
    assert [weights(folder, end) for folder in folders for end in (20, 35, 60)] == kept
    timeless = ["step", "branch", "tokens", "flops", "train_loss", "validation_loss"]
    for old, new in zip(before, after, strict=True):
        ends = [table.drop_nulls("validation_loss").select(timeless).sort("step") for table in (old, new)]
        assert ends[0].equals(ends[1])
