"""Labelled training examples with changed copies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from emergence.core.augmentation_settings import AugmentationSettings
from emergence.core.seeds import stream
from emergence.text.augmentation import Augment, make_augment

if TYPE_CHECKING:
    import numpy as np

    from emergence.tasks.labelled import Labelled

__all__ = ["augmented"]


def augmented(train: Sequence[Labelled], settings: Sequence[AugmentationSettings], seed: int) -> list[Labelled]:
    """Return the examples, and behind them the copies of the first setting, then those of the next.

    Every example has as many copies, so that the shares of the labels stay; a copy in which nothing could be changed
    is the example itself. Labels, values, answers and groups are the example's. Where the answer is a place in the
    text, the question alone is changed. The copies of an example follow from it and ``seed``, whatever stands beside
    it: a smaller training set has the same. Raises UserError for a lexicon that cannot be read.
    """
    result = list(train)
    for number, setting in enumerate(settings):
        augment = make_augment(setting)
        for copy in range(setting.copies):
            for example in train:
                rng = stream(seed, "augment", number, setting.name, copy, example.text, example.second)
                result.append(_copy(example, augment, rng, setting.share))
    return result


def _copy(example: Labelled, augment: Augment, rng: np.random.Generator, share: float) -> Labelled:
    text = example.text if example.start is not None else augment(example.text, rng, share)
    return replace(example, text=text, second=augment(example.second, rng, share))
