"""Our networks as configurations of `LlamaForCausalLM`, so that the Trainer trains the very same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergence.models.gpt import GPTConfig

__all__ = ["llama_settings"]


def llama_settings(config: GPTConfig) -> dict[str, Any]:
    """Return the arguments of `LlamaConfig` for the network of ``config``."""
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": False,
    }
