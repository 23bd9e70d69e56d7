"""Perturbation: the seed decides, little is changed, and nothing that a label hangs on comes about."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergence.core.errors import UserError
from emergence.text.perturbation import PERTURBATIONS, make_perturb, perturbed
from emergence.text.perturbation.additions import NEUTRAL
from emergence.text.perturbation.contractions import contract, expand
from emergence.text.perturbation.names import read_name_lists
from emergence.text.sentiment import LEXICONS
from emergence.text.words import HAN

LISTS = {
    "male": ["James", "Robert", "Li Wei", "Will"],
    "city": ["Oslo", "New York", "Lima"],
    "last_name": ["Smith", "Good", "Jones", "Patel"],
    "religion": ["Islam", "Buddhism"],
}
_ENGLISH = """
the film was not very good but never dull it isn't 3.5 stars and Ada loved ton tea he saw pots , . ! well-made O'Neil
"""
_CHINESE = "的地得在再做他她不好坏没有已己未末人入大太间问高兴，。很难受糟糕木本"
english = st.lists(st.sampled_from(_ENGLISH.split()), min_size=1, max_size=15).map(" ".join)
chinese = st.text(alphabet=_CHINESE, min_size=1, max_size=25)
texts = st.one_of(english, chinese, st.text(max_size=20))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "names.json"
    path.write_text(json.dumps(LISTS))
    return path


def perturb(name: str, text: str, seed: int = 0, lexicon: Path | None = None) -> str:
    return make_perturb(name, lexicon)(text, np.random.default_rng(seed))


def distance(one: str, other: str) -> int:
    """Edits between two texts, an exchange of neighbours being one (optimal string alignment)."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    table[:, 0], table[0, :] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            same = one[i - 1] == other[j - 1]
            best = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (not same))
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                best = min(best, table[i - 2, j - 2] + 1)
            table[i, j] = best
    return int(table[-1, -1])


def telling(text: str) -> dict[str, int]:
    """How often each word of praise, blame and negation stands in a text."""
    found = {}
    for lexicon in LEXICONS.values():
        for word in (*lexicon.positive, *lexicon.negative, *lexicon.negations):
            pattern = rf"(?<!\w){word}(?!\w)" if lexicon.spaced else word
            found[word] = len(re.findall(pattern, text.lower()))
    return found


