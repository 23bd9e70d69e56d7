"""The plain loop that one writes with transformers alone: padded batches, log-softmax, `generate`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import serve
from benchmarks.items import PROMPTS, choices_of, context_of, read_items


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Load the model; a question names a set, the batch size and how many items."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(options["folder"])
    model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    def score(contexts: list[str], choices: list[list[str]], batch: int) -> list[list[float]]:
        pairs = [(context, choice) for context, own in zip(contexts, choices, strict=True) for choice in own]
        totals: list[float] = []
        for first in range(0, len(pairs), batch):
            some = pairs[first : first + batch]
            targets = [len(tokenizer(choice)["input_ids"]) for _, choice in some]
            texts = [context + choice for context, choice in some]
            encoded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
            ids, mask = encoded["input_ids"], encoded["attention_mask"]
            logprobs = model(ids, attention_mask=mask).logits[:, :-1].log_softmax(dim=-1)
            own = logprobs.gather(2, ids[:, 1:, None]).squeeze(2)
            for row, length, target in zip(own, mask.sum(dim=1).tolist(), targets, strict=True):
                totals.append(float(row[length - 1 - target : length - 1].sum()))
        return [totals[i : i + 4] for i in range(0, len(totals), 4)]

    def write(contexts: list[str], batch: int) -> list[str]:
        texts: list[str] = []
        for first in range(0, len(contexts), batch):
            encoded = tokenizer(contexts[first : first + batch], return_tensors="pt", padding=True, padding_side="left")
            found = model.generate(
                encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=options["tokens"],
                do_sample=False,
            )
            written = found[:, encoded["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(written, skip_special_tokens=True)
        return texts

    @torch.inference_mode()
    def evaluate(question: dict[str, Any]) -> dict[str, Any]:
        name, batch = question["set"], question["batch"]
        shots = read_items(folder, name, "-dev")
        items = read_items(folder, name)[: question["items"]]
        start = time.perf_counter()
        contexts = [context_of(item, shots) for item in items]
        found: list[Any] = (
            write(contexts, batch) if name == PROMPTS else score(contexts, [choices_of(i) for i in items], batch)
        )
        seconds = time.perf_counter() - start
        Path(question["answers"]).write_text(json.dumps(found))
        return {"seconds": seconds, "model_seconds": seconds}

    return {}, evaluate


if __name__ == "__main__":
    serve(prepare)
