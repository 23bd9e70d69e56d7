"""Checkpoints: what is saved comes back, and what is damaged is noticed and passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emergence.core.errors import UserError
from emergence.core.store import DamagedFileError
from emergence.models.checkpoint import find_checkpoints, load_network, save_checkpoint, write_config
from emergence.models.family import build_network
from emergence.models.gpt import size_for


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of the steps 1, 2 and 3, whose weights are all 1, 2 and 3."""
    config = size_for(3e3, 20, 16)
    write_config(tmp_path, "gpt", config)
    network = build_network("gpt", config, torch.Generator().manual_seed(0))
    for step in (1, 2, 3):
        for weight in network.parameters():
            weight.data.fill_(step)
        save_checkpoint(tmp_path, step, dict(network.state_dict()), {"moment": torch.ones(2)})
    return tmp_path


def level(network: torch.nn.Module) -> float:
    values = torch.cat([weight.flatten() for weight in network.parameters()])
    assert values.min() == values.max()
    return float(values[0].detach())


def test_the_last_checkpoint_is_loaded_unless_another_is_asked_for(run: Path) -> None:
    assert level(load_network(run)[0]) == 3
    assert level(load_network(run, step=1)[0]) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_over(run: Path, name: str, damage: str) -> None:
    path = run / "checkpoints" / "000003" / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    network, checkpoint = load_network(run)
    assert checkpoint.step == 2
    assert level(network) == 2


def test_without_a_sound_checkpoint_there_is_no_model(run: Path) -> None:
    for checkpoint in find_checkpoints(run):
        (checkpoint.folder / "model.safetensors").write_bytes(b"")
        with pytest.raises(DamagedFileError):
            checkpoint.state()
    with pytest.raises(UserError, match="no sound checkpoint"):
        load_network(run)


def test_an_unknown_step_names_the_known_ones(run: Path) -> None:
    with pytest.raises(UserError, match=r"it has 1, 2, 3"):
        load_network(run, step=7)


def test_a_dropped_optimiser_leaves_a_sound_checkpoint(run: Path) -> None:
    first = find_checkpoints(run)[0]
    first.drop_optimiser()
    assert first.optimiser() is None
    assert first.state()["step"] == 1
    assert level(load_network(run, step=1)[0]) == 1


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a model folder"):
        load_network(tmp_path)
