"""Small networks of every family that can be adapted, what they answer, and a loss of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from emergence.core.adapter_settings import (
    AdaLoRASettings,
    AdapterSettings,
    BottleneckSettings,
    LoRASettings,
    PrefixSettings,
)
from emergence.models.adapters import Adapter
from emergence.models.family import FAMILIES, build_network
from emergence.models.huggingface_masked import HuggingFaceMasked
from emergence.models.huggingface_network import HuggingFaceConfig, HuggingFaceNetwork
from emergence.models.huggingface_pairs import HuggingFacePairs
from tests.tiny_huggingface import build

VOCABULARY, CONTEXT = 40, 24
OWN = ("gpt", "gpt2", "lstm", "mamba", "bert", "seq2seq", "vae")
SETTINGS: dict[str, AdapterSettings] = {
    "lora": LoRASettings(rank=2, alpha=8),
    "adalora": AdaLoRASettings(rank=3, target_rank=2, alpha=8, interval=2, orthogonality=0.01),
    "bottleneck": BottleneckSettings(width=4),
    "prefix": PrefixSettings(length=3),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def own_network(family: str) -> Any:
    """Return a network of ours whose answers differ from question to question."""
    config = FAMILIES.load(family).size(8_000, VOCABULARY, CONTEXT, "both")
    network = build_network(family, config, seeded(3))
    for name, weight in network.named_parameters():
        if weight.abs().max() == 0 and "bias" not in name:
            torch.nn.init.normal_(weight, std=0.3, generator=seeded(4))
    return network.eval()


def causal(family: str, vocabulary: int = 260) -> HuggingFaceNetwork:
    """Return a causal network of transformers."""
    module = build(family, vocabulary)
    return HuggingFaceNetwork(module, HuggingFaceConfig(family, vocabulary, 96, 0, 0))


def tiny_bert(vocabulary: int = VOCABULARY) -> Any:
    """Return a masked network as transformers builds it."""
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = transformers.BertForMaskedLM(
            transformers.BertConfig(vocab_size=vocabulary, max_position_embeddings=64, **shape)
        )
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.data.mul_(4.0)  # else every position says nearly the same
    return module.eval()


def masked(vocabulary: int = VOCABULARY) -> HuggingFaceMasked:
    """Return a masked network of transformers."""
    return HuggingFaceMasked(tiny_bert(vocabulary), HuggingFaceConfig("bert", vocabulary, 64, 0, 0), vocabulary - 1)


def pairs() -> HuggingFacePairs:
    """Return an encoder-decoder of transformers."""
    import transformers

    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=VOCABULARY, **shape))
    shape_ = HuggingFaceConfig("t5", VOCABULARY, 64, 0, 0)

    class Around:
        begin_id = 1

        def around(self) -> tuple[list[int], list[int]]:
            return [], [1]

    return HuggingFacePairs(module.eval(), shape_, Around())


def network_of(name: str) -> Any:
    """Return one of ours, or one of transformers by the name ``hf-...``."""
    if name == "hf-bert":
        return masked()
    if name == "hf-t5":
        return pairs()
    return causal(name.removeprefix("hf-")) if name.startswith("hf-") else own_network(name)


def ids_of(rows: int = 3, length: int = 12, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, VOCABULARY - 1, (rows, length), generator=seeded(seed))


def answers(network: Any) -> torch.Tensor:
    """Return the logits [N, V] that a network of any kind gives to some rows."""
    ids = ids_of()
    if network.reads == "pairs":
        lengths = torch.tensor([12, 7, 4])
        return network.decode(ids[:, :6], network.encode(ids, lengths)).flatten(0, 1)
    if network.reads == "latent":
        mean, _ = network.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        return network(ids, mean).flatten(0, 1)
    return network(ids).flatten(0, 1)


def loss_of(network: Any) -> torch.Tensor:
    """Return a cross-entropy that can be lowered."""
    logits = answers(network)
    return F.cross_entropy(logits, torch.arange(len(logits)) % 3 + 1)


def train(network: Any, adapter: Adapter, steps: int = 12, rate: float = 0.03) -> list[float]:
    """Train an adapter as the loop does, and return the losses."""
    optimiser = torch.optim.Adam(adapter.trainable, lr=rate)
    losses = []
    for step in range(1, steps + 1):
        loss = loss_of(network)
        losses.append(loss.item())
        penalty = adapter.penalty()
        optimiser.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        optimiser.step()
        adapter.after_step(step, steps)
    return [*losses, loss_of(network).item()]
