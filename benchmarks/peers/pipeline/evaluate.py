"""Evaluate every saved model with lm-evaluation-harness: ``python -m ....evaluate FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: [], max_gen_toks: {tokens}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
BATCH = 128


def main(folder: Path) -> None:
    """Ask every model both tasks, greedily, and keep the exact matches."""
    plan = json.loads((folder / "plan.json").read_text())
    for name, tokens in plan["tasks"].items():
        text = TASK.format(name=name, file=folder / f"{name}.jsonl", tokens=tokens)
        (folder / f"{name}.yaml").write_text(text)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    scores = []
    for path in sorted((folder / "models").iterdir()):
        found = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(path)},
            tasks=list(plan["tasks"]),
            device="cpu",
            batch_size=BATCH,
            task_manager=manager,
        )
        assert found is not None
        rung, seed = path.name.split("-s")
        for name in plan["tasks"]:
            score = found["results"][name]["exact_match,none"]
            params = plan["params"][int(rung[1:])]
            scores.append({"task": name, "params": params, "seed": int(seed), "score": score})
    (folder / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
