"""Training texts put into another language and back again by models (Sennrich, Haddow and Birch 2016, arXiv 1511.06709;
as augmentation Xie et al. 2019, arXiv 1904.12848): other words for what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed
from emergence.generation import SamplingSettings
from emergence.study.writing_texts import Writer
from emergence.tasks.labelled_schema import Labelled, LabelledData
from emergence.tasks.synthetic import Sieve, held_out_fingerprint

__all__ = ["BackTranslated", "BackTranslationSettings", "back_translate"]

BATCH = 64
LENGTHS = (0.5, 2.0)  # of the original, in characters: outside, something was lost or made up


@dataclass(frozen=True, kw_only=True)
class BackTranslationSettings:
    """``there`` and ``back`` are the prompts of the two models, with ``{text}`` in them.

    With a ``temperature`` the second translation is drawn (Edunov et al. 2018, arXiv 1808.09381: more varied than the
    most probable one), ``copies`` times from the same first one. ``limit`` takes so many training examples alone.
    """

    there: str = "{text}→"
    back: str = "{text}→"
    copies: int = 1
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    max_tokens: int = 128
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for prompt in (self.there, self.back):
            if prompt.count("{text}") != 1:
                raise UserError(f"the prompt {prompt!r} has {{text}} once; write, for example, '{{text}}→'")
        if self.copies < 1 or (self.limit is not None and self.limit < 1):
            raise UserError("copies and limit are 1 or more")
        if self.copies > 1 and not self.temperature:
            raise UserError("several copies would be the same without a temperature; give 0.7, say, or one copy")


@dataclass(frozen=True)
class BackTranslated:
    """The examples that came back changed, with their labels; how many were ``asked`` for, and ``thrown`` away by
    reason; and ``between``, the first translation of each that was kept."""

    examples: tuple[Labelled, ...]
    asked: int
    thrown: dict[str, int]
    between: tuple[str, ...]
    about: dict[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the texts, in one sentence."""
        reasons = "".join(f"; {count:,} {reason}" for reason, count in sorted(self.thrown.items()))
        return (f"{len(self.examples):,} of {self.asked:,} texts came back changed{reasons}",)


def back_translate(
    there: Writer,
    back: Writer,
    data: LabelledData,
    settings: BackTranslationSettings,
    progress: Callable[[str], None] = lambda words: None,
) -> BackTranslated:
    """Return training examples whose text went there and back; a second text (a hypothesis, a question) stays.

    Thrown away are texts that a model cannot read or that do not fit, and those that come back empty, unchanged, less
    than half or more than twice as long, unfinished, or as another example of the data. Raises UserError where the
    answer is a place in the text, for models that do not write, and where nothing is left.
    """
    if data.kind == "span":
        raise UserError("where the answer is a place in the text, another text has no answer; take another task")
    there.check(drawing=False)
    back.check(drawing=settings.temperature > 0)
    originals = data.train[: settings.limit]
    sieve = Sieve.of(data)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "back-translation"))
    cut = {"top_k": settings.top_k, "top_p": settings.top_p}
    greedy = SamplingSettings(max_tokens=settings.max_tokens)
    drawn = SamplingSettings(max_tokens=settings.max_tokens, temperature=settings.temperature, **cut)  # type: ignore[arg-type]
    kept: list[Labelled] = []
    between: list[str] = []
    for first in range(0, len(originals), BATCH):
        progress(f"translating {first:,} of {len(originals):,} texts")
        batch = originals[first : first + BATCH]
        middle = _through(there, settings.there, [example.text for example in batch], greedy, None)
        for _ in range(settings.copies):
            texts = _through(back, settings.back, middle, drawn, generator)
            for example, foreign, text in zip(batch, middle, texts, strict=True):
                written = replace(example, text=text or "")
                reason = _fault(example, foreign, text)
                if reason:
                    sieve.thrown[reason] += 1
                elif sieve.keep(written):
                    kept.append(written)
                    between.append(foreign or "")
    asked = len(originals) * settings.copies
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sieve.thrown.items())
        raise UserError(
            f"no text came back that can be used ({reasons}); the prompts of both models must be those that they "
            "were trained on"
        )
    held_out = held_out_fingerprint(data.validation, next(iter(data.tests.values())))
    about = {"settings": asdict(settings), "held_out": held_out, "asked": asked, "thrown": dict(sieve.thrown)}
    return BackTranslated(tuple(kept), asked, dict(sieve.thrown), tuple(between), about)


def _through(
    writer: Writer,
    prompt: str,
    texts: Sequence[str | None],
    sampling: SamplingSettings,
    generator: torch.Generator | None,
) -> list[str | None]:
    """Return the first line that the model writes for every text; None for one that it cannot read or does not end."""
    filled = [None if text is None else prompt.replace("{text}", text) for text in texts]
    asked = [
        (place, text)
        for place, text in enumerate(filled)
        if text is not None and not writer.unknown(text) and writer.fits(text, sampling.max_tokens)
    ]
    answers = writer.write([text for _, text in asked], sampling, generator) if asked else []
    result: list[str | None] = [None] * len(texts)
    for (place, _), answer in zip(asked, answers, strict=True):
        line, ending, _ = answer.text.strip().partition("\n")
        if ending or answer.ended:
            result[place] = " ".join(line.split())
    return result


def _fault(example: Labelled, foreign: str | None, text: str | None) -> str:
    if foreign is None or text is None:
        return "unreadable, too long or unfinished"
    low, high = LENGTHS
    if text and len(text) < low * len(example.text):
        return "less than half as long"
    return "more than twice as long" if len(text) > high * len(example.text) else ""
