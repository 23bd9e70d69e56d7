"""What a task is: questions with targets, a split that provably shares nothing, a headline and a smooth metric.

Metrics of a generated answer, all on the same outputs:

* ``exact_match`` (headline): 1 where the greedy answer equals the target, 0 elsewhere.
* ``target_logprob`` (smooth): mean natural-log probability of the target's tokens, teacher-forced, in nats per token.
* ``target_prob`` (smooth): the probability of the whole target, the exact match that sampling would reach; it is the
  exact-match formula applied to the token probabilities (Schaeffer et al. 2023, arXiv 2304.15004).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from emergence.core.errors import UserError, nearest
from emergence.core.faults import first_fault
from emergence.core.seeds import stream

if TYPE_CHECKING:
    from emergence.text import LanguageTokenizer

__all__ = [
    "Example",
    "GeneratedTask",
    "Latents",
    "Pool",
    "Pooled",
    "Question",
    "Split",
    "Task",
    "TaskContext",
    "TaskOptions",
    "bucket_of",
    "read_options",
]

Latents = npt.NDArray[np.int64]
Pool = tuple[float, float | None]  # a score and its standard error
Split = str  # "train", "validation" or "test"

#: Share of all possible examples that each held-out split gets; membership is decided by a hash of the example itself.
HELD_OUT: dict[Split, tuple[float, float]] = {"test": (0.0, 0.1), "validation": (0.1, 0.15), "train": (0.15, 1.0)}

MINIMUM_QUESTIONS = 8  # fewer answers carry no evidence


class TaskOptions(BaseModel):
    """A task's own settings: frozen and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Options = TypeVar("Options", bound=TaskOptions)


def read_options(kind: type[Options], options: dict[str, Any], task: str) -> Options:
    """Validate a task's options; raise UserError naming the option and the nearest known one."""
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        fault = first_fault(error)
        if fault.type == "extra_forbidden":
            known = ", ".join(kind.model_fields) or "none"
            raise UserError(
                f"task {task}: unknown option '{fault.key}'{nearest(fault.key, kind.model_fields)} (known: {known})"
            ) from None
        raise UserError(f"task {task}: {fault.sentence}") from None


@dataclass(frozen=True)
class Example:
    """One worked example: what stands before the answer, and the answer."""

    prompt: str
    target: str


@dataclass(frozen=True)
class Question:
    """One example as a model is asked it. ``answer_length`` is the most tokens to generate; 0 asks for none.

    An answer that is only shown may be sampled several times: the output has one of ``samples`` a line. With
    ``source_ids`` a model with a bottleneck answers from the latent vector of that text. With ``choices``, tokens of
    every possible answer, the output is the most probable of these, and nothing is generated. ``accepted`` are all
    answers that count as right where there are others than the target.
    """

    prompt: str
    target: str
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    answer_length: int
    target_bytes: int = 0  # of text behind ``target_ids``, where a metric counts them
    closes: bool = False  # whether the last of ``target_ids`` is the end of a document, which is no byte of text
    samples: int = 1
    source_ids: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskContext:
    """What a task may need to form its questions.

    Questions are those of the ``split``: a search of settings asks those of "validation", so that it does not choose by
    the ones that its study is judged by. ``validation_tokens`` are the held-out documents one after another, each with
    an end token behind it; ``whole_documents`` says that the models learn from one of them at a time. A question longer
    than the ``context`` is a fault of a study that trains its models; where ``truncates`` is set it is asked all the
    same, without the start of its prompt, and its record says so.
    """

    tokenizer: LanguageTokenizer
    context: int
    seed: int
    validation_tokens: npt.NDArray[np.integer[Any]] | None = None
    truncates: bool = False
    whole_documents: bool = False
    split: Split = "test"


