"""Adapters against the library `peft` on the same models; importing it takes long, so that all of that is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapted import VOCABULARY, ids_of, own_network, seeded, tiny_bert, train
from tests.tiny_huggingface import build

from emergence.core.adapter_settings import AdaLoRASettings, AdapterSettings, LoRASettings, PrefixSettings
from emergence.core.errors import UserError
from emergence.models.adapters import Adapter, attach, read_peft, write_peft
from emergence.models.huggingface_layouts import LAYOUTS
from emergence.models.huggingface_masked import HuggingFaceMasked
from emergence.models.huggingface_network import HuggingFaceConfig, HuggingFaceNetwork

pytest.importorskip("peft", reason="peft is not installed; pip install 'emergence[peft]'")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TARGETS = {
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj"],
    "bert": ["query", "value", "intermediate.dense"],
    "mamba": ["in_proj", "x_proj"],
}
OWN = {
    "gpt": ("llama", ("q", "v", "down")),
    "gpt2": ("gpt2", ("qkv", "out", "down")),
    "bert": ("bert", ("q", "v", "up")),
    "mamba": ("mamba", ("into", "select")),
}


def theirs(family: str) -> Any:
    """Return a model as transformers builds it, the same each time."""
    return tiny_bert() if family == "bert" else build(family)


def ours(family: str) -> Any:
    """Return it as this project asks it."""
    module = theirs(family)
    config = HuggingFaceConfig(family, module.config.vocab_size, 96, 0, 0)
    return HuggingFaceMasked(module, config, 0) if family == "bert" else HuggingFaceNetwork(module, config)


def exported(network: Any, family: str) -> Any:
    """Return a network of ours as transformers has it."""
    import transformers

    layout = LAYOUTS[family]
    options = {"vocab_size": network.config.vocabulary, "pad_token_id": 0} | layout.document(network.config)
    config = transformers.AutoConfig.for_model(layout.model_type, **options)
    module = getattr(transformers, layout.architecture)(config)
    missing = module.load_state_dict(layout.weights(network), strict=False)
    assert not missing.unexpected_keys
    return module.eval()


@torch.no_grad()
def said(model: Any, vocabulary: int = VOCABULARY) -> torch.Tensor:
    """Return the logits of a model, of ours or of transformers, for some rows; ours may know a token more."""
    ids = ids_of()
    own = hasattr(model, "reads")
    found = model(ids) if own else model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found[..., :vocabulary]


def assert_equal(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def peft_of(module: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(module, str(folder)).eval()


def shaken(adapter: Adapter) -> Adapter:
    """Give an adapter values that are far from nothing."""
    state = adapter.state()
    adapter.load_state(
        {name: 0.1 * torch.randn(t.shape, generator=seeded(i)) for i, (name, t) in enumerate(state.items())}
    )
    return adapter


def trained(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("family", list(TARGETS))
@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_models_of_transformers_go_to_peft_and_back(family: str, method: str, tmp_path: Path) -> None:
    import peft

    targets = TARGETS[family]
    turned = {"fan_in_fan_out": family == "gpt2"}
    settings: AdapterSettings
    if method == "lora":
        settings = LoRASettings(rank=3, alpha=5, targets=tuple(targets))
        config: Any = peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, init_lora_weights=False, **turned)
    else:
        settings = AdaLoRASettings(rank=3, target_rank=2, alpha=5, targets=tuple(targets))
        config = peft.AdaLoraConfig(
            init_r=3, target_r=2, lora_alpha=5, target_modules=targets, init_lora_weights=False, total_step=10, **turned
        )
    network = ours(family)
    adapter = shaken(attach(network, settings, seeded(5)))
    write_peft(tmp_path / "ours", adapter)
    assert_equal(said(peft_of(theirs(family), tmp_path / "ours")), said(network))

    reference = peft.get_peft_model(theirs(family), config).eval()
    assert trained(reference) == adapter.trainable_parameters
    for parameter in reference.parameters():
        if parameter.requires_grad and method == "adalora":
            parameter.data.mul_(0.2)  # three factors of size one make a change that leaves nothing of the model
    reference.save_pretrained(str(tmp_path / "theirs"))
    again = ours(family)
    found = read_peft(again, tmp_path / "theirs")
    assert found.trainable_parameters == adapter.trainable_parameters
    assert_equal(said(again), said(reference))
    found.merge()
    assert_equal(said(again), said(reference))


@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize("family", list(OWN))
def test_networks_of_ours_go_to_peft_and_back(family: str, method: str, tmp_path: Path) -> None:
    import peft

    kind, targets = OWN[family]
    settings: AdapterSettings
    if method == "lora":
        settings = LoRASettings(rank=3, alpha=5, targets=targets)
    else:
        settings = AdaLoRASettings(rank=3, target_rank=2, alpha=5, targets=targets)
    network = own_network(family)
    module = exported(network, family)
    assert_equal(said(module), said(network))
    adapter = shaken(attach(network, settings, seeded(5)))
    write_peft(tmp_path / "ours", adapter)
    assert_equal(said(peft_of(module, tmp_path / "ours")), said(network))

    if method == "adalora":
        return
    turned = {"fan_in_fan_out": family == "gpt2"}
    config = peft.LoraConfig(r=3, target_modules=TARGETS[kind], init_lora_weights=False, lora_alpha=5, **turned)
    reference = peft.get_peft_model(exported(own_network(family), family), config).eval()
    assert trained(reference) == adapter.trainable_parameters
    reference.save_pretrained(str(tmp_path / "theirs"))
    again = own_network(family)
    found = read_peft(again, tmp_path / "theirs")
    assert_equal(said(again), said(reference))
    write_peft(tmp_path / "back", found)
    back = peft_of(exported(own_network(family), family), tmp_path / "back")
    assert_equal(said(back), said(reference))


def test_the_default_targets_are_the_matrices_of_the_blocks(tmp_path: Path) -> None:
    import peft

    for family in ("llama", "gpt2"):
        adapter = attach(ours(family), LoRASettings(rank=3), seeded(5))
        config = peft.LoraConfig(r=3, target_modules="all-linear", fan_in_fan_out=family == "gpt2")
        assert trained(peft.get_peft_model(theirs(family), config)) == adapter.trainable_parameters


def test_ranks_of_their_own_and_scales_by_the_root_of_the_rank(tmp_path: Path) -> None:
    import peft

    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "k_proj", "o_proj"],
        rank_pattern={"q_proj": 2},
        use_rslora=True,
        init_lora_weights=False,
    )
    module = exported(own_network("gpt"), "gpt")
    reference = peft.get_peft_model(module, config).eval()
    reference.save_pretrained(str(tmp_path))
    network = own_network("gpt")
    read_peft(network, tmp_path)
    assert_equal(said(network), said(reference))
    wrapped = ours("llama")
    peft.get_peft_model(theirs("llama"), config).save_pretrained(str(tmp_path / "more"))
    read_peft(wrapped, tmp_path / "more")
    assert_equal(said(wrapped), said(peft_of(theirs("llama"), tmp_path / "more")))


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # peft on saving matrices that lost all their rank
def test_the_budget_of_adalora_goes_where_peft_lets_it_go(tmp_path: Path) -> None:
    """Twenty steps of the same training by either, singular values and logits compared after each."""
    import peft

    steps, targets = 20, ["q_proj", "v_proj", "up_proj"]
    settings = AdaLoRASettings(
        rank=4, target_rank=2, alpha=8, warmup=0.2, final=0.3, interval=2, targets=tuple(targets), orthogonality=0.1
    )
    network = ours("llama")
    adapter = attach(network, settings, seeded(5))
    shaken(adapter)
    write_peft(tmp_path, adapter)
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=8, tinit=4, tfinal=6, deltaT=2, total_step=steps, orth_reg_weight=0.1,
        target_modules=targets, task_type="CAUSAL_LM",
    )  # fmt: skip
    reference = peft.get_peft_model(theirs("llama"), config)
    from safetensors.torch import load_file

    peft.set_peft_model_state_dict(reference, load_file(tmp_path / "adapter_model.safetensors"))
    ids = ids_of()
    mine = torch.optim.SGD(adapter.trainable, lr=0.5)
    other = torch.optim.SGD([p for p in reference.parameters() if p.requires_grad], lr=0.5)
    for step in range(1, steps + 1):
        mine.zero_grad()
        other.zero_grad()
        logits = network(ids)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        penalty = adapter.penalty()
        assert penalty is not None
        total = loss + penalty
        expected = reference(input_ids=ids, labels=ids).loss
        assert total.item() == pytest.approx(expected.item(), abs=2e-4)
        total.backward()
        expected.backward()
        mine.step()
        other.step()
        adapter.after_step(step, steps)
        reference.base_model.update_and_allocate(step)
        kept = {name: values[0] for name, values in adapter.state().items() if name.endswith(".E")}
        theirs_kept = {
            name.removeprefix("base_model.model.").removesuffix(".lora_E.default") + ".E": p.detach()[:, 0]
            for name, p in reference.named_parameters()
            if "lora_E" in name
        }
        assert kept.keys() == theirs_kept.keys()
        for name, values in kept.items():
            assert torch.equal(values == 0, theirs_kept[name] == 0), (step, name)
            torch.testing.assert_close(values, theirs_kept[name], rtol=2e-3, atol=2e-5)
    left = sum(int((values != 0).sum()) for values in kept.values())
    assert left == 2 * len(kept)
    ranks = {int((values != 0).sum()) for values in kept.values()}
    assert len(ranks) > 1  # some matrices got more than others
    reference.save_pretrained(str(tmp_path / "theirs"))
    assert json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())["rank_pattern"]
    again = ours("llama")
    found = read_peft(again, tmp_path / "theirs")
    assert_equal(said(again), said(reference.eval()))
    write_peft(tmp_path / "back", found)
    assert_equal(said(peft_of(theirs("llama"), tmp_path / "back")), said(reference))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_prefixes_go_to_peft_and_back(family: str, tmp_path: Path) -> None:
    import peft

    network = ours(family)
    adapter = shaken(attach(network, PrefixSettings(length=5, shifted=True), seeded(5)))
    write_peft(tmp_path / "ours", adapter)
    assert_equal(said(peft_of(theirs(family), tmp_path / "ours")), said(network))
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    reference = peft.get_peft_model(theirs(family), config).eval()
    assert trained(reference) == adapter.trainable_parameters
    reference.save_pretrained(str(tmp_path / "theirs"))
    again = ours(family)
    read_peft(again, tmp_path / "theirs")
    assert_equal(said(again), said(reference))


@pytest.mark.parametrize("family", ["gpt", "gpt2"])
def test_prefixes_of_networks_of_ours_go_to_peft_and_back(family: str, tmp_path: Path) -> None:
    network = own_network(family)
    module = exported(network, family)
    adapter = attach(network, PrefixSettings(length=5, shifted=True), seeded(5))
    train(network, shaken(adapter), steps=2)
    write_peft(tmp_path, adapter)
    assert_equal(said(peft_of(module, tmp_path)), said(network))
    again = own_network(family)
    read_peft(again, tmp_path)
    assert torch.equal(said(again), said(network))


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    import peft

    with pytest.raises(UserError, match="holds no adapter that peft wrote"):
        read_peft(ours("llama"), tmp_path)
    targets = ["q_proj", "v_proj"]
    dora = peft.LoraConfig(r=2, target_modules=targets, use_dora=True)
    peft.get_peft_model(theirs("llama"), dora).save_pretrained(str(tmp_path / "dora"))
    with pytest.raises(UserError, match="'use_dora' is True"):
        read_peft(ours("llama"), tmp_path / "dora")
    ia3 = peft.IA3Config(target_modules=targets, feedforward_modules=[])
    peft.get_peft_model(theirs("llama"), ia3).save_pretrained(str(tmp_path / "ia3"))
    with pytest.raises(UserError, match="kind IA3"):
        read_peft(ours("llama"), tmp_path / "ia3")
    plain = peft.LoraConfig(r=2, target_modules=targets)
    peft.get_peft_model(theirs("llama"), plain).save_pretrained(str(tmp_path / "plain"))
    with pytest.raises(UserError, match="made for another model"):
        read_peft(ours("gpt2"), tmp_path / "plain")
    with pytest.raises(UserError, match="differ in their width"):
        read_peft(own_network("gpt"), tmp_path / "plain")
    with pytest.raises(UserError, match="no model of this family"):
        write_peft(tmp_path / "lstm", attach(own_network("lstm"), LoRASettings(), seeded(5)))
    with pytest.raises(UserError, match="out_proj of Mamba"):
        write_peft(tmp_path / "mamba", attach(own_network("mamba"), LoRASettings(), seeded(5)))
    with pytest.raises(UserError, match="shifted: true"):
        write_peft(tmp_path / "prefix", attach(own_network("gpt"), PrefixSettings(), seeded(5)))
