"""Asking one model several tasks at once: questions in, one record per question out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import polars as pl
import torch

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.evaluation.engine import READERS, answer
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
from emergence.generation import SamplingSettings
from emergence.models.family import Network
from emergence.tasks.task import Question, Task
from emergence.text import LanguageTokenizer

__all__ = ["Ask", "evaluate"]


class Ask(Protocol):
    """Answers requests in the order of asking, as `engine.answer` does."""

    def __call__(self, network: Network, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
        """Return one answer to each request; a text ends at ``end_id``."""


SAMPLE = SamplingSettings(temperature=0.8, top_k=50)  # of free text, where greedy decoding repeats itself


def evaluate(
    network: Network,
    tokenizer: LanguageTokenizer,
    asked: Sequence[tuple[Task, Sequence[Question]]],
    *,
    seed: int,
    ask: Ask = answer,
) -> list[pl.DataFrame]:
    """Return for each task and its questions one record per question: prompt, target, output, log-probabilities, the
    number of tokens ``truncated`` and a column ``score_<metric>`` per metric.

    All tasks are asked at once. Targets are scored by teacher forcing; answers are decoded greedily where the task
    judges them, and sampled (seeded) where it only shows them. ``ask`` answers the requests; it may know some already.
    """
    end = tokenizer.separator_id
    fitted = [(task, [_fit(network, question) for question in questions]) for task, questions in asked]
    requests = [r for task, questions in fitted for q, _ in questions for r in _requests(network, task, q, end)]
    answers = iter(ask(network, requests, end_id=end))
    frames = []
    for task, questions in fitted:
        rows = [
            {**_record(network, tokenizer, task, question, index, answers, seed), "truncated": cut}
            for index, (question, cut) in enumerate(questions)
        ]
        frames.append(pl.DataFrame(rows, schema_overrides={"output": pl.String, "logprobs": pl.List(pl.Float32)}))
    return frames


def _fit(network: Network, question: Question) -> tuple[Question, int]:
    """Return a question whose prompt fits into the context beside its answer, and how many tokens it lost for that.

    The target's probability and the written answer then follow the same prompt.
    """
    answer = max(len(question.target_ids), question.answer_length)
    cut = READERS[network.reads].cut(network, question.prompt_ids, answer)
    return (replace(question, prompt_ids=question.prompt_ids[cut:]), cut) if cut else (question, 0)


def _requests(network: Network, task: Task, question: Question, end_id: int) -> list[Request]:
    """Return what is asked of the model: the target's probability, and that of every choice or else an answer, unless
    that is to be sampled.

    A masked model is told how long an answer is: the end is none of the places that it fills.
    """
    source = question.source_ids
    asked: list[Request] = [ScoreRequest(question.prompt_ids, question.target_ids, source)]
    if question.choices:
        return asked + [ScoreRequest(question.prompt_ids, choice, source) for choice in question.choices]
    if question.answer_length and not _sampled(network, task, question):
        if question.samples > 1:
            raise UserError(f"the task {task.name} needs samples, and this model writes its most probable answer only")
        told = network.reads == "masked" and question.target_ids[-1] == end_id and question.answer_length > 1
        asked.append(GenerateRequest(question.prompt_ids, question.answer_length - told, source))
    return asked


def _sampled(network: Network, task: Task, question: Question) -> bool:
    """Say whether an answer is only shown, by a network that can be sampled from."""
    return not task.trains and not question.source_ids and READERS[network.reads].sample is not None


def _record(
    network: Network,
    tokenizer: LanguageTokenizer,
    task: Task,
    question: Question,
    index: int,
    answers: Iterator[Answer],
    seed: int,
) -> dict[str, Any]:
    """Take the answers to one question and score them."""
    found = [next(answers) for _ in _requests(network, task, question, tokenizer.separator_id)]
    likelihood, *others = (one for one in found if isinstance(one, Likelihood))
    written = [one.ids for one in found if isinstance(one, Continuation)]
    sample = READERS[network.reads].sample
    if question.choices:
        best = max(range(len(others)), key=lambda choice: others[choice].total)  # the first of equals
        written = [_without_end(question.choices[best], tokenizer.separator_id)]
    elif question.answer_length and sample is not None and _sampled(network, task, question):
        # Each question has its own stream, so that it depends on nothing else.
        settings = replace(SAMPLE, max_tokens=question.answer_length)
        stream = torch.Generator().manual_seed(derive_seed(seed, "samples", task.name, index))
        prompts = [question.prompt_ids] * question.samples
        sampled = sample(network, prompts, settings, end_id=tokenizer.end_id, generator=stream)
        written = [tuple(ids) for ids in sampled]
    output = "\n".join(tokenizer.decode(ids) for ids in written) if written else None
    scores = task.score(question, output, likelihood.logprobs, likelihood.hits)
    return {
        "task": task.name,
        "example": index,
        "prompt": question.prompt,
        "target": question.target,
        "output": output,
        "logprobs": list(likelihood.logprobs),
        **{f"score_{metric}": value for metric, value in scores.items()},
    }


def _without_end(ids: tuple[int, ...], end_id: int) -> tuple[int, ...]:
    return ids[:-1] if ids[-1] == end_id else ids
