"""Augmentation: what is changed, how much of it, and what never is."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.errors import UserError
from emergence.text.augmentation import AUGMENTERS, Cutter, is_negation, make_augment, own_thesaurus, read_thesaurus
from emergence.text.augmentation.chinese_groups import CHINESE_GROUPS
from emergence.text.augmentation.english_groups import ENGLISH_GROUPS
from emergence.text.folding import folding_into
from emergence.text.sentiment import LEXICONS

ENGLISH, CHINESE = LEXICONS["en"], LEXICONS["zh"]
NAMES = list(AUGMENTERS)

_WORDS = [*ENGLISH.positive, *ENGLISH.negative, *ENGLISH.negations, *ENGLISH.intensifiers, *ENGLISH.breaks, "isn't"]
_WORDS += ["the", "film", "a", "an", "3.5", "2nd", "B2B", "1984", "Movie", "VERY", "!", "(", "well-made"]
_CHINESE = [*CHINESE.positive, *CHINESE.negative, *CHINESE.negations, *CHINESE.intensifiers, *CHINESE.breaks]
_CHINESE += ["电影", "很", "2024", "的", "abc"]
texts = st.one_of(
    st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join),
    st.lists(st.sampled_from(_CHINESE), max_size=14).map("".join),
    st.text(alphabet="ab c.,!?'’-3é不好電影\n\t_", max_size=30),
)


def changed(name: str, text: str, seed: int = 0, share: float = 0.3, **more: str) -> str:
    augment = make_augment(AugmentationSettings.model_validate({"name": name, **more}))
    return augment(text, np.random.default_rng(seed), share)


def negations(text: str) -> list[str]:
    """The words that turn others, in order, found without the code under test."""
    found: list[str] = re.findall(r"\bnot\b|\bnever\b|\bhardly\b|isn't|不|没有", text.lower())
    return found


@pytest.mark.parametrize("chinese", ["words", "characters"])
@pytest.mark.parametrize("name", NAMES)
@given(text=texts, seed=st.integers(0, 5), share=st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_negations_and_digits_stay_and_the_seed_decides(
    name: str, chinese: str, text: str, seed: int, share: float
) -> None:
    after = changed(name, text, seed, share, chinese=chinese)
    assert after == changed(name, text, seed, share, chinese=chinese)
    assert negations(after) == negations(text)
    assert re.findall(r"\d", after) == re.findall(r"\d", text)


@pytest.mark.parametrize("name", ["swap", "synonyms"])
@given(
    clauses=st.lists(
        st.tuples(
            st.sampled_from(["", "not", "never"]),
            st.sampled_from(["good", "great", "fine", "bad", "awful", "dull", "stale"]),
            st.sampled_from(["film", "food"]),
        ),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 20),
)
@settings(max_examples=80, deadline=None)
def test_what_is_negated_stays_negated(name: str, clauses: list[tuple[str, str, str]], seed: int) -> None:
    """Each clause's judgement keeps its sign, read by the lexicon's own rule; EDA would mix the clauses."""
    text = " , ".join(f"the {thing} was {negation} {word}" for negation, word, thing in clauses).replace("  ", " ")
    for before, after in zip(text.split(" , "), changed(name, text, seed, 0.5).split(" , "), strict=True):
        sign, other = ENGLISH.strength(before), ENGLISH.strength(after)
        assert sign is not None
        # A synonym may be a word that the short lexicon does not hold; then it says nothing.
        assert other is None or np.sign(other) == np.sign(sign)
        assert other is not None or name == "synonyms"


def test_a_synonym_of_what_is_negated_is_put_in_behind_the_negation() -> None:
    for seed in range(20):
        before, after = changed("insertion", "the food was not great , but fast", seed, 1.0).split(" , ")
        first, behind = before.split(" not ")
        assert not {"excellent", "superb", "terrific", "splendid", "outstanding"} & {*first.split(), *after.split()}
        assert not {"quick", "rapid", "swift"} & {*first.split(), *behind.split()}


def test_each_way_on_a_sentence() -> None:
    text = "The enjoyable film was quick"
    assert changed("synonyms", text, share=1.0) in {
        f"The entertaining {film} was {quick}" for film in ("movie", "picture") for quick in ("fast", "rapid", "swift")
    }
    assert sorted(changed("swap", text, share=0.2).split()) == sorted(text.split())
    assert changed("swap", text, share=0.2) != text
    inserted = changed("insertion", text, share=0.2).split()
    assert len(inserted) == 6
    (new,) = Counter(inserted) - Counter(text.split())
    assert new in {"entertaining", "movie", "picture", "fast", "rapid", "swift"}


def test_share_is_that_of_the_words() -> None:
    text = " ".join(["good", "film", "film", "good", "film"] * 20)
    before = text.split()
    after = changed("synonyms", text, share=0.2).split()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 20
    assert len(changed("insertion", text, share=0.2).split()) == 120
    kept = [len(changed("deletion", text, seed, 0.2).split()) for seed in range(200)]
    assert abs(np.mean(kept) - 80) < 4 * np.sqrt(100 * 0.2 * 0.8 / 200)
    assert changed("deletion", "good film", share=1.0) in ("good", "film")


def test_capitals_and_articles_follow() -> None:
    assert changed("synonyms", "Film") in ("Movie", "Picture")
    assert changed("synonyms", "FILM") in ("MOVIE", "PICTURE")
    for seed in range(10):
        after = changed("synonyms", "it was a great day , an easy day , a clever day", seed, 1.0)
        for article, word in re.findall(r"\b(an?) (\w+)", after):
            assert (article == "an") == word.startswith(("a", "e", "i", "o")), after
    assert " a useful" in changed("synonyms", "it was a helpful x", 0, 1.0).replace("valuable", "useful")


def test_chinese_stays_in_its_script() -> None:
    for script in ("simplified", "traditional"):
        fold = folding_into(script)  # type: ignore[arg-type]
        text = fold("演员出色，音乐美好，故事危险，开始很可怕")
        for seed in range(10):
            after = changed("synonyms", text, seed, 1.0)
            assert after != text
            back = folding_into("simplified" if script == "traditional" else "traditional")
            # 凶 and 為 are written in several ways: compared is what the other script would certainly change.
            assert "优" not in after if script == "traditional" else "優" not in after
            assert back(after) != after


def test_built_in_groups_keep_polarity() -> None:
    groups = [line.split() for line in (ENGLISH_GROUPS + CHINESE_GROUPS).splitlines() if line]
    for lexicon in LEXICONS.values():
        for group in groups:
            signs = {word in lexicon.positive for word in group if word in (*lexicon.positive, *lexicon.negative)}
            assert len(signs) < 2, group
    assert not [word for group in groups for word in group if is_negation(word)]
    english = [word for line in ENGLISH_GROUPS.splitlines() for word in line.split()]
    assert not [word for word, n in Counter(english).items() if n > 1]
    assert len(english) > 500
    assert len(set(CHINESE_GROUPS.split())) > 300
    for word, synonyms in own_thesaurus().words.items():
        assert word not in synonyms


@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_pieces_are_the_text(text: str) -> None:
    for chinese in ("words", "characters"):
        cut = Cutter(chinese=chinese).cut(text)  # type: ignore[arg-type]
        assert "".join(cut.pieces) == text
        assert len(cut.words) == len(cut.stretches)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "# a comment\nzig\tzag\tzog\n\nbig cat\tlion\n"),
        ("a.txt", "zig, zag, zog\nbig cat, lion"),
        ("a.json", json.dumps([["zig", "zag", "zog"], ["big cat", "lion"]])),
        ("a.json", json.dumps({"Zig": ["zag", "zog"], "lion": ["big cat"]})),
    ],
)
def test_a_file_of_synonyms(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    thesaurus = read_thesaurus(tmp_path / name)
    assert thesaurus.synonyms("zig") == ("zag", "zog")
    assert thesaurus.synonyms("Lion") == ("Big cat",)
    assert changed("synonyms", "zig good", lexicon=str(tmp_path / name)) in ("zag good", "zog good")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.tsv", None, "cannot read the lexicon"),
        ("a.tsv", "alone\n", "line 1: a group of synonyms has two words"),
        ("a.tsv", "# nothing\n", "holds no synonyms"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"good": "fine"}', "entry good"),
        ("a.tsv", b"\xff\xfe", "is not UTF-8 at byte 0"),
    ],
)
def test_a_file_that_is_no_lexicon(name: str, content: str | bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words):
        read_thesaurus(tmp_path / name)


@pytest.mark.parametrize(
    "wrong",
    [{"name": "synonym"}, {"name": "swap", "share": 0}, {"name": "swap", "lexicon": "a"}, {"name": "swap", "n": 1}],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"name|share|lexicon|Extra"):
        AugmentationSettings.model_validate(wrong)
