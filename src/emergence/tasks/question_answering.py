"""Extractive question answering: the answer stands in the passage, from files in the format of SQuAD v1.1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from emergence.core.errors import UserError
from emergence.tasks.answer_scores import answer_scores
from emergence.tasks.labelled import LabelledTask
from emergence.tasks.labelled_files import Found, named_files
from emergence.tasks.labelled_options import LabelledOptions, ReadingOptions
from emergence.tasks.labelled_schema import Labelled
from emergence.tasks.task import Pool, Question
from emergence.text.tables import read_text

__all__ = ["QuestionAnswering"]


class QuestionAnsweringOptions(LabelledOptions):
    """Files are JSON as SQuAD v1.1 has it; of a split, all questions on one passage are on the same side."""

    read: Literal["both"] = "both"

    @model_validator(mode="after")
    def _no_table(self) -> QuestionAnsweringOptions:
        for one in (self, self.validation, *self.tests.values()):
            table = one.model_fields_set & {"format", "columns", "separator", "labels"} if one is not None else set()
            if table or self.group is not None:
                key = min(table, default="group")
                raise ValueError(f"{key} is for tables; questions come from JSON files as SQuAD v1.1 has them")
        return self


class QuestionAnswering(LabelledTask):
    """A passage and a question; the answer is a part of the passage, word for word.

    * ``exact_match`` (headline) and ``f1``: with any accepted answer, as SQuAD compares them, Chinese by characters
      (`tasks.answer_scores`).
    * ``target_logprob``, ``target_prob`` (smooth): of the first accepted answer.
    """

    name = "question_answering"
    kind = "span"
    also: tuple[str, ...] = ("f1",)
    option_kind = QuestionAnsweringOptions

    def answer(self, example: Labelled) -> str:
        """Return the first accepted answer."""
        return example.answers[0]

    def score(
        self, question: Question, output: str | None, logprobs: Sequence[float], hits: Sequence[bool]
    ) -> dict[str, float]:
        """Exact match and F1 with any accepted answer, and the first one's probability."""
        return super().score(question, output, logprobs, hits) | answer_scores(output or "", question.accepted)

    def pool(self, prompts: Sequence[str], targets: Sequence[str], outputs: Sequence[str | None]) -> dict[str, Pool]:
        """Return nothing: every metric is a mean over answers."""
        return {}

    def _read(self, options: ReadingOptions, name: str) -> tuple[list[Labelled], list[str]]:
        found, moved = Found(), 0
        if isinstance(options.files, dict):
            raise UserError(f"task {self.name}: files by class are for classification; list the files")
        for _, path in named_files(options.files):
            moved += _read_squad(read_text(path, options.encoding), str(path), found)
        if not found.examples:
            raise UserError(f"task {self.name}: there is no question with an answer in the files of {name}")
        said = [found.sentence(name)]
        if moved:
            said.append(f"{name}: answers that did not stand where the file says: {moved:,}; the nearest was taken")
        return found.examples, [sentence for sentence in said if sentence]


def _read_squad(text: str, where: str, found: Found) -> int:
    """Add the questions of one file; return how many answers were not where the file says they are."""
    moved = 0
    try:
        document = json.loads(text)
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                for question in paragraph["qas"]:
                    answers = [(a["text"], int(a["answer_start"])) for a in question.get("answers", ())]
                    moved += _add(context, " ".join(question["question"].split()), answers, found)
    except ValueError as error:
        raise UserError(f"{where}: this is not JSON: {error}; correct it") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: this is not in the format of SQuAD v1.1 ({type(error).__name__}: {error}); a file holds "
            '{"data": [{"paragraphs": [{"context": …, "qas": [{"question": …, "answers": [{"text": …, '
            '"answer_start": …}]}]}]}]}'
        ) from None
    return moved


def _add(context: str, question: str, answers: Sequence[tuple[str, int]], found: Found) -> bool:
    """Add one question, or count why not; say whether its first answer had to be looked for."""
    placed = [(text, _place(context, text, start)) for text, start in answers if text.strip()]
    inside = [(text, place) for text, place in placed if place is not None]
    if not inside:
        found.dropped["with an answer that is not in the passage" if placed else "without an answer"] += 1
        return False
    first, start = inside[0]
    accepted = (first, *(text for text in dict.fromkeys(text for text, _ in placed) if text != first))
    found.examples.append(Labelled(context, question, answers=accepted, start=start, group=context))
    return (first, start) not in answers


def _place(context: str, answer: str, start: int) -> int | None:
    """Return where the answer stands in the passage: at ``start``, or else the nearest place to it."""
    if start >= 0 and context.startswith(answer, start):
        return start
    places = [i for i in range(len(context)) if context.startswith(answer, i)]
    return min(places, key=lambda i: abs(i - start), default=None)
