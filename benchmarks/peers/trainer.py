"""Training with the Hugging Face Trainer, as its documentation shows it, on the very network that we train.

Defaults of TrainingArguments, except: batch size, number of steps, no GPU, nothing saved, nothing reported elsewhere.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.contest import serve
from benchmarks.peers.llama import llama_settings
from emergence.models.gpt import size_for

UNCOUNTED_STEPS = 2  # of a window: they allocate


class RandomIds(Dataset[dict[str, torch.Tensor]]):
    """Rows of random token ids."""

    def __init__(self, rows: int, context: int, vocabulary: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._ids = torch.randint(vocabulary, (rows, context), generator=generator)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._ids[index], "labels": self._ids[index]}


class Stopwatch(TrainerCallback):
    """Ends the training when the window is over, and counts its steps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start = 0.0
        self.steps, self.elapsed = 0, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start counting after the first steps; stop once the time is up."""
        now = time.perf_counter()
        if state.global_step <= UNCOUNTED_STEPS:
            self._start = now
            return
        self.steps, self.elapsed = state.global_step - UNCOUNTED_STEPS, now - self._start
        control.should_training_stop = self.elapsed > self._seconds


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Train for a moment, which is the start-up; each question is then one more replica, for ``seconds``."""
    set_seed(0)
    config = LlamaConfig(**llama_settings(size_for(options["size"], options["vocabulary"], options["context"])))
    data = RandomIds(20_000, options["context"], options["vocabulary"])

    def train(question: dict[str, Any]) -> dict[str, Any]:
        watch = Stopwatch(question["seconds"])
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=options["rows"],
                max_steps=100_000,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
            )
            trainer = Trainer(model=LlamaForCausalLM(config), args=arguments, train_dataset=data, callbacks=[watch])
            trainer.train()
        return {"tokens_per_second": watch.steps * options["rows"] * options["context"] / watch.elapsed}

    train({"seconds": 0.0})
    return {"threads": torch.get_num_threads()}, train


if __name__ == "__main__":
    serve(prepare)
