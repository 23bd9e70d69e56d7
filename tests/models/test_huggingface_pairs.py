"""Encoder-decoder models in Hugging Face's layout: the same numbers and texts as transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

import emergence as em
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.core.store import write_json
from emergence.evaluation.engine import answer
from emergence.evaluation.pairs import search_targets, target_likelihoods
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.text import END_TOKEN, build_tokenizer

END = 256
COMMON = {"vocab_size": 260, "eos_token_id": END, "pad_token_id": 257, "decoder_start_token_id": 257}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "bart": (
        "Bart",
        {
            "d_model": 32,
            "max_position_embeddings": 128,
            "bos_token_id": END,
            "forced_eos_token_id": None,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 64,
        },
    ),
}


def build(kind: str) -> Any:
    """Return a network whose predictions are far from uniform."""
    name, settings = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, f"{name}Config")(**COMMON, **settings)
        network = getattr(transformers, f"{name}ForConditionalGeneration")(config)
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.data.mul_(2.0)
    return network.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with a byte tokenizer that ends every text, as T5's does."""
    home = tmp_path_factory.mktemp("hub")
    for kind in KINDS:
        build(kind).save_pretrained(home / kind)
        build_tokenizer(TokenizerSettings(kind="byte"), []).save(home / kind / "tokenizer.json")
        inner = tokenizers.Tokenizer.from_file(str(home / kind / "tokenizer.json"))
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"$A {END_TOKEN}", special_tokens=[(END_TOKEN, END)]
        )
        inner.save(str(home / kind / "tokenizer.json"))
        said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_TOKEN, "eos_token": END_TOKEN}
        write_json(home / kind / "tokenizer_config.json", said | {"model_max_length": 128})
    return {kind: home / kind for kind in KINDS}


TEXTS = ["Hello there", "a", "12+30=", "你好吗", "a much longer sentence than any of the others"]


@pytest.mark.parametrize("kind", KINDS)
def test_likelihoods_are_those_of_transformers(folders: dict[str, Path], kind: str) -> None:
    model, theirs = em.load(folders[kind]), build(kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    for prompt in TEXTS:
        for target in ("b", "xyz!", "再见"):
            ids = tokenizer(prompt, return_tensors="pt")
            assert ids["input_ids"][0, -1] == END
            labels = tokenizer(target, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                logits = theirs(**{k: ids[k] for k in ("input_ids", "attention_mask")}, labels=labels).logits[0]
            expected = logits.log_softmax(-1).gather(1, labels.T)[:, 0]
            assert model.loglikelihood(prompt, target).logprobs == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_that_of_generate(folders: dict[str, Path], kind: str) -> None:
    model, theirs = em.load(folders[kind]), build(kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    for prompt in TEXTS:
        ids = tokenizer(prompt, return_tensors="pt")
        asked = {k: ids[k] for k in ("input_ids", "attention_mask")}
        written = theirs.generate(**asked, max_new_tokens=12, do_sample=False, num_beams=1)[0, 1:].tolist()
        written = written[: written.index(END)] if END in written else written
        assert model.generate(prompt, max_tokens=12) == tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_beyond_the_context_loses_its_start_and_says_so(folders: dict[str, Path], kind: str) -> None:
    model, theirs = em.load(folders[kind]), build(kind)
    found = em.evaluate(model, "copy", examples=8, shots=8, cache=False)
    record = found.records.row(0, named=True)
    room = 128 - 1  # its tokenizer puts an end behind every text, and we one behind every example
    body = [i for line in record["prompt"].split("\n") for i in (*model.tokenizer.encode(line), END)][:-1]
    assert set(found.records["truncated"]) == {len(body) - room} == {8 * 18 + 9 - room}
    assert "8 of 8 questions of copy with 8 shots are longer" in found.notes[0]
    target = torch.tensor([model.tokenizer.encode(record["target"])])
    with torch.inference_mode():
        logits = theirs(torch.tensor([[*body[-room:], END]]), labels=target).logits[0]
    expected = logits.log_softmax(-1).gather(1, target.T)[:, 0]
    assert record["logprobs"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_answers_do_not_depend_on_company(folders: dict[str, Path]) -> None:
    network = em.load(folders["t5"]).network
    draw = torch.Generator().manual_seed(0)
    prompts = [
        tuple(torch.randint(0, 256, (n,), generator=draw).tolist()) for n in (3, 9, 4, 9, 30, 1, 12) for _ in range(3)
    ]
    requests = [ScoreRequest(p, t) for p in prompts for t in ((1, 2), (5, 6, 7, 8), (9,))]
    written = [GenerateRequest(p, 8) for p in prompts]
    for request, found in zip([*requests, *written], answer(network, [*requests, *written], end_id=END), strict=True):
        (alone,) = answer(network, [request], end_id=END)
        if isinstance(alone, Likelihood):
            assert isinstance(found, Likelihood)
            assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        else:
            assert isinstance(alone, Continuation)
            assert found == alone


def test_beams_find_no_less_probable_texts_than_those_of_transformers(folders: dict[str, Path]) -> None:
    network, theirs = em.load(folders["t5"]).network, build("t5")
    prompts = [[END, *text.encode()] for text in TEXTS]
    found = search_targets(network, prompts, [6] * len(prompts), beams=4, end_id=END)
    same = 0
    for prompt, ours in zip(prompts, found, strict=True):
        ids = torch.tensor([[*prompt[1:], END]])  # the end stands behind, where our beginning stood
        asked = {"max_new_tokens": 6, "num_beams": 4, "length_penalty": 0.0, "do_sample": False}
        other = theirs.generate(ids, attention_mask=torch.ones_like(ids), **asked)[0, 1:].tolist()
        other = other[: other.index(END)] if END in other else other
        pairs = [(prompt, [*ids, END][:6]) for ids in (ours, other)]
        mine, own = (one.total for one in target_likelihoods(network, pairs))
        assert mine >= own - 1e-4
        same += ours == other
    assert same >= 3


def test_beams_are_offered_where_they_are_searched_with(folders: dict[str, Path]) -> None:
    model = em.load(folders["t5"])
    ids = search_targets(model.network, [[END, *b"Hello there"]], [9], beams=3, end_id=END)[0]
    assert model.generate("Hello there", max_tokens=9, beams=3) == model.tokenizer.decode(ids)
    with pytest.raises(UserError, match="from 1"):
        model.generate("a", beams=0)
    with pytest.raises(UserError, match="to 64"):
        model.generate("a", beams=10**12)
    with pytest.raises(UserError, match="temperature"):
        model.generate("a", beams=2, temperature=1.0)


def test_tasks_are_asked_and_the_shape_is_known(folders: dict[str, Path]) -> None:
    model = em.load(folders["t5"])
    assert (model.family, model.network.config.context, model.network.config.vocabulary) == ("t5", 128, 260)
    assert model.params == build("t5").num_parameters() - 260 * 32 - 2 * 32 * 4  # tables of tokens and of distances
    scores = em.evaluate(model, {"name": "copy", "length": 3}, examples=16, cache=False).scores
    assert scores.filter(metric="target_logprob")["score"][0] < 0


def test_a_decoder_without_a_beginning_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["t5"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("config.json", "generation_config.json"):
        document = json.loads((tmp_path / name).read_text())
        document.pop("decoder_start_token_id", None)
        write_json(tmp_path / name, document)
    with pytest.raises(UserError, match="decoder_start_token_id"):
        em.load(tmp_path)
