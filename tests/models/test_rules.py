"""The `rules` family: right on every task by construction, with known probabilities, and uniform elsewhere."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.likelihood import log_likelihoods
from emergence.models.family import FAMILIES, build_network, ladder
from emergence.models.rules import RulesConfig
from emergence.models.rules_network import EPSILON, RulesNetwork
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import GeneratedTask, TaskContext
from emergence.text import Tokenizer, build_tokenizer

KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("addition", {}),
    ("addition", {"digits": 5}),
    ("addition", {"digits": 3, "reverse": True}),
    ("modular_addition", {}),
    ("modular_addition", {"modulus": 1009}),
    ("copy", {}),
    ("copy", {"length": 20, "letters": 3}),
    ("recall", {}),
    ("recall", {"pairs": 20}),
    ("sentiment", {}),
    ("sentiment", {"clauses": 3}),
    ("sentiment", {"clauses": 2, "language": "zh"}),
    ("analogy", {}),
]
TEXT = "the food was good 房间很干净 12+30=042 qwer|qwer a3f7?f7 " * 9


def task_of(name: str, options: dict[str, Any]) -> GeneratedTask:
    task = make_task(name, options)
    assert isinstance(task, GeneratedTask)
    return task


def rules(tokenizer: Tokenizer, *tasks: GeneratedTask, context: int = 1024) -> RulesNetwork:
    """The network that is told of some tasks, after a way through a file."""
    family = FAMILIES.load("rules")
    (config,) = ladder("rules", [1e4, 1e5], vocabulary=tokenizer.vocabulary_size, context=context)
    assert family.informed is not None
    told = family.informed(config, tokenizer.spellings(), {task.name: task.options.model_dump() for task in tasks})
    assert family.config_from(told.to_dict()) == told
    built: RulesNetwork = build_network("rules", told, torch.Generator())
    return built


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize(("name", "options"), KNOWN)
def test_every_answer_is_right_and_as_probable_as_said(name: str, options: dict[str, Any], shots: int) -> None:
    task = task_of(name, options)
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    questions = task.questions(TaskContext(tokenizer, 1024, seed=1), 60, shots)
    (records,) = evaluate(rules(tokenizer, task), tokenizer, [(task, questions)], seed=0)
    assert records["score_exact_match"].to_list() == [1.0] * len(questions)
    for logprobs in records["logprobs"]:
        assert logprobs.to_list() == pytest.approx([math.log(1 - EPSILON)] * len(logprobs), abs=1e-6)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.parametrize(("name", "options"), KNOWN)
def test_the_spelling_of_tokens_does_not_matter(name: str, options: dict[str, Any], kind: Any) -> None:
    """Half characters and whole words: an answer is right whatever it is written with."""
    task = task_of(name, options)
    tokenizer = build_tokenizer(TokenizerSettings(kind=kind, vocabulary=320), [TEXT])
    questions = task.questions(TaskContext(tokenizer, 1024, seed=1), 20, 1)
    (records,) = evaluate(rules(tokenizer, task), tokenizer, [(task, questions)], seed=0)
    assert records["score_exact_match"].mean() == 1.0


def test_spellings_are_the_bytes_of_the_tokens() -> None:
    for kind in ("char", "byte", "bpe"):
        tokenizer = build_tokenizer(TokenizerSettings(kind=kind, vocabulary=320), [TEXT])
        spellings = tokenizer.spellings()
        assert b"".join(spellings[token] for token in tokenizer.encode(TEXT)).decode() == TEXT
        assert [token for token, spelling in enumerate(spellings) if not spelling] == [tokenizer.end_id]
    assert spellings.count("\ufffd".encode()) == 0
    char = build_tokenizer(TokenizerSettings(kind="char"), [TEXT])
    assert char.spellings()[char.encode("é")[0]] == "\ufffd".encode()


def probabilities(network: RulesNetwork, tokenizer: Tokenizer, text: str) -> dict[str, float]:
    """Return the probability of every token after the end token and a text; the end token is ""."""
    ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode(text)]])
    last = network(ids)[0, -1].exp().tolist()
    assert sum(last) == pytest.approx(1, abs=1e-5)
    return {spelling.decode(): p for spelling, p in zip(tokenizer.spellings(), last, strict=True)}


def test_probabilities_are_those_that_are_stated() -> None:
    task = task_of("recall", {"pairs": 2})
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    network, V = rules(tokenizer, task), tokenizer.vocabulary_size
    after = probabilities(network, tokenizer, "a3b7?b")
    assert after.pop("7") == pytest.approx(1 - EPSILON)
    assert list(after.values()) == pytest.approx([EPSILON / (V - 1)] * (V - 1))
    assert probabilities(network, tokenizer, "a3b7?b7")[""] == pytest.approx(1 - EPSILON)
    for floor in ("a3b7", "a3b7?", "a3b7?c", "a3b7?b3", "37"):  # no question yet, no such key, a wrong answer
        assert list(probabilities(network, tokenizer, floor).values()) == pytest.approx([1 / V] * V)


def test_rules_that_disagree_share_until_one_is_ruled_out() -> None:
    tasks = task_of("addition", {"digits": 2}), task_of("modular_addition", {"modulus": 97})
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], tasks[0].alphabet)
    network = rules(tokenizer, *tasks)
    after = probabilities(network, tokenizer, "45+60=")  # 105, or 08 modulo 97
    assert (after["1"], after["0"]) == pytest.approx(((1 - EPSILON) / 2,) * 2)
    assert probabilities(network, tokenizer, "45+60=0")["8"] == pytest.approx(1 - EPSILON)
    assert probabilities(network, tokenizer, "45+60=1")["0"] == pytest.approx(1 - EPSILON)


def test_the_lexicon_scores_what_it_knows_of_planted_sentences() -> None:
    """Three of five: one word is not in the list, and one sentence is meant otherwise than it says."""
    task = task_of("sentiment", {})
    planted = [
        ("the film was not very good:", "-"),
        ("the food was never bad:", "+"),
        ("the room was slightly dull but the host was really kind:", "+"),
        ("the song was gripping:", "+"),
        ("the trip was a great disaster:", "-"),
    ]
    tokenizer = build_tokenizer(TokenizerSettings(kind="byte"), [])
    network = rules(tokenizer, task)
    found = [probabilities_at_byte(network, tokenizer, text) for text, _ in planted]
    right = [answer == target for answer, (_, target) in zip(found, planted, strict=True)]
    assert right == [True, True, True, False, False]


def probabilities_at_byte(network: RulesNetwork, tokenizer: Tokenizer, text: str) -> str:
    ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode(text)]])
    return tokenizer.decode([int(network(ids)[0, -1].argmax())])


def test_reading_in_pieces_is_reading_whole() -> None:
    task = task_of("copy", {"length": 3})
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    network = rules(tokenizer, task)
    ids = torch.tensor([[tokenizer.end_id, *tokenizer.encode(text)] for text in ("abc|abc", "xyx|xyx")])
    ids = torch.cat([ids, ids], dim=1)
    cache = network.new_cache(2, 16)
    pieces = [network(part, cache) for part in (ids[:, :5], ids[:, 5:6], ids[:, 6:])]
    assert torch.equal(torch.cat(pieces, dim=1), network(ids))
    assert torch.equal(network(ids, select=torch.tensor([3, 20])), network(ids).flatten(0, 1)[[3, 20]])


def test_it_has_no_sizes_and_counts_nothing() -> None:
    (config,) = ladder("rules", [3e3, 1e5], vocabulary=30, context=16)
    assert (config.parameters, config.non_embedding_parameters, config.forward_flops(100, 16)) == (0, 0, 0.0)
    assert not list(build_network("rules", config, torch.Generator()).parameters())
    assert not FAMILIES.load("rules").sized


def test_what_differs_has_another_fingerprint() -> None:
    spelt = {"vocabulary": 3, "context": 8, "spellings": ("", "a", "b")}
    configs = [
        RulesConfig(**spelt, tasks={"copy": {"length": 3}}),
        RulesConfig(**spelt, tasks={"copy": {"length": 4}}),
        RulesConfig(**{**spelt, "spellings": ("", "b", "a")}, tasks={"copy": {"length": 3}}),
    ]
    assert len({RulesNetwork(config, torch.Generator()).fingerprint() for config in configs}) == 3


def test_a_prompt_of_nothing_is_refused_as_for_all() -> None:
    network = rules(build_tokenizer(TokenizerSettings(kind="byte"), []))
    with pytest.raises(UserError, match="at least one token"):
        log_likelihoods(network, [((), (1,))])
