"""A tiny study that fine-tunes for every kind of task, fits baselines and compresses: run once for all tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tests.tiny import emergence, write_study

STUDY = """\
name: adapted
model: {family: gpt, ladder: {counts: [3e3, 8e3]}, context: 48}
replicas: 2
corpus: {files: text.txt}
training: {tokens: 3e4, batch_tokens: 480, checkpoints: 2}
tasks:
  - name: colours
    task: classification
    files: colours.tsv
    tests: {other: {files: other.tsv}}
  - {name: many, task: classification, files: many.tsv}
  - {name: lengths, task: regression, files: lengths.tsv}
  - {name: passages, task: question_answering, files: passages.json}
  - {name: copy, length: 4, letters: 6}
mixture: {corpus: 0.5, copy: 0.5}
evaluation: {examples: 32}
analysis: {resamples: 100, axes: [examples], hold_out: 0}
finetune:
  tasks: [colours, many, lengths, passages, copy]
  examples: [60]
  rungs: largest
  settings: {epochs: 1, least_steps: 8, reading_steps: 4, dropout: 0.0}
  variants: {tuned: {}, slow: {learning_rate: 1.0e-6}}
  baselines: [majority, naive_bayes]
compress: {methods: [quantised], bits: [8, 2]}
"""
MANY = 24


def write_data(folder: Path) -> None:
    """Write labelled texts whose class, number or answer can be read off them."""
    rng = np.random.default_rng(0)
    names = ["red", "green", "blue"]
    words = [f"w{number}" for number in range(60)]

    def filler() -> str:
        return " ".join(rng.choice(words, 3))

    for file, count in (("colours", 180), ("other", 40)):
        rows = [f"{filler()} {names[n % 3]}\t{names[n % 3]}" for n in range(count)]
        (folder / f"{file}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    rows = [f"{filler()} c{n % MANY}\tclass {n % MANY}" for n in range(MANY * 8)]
    (folder / "many.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    rows = [f"{'a ' * (1 + n % 7)}{filler()}\t{1 + n % 7}" for n in range(150)]
    (folder / "lengths.tsv").write_text("text\tvalue\n" + "\n".join(rows) + "\n")
    paragraphs = []
    for n in range(120):
        text = f"{filler()} k{n % 9} end"
        answer = {"text": f"k{n % 9}", "answer_start": text.index(f"k{n % 9} ")}
        paragraphs.append({"context": text, "qas": [{"id": str(n), "question": "what", "answers": [answer]}]})
    (folder / "passages.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def run_adapted(folder: Path) -> Path:
    """Run the study in ``folder`` and return where it lies."""
    home = write_study(folder, STUDY)
    write_data(home)
    done = emergence("run", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    (home / "shown.txt").write_text(done.stdout)
    return home / "runs" / "adapted"
