"""The fine-tuning loop with adapters: they learn what is planted, alone, and are all that has to be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.finetuning.planted import classes_of, letters, network_of

from emergence.core.adapter_settings import (
    AdaLoRASettings,
    AdapterSettings,
    BottleneckSettings,
    LoRASettings,
    PrefixSettings,
)
from emergence.core.finetune_settings import FinetuneSettings
from emergence.models.adapters import attach, load_adapter, save_adapter
from emergence.training.finetuning.loop import finetune


@pytest.mark.parametrize(
    ("family", "adapter"),
    [
        ("bert", LoRASettings()),
        ("gpt", AdaLoRASettings(rank=4, target_rank=2)),
        ("lstm", BottleneckSettings(width=8)),
        ("gpt", PrefixSettings(length=4)),
    ],
)
def test_an_adapter_learns_and_its_base_stays(family: str, adapter: AdapterSettings, tmp_path: Path) -> None:
    tokenizer = letters()
    network = network_of(family, tokenizer, 12_000)
    aim = classes_of(network, tokenizer, n=300)
    base, before = network.fingerprint(), aim.validate(network)["accuracy"]
    settings = FinetuneSettings(adapter=adapter, epochs=12, patience=12, least_steps=100, dropout=0.0)
    attached = attach(network, adapter, torch.Generator().manual_seed(0))
    tuning = finetune(network, [aim], settings, width=network.config.width, seed=0, adapter=attached)
    best = tuning.readings[tuning.best].measures["planted"]["accuracy"]
    assert best > max(0.85, before + 0.2)
    assert tuning.share < 0.4
    save_adapter(tmp_path, attached, base)
    attached.detach()
    assert network.fingerprint() == base
    assert aim.validate(network)["accuracy"] < best
    load_adapter(network, tmp_path)
    assert aim.validate(network)["accuracy"] == best


def test_embeddings_may_be_attacked_and_units_dropped_while_an_adapter_learns() -> None:
    tokenizer = letters()
    network = network_of("gpt", tokenizer, 12_000)
    aim = classes_of(network, tokenizer, n=100)
    adapter = LoRASettings(rank=2)
    settings = FinetuneSettings(adapter=adapter, epochs=1, least_steps=10, dropout=0.1, adversarial=0.05, l1=1e-4)
    attached = attach(network, adapter, torch.Generator().manual_seed(0))
    before = attached.state()
    finetune(network, [aim], settings, width=network.config.width, seed=0, adapter=attached)
    assert all(not torch.equal(before[name], tensor) for name, tensor in attached.state().items())