@pytest.mark.parametrize("name", [name for name in PERTURBATIONS if name not in ("names", "script", "contractions")])
@given(text=texts, seed=st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_the_seed_decides_and_no_telling_word_comes_about(name: str, text: str, seed: int) -> None:
    after = perturb(name, text, seed)
    assert after == perturb(name, text, seed)
    before = telling(text)
    assert all(count <= before[word] for word, count in telling(after).items())


@given(text=english, seed=st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_typos_are_few_and_spare_negations(text: str, seed: int) -> None:
    after = perturb("typos", text, seed)
    words = len(re.findall(r"[A-Za-z]{3,}", text))
    assert distance(text, after) <= max(1, round(0.1 * words))
    for word in ("not", "never", "isn't", "3.5"):
        assert after.split().count(word) == text.split().count(word)


def test_every_kind_of_typo_happens() -> None:
    seen = {perturb("typos", "marvel", seed) for seed in range(300)}
    assert {"amrvel", "mavel", "marrvel"} <= seen
    assert any(len(typed) == 6 and sum(a != b for a, b in zip(typed, "marvel", strict=True)) == 1 for typed in seen)
    assert {distance("marvel", typed) for typed in seen} == {1}


@given(text=english, seed=st.integers(0, 10))
@settings(max_examples=50, deadline=None)
def test_case_changes_nothing_but_case(text: str, seed: int) -> None:
    after = perturb("case", text, seed)
    assert (after != text) == any(map(str.isalpha, text))
    assert after.casefold() == text.casefold()


@given(text=texts)
@settings(max_examples=80, deadline=None)
def test_without_punctuation_every_letter_stays(text: str) -> None:
    after = perturb("punctuation", text)
    assert "".join(filter(str.isalnum, after)) == "".join(filter(str.isalnum, text))


def test_punctuation() -> None:
    assert perturb("punctuation", "Well, it isn't a 3.5-star film; 10:30?!") == "Well it isn't a 3.5-star film 10:30"
    assert perturb("punctuation", "这不，好看！我没有，错。") == "这不 好看 我没有 错"
    assert perturb("punctuation", "...") == "..."


def test_contractions() -> None:
    pairs = {
        "It isn't bad": "It is not bad",
        "WON'T you go": "WILL NOT you go",
        "I can't say they're late": "I cannot say they are late",
        "it's a film": "it is a film",
        "We've seen him": "We have seen him",
        "do n't go": "do not go",
        "he doesn’t know": "he does not know",
    }
    for short, full in pairs.items():
        assert expand(short) == full
        assert perturb("contractions", short) == full
    assert expand("the film's plot , it's been , he'd go") == "the film's plot , it's been , he'd go"
    assert contract("It is not bad, they are late and I cannot go") == "It isn't bad, they're late and I can't go"
    assert contract("It will not rain. Yes, it is.") == "It won't rain. Yes, it is."
    for full in ("is not it", "we were not there", "she does not know", "could not he"):
        assert expand(contract(full)) == full


def test_names(lists: Path) -> None:
    text = "James Smith and Robert went to New York; James came back. Smith Good, Islam, Will you?"
    seen = set()
    for seed in range(40):
        after = perturb("names", text, seed, lists)
        found = re.fullmatch(
            r"(.+) (Jones|Patel) and (.+) went to (Oslo|Lima); (.+) came back\. Smith Good, Islam, Will you\?", after
        )
        assert found, after
        assert found[1] == found[5] != "James"
        assert found[3] != "Robert"
        seen.add(after)
    assert len(seen) > 5


def test_names_are_the_same_in_both_texts_of_a_pair(lists: Path) -> None:
    (pair,) = perturbed([("James is in Oslo.", "In Oslo is James.")], ["names"], 3, lexicon=lists)["names"]
    one, other = re.fullmatch(r"(.+) is in (.+)\.", pair[0]), re.fullmatch(r"In (.+) is (.+)\.", pair[1])
    assert one
    assert other
    assert (one[1], one[2]) == (other[2], other[1])
    assert one[2] != "Oslo"


def test_checklists_own_names(shared_data: Path) -> None:
    folder = shared_data / "open" / "robustness" / "checklist_lexicons"
    if not folder.is_dir():
        pytest.skip("CheckList's lists are not among the data")
    basic, many = read_name_lists(folder / "basic.json"), read_name_lists(folder / "names.json")
    assert set(basic.lists) == {"male", "female", "country", "city", "last_name"}
    assert set(many.lists) == {"men", "women", "last"}
    assert len(many.list_of) > 15_000
    after = perturb("names", "Jennifer lives in United States.", 1, folder / "basic.json")
    assert "Jennifer" not in after
    assert "United States" not in after


def test_addition_leaves_the_text_and_says_nothing() -> None:
    for text in ("A plain text.", "一句话。"):
        kinds = set()
        for seed in range(60):
            after = perturb("addition", text, seed)
            assert after.startswith(text) or after.endswith(text)
            kinds.add("url" if "https://t.co/" in after else "handle" if "@" in after else "sentence")
        assert kinds == {"url", "handle", "sentence"}
    for language, sentences in NEUTRAL.items():
        for sentence in sentences:
            assert LEXICONS[language].strength(sentence) is None  # type: ignore[index]
    (pair,) = perturbed([("a premise", "a hypothesis")], ["addition"], 0)["addition"]
    assert pair[0] != "a premise"
    assert pair[1] == "a hypothesis"


@pytest.mark.parametrize("name", ["homophones", "lookalikes"])
@given(text=chinese, seed=st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_few_characters_are_mistaken(name: str, text: str, seed: int) -> None:
    after = perturb(name, text, seed)
    han = len(re.findall(f"[{HAN}]", text))
    assert len(after) == len(text)
    assert sum(a != b for a, b in zip(text, after, strict=True)) <= max(1, round(0.05 * han))


def test_scripts() -> None:
    assert perturb("script", "电影没有意思") == "電影沒有意思"
    assert perturb("script", "電影沒有意思") == "电影没有意思"
    assert perturb("script", "plain") == "plain"


def test_named_test_sets() -> None:
    pairs = [(f"The film number {i} isn't good, is it?", "") for i in range(20)]
    sets = perturbed(pairs, ["typos", "case"], 1)
    assert list(sets) == ["typos", "case"]
    assert all(text != pairs[i][0] and not second for i, (text, second) in enumerate(sets["typos"]))
    assert sets == perturbed(pairs, ["typos", "case"], 1) != perturbed(pairs, ["typos", "case"], 2)
    # What becomes of a text does not depend on those beside it.
    assert perturbed(pairs[3:5], ["typos"], 1)["typos"] == sets["typos"][3:5]


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'typos'"):
        make_perturb("typo")
    with pytest.raises(UserError, match="needs lists of names"):
        make_perturb("names")
    with pytest.raises(UserError, match="changes none of the 1 texts"):
        perturbed([("plain english", "")], ["script"], 0)
    for content, words in (("{", "are not JSON"), ("[1]", "has no list of names"), ('{"city": [1, 2]}', "no list of")):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=words):
            make_perturb("names", tmp_path / "a.json")
    with pytest.raises(UserError, match="cannot read the name lists"):
        make_perturb("names", tmp_path / "none.json")
