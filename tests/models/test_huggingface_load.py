"""Models of transformers as language models of ours: the same numbers as transformers' own forward pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tests.hub import offline, put_into_cache
from tests.tiny import emergence
from tests.tiny_huggingface import FAMILIES, build, save

import emergence as em
from emergence.cli.main import cli
from emergence.core.errors import UserError
from emergence.evaluation import likelihood
from emergence.evaluation.engine import answer
from emergence.evaluation.requests import Continuation, GenerateRequest, Likelihood, ScoreRequest
from emergence.models.huggingface_load import hub_name

END = 256


def sequences(count: int, longest: int, seed: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest, (count,), generator=generator).tolist()
    return [tuple(torch.randint(0, 256, (n,), generator=generator).tolist()) for n in lengths]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("hub")
    return {family: save(family, home / family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihoods_are_those_of_the_full_forward_pass(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "WORTH_READING_ONCE", 32)  # so that beginnings are read once, and shared
    model = em.load(folders[family])
    assert model.network.maskable == FAMILIES[family][2]
    shots = sequences(1, 30, 3)[0] * 2
    prompts = [*sequences(6, 20, 1), *((*shots, *own) for own in sequences(6, 20, 2))]
    requests = [ScoreRequest(prompt, target) for prompt in prompts for target in sequences(4, 6, len(prompt))]
    theirs = build(family)
    for request, found in zip(requests, answer(model.network, requests, end_id=END), strict=True):
        assert isinstance(found, Likelihood)
        with torch.inference_mode():
            logits = theirs(torch.tensor([[*request.prompt, *request.target]])).logits[0, len(request.prompt) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(request.target)), list(request.target)]
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-5)
        assert found.hits == tuple((logits.argmax(-1) == torch.tensor(request.target)).tolist())


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_that_of_generate(folders: dict[str, Path], family: str) -> None:
    model = em.load(folders[family])
    prompts = sequences(12, 24, 5)
    found = answer(model.network, [GenerateRequest(prompt, 10) for prompt in prompts], end_id=END)
    theirs = build(family)
    for prompt, text in zip(prompts, found, strict=True):
        ids_1T = torch.tensor([prompt])
        settings = {"max_new_tokens": 10, "do_sample": False, "attention_mask": torch.ones_like(ids_1T)}
        ids = theirs.generate(ids_1T, **settings)[0, len(prompt) :].tolist()
        assert isinstance(text, Continuation)
        assert list(text.ids) == (ids[: ids.index(END)] if END in ids else ids)


def test_our_export_comes_back_as_it_was(finished: Path, tmp_path: Path) -> None:
    own = em.load(finished / "models" / "R02-s1")
    back = em.load(own.export(tmp_path / "back"))
    assert (back.name, back.family, back.params) == ("back", "llama", own.params)
    assert back.network.config.context == own.network.config.context
    assert back.tokenizer.separator_id == own.tokenizer.end_id == back.tokenizer.begin_id
    assert back.loglikelihood("abcd|", "abcd").logprobs == pytest.approx(
        own.loglikelihood("abcd|", "abcd").logprobs, abs=1e-5
    )
    assert back.generate("abcd|", max_tokens=8) == own.generate("abcd|", max_tokens=8)
    with pytest.raises(UserError, match="already"):
        back.export(tmp_path / "again")


def test_parameters_are_counted_without_embeddings(folders: dict[str, Path]) -> None:
    counted = {family: em.load(folders[family]).params for family in ("llama", "gpt2", "gpt_neox")}
    D, F, V, K = 32, 64, 260, 16  # width, feed-forward, vocabulary, width of two heads of keys
    assert counted["llama"] == 2 * (2 * D * D + 2 * D * K + 3 * D * F + 2 * D) + D
    assert counted["gpt2"] == build("gpt2").num_parameters() - (V + 96) * D
    assert counted["gpt_neox"] == build("gpt_neox").num_parameters() - 2 * V * D


def test_what_is_no_causal_model_with_safetensors_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str, leave: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in folders["gpt2"].iterdir():
            if file.name != leave:
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    truncated = copy("truncated", "")
    (truncated / "model.safetensors").write_bytes((truncated / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot load") as caught:
        em.load(truncated)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has no steps"):
        em.load(folders["gpt2"], step=3)
    for wrong in ({"path": f"{folders['gpt2']}@step3"}, {"path": folders["gpt2"], "revision": "step3"}):
        with pytest.raises(UserError, match="is a folder and has no revisions"):
            em.load(**wrong)
    bare = copy("bare", "tokenizer.json")
    with pytest.raises(UserError, match="tokenizer"):
        em.load(bare)
    (bare / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="tokenizer"):
        em.load(bare)


def test_a_vocabulary_with_gaps_that_goes_beyond_the_weights_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(folders["llama"], folder)
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"]["far"] = 999
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="has 1,000 tokens, but its network knows 260"):
        em.load(folder)


def test_weights_of_another_vocabulary_than_the_configuration_says_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(folders["llama"], folder)
    said = (folder / "config.json").read_text()
    (folder / "config.json").write_text(said.replace('"vocab_size": 260', '"vocab_size": 270'))
    with pytest.raises(UserError, match="cannot load"):
        em.load(folder)


def test_a_name_may_carry_its_revision(folders: dict[str, Path], tmp_path: Path) -> None:
    """In a process of its own, since huggingface_hub looks once for where its cache is and whether there is a hub."""
    put_into_cache(tmp_path, "lab/tiny", {"step2": folders["llama"], "step30": folders["gpt2"]})
    code = """
