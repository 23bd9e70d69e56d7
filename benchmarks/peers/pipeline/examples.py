"""What the pipeline starts from, made before its clock runs: tokenizer, packed rows, test questions, the ladder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import emergence as em
from benchmarks.peers.llama import llama_settings
from emergence.tasks.task import TaskContext

__all__ = ["write_examples"]


def write_examples(study: Path, folder: Path) -> None:
    """Write the examples of a study without a corpus, as many training rows as it reads."""
    from transformers import PreTrainedTokenizerFast

    plan = em.plan(study)
    tokenizer, context = plan.texts.tokenizer, plan.study.model.context
    rng = np.random.default_rng(0)
    rows = plan.steps * plan.batch_rows // len(plan.tasks)
    packed = [_pack(task, tokenizer, rows, context, rng) for task in plan.tasks.values()]
    order = rng.permutation(sum(len(ids) for ids, _ in packed))
    np.save(folder / "ids.npy", np.concatenate([ids for ids, _ in packed])[order])
    np.save(folder / "counts.npy", np.concatenate([counts for _, counts in packed])[order])
    tokens = {}
    for name, task in plan.tasks.items():
        asked = task.questions(
            TaskContext(tokenizer=tokenizer, context=context, seed=0), plan.study.evaluation.examples, 0
        )
        lines = [json.dumps({"prompt": f"<|endoftext|>{q.prompt}", "target": q.target}) for q in asked]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        tokens[name] = max(len(q.target_ids) for q in asked)
    tokenizer.save(folder / "own.json")
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "own.json"), bos_token=end, eos_token=end, pad_token=end
    ).save_pretrained(folder / "tokenizer")
    content = {
        "configs": [llama_settings(rung.config) for rung in plan.rungs],
        "params": [rung.config.non_embedding_parameters for rung in plan.rungs],
        "replicas": plan.study.replicas,
        "steps": plan.steps,
        "batch_rows": plan.batch_rows,
        "tasks": tokens,
    }
    (folder / "plan.json").write_text(json.dumps(content))


def _pack(task: Any, tokenizer: Any, rows: int, context: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return ids [rows, context] and the mask of those that count: as many whole examples a row as fit."""
    ids = np.full((rows, context), tokenizer.end_id, dtype=np.int64)
    counts = np.zeros((rows, context), dtype=np.bool_)
    row, used = 0, 1
    while row < rows:
        for example in task.examples(rng, 4096, "train"):
            prompt, target = tokenizer.encode(example.prompt), tokenizer.encode(example.target)
            if used + len(prompt) + len(target) > context:
                row, used = row + 1, 1
                if row == rows:
                    break
            end = used + len(prompt) + len(target)
            ids[row, used:end] = prompt + target
            counts[row, used + len(prompt) : end] = True
            used = end + 1  # the end token stands between
    return ids, counts
