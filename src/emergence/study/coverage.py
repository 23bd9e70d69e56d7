"""Counting the tokens of a study that stand for characters outside the vocabulary: they are noted, never silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emergence.study.folder import StudyFolder
from emergence.study.plan import Plan
from emergence.text import open_packed
from emergence.training.rows import map_rows

__all__ = ["note_unknown"]


def note_unknown(plan: Plan, folder: StudyFolder) -> None:
    """Note how many tokens of the packed texts and examples are unknown, and of how many.

    Only the tokenizer kind ``char`` has an unknown token; byte-level ones can write everything. A question that the
    tokenizer cannot write is refused where it is asked.
    """
    unknown = plan.texts.tokenizer.unknown_id
    if unknown is None:
        return
    for what, count, total in _packed(plan, folder.data, unknown):
        if count:
            folder.note(
                f"{what}: {count:,} of {total:,} tokens ({count / total:.2g} of all) stand for characters that the "
                "tokenizer does not know; the tokenizer kinds byte, bpe and word know every character"
            )


def _packed(plan: Plan, data: Path, unknown: int) -> Iterator[tuple[str, int, int]]:
    """Yield what is trained on and validated by, its unknown tokens, and its tokens without ends and padding."""
    if plan.texts.corpus is not None:
        for part in ("training", "validation"):
            packed = open_packed(data / f"corpus-{part}.bin")
            yield f"the {part} part of the corpus", packed.unknown, packed.count - packed.documents
    for name in plan.sources:
        if name != "corpus":
            for part, split in (("training", "train"), ("validation", "validation")):
                tokens = map_rows(data / f"{name}-{split}.bin").tokens
                written = np.count_nonzero(tokens != plan.texts.tokenizer.end_id)
                yield f"the {part} examples of {name}", int(np.count_nonzero(tokens == unknown)), int(written)