class Task(Protocol):
    """An ability. ``alphabet`` holds every character it may write; ``trains`` says whether it has a training
    generator."""

    name: str
    alphabet: str
    trains: bool
    headline: str
    smooth: tuple[str, ...]
    floor: float

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` held-out questions with ``shots`` worked examples before each."""

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Return metric values of one answer.

        ``logprobs`` are the natural-log probabilities of the target's tokens and ``hits`` says where the target token
        was the most probable one, both teacher-forced; ``output`` is the generated text.
        """


@runtime_checkable
class Pooled(Protocol):
    """A task with metrics that belong to all answers together, such as the BLEU of a corpus.

    ``also`` names metrics of single answers that are neither the headline nor smooth.
    """

    also: tuple[str, ...]

    def pool(self, prompts: Sequence[str], targets: Sequence[str], outputs: Sequence[str | None]) -> dict[str, Pool]:
        """Return each metric of all answers of one model, with its standard error (None for a single answer)."""


def bucket_of(latents: Latents) -> npt.NDArray[np.float64]:
    """Map each row of integers to [0, 1) by hashing it; equal rows fall on the same point wherever they are drawn.

    The rounds are the finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195), vectorised.
    """
    state = np.full(len(latents), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in latents.T:
        state = state + column.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) / float(2**53)


class GeneratedTask(ABC):
    """A task made of random integers ("latents"): a subclass draws them, names what makes two the same, and writes
    them.

    The split hashes the identity of an example, so that no draw, seed or length of training can move an example from
    one split to another.
    """

    name: str
    trains = True
    headline = "exact_match"
    smooth: tuple[str, ...] = ("target_logprob", "target_prob")
    floor = 0.0
    alphabet: str
    options: TaskOptions
    fingerprint = ""  # hash of what it read from files
    smaller = "ask for a smaller task"  # what mends a question that is too long
    ends = True  # False where every answer has the same length, so that the end needs no token

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return ``n`` random examples as integers, [n, k]."""

    def identity(self, latents: Latents) -> Latents:
        """Return what makes two examples the same example, [n, j]; the latents themselves unless overridden."""
        return latents

    @abstractmethod
    def write(self, latents: Latents) -> list[Example]:
        """Return the text of each example."""

    def latents(self, rng: np.random.Generator, n: int, split: Split, *, distinct: bool) -> Latents:
        """Return up to ``n`` examples of one split; with ``distinct``, no two are the same.

        Fewer come back only where the task does not have so many distinct examples.
        """
        low, high = HELD_OUT[split]
        kept: list[Latents] = []
        seen: set[bytes] = set()
        count = idle = 0
        while count < n and idle < 20:
            batch = self.draw(rng, max(256, math.ceil(1.2 * (n - count) / (high - low))))
            identity = self.identity(batch)
            position = bucket_of(identity)
            chosen = np.flatnonzero((position >= low) & (position < high))
            if distinct:
                fresh = []
                for index in chosen:
                    key = identity[index].tobytes()
                    if key not in seen:
                        seen.add(key)
                        fresh.append(index)
                chosen = np.asarray(fresh, dtype=np.int64)
            chosen = chosen[: n - count]
            idle = 0 if len(chosen) else idle + 1
            count += len(chosen)
            kept.append(batch[chosen])
        return np.concatenate(kept)

    def examples(self, rng: np.random.Generator, n: int, split: Split, *, distinct: bool = False) -> list[Example]:
        """Return up to ``n`` worked examples of one split."""
        return self.write(self.latents(rng, n, split, distinct=distinct))

    def lessons(self, rng: np.random.Generator, n: int, split: Split) -> list[Example]:
        """Return what up to ``n`` examples of the rows to be trained on are: worked examples, unless overridden. One
        without a prompt is text that is learnt whole."""
        return self.examples(rng, n, split)

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` distinct questions of the context's split; the worked examples before each come from the
        training split."""
        tests = self.examples(stream(context.seed, context.split, self.name), n, context.split, distinct=True)
        demonstrations = (
            self.examples(stream(context.seed, "shots", self.name), shots * len(tests), "train") if shots else []
        )
        if len(tests) < MINIMUM_QUESTIONS:
            raise UserError(
                f"task {self.name} has only {len(tests)} held-out examples with these options; make it larger, so that "
                f"there are {MINIMUM_QUESTIONS} or more"
            )
        begin, separator = context.tokenizer.begin_id, context.tokenizer.separator_id
        encode = context.tokenizer.encode_batch
        prompts = encode([example.prompt for example in tests])
        targets = encode([example.target for example in tests])
        worked = encode([example.prompt + example.target for example in demonstrations])
        result = []
        for i, example in enumerate(tests):
            before = [begin]
            for j in range(i * shots, (i + 1) * shots):
                before += [*worked[j], separator]
            target = [*targets[i], separator] if self.ends else targets[i]
            shown = "".join(f"{d.prompt}{d.target}\n" for d in demonstrations[i * shots : (i + 1) * shots])
            result.append(
                Question(
                    prompt=shown + example.prompt,
                    target=example.target,
                    prompt_ids=(*before, *prompts[i]),
                    target_ids=tuple(target),
                    answer_length=len(target),
                )
            )
        answer = max(len(q.target_ids) for q in result)
        if answer >= context.context:
            raise UserError(
                f"an answer of {answer} tokens to task {self.name} does not fit into a context of {context.context}; "
                + self.smaller
            )
        longest = max(len(q.prompt_ids) + len(q.target_ids) for q in result)
        if longest > context.context and not context.truncates:
            raise UserError(
                f"task {self.name} with {shots} shots needs {longest} tokens but model.context is {context.context}; "
                f"raise the context, ask for fewer shots, or {self.smaller}"
            )
        return result

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match of the generated answer, and the target's probability per token and as a whole."""
        total = math.fsum(logprobs)
        return {
            "exact_match": float(output == question.target),
            "target_logprob": total / len(logprobs),
            "target_prob": math.exp(total),
        }
