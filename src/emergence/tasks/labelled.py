"""Labelled data as tasks: read once, split so that nothing is on both sides, with everything that a report must say.

A labelled task is one data set in two uses. `LabelledTask.data` hands training, validation and test sets to whatever is
fitted to labels: a head on a network, a baseline (`tasks.baselines`). And it is a task like any other: its examples are
written as prompts and answers, for a language model to be asked or trained on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from emergence.core.errors import UserError
from emergence.core.seeds import stream
from emergence.tasks.labelled_data import assemble
from emergence.tasks.labelled_files import read_set
from emergence.tasks.labelled_options import LabelledOptions, ReadingOptions
from emergence.tasks.labelled_schema import Kind, Labelled, LabelledData
from emergence.tasks.task import Example, GeneratedTask, Latents, Question, Split, TaskContext, read_options

__all__ = ["Kind", "Labelled", "LabelledData", "LabelledTask"]


class LabelledTask(GeneratedTask):
    """A task whose examples are labelled ones from files. A subclass says which kind, and what the answer's text is.

    Without files it can be made and listed, and says so once its data are asked for.
    """

    kind: ClassVar[Kind]
    options: LabelledOptions
    option_kind: ClassVar[type[LabelledOptions]] = LabelledOptions
    asks: ClassVar[str] = "answer"  # what the default template calls the answer
    smaller = "leave longer examples out with the task's option longest"

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = read_options(self.option_kind, options, self.name)
        self._data: LabelledData | None = None
        self._written: list[Example] = []
        self._accepted: list[tuple[str, ...]] = []
        self._members: dict[Split, Latents] = {}
        if self.options.files:
            self._data = assemble(self.options, self.kind, self.name, self._read)
            self._write_all(self._data)
        self.alphabet = "".join(sorted(set().union(*(e.prompt + e.target for e in self._written))))

    def _read(self, options: ReadingOptions, name: str) -> tuple[list[Labelled], list[str]]:
        """Return the examples of one set, and what is to be said of it."""
        # Only the training files are split, so that others need no column for the group.
        found = read_set(options, self.kind, self.name, self.options.group if name == "train" else None)
        said = found.sentence(name)
        return found.examples, [said] if said else []

    def _write_all(self, data: LabelledData) -> None:
        """Write every example of the three splits, and note where those of each begin."""
        self.fingerprint = data.fingerprint
        test = next(iter(data.tests.values()))
        for split, examples in (("train", data.train), ("validation", data.validation), ("test", test)):
            first = len(self._written)
            self._written += map(self._write, examples)
            self._accepted += [example.answers for example in examples]
            self._members[split] = np.arange(first, len(self._written), dtype=np.int64)

    def data(self) -> LabelledData:
        """Return the labelled examples and their splits; raise UserError where no file was named."""
        if self._data is None:
            raise UserError(
                f"the task {self.name} needs labelled examples; add its option files: "
                f"{{name: {self.name}, files: train.tsv}}, in a study also --set tasks.{self.name}.files=train.tsv"
            )
        return self._data

    @abstractmethod
    def answer(self, example: Labelled) -> str:
        """Return the text that a language model has to write for an example."""

    def _write(self, example: Labelled) -> Example:
        """Fill the template; a space at its end belongs to the answer, as tokenizers of words want it."""
        prompt = self.template(example)
        bare = prompt.rstrip(" ")
        return Example(bare, prompt[len(bare) :] + self.answer(example))

    def template(self, example: Labelled) -> str:
        """Return what stands before the answer."""
        given = self.options.template
        if given is None:
            given = "{text}\n{second}\n" if example.second else "{text}\n"
            given += f"{self.asks}: "
        return given.replace("{text}", example.text).replace("{second}", example.second)

    def draw(self, rng: np.random.Generator, n: int) -> Latents:
        """Return numbers of training examples, uniform over them, [n, 1]."""
        self.data()
        return rng.choice(self._members["train"], size=(n, 1))

    def latents(self, rng: np.random.Generator, n: int, split: Split, *, distinct: bool) -> Latents:
        """Return numbers of ``n`` examples of one split; with ``distinct`` each at most once, so perhaps fewer."""
        self.data()
        members = self._members[split]
        if distinct or not len(members):
            return rng.permutation(members)[:n, None]
        return rng.choice(members, size=(n, 1))

    def questions(self, context: TaskContext, n: int, shots: int) -> list[Question]:
        """Return up to ``n`` questions of the context's split, with all accepted answers.

        Texts are as long as they are: what does not fit into the context loses the start of its prompt, and its record
        says so, in a study that trains its models too.
        An answer may be as long as the longest of the task, as far as the context reaches: how long its own is must not
        be given away.
        """
        asked = super().questions(replace(context, truncates=True), n, shots)
        rng = stream(context.seed, context.split, self.name)
        numbers = self.latents(rng, n, context.split, distinct=True)[:, 0].tolist()
        targets = context.tokenizer.encode_batch([example.target for example in self._written])
        longest = max(map(len, targets)) + 1
        room = (max(0, context.context - len(question.prompt_ids)) for question in asked)
        return [
            replace(
                question, accepted=self._accepted[i], answer_length=max(question.answer_length, min(longest, space))
            )
            for question, i, space in zip(asked, numbers, room, strict=True)
        ]

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match, whatever space is around an answer, and the target's probability per token and as a whole."""
        scores = super().score(question, output, logprobs, hits)
        return scores | {"exact_match": float(output is not None and output.strip() == question.target.strip())}

    def write(self, latents: Latents) -> list[Example]:
        """Return the written examples of these numbers."""
        return [self._written[i] for i in latents[:, 0].tolist()]
