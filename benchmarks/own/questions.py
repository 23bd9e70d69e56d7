"""Answering the same questions with our evaluation engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.contest import serve
from benchmarks.items import PROMPTS, choices_of, context_of, corpus, read_items


def make_model(size: float, vocabulary: int, context: int) -> tuple[Any, Any]:
    """Return a network with drawn weights, the head's included, and a tokenizer learnt from the made-up language."""
    import torch

    from emergence.core.settings import TokenizerSettings
    from emergence.models.family import build_network
    from emergence.models.gpt import size_for
    from emergence.text import build_tokenizer

    tokenizer = build_tokenizer(TokenizerSettings(kind="bpe", vocabulary=vocabulary), corpus(4000))
    config = size_for(size, tokenizer.vocabulary_size, context)
    generator = torch.Generator().manual_seed(0)
    network: Any = build_network("gpt", config, generator)
    with torch.no_grad():
        network.head.weight.normal_(0.0, 2 * config.width**-0.5, generator=generator)
    return network.eval(), tokenizer


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Make the model and export it for the others; a question names a set and how many items.

    The seconds run from the texts to the log-likelihoods, or to the texts written: tokenizing is in them.
    """
    from emergence.evaluation.engine import answer
    from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, Request, ScoreRequest
    from emergence.models.huggingface import export_network

    folder = Path(options["folder"])
    network, tokenizer = make_model(options["size"], options["vocabulary"], options["context"])
    export_network("gpt", network, tokenizer, folder / "model")

    def score(contexts: list[str], choices: list[list[str]]) -> list[list[float]]:
        prompts = [tuple(ids) for ids in tokenizer.encode_batch(contexts)]
        targets = iter(tokenizer.encode_batch([choice for own in choices for choice in own]))
        requests: list[Request] = [
            ScoreRequest(prompt, tuple(next(targets)))
            for prompt, own in zip(prompts, choices, strict=True)
            for _ in own
        ]
        totals = [a.total for a in answer(network, requests, end_id=tokenizer.end_id) if isinstance(a, Likelihood)]
        return [totals[i : i + 4] for i in range(0, len(totals), 4)]

    def write(contexts: list[str]) -> list[str]:
        requests: list[Request] = [
            GenerateRequest(tuple(ids), options["tokens"]) for ids in tokenizer.encode_batch(contexts)
        ]
        answers = answer(network, requests, end_id=tokenizer.end_id)
        return [tokenizer.decode(a.ids) for a in answers if isinstance(a, Continuation)]

    def evaluate(question: dict[str, Any]) -> dict[str, Any]:
        name = question["set"]
        shots = read_items(folder, name, "-dev")
        items = read_items(folder, name)[: question["items"]]
        start = time.perf_counter()
        contexts = [context_of(item, shots) for item in items]
        found: list[Any] = write(contexts) if name == PROMPTS else score(contexts, [choices_of(i) for i in items])
        seconds = time.perf_counter() - start
        Path(question["answers"]).write_text(json.dumps(found))
        tokens = [len(ids) for ids in tokenizer.encode_batch(contexts)]
        return {"seconds": seconds, "prompt_tokens": sum(tokens) / len(tokens)}

    return {"parameters": network.config.non_embedding_parameters, "vocabulary": network.config.vocabulary}, evaluate


if __name__ == "__main__":
    serve(prepare)
