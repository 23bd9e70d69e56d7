"""Translation from English into Chinese, from a file of pairs.

Metrics, all on the same greedy answers:

* ``exact_match`` (headline): 1 where the answer is one of the translations that the file has of the sentence.
* ``target_logprob``, ``target_prob`` (smooth): those of the one translation that is the target, as in every task.
* ``bleu`` (Papineni et al. 2002, doi 10.3115/1073083.1073135) and ``chrf`` (Popović 2015, doi 10.18653/v1/W15-3049),
  from 0 to 100: of all answers of a model together, as people quote them, against all translations that the file has.
* ``sentence_bleu``, ``sentence_chrf``: the same of every single answer, and their mean. BLEU is smoothed and takes no
  longer n-grams than a sentence has (Chen and Cherry 2014, doi 10.3115/v1/W14-3346).

They are sacrebleu's (Post 2018, arXiv 1804.08771), BLEU with its tokenizer ``zh``, in which every Chinese character is
a word.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from emergence.core.errors import UserError
from emergence.tasks.task import (
    Example,
    GeneratedTask,
    Latents,
    Pool,
    Question,
    TaskContext,
    TaskOptions,
    read_options,
)

__all__ = ["Translation"]

ARROW = "→"  # stands between a sentence and its translation


class TranslationOptions(TaskOptions):
    """``file`` holds English sentences with their Chinese translations (`text.pairs`); pairs of more than ``longest``
    characters together are left out."""

    file: str = ""
    longest: int | None = Field(None, ge=2)


class Translation(GeneratedTask):
    """``I won!→`` wants ``我赢了。``.

    The split is decided by a hash of the English sentence, whatever its case and punctuation. Pairs that have either
    side in common are on one side of the split: no sentence of a test, nor its translation, was trained on.
    """

    name = "translation"
    also = ("sentence_bleu", "sentence_chrf")

    options: TranslationOptions

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(TranslationOptions, options, self.name)
        self._pairs: list[tuple[str, str]] = []
        self._groups = np.zeros(0, dtype=np.int64)
        self._translations: dict[str, list[str]] = {}
        if self.options.file:
            self._read(Path(self.options.file), self.options.longest)
        self.alphabet = "".join(sorted({ARROW, *(letter for pair in self._pairs for side in pair for letter in side)}))
        self.fingerprint = hashlib.sha256(repr(self._pairs).encode()).hexdigest() if self._pairs else ""

    def _read(self, file: Path, longest: int | None) -> None:
        """Read the pairs. Their groups and the translations of a sentence are those of the whole file."""
        from emergence.text.pairs import read_pairs

        pairs = read_pairs(file)
        groups = _groups(pairs)
        kept = [i for i, pair in enumerate(pairs) if longest is None or sum(map(len, pair)) <= longest]
        if not kept:
            raise UserError(f"task translation: no pair of {file} has {longest} characters or fewer; raise longest")
        self._pairs, self._groups = [pairs[i] for i in kept], groups[kept]
        for english, chinese in pairs:
            self._translations.setdefault(english, []).append(chinese)

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return numbers of pairs, uniform over the file, [n, 1]."""
        if not self._pairs:
            raise UserError(
                "the task translation needs a file of pairs; add its option file, for example "
                "--set tasks.translation.file=pairs.tsv"
            )
        return rng.integers(0, len(self._pairs), size=(n, 1))

    def identity(self, latents: Latents) -> Latents:
        """Return what pairs that must not be parted have in common, [n, 1]."""
        return self._groups[latents[:, 0]][:, None]

    def write(self, latents: Latents) -> list[Example]:
        """Write the English sentence and an arrow; the Chinese one follows."""
        return [Example(self._pairs[i][0] + ARROW, self._pairs[i][1]) for i in latents[:, 0].tolist()]

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` test questions, one of each group of pairs with a side in common.

        An answer may be as long as the longest translation of the task, as far as the context reaches: how long its
        own is must not be given away, and what else is asked must not matter.
        """
        _metrics()  # fails before anything is spent
        asked = super().questions(context, n, shots)
        longest = 1 + max(map(len, context.tokenizer.encode_batch([chinese for _, chinese in self._pairs])))
        room = (context.context - len(q.prompt_ids) for q in asked)
        return [
            replace(q, answer_length=max(q.answer_length, min(longest, n))) for q, n in zip(asked, room, strict=True)
        ]

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match with any of the translations, the target's probability, and BLEU and chrF of the sentence."""
        references = self._references(question.prompt, question.target)
        sentence_bleu, _, chrf = _metrics()
        return {
            **super().score(question, output, logprobs, hits),
            "exact_match": float(output in references),
            "sentence_bleu": float(sentence_bleu.sentence_score(output or "", references).score),
            "sentence_chrf": float(chrf.sentence_score(output or "", references).score),
        }

    def pool(self, prompts: Sequence[str], targets: Sequence[str], outputs: Sequence[str | None]) -> dict[str, Pool]:
        """Return BLEU and chrF of all answers together, with their jackknife standard errors."""
        references = [self._references(*asked) for asked in zip(prompts, targets, strict=True)]
        most = max(map(len, references))
        # Reference r of every sentence, None where it has fewer: the shape sacrebleu asks for.
        streams = [[own[r] if r < len(own) else None for own in references] for r in range(most)]
        _, bleu, chrf = _metrics()
        answers = [output or "" for output in outputs]
        return {name: _pooled(metric, answers, streams) for name, metric in (("bleu", bleu), ("chrf", chrf))}

    def _references(self, prompt: str, target: str) -> list[str]:
        """Return all translations of the sentence that a prompt ends with."""
        english = prompt.rpartition("\n")[2].removesuffix(ARROW)
        return self._translations.get(english, [target])


def _groups(pairs: Sequence[tuple[str, str]]) -> Latents:
    """Return for every pair a number that all pairs share which an English or a Chinese sentence joins.

    Sentences are compared by their letters and digits alone. The number is a hash of the first of the group's English
    sentences in the order of the alphabet, so that pairs in other groups do not matter.
    """
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def top(side: tuple[str, str]) -> tuple[str, str]:
        while (parent := above.setdefault(side, side)) != side:
            above[side] = above[parent]
            side = parent
        return side

    sides = [(("en", _letters(english)), ("zh", _letters(chinese))) for english, chinese in pairs]
    for english, chinese in sides:
        # The lesser is the parent, and English sorts first: the top of a group is its first English sentence.
        low, high = sorted((top(english), top(chinese)))
        above[high] = low
    names = [top(english)[1].encode() for english, _ in sides]
    digests = [int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True) for name in names]
    return np.array(digests, dtype=np.int64)


def _letters(sentence: str) -> str:
    return "".join(filter(str.isalnum, sentence.casefold())) or sentence


@functools.cache
def _metrics() -> tuple[Any, Any, Any]:
    """Return BLEU of single sentences, BLEU of many, and chrF of either."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise UserError("the task translation needs sacrebleu; pip install 'emergence[translation]'") from error
    # With force it does not warn of full stops that stand apart.
    return BLEU(tokenize="zh", effective_order=True, force=True), BLEU(tokenize="zh", force=True), CHRF()


def _pooled(metric: Any, answers: Sequence[str], streams: Sequence[Sequence[str | None]]) -> Pool:
    """Return a score of all answers and its standard error, from the scores with one answer left out each (Efron and
    Stein 1981, doi 10.1214/aos/1176345462).

    A score is a function of sums over answers (matches, n-grams, lengths); sacrebleu has no public way to them.
    """
    parts = np.array(metric._extract_corpus_statistics(answers, streams))
    total = parts.sum(axis=0)
    score = float(metric._compute_score_from_stats(total.tolist()).score)
    n = len(parts)
    if n < 2:
        return score, None
    without = np.array([metric._compute_score_from_stats(left.tolist()).score for left in total - parts])
    return score, math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
