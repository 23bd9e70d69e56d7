"""Words as tokens, and one script for Chinese: round trips, what other libraries make of the files, other releases."""

from __future__ import annotations

import json
import pickle
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers as backend
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.text import END_TOKEN, Tokenizer, build_tokenizer, folding_into, pack, read_corpus
from emergence.text.words import HAN, cut_words

rjieba = pytest.importorskip("rjieba", reason="rjieba is not installed (the extra 'chinese')")
opencc = pytest.importorskip("opencc", reason="OpenCC is not installed (the extra 'chinese')")

TEXTS = [
    "北京大学的学生喜欢北京，也喜欢北京大学的图书馆。\n" * 4,
    "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n" * 3,
    "The students of Peking University like the library, don't they? 12+30=42\n" * 4,
]
#: The same words in both scripts; 发 is two words in the other one.
SIMPLIFIED = "头发很长，发现了皇后的图书馆。"
TRADITIONAL = "頭髮很長，發現了皇后的圖書館。"
AWKWARD = [
    "",
    " ",
    "\n\n \t\r\n  x",
    "北京 大学\n\n北京大学abc北京123大学",
    "emoji 👩‍👩‍👧‍👦🏳️‍🌈 and 𠮷野家，𪚥",
    "e\u0301 versus é, 각 ひらがな カタカナ 々〇〡⺀",
    "\x00\x01\x1b[0m\x7f\x85\u2028\u200b\ufeff\uffff\U0010ffff",
    f"北京{END_TOKEN}大学",
    "ŠĠĊ ▁ ##ing <0x0A>",
]
WORD = build_tokenizer(TokenizerSettings(kind="word", vocabulary=400), TEXTS)
any_text = st.text(st.characters(exclude_categories=["Cs"]))
mixed = st.lists(
    st.one_of(
        st.sampled_from(
            ["北京", "大学", "图书馆", "明月", "the", " library", "\n", "  ", " ", "，", "。", "12", "🙂", "龘"]
        ),
        st.text(st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF), max_size=6),
        st.text(st.characters(min_codepoint=0x20000, max_codepoint=0x323AF), max_size=3),
        any_text,
    )
).map("".join)


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([index]) for index in tokenizer.encode(text)]


@settings(deadline=None)
@given(mixed)
def test_words_round_trip_any_text_and_count_its_bytes(text: str) -> None:
    ids = WORD.encode(text)
    assert WORD.decode(ids) == text
    assert WORD.utf8_bytes(ids) == len(text.encode())
    assert WORD.end_id not in ids
    assert "".join(cut_words(text)) == text
    assert WORD.encode_arrays([text])[0].tolist() == ids


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_round_trip(text: str) -> None:
    assert WORD.decode(WORD.encode(text)) == text


def test_frequent_words_are_tokens_and_the_rest_falls_back() -> None:
    assert tokens(WORD, "北京大学的图书馆") == ["北京大学", "的", "图书馆"]
    assert tokens(WORD, "The library, 42!") == ["The", " library", ",", " ", "4", "2", "!"]
    # 思乡 is no word of the vocabulary, but both its characters are; 龘 is in none and becomes its three bytes.
    assert tokens(WORD, "思乡") == ["思", "乡"]
    assert len(WORD.encode("龘")) == 3
    assert WORD.unknown_id is None


