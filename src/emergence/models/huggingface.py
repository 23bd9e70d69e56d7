"""Writing a model in Hugging Face's layout: the weights, configuration and tokenizer that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.store import write_json, writing
from emergence.models.huggingface_layouts import LAYOUTS
from emergence.models.huggingface_tokenizer import SEPARATOR

if TYPE_CHECKING:
    from emergence.text import Tokenizer

__all__ = ["export_network"]


def export_network(family: str, network: Any, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write ``model.safetensors``, ``config.json``, ``generation_config.json`` and the tokenizer's files to ``folder``.

    Raises UserError for a family that transformers does not have, for a tokenizer that it could not read, and when the
    folder holds something else already or cannot be written.
    """
    from safetensors.torch import save_file

    if family not in LAYOUTS:
        raise UserError(f"transformers has no counterpart of the family {family}; {', '.join(LAYOUTS)} can be exported")
    if tokenizer.needs:
        raise UserError(
            f"the tokenizer reads text with {' and '.join(tokenizer.needs)}, which transformers does not; to "
            "export a model, train it with corpus.tokenizer.kind byte, char or bpe and without corpus.fold"
        )
    config, layout = network.config, LAYOUTS[family]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; export to a new one")
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
