"""Every perturbation by name; one line each. They test robustness: a label holds before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emergence.core.catalogue import Catalogue
from emergence.core.errors import UserError
from emergence.core.seeds import stream

__all__ = ["PERTURBATIONS", "Perturb", "make_perturb", "perturbed"]

#: ``perturb(text, rng)``: the text as a hurried hand would write it. `names` takes the lists of names beside.
Perturb = Callable[[str, np.random.Generator], str]

_HOME = "emergence.text.perturbation"
PERTURBATIONS: Catalogue[Any] = Catalogue("perturbation")
PERTURBATIONS.add("typos", f"{_HOME}.letters:typos", "letters exchanged, left out, doubled, or the key beside")
PERTURBATIONS.add("case", f"{_HOME}.letters:case", "all small, all capitals, a capital each word, or exchanged")
PERTURBATIONS.add("punctuation", f"{_HOME}.letters:punctuation", "no punctuation but within words and numbers")
PERTURBATIONS.add("contractions", f"{_HOME}.contractions:contractions", "isn't written out, or is not contracted")
PERTURBATIONS.add("names", f"{_HOME}.names:names", "persons and places exchanged for others, from a file of lists")
PERTURBATIONS.add("addition", f"{_HOME}.additions:addition", "an address, a handle or a neutral sentence added")
PERTURBATIONS.add("homophones", f"{_HOME}.chinese:homophones", "Chinese characters as others of the same sound")
PERTURBATIONS.add("lookalikes", f"{_HOME}.chinese:lookalikes", "Chinese characters as others of a like shape")
PERTURBATIONS.add("script", f"{_HOME}.chinese:script", "simplified Chinese as traditional, and the reverse")

#: What is said of one text of a pair alone: a sentence more in a hypothesis is one more thing to be entailed.
FIRST_ALONE = frozenset({"addition"})


def make_perturb(name: str, lexicon: Path | None = None) -> Perturb:
    """Return a perturbation; ``lexicon`` is the file of `names`. Raises UserError for an unknown name, and for names
    without a file or with one that cannot be read."""
    found: Perturb = PERTURBATIONS.load(name)
    if name != "names":
        return found
    if lexicon is None:
        raise UserError("the perturbation names needs lists of names; give their file (CheckList's basic.json, say)")
    from emergence.text.perturbation.names import read_name_lists

    return partial(PERTURBATIONS.load(name), lists=read_name_lists(lexicon))


def perturbed(
    texts: Sequence[tuple[str, str]], names: Sequence[str], seed: int, *, lexicon: Path | None = None
) -> dict[str, list[tuple[str, str]]]:
    """Return for each perturbation the pairs of texts after it; a text of a pair that is "" stays so.

    Both texts of a pair are read with equal generators, which follow from the pair and ``seed``: a name that is in
    both becomes the same in both. Raises UserError as `make_perturb`, and where a perturbation changes no text.
    """
    result: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        perturb = make_perturb(name, lexicon)
        result[name] = [_perturbed_pair(perturb, name, pair, seed) for pair in texts]
        if texts and result[name] == list(texts):
            raise UserError(
                f"the perturbation {name} ({PERTURBATIONS.summary(name)}) changes none of the {len(texts)} texts; "
                "leave it out"
            )
    return result


def _perturbed_pair(perturb: Perturb, name: str, pair: tuple[str, str], seed: int) -> tuple[str, str]:
    done: list[str] = []
    for text in pair:
        alone = name in FIRST_ALONE and any(done)
        done.append(text if not text or alone else perturb(text, stream(seed, "perturb", name, *pair)))
    return done[0], done[1]
