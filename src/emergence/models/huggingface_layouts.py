"""Which of our families are which of transformers', and how their weights are called there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True)
class Layout:
    """An architecture of transformers: its names, what its configuration says of ours, and its weights from ours.

    ``masked``: it reads a mask, whose id is that after the tokenizer's.
    """

    architecture: str
    model_type: str
    document: Callable[[Any], dict[str, Any]]
    weights: Callable[[Any], dict[str, torch.Tensor]]
    masked: bool = False


def _llama_document(config: Any) -> dict[str, Any]:
    return {
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
    }


def _llama_weights(network: Any) -> dict[str, torch.Tensor]:
    """Fused products are split and rows reordered, values are unchanged."""
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
    return weights


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Order the rows [H K, D] of every head as transformers pairs them, (i, i + K/2) instead of (2i, 2i + 1)."""
    D = weight.shape[1]
    return weight.view(heads, -1, 2, D).transpose(1, 2).reshape(-1, D)


def _gpt2_document(config: Any) -> dict[str, Any]:
    return {
        "n_embd": config.width,
        "n_inner": config.feed_forward,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_positions": config.context,
        "activation_function": "gelu",
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": True,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


_GPT2_NAMES = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}


def _gpt2_weights(network: Any) -> dict[str, torch.Tensor]:
    """Matrices of the blocks are transposed: GPT-2 keeps them as [inputs, outputs]."""
    state = network.state_dict()
    weights = {
        "transformer.wte.weight": state["embedding.weight"],
        "transformer.wpe.weight": state["position_embedding.weight"],
        "transformer.ln_f.weight": state["norm.weight"],
        "transformer.ln_f.bias": state["norm.bias"],
    }
    for i in range(network.config.depth):
        for own, other in _GPT2_NAMES.items():
            weight = state[f"blocks.{i}.{own}.weight"]
            weights[f"transformer.h.{i}.{other}.weight"] = weight.t() if weight.dim() == 2 else weight
            weights[f"transformer.h.{i}.{other}.bias"] = state[f"blocks.{i}.{own}.bias"]
    return weights


def _mamba_document(config: Any) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "intermediate_size": config.inner,
        "state_size": config.state,
        "num_hidden_layers": config.depth,
        "conv_kernel": config.window,
        "time_step_rank": config.rank,
        "layer_norm_epsilon": config.norm_epsilon,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "residual_in_fp32": False,
        "tie_word_embeddings": False,
    }


_MAMBA_NAMES = {
    "norm.weight": "norm.weight",
    "into.weight": "mixer.in_proj.weight",
    "convolution": "mixer.conv1d.weight",
    "convolution_bias": "mixer.conv1d.bias",
    "select.weight": "mixer.x_proj.weight",
    "step.weight": "mixer.dt_proj.weight",
    "step_bias": "mixer.dt_proj.bias",
    "log_decay": "mixer.A_log",
    "passage": "mixer.D",
    "out.weight": "mixer.out_proj.weight",
}


def _mamba_weights(network: Any) -> dict[str, torch.Tensor]:
    """Decays and convolution take the shapes they have there, [E, N] and [E, 1, W]."""
    state, config = network.state_dict(), network.config
    shapes = {"log_decay": (config.inner, config.state), "convolution": (config.inner, 1, config.window)}
    weights = {
        "backbone.embeddings.weight": state["embedding.weight"],
        "backbone.norm_f.weight": state["norm.weight"],
        "lm_head.weight": state["head.weight"],
    }
    for i in range(config.depth):
        for own, other in _MAMBA_NAMES.items():
            weight = state[f"layers.{i}.{own}"]
            weights[f"backbone.layers.{i}.{other}"] = weight.view(shapes.get(own, weight.shape))
    return weights


def _bert_document(config: Any) -> dict[str, Any]:
    return {
        "vocab_size": config.rows,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context,
        "type_vocab_size": 1,
        "hidden_act": "gelu",
        "layer_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


_BERT_NAMES = {
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}


def _bert_weights(network: Any) -> dict[str, torch.Tensor]:
    """Queries, keys and values are products of their own there; of the types of sentences there is one, which adds
    nothing."""
    state = network.state_dict()
    positions = state["position_embedding.weight"]
    weights = {
        "bert.embeddings.word_embeddings.weight": state["embedding.weight"],
        "bert.embeddings.position_embeddings.weight": positions,
        "bert.embeddings.token_type_embeddings.weight": positions.new_zeros(1, positions.shape[1]),
        "cls.predictions.bias": state["bias"],
    }
    for part in ("weight", "bias"):
        weights |= {
            f"bert.embeddings.LayerNorm.{part}": state[f"norm.{part}"],
            f"cls.predictions.transform.dense.{part}": state[f"transform.{part}"],
            f"cls.predictions.transform.LayerNorm.{part}": state[f"transform_norm.{part}"],
        }
        for i in range(network.config.depth):
            layer = f"bert.encoder.layer.{i}"
            qkv = state[f"blocks.{i}.qkv.{part}"].chunk(3)
            for name, weight in zip(("query", "key", "value"), qkv, strict=True):
                weights[f"{layer}.attention.self.{name}.{part}"] = weight
            for own, other in _BERT_NAMES.items():
                weights[f"{layer}.{other}.{part}"] = state[f"blocks.{i}.{own}.{part}"]
    return weights


#: By family; a family that is not here has no counterpart in transformers.
LAYOUTS = {
    "gpt": Layout("LlamaForCausalLM", "llama", _llama_document, _llama_weights),
    "gpt2": Layout("GPT2LMHeadModel", "gpt2", _gpt2_document, _gpt2_weights),
    "mamba": Layout("MambaForCausalLM", "mamba", _mamba_document, _mamba_weights),
    "bert": Layout("BertForMaskedLM", "bert", _bert_document, _bert_weights, masked=True),
}
