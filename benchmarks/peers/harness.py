"""lm-evaluation-harness on a model folder, through its own tasks: YAML files over local JSON lines."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import serve
from benchmarks.items import PROMPTS, SETS

MULTIPLE_CHOICE = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}{dev}}}}}
test_split: test
{shots}output_type: multiple_choice
doc_to_text: "{{{{passage}}}}Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
WRITING = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{passage}}}}Question: {{{{question}}}}\\nAnswer:"
doc_to_target: ""
generation_kwargs: {{until: [], max_gen_toks: {tokens}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def write_tasks(folder: Path, tokens: int) -> None:
    """Write the YAML files of all sets of items."""
    for name, shape in SETS.items():
        file = folder / f"{name}.jsonl"
        if name == PROMPTS:
            text = WRITING.format(name=name, file=file, tokens=tokens)
        else:
            shots = "fewshot_split: dev\nfewshot_config: {sampler: first_n}\n" if shape["shots"] else ""
            dev = f", dev: {folder / f'{name}-dev.jsonl'}" if shape["shots"] else ""
            text = MULTIPLE_CHOICE.format(name=name, file=file, dev=dev, shots=shots)
        (folder / f"{name}.yaml").write_text(text)


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Load the model; a question names a set, the batch size and how many items, and where answers are to be written.

    The answer holds the seconds of the whole call, and those of the model's part alone: tokenizing and answering.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder = Path(options["folder"])
    write_tasks(folder, options["tokens"])
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    model = HFLM(pretrained=str(folder / "model"), device="cpu")
    model_seconds = 0.0

    def timed(method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal model_seconds
            start = time.perf_counter()
            found = method(*arguments, **named)
            model_seconds = time.perf_counter() - start
            return found

        return call

    for method in ("loglikelihood", "generate_until"):
        setattr(model, method, timed(getattr(model, method)))

    def evaluate(question: dict[str, Any]) -> dict[str, Any]:
        name = question["set"]
        model.batch_size_per_gpu = question["batch"]
        start = time.perf_counter()
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[name],
            num_fewshot=SETS[name]["shots"],
            limit=question["items"],
            task_manager=manager,
        )
        seconds = time.perf_counter() - start
        assert found is not None
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        if name == PROMPTS:
            answers: list[Any] = [sample["resps"][0][0] for sample in samples]
        else:
            answers = [[float(reply[0][0]) for reply in sample["resps"]] for sample in samples]
        Path(question["answers"]).write_text(json.dumps(answers))
        return {"seconds": seconds, "model_seconds": model_seconds}

    return {}, evaluate


if __name__ == "__main__":
    serve(prepare)
