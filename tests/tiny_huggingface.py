"""Tiny models of transformers with drawn weights, saved as their makers save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 96}
WIDE = {"intermediate_size": 64, "num_key_value_heads": 2}
#: name -> class, settings, and whether our attention can take the place of the family's own
FAMILIES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "llama": ("Llama", SHAPE | WIDE, True),  # grouped queries
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96}, True),
    "gpt_neox": ("GPTNeoX", SHAPE | {"intermediate_size": 64}, True),  # rotates a quarter of each head
    "opt": ("OPT", SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 32}, True),  # positions learned with an offset
    "mistral": ("Mistral", SHAPE | WIDE, True),
    "qwen2": ("Qwen2", SHAPE | WIDE, True),
    "cohere": ("Cohere", SHAPE | WIDE | {"logit_scale": 0.25}, True),  # works on the logits after the head
    "mistral_sliding": ("Mistral", SHAPE | WIDE | {"sliding_window": 8}, False),
    "bloom": ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 96}, False),  # biases attention
    "mamba": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, False),  # recurrent
}


def build(family: str, vocabulary: int = 260, seed: int = 0) -> Any:
    """Return a network whose predictions are far from uniform."""
    import torch
    import transformers

    kind, settings, _ = FAMILIES[family]
    settings = {"vocab_size": vocabulary, "bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256} | settings
    config = getattr(transformers, f"{kind}Config")(**settings)
    suffix = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = getattr(transformers, kind + suffix)(config)
        for name, parameter in network.named_parameters():
            if parameter.dim() == 2 and not name.endswith("A_log"):  # which has a fixed scale of its own
                parameter.data.mul_(2.0)
    return network.eval()


def save(family: str, folder: Path, *, separator: str | None = None) -> Path:
    """Write a model and a byte tokenizer to ``folder`` and return it."""
    build(family).save_pretrained(folder)
    return write_tokenizer(folder, separator=separator)


def write_tokenizer(folder: Path, *, separator: str | None = None) -> Path:
    """Write a byte tokenizer beside the weights in ``folder`` and return it."""
    from emergence.core.settings import TokenizerSettings
    from emergence.core.store import write_json
    from emergence.text import END_TOKEN, build_tokenizer

    build_tokenizer(TokenizerSettings(kind="byte"), []).save(folder / "tokenizer.json")
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_TOKEN, "eos_token": END_TOKEN}
    write_json(folder / "tokenizer_config.json", said | ({"example_separator": separator} if separator else {}))
    return folder
