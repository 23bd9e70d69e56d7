"""Bags of words: counted by hand, and as scikit-learn counts; what a corpus is said to be about."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest

from emergence.core.settings import TokenizerSettings
from emergence.text import Bag, build_tokenizer, read_corpus, summarise
from emergence.text.bag import chinese_share
from emergence.text.stopwords import STOP_WORDS

ENGLISH = [
    "The cat doesn't like the dog, and the Dog likes no cat.",
    "DOGS are here; don't feed 2 dogs! The cat's tail",
]
CHINESE = ["我们都喜欢北京大学的图书馆，也喜欢北京。", "北京大学 loves 图书馆"]


def test_words_are_counted_without_stop_words() -> None:
    assert Bag().count(ENGLISH) == Counter(
        {"cat": 2, "dog": 2, "like": 1, "likes": 1, "dogs": 2, "feed": 1, "cat's": 1, "tail": 1}
    )
    assert Bag(stop_words=frozenset())("The CAT, the cat") == ["the", "cat", "the", "cat"]
    assert Bag()("") == []
    assert Bag()("12 34 !?") == []


def test_chinese_is_cut_into_words() -> None:
    pytest.importorskip("rjieba", reason="rjieba is not installed (the extra 'chinese')")
    assert Bag()(CHINESE[0]) == ["喜欢", "北京大学", "图书馆", "喜欢", "北京"]
    assert Bag((2, 2))(CHINESE[1]) == ["北京大学 loves", "loves 图书馆"]


def test_runs_of_words_come_shortest_first() -> None:
    assert Bag((1, 3))("big old red dog") == [
        *("big", "old", "red", "dog"),
        *("big old", "old red", "red dog"),
        *("big old red", "old red dog"),
    ]
    assert Bag((2, 2))("king of the hill") == ["king hill"]
    assert Bag((3, 3))("two words") == []
    for wrong in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="ngrams"):
            Bag(wrong)


def test_scikit_learn_counts_alike() -> None:
    """With its own words and our stop words, and with our `Bag` in their place, the counts are the same."""
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    plain = ["the cat likes every dog near one old house", "dogs bite the old cat and the dog bites back"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on stop words that its own words would never be
        theirs = text.CountVectorizer(
            ngram_range=(1, 2), stop_words=sorted(STOP_WORDS), token_pattern=r"(?u)\b\w+\b"
        ).fit(plain)
    ours = text.CountVectorizer(analyzer=Bag((1, 2))).fit(plain)
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert (ours.transform(plain) != theirs.transform(plain)).nnz == 0
    counted = Bag((1, 2)).count(plain)
    assert (
        dict(zip(ours.get_feature_names_out(), ours.transform(plain).sum(axis=0).tolist()[0], strict=True)) == counted
    )


def test_stop_words_are_in_lower_case_and_of_both_scripts() -> None:
    assert all(word == word.lower() for word in STOP_WORDS)
    assert {"the", "的", "们", "們", "没有", "沒有", "之"} <= STOP_WORDS
    opencc = pytest.importorskip("opencc", reason="OpenCC is not installed (the extra 'chinese')")
    simplify = opencc.OpenCC("t2s").convert
    assert {simplify(word) for word in STOP_WORDS} <= STOP_WORDS


def test_the_share_of_chinese() -> None:
    assert chinese_share("北京 ab\n") == 0.5
    assert chinese_share(" \n") == 0
    assert chinese_share("") == 0


def test_a_corpus_is_summarised() -> None:
    pytest.importorskip("rjieba", reason="rjieba is not installed (the extra 'chinese')")
    texts = [*ENGLISH, *CHINESE]
    summary = summarise(texts, build_tokenizer(TokenizerSettings(kind="char"), ENGLISH))
    characters = sum(map(len, texts))
    assert (summary.documents, summary.characters, summary.characters_per_token) == (4, characters, 1.0)
    strange = sum(character not in "".join(ENGLISH) for text in texts for character in text)
    assert summary.unknown == pytest.approx(strange / characters)
    assert dict(summary.words)["北京大学"] == 2
    assert dict(summary.pairs)["cat like"] == 1
    assert not STOP_WORDS & dict(summary.words).keys()
    assert summary.missing is None
    with pytest.raises(ValueError, match="no document"):
        summarise([], build_tokenizer(TokenizerSettings(kind="byte"), []))


def test_a_summary_of_much_text_reads_a_part_of_it() -> None:
    """A million characters, from the first document to the last."""
    texts = [f"early {'x' * 2000}"] * 1000 + [f"late {'x' * 2000}"] * 1000
    summary = summarise(texts, build_tokenizer(TokenizerSettings(kind="byte"), []))
    counts = dict(summary.words)
    assert 480 <= counts["early"] + counts["late"] <= 520
    assert counts["late"] > 200
    one = summarise(["word " * 400_000], build_tokenizer(TokenizerSettings(kind="byte"), []))
    assert dict(one.words) == {"word": 200_000}


def test_without_rjieba_a_summary_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from emergence.text import words

    words.cut_chinese.cache_clear()
    monkeypatch.setitem(sys.modules, "rjieba", None)
    tokenizer = build_tokenizer(TokenizerSettings(kind="byte"), [])
    try:
        summary = summarise(CHINESE, tokenizer)
        assert summary.missing is not None
        assert "pip install 'emergence[chinese]'" in summary.missing
        assert summarise(ENGLISH, tokenizer).missing is None
    finally:
        words.cut_chinese.cache_clear()


def test_the_poems_are_about_the_moon(corpora: Path) -> None:
    pytest.importorskip("rjieba", reason="rjieba is not installed (the extra 'chinese')")
    poems = read_corpus(["chinese_poetry/全唐诗__唐诗三百首.json"], corpora)
    summary = summarise(poems.documents, build_tokenizer(TokenizerSettings(kind="byte"), []))
    assert summary.chinese > 0.75
    assert "月" in dict(summary.words)