def test_words_are_cut_as_rjieba_cuts_them() -> None:
    text = "我们中出了一个叛徒"
    assert list(cut_words(text)) == rjieba.cut(text)
    assert list(cut_words(f"the cat{text}, 12")) == ["the", " cat", *rjieba.cut(text), ",", " ", "1", "2"]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(["\n", "\n\n", " ", " \n", "a", "，", "北京大学", "12"]), any_text)).map("".join)
)
def test_a_long_text_is_cut_in_parts_as_in_one(text: str) -> None:
    whole = list(cut_words(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emergence.text.words.PART", 1)
        assert list(cut_words(text)) == whole


def test_the_script_is_what_unicode_says() -> None:
    """Of all code points the ranges name those that the regular expressions of the tokenizers library call Han."""
    split = backend.pre_tokenizers.Split(backend.Regex(r"\p{Han}+"), "isolated")
    text = "".join(f"{chr(point)}|" for point in range(0x2000, 0x40000) if not 0xD800 <= point < 0xE000)
    theirs = {piece for piece, _ in split.pre_tokenize_str(text) if "|" not in piece}
    ours = set(re.findall(f"[{HAN}]", text))
    assert theirs <= ours
    assert all(ord(character) > 0x16FF1 for character in ours - theirs)  # later additions, and room for more


def test_digits_stand_alone_and_special_tokens_are_letters() -> None:
    assert len(WORD.encode("1234567890")) == 10
    assert WORD.encode("=42")[-2:] == WORD.encode("42")
    assert WORD.end_id not in WORD.encode(END_TOKEN)
    assert WORD.decode([*WORD.encode("北"), WORD.end_id, *WORD.encode("京")]) == "北京"


def test_the_vocabulary_is_bounded_and_depends_on_the_texts_alone() -> None:
    small = build_tokenizer(TokenizerSettings(kind="word", vocabulary=270), TEXTS)
    assert small.vocabulary_size == 270
    shuffled = TEXTS.copy()
    random.Random(0).shuffle(shuffled)
    assert build_tokenizer(TokenizerSettings(kind="word", vocabulary=400), iter(shuffled)).identity == WORD.identity
    assert small.identity != WORD.identity
    assert build_tokenizer(TokenizerSettings(kind="word"), []).vocabulary_size == 257


def test_what_saves_most_gets_a_token_first() -> None:
    """A character of three bytes saves two tokens a use, a word one less than its characters."""
    tokenizer = build_tokenizer(TokenizerSettings(kind="word"), ["北京，" * 4 + "图书馆。" * 3 + "once"])
    chosen = [tokenizer.decode([index]) for index in range(257, tokenizer.vocabulary_size)]
    # Saved: 8 each, then 6 each, then 4 by 北京 in four uses. What is seen once is not there.
    assert chosen == ["京", "北", "，", "。", "书", "图", "图书馆", "馆", "北京"]


@pytest.mark.parametrize("kind", ["byte", "char", "bpe", "word"])
def test_folding_joins_the_scripts_in_every_kind(kind: str) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind=kind, vocabulary=400), [TRADITIONAL * 3], fold="simplified")
    assert tokenizer.encode(SIMPLIFIED) == tokenizer.encode(TRADITIONAL)
    assert tokenizer.decode(tokenizer.encode(TRADITIONAL)) == SIMPLIFIED
    assert tokenizer.unknown_id not in tokenizer.encode(TRADITIONAL)
    assert tokenizer.utf8_bytes(tokenizer.encode(TRADITIONAL)) == len(SIMPLIFIED.encode())
    assert tokenizer.encode_arrays([TRADITIONAL])[0].tolist() == tokenizer.encode(TRADITIONAL)
    assert tokenizer.needs == (("opencc", "rjieba") if kind == "word" else ("opencc",))


def test_folding_into_traditional_chooses_by_the_phrase() -> None:
    assert folding_into("traditional")(SIMPLIFIED) == TRADITIONAL
    tokenizer = build_tokenizer(TokenizerSettings(kind="char"), [SIMPLIFIED], fold="traditional")
    assert tokenizer.decode(tokenizer.encode(SIMPLIFIED)) == TRADITIONAL
    assert folding_into("traditional")("hello, 12 🙂\x00\n") == "hello, 12 🙂\x00\n"


@pytest.mark.parametrize(("kind", "fold"), [("word", None), ("word", "traditional"), ("bpe", "simplified")])
def test_saving_loading_and_pickling_change_nothing(kind: str, fold: str | None, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind=kind, vocabulary=400), TEXTS, fold=fold)  # type: ignore[arg-type]
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    for other in (again, pickle.loads(pickle.dumps(tokenizer))):
        assert (other.identity, other.needs, other.vocabulary_size) == (
            tokenizer.identity,
            tokenizer.needs,
            tokenizer.vocabulary_size,
        )
        assert other.encode_batch([*TEXTS, *AWKWARD, TRADITIONAL]) == tokenizer.encode_batch(
            [*TEXTS, *AWKWARD, TRADITIONAL]
        )


