"""Writing a model in Hugging Face's layout: the weights, configuration and tokenizer that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.store import write_json, writing
from emergence.models.exported import check_new
from emergence.models.huggingface_layouts import LAYOUTS
from emergence.models.huggingface_tokenizer import SEPARATOR

if TYPE_CHECKING:
    from emergence.text import Tokenizer

__all__ = ["export_network"]

MASK_TOKEN = "<|mask|>"


def export_network(family: str, network: Any, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write ``model.safetensors``, ``config.json`` and the tokenizer's files to ``folder``.

    For a model that writes there is also ``generation_config.json``; for one that fills masks the tokenizer has a mask.

    The ``family`` is one of `LAYOUTS`. Raises UserError for a tokenizer that transformers could not read, and when the
    folder holds something else already or cannot be written.
    """
    from safetensors.torch import save_file

    if tokenizer.needs:
        raise UserError(
            f"the tokenizer reads text with {' and '.join(tokenizer.needs)}, which transformers does not; to "
            "export a model, train it with corpus.tokenizer.kind byte, char or bpe and without corpus.fold"
        )
    config, layout = network.config, LAYOUTS[family]
    check_new(folder)
    end = tokenizer.end_id
    try:
        with writing(folder / "model.safetensors") as temporary:
            weights = {name: weight.contiguous() for name, weight in layout.weights(network).items()}
            save_file(weights, temporary, metadata={"format": "pt"})
        write_json(
            folder / "config.json",
            {
                "architectures": [layout.architecture],
                "model_type": layout.model_type,
                "vocab_size": config.vocabulary,
                **layout.document(config),
                "bos_token_id": end,
                "eos_token_id": end,
                "pad_token_id": end,
                "torch_dtype": "float32",
            },
        )
        if layout.masked:
            tokenizer.save(folder / "tokenizer.json", more=[MASK_TOKEN])
        else:
            ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
            write_json(folder / "generation_config.json", ends)
            tokenizer.save(folder / "tokenizer.json")
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                **({"mask_token": MASK_TOKEN} if layout.masked else {}),
                "model_max_length": config.context,
                SEPARATOR: "<|endoftext|>",
            },
        )
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return folder
