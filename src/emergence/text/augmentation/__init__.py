"""Changed copies of training texts: synonyms, deletion, swap and insertion, with negations and numbers as they were."""

from __future__ import annotations

from emergence.text.augmentation.cutting import Cutter, is_negation
from emergence.text.augmentation.thesaurus import Thesaurus, own_thesaurus, read_thesaurus
from emergence.text.augmentation.ways import AUGMENTERS, Augment, make_augment

__all__ = [
    "AUGMENTERS",
    "Augment",
    "Cutter",
    "Thesaurus",
    "is_negation",
    "make_augment",
    "own_thesaurus",
    "read_thesaurus",
]
