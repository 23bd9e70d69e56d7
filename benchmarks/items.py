"""Made-up questions for timing: pseudo-words with the frequencies of a language, so that a tokenizer has work to do.

Three sets: *five-shot* questions like those of the AI2 reasoning challenge (a question of some twenty words, four
answers of one to six words, the same five worked examples before each, as MMLU has it), *long contexts* (a passage of
its own before each question, four answers) and *prompts* to be continued.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PROMPTS", "SETS", "choices_of", "context_of", "corpus", "read_items", "write_items"]

SHOTS = 5
PROMPTS = "prompts"
#: Words of the passage and of the question of each set, and how many worked examples stand before it.
SETS: dict[str, dict[str, Any]] = {
    "five_shot": {"passage": (0, 0), "question": (12, 26), "answer": (1, 6), "shots": SHOTS},
    "long_context": {"passage": (225, 240), "question": (6, 12), "answer": (1, 6), "shots": 0},
    PROMPTS: {"passage": (0, 0), "question": (20, 60), "answer": (0, 0), "shots": 0},
}
WORDS = 3000


def _words(rng: np.random.Generator) -> list[str]:
    consonants, vowels = list("bcdfghklmnprstvw"), list("aeiou")
    found: dict[str, None] = {}
    while len(found) < WORDS:
        syllables = int(rng.integers(1, 4))
        found["".join(str(rng.choice(consonants)) + str(rng.choice(vowels)) for _ in range(syllables))] = None
    return list(found)


class Speaker:
    """Draws words, the k-th with probability proportional to 1/(k + 10)."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._words = np.array(_words(np.random.default_rng(0)))
        weights = 1 / (np.arange(WORDS) + 10.0)
        self._shares = weights / weights.sum()

    def phrase(self, shortest: int, longest: int) -> str:
        """Return so many words."""
        n = int(self._rng.integers(shortest, longest + 1))
        return " ".join(self._rng.choice(self._words, size=n, p=self._shares).tolist())

    def pick(self, n: int) -> int:
        """Return a number below n."""
        return int(self._rng.integers(n))


def corpus(lines: int) -> list[str]:
    """Return text to learn a tokenizer from."""
    speaker = Speaker(1)
    return [f"Question: {speaker.phrase(20, 60)}\nAnswer: {speaker.phrase(1, 6)}\n" for _ in range(lines)]


def write_items(folder: Path, name: str, items: int) -> None:
    """Write ``NAME.jsonl`` and, where there are worked examples, ``NAME-dev.jsonl``."""
    shape = SETS[name]
    speaker = Speaker(2 + list(SETS).index(name))

    def item() -> dict[str, Any]:
        return {
            "passage": speaker.phrase(*shape["passage"]) + "\n" if shape["passage"][1] else "",
            "question": speaker.phrase(*shape["question"]),
            "choices": [speaker.phrase(*shape["answer"]) for _ in range(4)],
            "answer": speaker.pick(4),
        }

    for part, n in (("-dev", shape["shots"]), ("", items)):
        lines = [json.dumps(item()) for _ in range(n)]
        if lines:
            (folder / f"{name}{part}.jsonl").write_text("\n".join(lines) + "\n")


def read_items(folder: Path, name: str, part: str = "") -> list[dict[str, Any]]:
    """Return what `write_items` wrote."""
    file = folder / f"{name}{part}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def context_of(item: dict[str, Any], shots: list[dict[str, Any]]) -> str:
    """Return what stands before the answer, worked examples first."""
    worked = "".join(f"{context_of(shot, [])} {shot['choices'][shot['answer']]}\n\n" for shot in shots)
    return f"{worked}{item['passage']}Question: {item['question']}\nAnswer:"


def choices_of(item: dict[str, Any]) -> list[str]:
    """Return the answers as they follow the context."""
    return [f" {choice}" for choice in item["choices"]]
