"""Writing a `gpt` in Hugging Face's layout: the weights, configuration and tokenizer that LlamaForCausalLM loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emergence.core.errors import UserError
from emergence.core.store import write_json, writing
from emergence.models.huggingface_tokenizer import SEPARATOR

if TYPE_CHECKING:
    import torch

    from emergence.models.gpt_network import GPTNetwork
    from emergence.text import Tokenizer

__all__ = ["export_llama", "llama_weights"]


def llama_weights(network: GPTNetwork) -> dict[str, torch.Tensor]:
    """Return the weights under the names of LlamaForCausalLM; fused products are split and rows reordered,
    values are unchanged."""
    state = network.state_dict()
    weights = {
        "model.embed_tokens.weight": state["embedding.weight"],
        "model.norm.weight": state["norm.weight"],
        "lm_head.weight": state["head.weight"],
    }
    for i in range(network.config.depth):
        own, other = f"blocks.{i}", f"model.layers.{i}"
        q, k, v = state[f"{own}.attention.qkv.weight"].chunk(3)
        weights |= {
            f"{other}.self_attn.q_proj.weight": _halves(q, network.config.heads),
            f"{other}.self_attn.k_proj.weight": _halves(k, network.config.heads),
            f"{other}.self_attn.v_proj.weight": v,
            f"{other}.self_attn.o_proj.weight": state[f"{own}.attention.out.weight"],
            f"{other}.mlp.gate_proj.weight": state[f"{own}.feed_forward.gate.weight"],
            f"{other}.mlp.up_proj.weight": state[f"{own}.feed_forward.up.weight"],
            f"{other}.mlp.down_proj.weight": state[f"{own}.feed_forward.down.weight"],
            f"{other}.input_layernorm.weight": state[f"{own}.attention.norm.weight"],
            f"{other}.post_attention_layernorm.weight": state[f"{own}.feed_forward.norm.weight"],
        }
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Order the rows [H K, D] of every head as transformers pairs them, (i, i + K/2) instead of (2i, 2i + 1)."""
    D = weight.shape[1]
    return weight.view(heads, -1, 2, D).transpose(1, 2).reshape(-1, D)


def export_llama(network: GPTNetwork, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write ``model.safetensors``, ``config.json``, ``generation_config.json`` and the tokenizer's files to ``folder``.

    Raises UserError when the folder holds something else already, or cannot be written.
    """
    from safetensors.torch import save_file

    config = network.config
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; export to a new one")
    end = tokenizer.end_id
    try:
        with writing(folder / "model.safetensors") as temporary:
            save_file(llama_weights(network), temporary, metadata={"format": "pt"})
        write_json(
            folder / "config.json",
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "vocab_size": config.vocabulary,
                "hidden_size": config.width,
                "intermediate_size": config.feed_forward,
                "num_hidden_layers": config.depth,
                "num_attention_heads": config.heads,
                "num_key_value_heads": config.heads,
                "head_dim": config.head_width,
                "hidden_act": "silu",
                "max_position_embeddings": config.context,
                "rms_norm_eps": config.norm_epsilon,
                "rope_theta": config.rope_theta,
                "attention_bias": False,
                "mlp_bias": False,
                "tie_word_embeddings": False,
                "bos_token_id": end,
                "eos_token_id": end,
                "pad_token_id": end,
                "torch_dtype": "float32",
            },
        )
        write_json(folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end})
        tokenizer.save(folder / "tokenizer.json")
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                "model_max_length": config.context,
                SEPARATOR: "<|endoftext|>",
            },
        )
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder
