"""New labelled texts that a causal model writes, class by class, after a prompt that names the class.

With ``shots`` the prompt shows training texts of the class first: in-context data generation, as Yoo et al. 2021
(GPT3Mix, arXiv 2104.08826) and Kumar, Choudhary and Cho 2020 (arXiv 2003.02245, prompts by class) do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed, stream
from emergence.generation import SamplingSettings
from emergence.study.writing_texts import Writer
from emergence.tasks.labelled_schema import Labelled, LabelledData
from emergence.tasks.synthetic import Sieve, held_out_fingerprint

__all__ = ["Synthesis", "SynthesisSettings", "synthesise"]

BATCH = 64  # texts that are asked for at once, at most
TRIES = 20  # answers for each text that is wanted, before a class is given up


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings:
    """``number`` texts of every class of ``labels`` (all of the data's, where () is given).

    ``template`` is one example with ``{label}`` and ``{text}`` in it; the prompt is ``shots`` of these, filled, and
    the beginning of another, and what is behind ``{text}`` ends an answer. Texts have from ``shortest`` to ``longest``
    characters; None takes the bounds of the class's training texts.
    """

    number: int
    labels: tuple[str, ...] = ()
    template: str = "{label}: {text}\n"
    shots: int = 0
    shortest: int | None = None
    longest: int | None = None
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise UserError(f"number is {self.number}; ask for one text of a class or more")
        if self.template.count("{text}") != 1:
            raise UserError("the template has {text} once; write, for example, '{label}: {text}\\n'")
        if "{label}" not in self.template.partition("{text}")[0] and not self.shots:
            raise UserError(
                "nothing tells the model the class: put {label} before {text} in the template, or give shots"
            )
        if not 0 <= self.shots <= 64:
            raise UserError(f"shots is {self.shots}; give a number from 0 to 64")
        if not self.temperature > 0:
            raise UserError("temperature is 0, which writes the same text again and again; give 1, say")
        low, high = self.shortest or 1, self.longest
        if low < 1 or (high is not None and high < low):
            raise UserError(f"texts cannot have from {low} to {high} characters; correct shortest and longest")


@dataclass(frozen=True)
class Synthesis:
    """The texts, by class in the order of the labels; how many of each, and what was ``thrown`` away, by class and
    reason. ``asked`` are the answers that were drawn for a class."""

    examples: tuple[Labelled, ...]
    written: dict[str, int]
    asked: dict[str, int]
    thrown: dict[str, dict[str, int]]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence on each class."""
        return tuple(
            f"{label}: {count:,} texts of {self.asked[label]:,} that were drawn"
            + "".join(f"; {n:,} {reason}" for reason, n in sorted(self.thrown[label].items()))
            for label, count in self.written.items()
        )


def synthesise(
    writer: Writer,
    data: LabelledData | None,
    settings: SynthesisSettings,
    progress: Callable[[str], None] = lambda words: None,
) -> Synthesis:
    """Let the model write until every class has its number, or `TRIES` answers for each were drawn.

    An answer is thrown away that does not end, is empty, too short or long, there twice, or a text of ``data``: of the
    training texts because it adds nothing, of the others because it would be a leak. Raises UserError for labels that
    the data do not have, data that are not single texts with classes, a prompt that the model cannot read, and where a
    class has no text at all.
    """
    writer.check(drawing=True)
    labels = _labels(data, settings)
    sieve = Sieve.of(data)
    kept: list[Labelled] = []
    written: dict[str, int] = {}
    asked: dict[str, int] = {}
    thrown: dict[str, dict[str, int]] = {}
    for label in labels:
        progress(f"writing texts of {label}")
        before = sieve.thrown.copy()
        shown = [example.text for example in data.train if example.label == label] if data else []
        sieve.shortest, sieve.longest = _bounds(shown, settings)
        found, asked[label], unfinished = _write_class(writer, label, shown, settings, sieve)
        written[label] = len(found)
        thrown[label] = dict(sieve.thrown - before) | ({"unfinished": unfinished} if unfinished else {})
        if not found:
            reasons = ", ".join(f"{count} {reason}" for reason, count in thrown[label].items())
            raise UserError(
                f"{writer.name} wrote no text of {label} that can be used ({asked[label]} drawn: {reasons}); change "
                "the template, give more max_tokens, or other bounds of length"
            )
        kept += found
    held_out = held_out_fingerprint(data.validation, next(iter(data.tests.values()))) if data else None
    about = {"settings": asdict(settings) | {"labels": list(labels)}, "held_out": held_out}
    about |= {"written": written, "asked": asked, "thrown": thrown}
    return Synthesis(tuple(kept), written, asked, thrown, about)


def _labels(data: LabelledData | None, settings: SynthesisSettings) -> tuple[str, ...]:
    if data is None:
        if not settings.labels or settings.shots:
            raise UserError("without a task there are no classes and no texts to show; give labels, and no shots")
        return settings.labels
    if data.kind != "classification" or any(example.second for example in data.train):
        raise UserError("texts are written for classes of single texts; name a task classification without pairs")
    for label in settings.labels:
        if label not in data.labels:
            raise UserError(f"the task has no class {label!r} (it has {', '.join(data.labels[:20])})")
    return settings.labels or data.labels


def _bounds(shown: Sequence[str], settings: SynthesisSettings) -> tuple[int, int | None]:
    lengths = [len(text) for text in shown]
    shortest = settings.shortest if settings.shortest is not None else min(lengths, default=1)
    longest = settings.longest if settings.longest is not None else max(lengths, default=None)
    return max(1, shortest), None if longest is None else max(longest, shortest)


def _write_class(
    writer: Writer, label: str, shown: Sequence[str], settings: SynthesisSettings, sieve: Sieve
) -> tuple[list[Labelled], int, int]:
    """Return the texts of one class, the answers drawn, and those that did not end."""
    sampling = SamplingSettings(
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
    )
    rng = stream(settings.seed, "synthesise", "shots", label)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "synthesise", label))
    prompts = Prompts(writer, label, [text for text in shown if not writer.unknown(text)], settings)
    end = settings.template.partition("{text}")[2]
    found: list[Labelled] = []
    asked = unfinished = 0
    while len(found) < settings.number and asked < TRIES * settings.number:
        batch = min(BATCH, settings.number - len(found) + 4, TRIES * settings.number - asked)
        asked += batch
        for answer in writer.write([prompts.draw(rng) for _ in range(batch)], sampling, generator):
            text, ending, _ = answer.text.partition(end) if end else (answer.text, "", "")
            if not ending and not answer.ended:
                unfinished += 1
                continue
            example = Labelled(" ".join(text.split()), label=label)
            if len(found) < settings.number and sieve.keep(example):
                found.append(example)
    return found, asked, unfinished


class Prompts:
    """The prompts of one class: so many of its texts as are asked for and fit into the context, drawn each time."""

    def __init__(self, writer: Writer, label: str, shown: Sequence[str], settings: SynthesisSettings) -> None:
        """Raise UserError for a prompt that the model cannot read, and one that is too long without any text shown."""
        self._writer, self._shown, self._settings = writer, shown, settings
        self._filled = settings.template.replace("{label}", label)
        self._beginning = self._filled.partition("{text}")[0].rstrip(" ")
        strange = writer.unknown(self._filled.replace("{text}", ""))
        if strange:
            raise UserError(f"{writer.name} does not know {', '.join(map(repr, strange[:5]))} of the prompt; change it")
        if settings.shots and not shown:
            raise UserError(f"there is no training text of {label} that {writer.name} can read; leave out shots")
        if not writer.fits(self._beginning, settings.max_tokens):
            raise UserError(
                f"a prompt and {settings.max_tokens} tokens behind it do not fit into the context of {writer.name}; "
                "give fewer max_tokens or a shorter template"
            )

    def draw(self, rng: Any) -> str:
        """Return a prompt; the texts shown in it are drawn anew, and the longest are left out where all do not fit."""
        n = min(self._settings.shots, len(self._shown))
        chosen = [self._shown[int(i)] for i in rng.permutation(len(self._shown))[:n]]
        while True:
            prompt = "".join(self._filled.replace("{text}", text) for text in chosen) + self._beginning
            if not chosen or self._writer.fits(prompt, self._settings.max_tokens):
                return prompt
            chosen.remove(max(chosen, key=len))
