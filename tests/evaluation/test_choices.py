"""A question with choices is answered by the most probable of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from emergence.core.settings import TokenizerSettings
from emergence.evaluation.evaluate import evaluate
from emergence.evaluation.likelihood import log_likelihoods
from emergence.evaluation.questions import writable_questions
from emergence.evaluation.scores import score_records
from emergence.models.family import build_network
from emergence.models.gpt import GPTConfig
from emergence.tasks.catalogue import make_task
from emergence.tasks.label_scores import confusion_matrix, macro_f1
from emergence.tasks.task import TaskContext
from emergence.text import build_tokenizer

LABELS = ("no", "not", "yes")  # one is the beginning of another: what ends it counts


def test_the_answer_is_the_most_probable_class(tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    rows = [f"text {i * i} of {i}\t{LABELS[i % 3]}" for i in range(300)]
    path.write_text("\n".join(["text\tlabel", *rows]), encoding="utf-8")
    task = make_task("classification", {"files": str(path), "template": "{text}"})
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [], task.alphabet)
    config = GPTConfig(vocabulary=tokenizer.vocabulary_size, context=64, width=32, depth=2, heads=4, feed_forward=40)
    network = build_network("gpt", config, torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in network.parameters():  # large, so that what is asked matters
            parameter.normal_(0, 1.5, generator=generator)
    questions = writable_questions(task, TaskContext(tokenizer, 64, seed=0), 40, 0)
    records = evaluate(network, tokenizer, [(task, questions)], seed=0)[0]
    best, target = [], []
    for question, row in zip(questions, records.iter_rows(named=True), strict=True):
        asked = [(question.prompt_ids, choice) for choice in question.choices]
        totals = [likelihood.total for likelihood in log_likelihoods(network, asked)]
        best.append(max(range(3), key=totals.__getitem__))
        target.append(LABELS.index(question.target))
        assert row["output"] == LABELS[best[-1]]
        assert row["score_accuracy"] == float(best[-1] == target[-1])
        assert sum(row["logprobs"]) == pytest.approx(totals[target[-1]], rel=1e-5)
    assert len(set(best)) == 3
    columns = {"model": "R00", "seed": 0, "step": 9, "shots": 0}
    run = records.with_columns(**{name: pl.lit(value) for name, value in columns.items()})
    scores = {row["metric"]: row for row in score_records(run, {"classification": task}).iter_rows(named=True)}
    assert set(scores) == {"accuracy", "target_logprob", "target_prob", "macro_f1"}
    assert scores["accuracy"]["floor"] == task.floor
    assert scores["macro_f1"]["score"] == pytest.approx(float(macro_f1(confusion_matrix(target, best, 3))))


def test_a_tokenizer_may_keep_the_space_before_a_word_to_itself(tmp_path: Path) -> None:
    """As those of sentencepiece do: they write " yes" and read "yes"."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

    path = tmp_path / "texts.tsv"
    path.write_text("text\tlabel\n" + "".join(f"t {i}\t{LABELS[i % 3]}\n" for i in range(99)), encoding="utf-8")
    task = make_task("classification", {"files": str(path)})
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -3.0) for letter in sorted({*task.alphabet, "▁", "a", "4"}))]
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    inner.decoder = tokenizers.decoders.Metaspace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")
    tokenizer = HuggingFaceTokenizer(fast)
    questions = writable_questions(task, TaskContext(tokenizer, 64, seed=0), 12, 0)
    assert tokenizer.decode(questions[0].target_ids).strip("\n") == questions[0].target.strip()
    for question in questions:
        answers = [tokenizer.decode(choice[:-1]) for choice in question.choices]
        assert sum(task.score(question, answer, [-1.0], [True])["accuracy"] for answer in answers) == 1.0