import emergence as em
for path, revision in (("lab/tiny@step2", None), ("lab/tiny", "step30"), ("lab/tiny@step30", "step30")):
    model = em.load(path, revision=revision)
    print(model.name, model.family, model.step)
for path, revision in (("lab/tiny@step2", "step30"), ("lab/tiny@step4", None), ("lab/tiny", None)):
    try: em.load(path, revision=revision)
    except em.UserError as error: print(error)
"""
    environment = os.environ | offline(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["lab/tiny llama 2", "lab/tiny gpt2 30", "lab/tiny gpt2 30"]
    assert "names another revision than step30" in lines[3]
    assert lines[4].startswith("cannot load lab/tiny at revision step4: ")
    assert lines[5].startswith("cannot load lab/tiny: ")
    for line in lines[4:]:
        assert line.endswith("or load it once while the hub can be reached: it is kept from then on")
    assert len(lines) == 6


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_pickle_files_are_read_on_request_and_their_tensors_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for file in folders["gpt2"].iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folders["gpt2"] / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="--allow-pickle"):
        em.load(folder)
    before, after = em.load(folders["gpt2"]), em.load(folder, allow_pickle=True)
    assert (before.pickled, after.pickled) == (False, True)
    assert after.loglikelihood("a", "bc") == before.loglikelihood("a", "bc")
    torch.save({**weights, "trap": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load"):
        em.load(folder, allow_pickle=True)
    assert not (tmp_path / "sprung").exists()
    told = emergence("evaluate", folder, "--task", "copy", cwd=tmp_path)
    assert told.returncode == 2
    assert "--allow-pickle" in told.stderr


def test_every_command_on_a_model_reads_pickle_files_on_request(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for file in folders["gpt2"].iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(folders["gpt2"] / "model.safetensors"), folder / "pytorch_model.bin")
    model = em.load(folders["gpt2"])
    run = CliRunner()
    drawn = ("--top-k", "3", "--top-p", "0.9", "--max-tokens", "6", "--json")
    asked = {
        ("loglikelihood", "a", "bc"): f"{model.loglikelihood('a', 'bc').total:.6f}\n",
        ("generate", "a", *drawn): json.dumps({"prompt": "a", "output": model.generate("a", max_tokens=6)}),
        ("sample", "-n", "2", *drawn): json.dumps({"outputs": model.sample(2, max_tokens=6, top_k=3, top_p=0.9)}),
    }
    for (name, *arguments), told in asked.items():
        with pytest.raises(UserError, match="--allow-pickle"):
            run.invoke(cli, [name, str(folder), *arguments], catch_exceptions=False)
        done = run.invoke(cli, [name, str(folder), "--allow-pickle", *arguments], catch_exceptions=False)
        found = json.loads(done.stdout) if "--json" in arguments else done.stdout
        assert found == (json.loads(told) if "--json" in arguments else told)
        assert "no code was run" in done.stderr


def test_names_of_the_hub_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub_name("EleutherAI/pythia-70m")
    assert not any(
        map(hub_name, ("runs/quickstart", "nowhere", "runs/a/models/R00-s0", "/etc/passwd", "../x", "a b/c"))
    )


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("import os; os.environ['HF_HUB_OFFLINE'] = '1'", "cannot load no-such/model"),
        ("import sys; sys.modules['transformers'] = None", "pip install 'emergence[huggingface]'"),
    ],
)
def test_a_missing_model_or_library_is_said_in_one_line(before: str, says: str) -> None:
    code = f"{before}\nimport emergence as em\ntry: em.load('no-such/model')\nexcept em.UserError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert says in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_tokenizer_that_puts_a_space_first_writes_the_text_alone() -> None:
    import tokenizers as backend
    from transformers import PreTrainedTokenizerFast

    from emergence.models.huggingface_tokenizer import HuggingFaceTokenizer

    words: dict[str, Any] = {c: i for i, c in enumerate(["<s>", "</s>", "<unk>", *"▁0123456789a=\n"])}
    inner = backend.Tokenizer(backend.models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    inner.normalizer = backend.normalizers.Sequence(
        [backend.normalizers.Prepend("▁"), backend.normalizers.Replace(" ", "▁")]
    )
    inner.decoder = backend.decoders.Sequence(
        [backend.decoders.Replace("▁", " "), backend.decoders.Fuse(), backend.decoders.Strip(" ", 1, 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer = HuggingFaceTokenizer(fast)
    assert tokenizer.encode("42") == [words["4"], words["2"]]
    assert tokenizer.decode(tokenizer.encode("4 2=")) == "4 2="
    assert (tokenizer.begin_id, tokenizer.end_id, tokenizer.separator_id) == (0, 1, words["\n"])
    assert tokenizer.unknown_id == 2
    assert tokenizer.encode_batch([]) == []
