"""Train every model of the ladder with the Hugging Face Trainer and save it: ``python -m ....train FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

IGNORED = -100


class PackedRows(Dataset[dict[str, torch.Tensor]]):
    """Rows of token ids, and labels that count in the answers only."""

    def __init__(self, folder: Path) -> None:
        ids = torch.from_numpy(np.load(folder / "ids.npy"))
        self._ids = ids
        self._labels = torch.where(torch.from_numpy(np.load(folder / "counts.npy")), ids, IGNORED)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._ids[index], "labels": self._labels[index]}


def main(folder: Path) -> None:
    """Train rung by rung, replica by replica."""
    plan = json.loads((folder / "plan.json").read_text())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    rows = PackedRows(folder)
    for rung, config in enumerate(plan["configs"]):
        for seed in range(plan["replicas"]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(
                LlamaConfig(
                    **config,
                    bos_token_id=tokenizer.bos_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.pad_token_id,
                )
            )
            arguments = TrainingArguments(
                output_dir=str(folder / "trainer"),
                per_device_train_batch_size=plan["batch_rows"],
                max_steps=plan["steps"],
                learning_rate=2e-3,
                lr_scheduler_type="cosine",
                warmup_steps=max(1, plan["steps"] // 50),
                weight_decay=0.1,
                seed=seed,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
            )
            trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
            trainer.train()
            trainer.save_model(str(folder / "models" / f"R{rung:02d}-s{seed}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