def test_folding_is_part_of_the_identity() -> None:
    plain = build_tokenizer(TokenizerSettings(kind="byte"), [])
    folding = [build_tokenizer(TokenizerSettings(kind="byte"), [], fold=fold) for fold in ("simplified", "traditional")]
    assert len({plain.identity, *(tokenizer.identity for tokenizer in folding)}) == 3


@pytest.mark.parametrize(("kind", "fold"), [("word", None), ("bpe", "simplified")])
def test_other_libraries_refuse_the_file_and_say_why(kind: str, fold: str | None, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind=kind, vocabulary=400), TEXTS, fold=fold)  # type: ignore[arg-type]
    tokenizer.save(tmp_path / "tokenizer.json")
    says = f"only emergence reads it, with {tokenizer.needs[0]}"
    with pytest.raises(Exception, match=says):
        backend.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(Exception, match=says):
        transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("section", ["normalizer", "pre_tokenizer"])
def test_a_release_that_reads_text_otherwise_is_refused(section: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="word", vocabulary=400), TEXTS, fold="simplified")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    document = json.loads(path.read_text())
    document[section]["version"] = "0.0.1"
    path.write_text(json.dumps(document))
    assert Tokenizer.load(path).identity == tokenizer.identity  # another release that does the same
    document[section]["fingerprint"] = "0" * 16
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=f"pip install {document[section]['type']}==0.0.1"):
        Tokenizer.load(path)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    WORD.save(tmp_path / "tokenizer.json")
    content = (tmp_path / "tokenizer.json").read_text().replace("emergence 1:", "emergence 7:")
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="another version of emergence"):
        Tokenizer.load(tmp_path)


def test_a_word_file_that_lacks_a_byte_is_refused(tmp_path: Path) -> None:
    WORD.save(tmp_path / "tokenizer.json")
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    del document["model"]["vocab"]["!"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="no token for the byte"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("fold", [None, "simplified"])
def test_half_a_surrogate_pair_is_refused(fold: str | None) -> None:
    for kind in ("byte", "char", "bpe", "word"):
        with pytest.raises(UserError, match="surrogate"):
            build_tokenizer(TokenizerSettings(kind=kind), ["ab北京\ud83d"], fold=fold).encode("a\ud83d")  # type: ignore[arg-type]


@pytest.mark.parametrize(("library", "fold"), [("rjieba", None), ("opencc", "simplified")])
def test_a_missing_library_names_the_extra(library: str, fold: str | None) -> None:
    kind = "word" if fold is None else "char"
    code = f"""
import sys
sys.modules[{library!r}] = None
from emergence.core.errors import UserError
from emergence.core.settings import TokenizerSettings
from emergence.text import build_tokenizer
build_tokenizer(TokenizerSettings(kind="bpe"), ["needs neither"])
try:
    build_tokenizer(TokenizerSettings(kind={kind!r}), ["北京大学"], fold={fold!r})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'emergence[chinese]'" in done.stdout


def test_a_packed_corpus_counts_what_was_read(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSettings(kind="word", vocabulary=400), TEXTS, fold="simplified")
    packed = pack([TRADITIONAL, "ab"], tokenizer, tmp_path / "corpus.bin")
    assert (packed.characters, packed.utf8_bytes) == (len(SIMPLIFIED) + 2, len(SIMPLIFIED.encode()) + 2)
    assert tokenizer.utf8_bytes(packed.tokens) == packed.utf8_bytes
    assert packed.unknown == 0


def test_the_poems_are_read_fast_and_whole(corpora: Path) -> None:
    poems = read_corpus(["chinese_poetry/*三百首.json"], corpora)
    tokenizer = build_tokenizer(TokenizerSettings(kind="word", vocabulary=4096), poems.documents)
    start = time.process_time()
    ids = tokenizer.encode_batch(poems.documents)
    seconds = time.process_time() - start
    size = sum(len(text.encode()) for text in poems.documents)
    assert size / seconds > 0.5e6  # bytes a second; 4e6 on a quiet core
    assert [tokenizer.decode(one) for one in ids] == list(poems.documents)
    characters = sum(map(len, poems.documents))
    assert sum(map(len, ids)) < characters
