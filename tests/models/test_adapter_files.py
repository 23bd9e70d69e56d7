"""An adapter alone on disk, and AdaLoRA's budget."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.adapted import SETTINGS, answers, network_of, own_network, seeded, train

from emergence.core.adapter_settings import AdaLoRASettings, AdapterSettings, PrefixSettings
from emergence.core.errors import UserError
from emergence.core.store import read_sealed, write_sealed
from emergence.models.adapters import attach, is_adapter, load_adapter, save_adapter
from emergence.models.adapters.allocation import budget
from emergence.models.trunk import module_of


@pytest.mark.parametrize("method", list(SETTINGS))
@pytest.mark.parametrize("name", ["gpt", "seq2seq", "hf-llama", "hf-bert"])
def test_an_adapter_comes_back_to_its_base(name: str, method: str, tmp_path: Path) -> None:
    network = network_of(name)
    base = network.fingerprint()
    adapter = attach(network, SETTINGS[method], seeded(5))
    train(network, adapter, steps=3)
    assert not is_adapter(tmp_path / "kept")
    save_adapter(tmp_path / "kept", adapter, base)
    assert is_adapter(tmp_path / "kept")
    size = sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    assert size < 4 * adapter.trainable_parameters + 16_000  # nothing of the base is in it
    again = network_of(name)
    found = load_adapter(again, tmp_path / "kept")
    assert found.settings == adapter.settings
    assert found.names == adapter.names
    assert torch.equal(answers(again), answers(network))


def test_an_adapter_of_another_base_is_refused_by_both_hashes(tmp_path: Path) -> None:
    network = own_network("gpt")
    base = network.fingerprint()
    save_adapter(tmp_path, attach(network, SETTINGS["lora"], seeded(5)), base)
    other = own_network("gpt")
    with torch.no_grad():
        next(module_of(other).parameters()).view(-1)[0] += 1e-3
    with pytest.raises(UserError) as refused:
        load_adapter(other, tmp_path)
    assert base[:16] in str(refused.value)
    assert other.fingerprint()[:16] in str(refused.value)
    with pytest.raises(UserError, match="without another adapter"):
        load_adapter(network, tmp_path)


def test_damaged_files_are_noticed(tmp_path: Path) -> None:
    network = own_network("gpt")
    base = network.fingerprint()
    adapter = attach(network, SETTINGS["bottleneck"], seeded(5))
    with pytest.raises(UserError, match="holds no adapter"):
        load_adapter(network, tmp_path)
    save_adapter(tmp_path, adapter, base)
    adapter.detach()
    weights, description = tmp_path / "adapter.safetensors", tmp_path / "adapter.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="does not match its checksum"):
        load_adapter(network, tmp_path)
    weights.write_bytes(content)
    said = read_sealed(description)
    write_sealed(description, {**said, "settings": {"method": "magic"}})
    with pytest.raises(UserError, match="does not describe an adapter"):
        load_adapter(network, tmp_path)
    description.write_text("{}")
    with pytest.raises(UserError, match="save the adapter again"):
        load_adapter(network, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder"):
        save_adapter(tmp_path / "file", adapter, base)


SETTING: TypeAdapter[AdapterSettings] = TypeAdapter(AdapterSettings)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"method": "lora", "rank": 0}, "greater than or equal to 1"),
        ({"method": "lora", "targets": []}, "no matrix is named"),
        ({"method": "lora", "width": 3}, "Extra inputs"),
        ({"method": "adalora", "rank": 2, "target_rank": 3}, "exchange them"),
        ({"method": "adalora", "warmup": 0.6, "final": 0.5}, "less than 1"),
        ({"method": "prefix", "length": 0}, "greater than or equal to 1"),
        ({"method": "magic"}, "'lora', 'adalora', 'bottleneck', 'prefix'"),
    ],
)
def test_settings_that_cannot_be_are_refused(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SETTING.validate_python(document)


@pytest.mark.parametrize("settings", [*SETTINGS.values(), PrefixSettings(length=2, shifted=True)])
def test_settings_come_back_from_json(settings: AdapterSettings) -> None:
    assert SETTING.validate_json(SETTING.dump_json(settings)) == settings


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))
def test_the_budget_falls_from_the_first_number_to_the_last(
    last: int, more: int, warmup: int, final: int, between: int
) -> None:
    first, steps = last + more, warmup + between + final
    kept = [budget(step, first, last, warmup, steps, final) for step in range(1, steps + 1)]
    assert all(a >= b for a, b in itertools.pairwise(kept))
    assert all(last <= number <= first for number in kept)
    assert kept[-1] == last or warmup >= steps
    assert all(number == first for number in kept[:warmup])
    assert all(number == last for number in kept[steps - final :])


def test_the_budget_is_that_of_equation_twelve() -> None:
    assert budget(40, 1000, 200, 10, 100, 30) == int(200 + 800 * (1 - 30 / 60) ** 3)


def test_singular_values_are_left_as_the_budget_says() -> None:
    network = own_network("gpt")
    settings = AdaLoRASettings(rank=4, target_rank=2, interval=1, warmup=0.2, final=0.2, orthogonality=0.01)
    adapter = attach(network, settings, seeded(5))
    train(network, adapter, steps=20)
    values = torch.cat([v.flatten() for name, v in adapter.state().items() if name.endswith(".E")])
    assert int((values != 0).sum()) == len(values) // 2


def test_the_penalty_vanishes_where_singular_vectors_are_orthogonal() -> None:
    network = own_network("gpt")
    adapter = attach(network, AdaLoRASettings(rank=3, target_rank=2, orthogonality=0.5), seeded(5))
    penalty = adapter.penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * 3**0.5, rel=0.05)  # vectors near zero: the norm of one itself
    state = adapter.state()
    for name, tensor in state.items():
        if name.endswith(".A"):
            state[name] = torch.linalg.qr(torch.randn(tensor.mT.shape, generator=seeded(1)))[0].mT.contiguous()
        elif name.endswith(".B"):
            state[name] = torch.linalg.qr(torch.randn(tensor.shape, generator=seeded(2)))[0]
    adapter.load_state(state)
    penalty = adapter.penalty()
    assert penalty is not None
    assert penalty.item() < 1e-5
    assert attach(own_network("gpt"), SETTINGS["lora"], seeded(5)).penalty() is None
