"""Models of transformers as files: a ladder of folders that grow, and a cache of the hub that needs no hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny_huggingface import write_tokenizer


def save_llama(folder: Path, width: int, *, seed: int = 0, context: int = 96) -> Path:
    """Write a tiny Llama of one block and a byte tokenizer to ``folder`` and return it."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=260,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).eval().save_pretrained(folder)
    return write_tokenizer(folder)


def put_into_cache(cache: Path, name: str, revisions: dict[str, Path]) -> None:
    """Lay models out as huggingface_hub keeps what it has downloaded, each under a revision of ``name``."""
    home = cache / f"models--{name.replace('/', '--')}"
    for number, (revision, folder) in enumerate(revisions.items()):
        commit = f"{number + 1:040x}"
        snapshot = home / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in folder.iterdir():
            (snapshot / file.name).write_bytes(file.read_bytes())
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(commit)


def offline(cache: Path) -> dict[str, Any]:
    """The environment in which huggingface_hub reads that cache and nothing else."""
    return {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
