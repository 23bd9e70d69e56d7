"""Extractive question answering: the answer is a span of the passage, which is read in windows beside the question.

A row is ``<begin> question <separator> part of the passage <separator>``. A passage that does not fit is read in
windows that overlap by half (Devlin et al. 2019's sliding window); the answer is the best span over all of them.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from emergence.core.errors import UserError
from emergence.models.trunk import hidden_states
from emergence.text import LanguageTokenizer
from emergence.training.finetuning.aims import AT_ONCE
from emergence.training.finetuning.heads import SpanHead
from emergence.training.finetuning.rows import pad

__all__ = ["Passage", "Spans", "Window", "answer_passages", "encode_passages"]

LONGEST_ANSWER = 40  # tokens of an answer that is looked for


@dataclass(frozen=True)
class Window:
    """A row: where the passage stands in it, which characters its tokens stand for, and the answer's two ends if it is
    in there (else both 0: the first token says that it is not)."""

    ids: tuple[int, ...]
    first: int  # position of the first token of the passage
    spans: tuple[tuple[int, int], ...]  # characters of each token of the passage
    ends: tuple[int, int]  # positions of the answer's first and last token


@dataclass(frozen=True)
class Passage:
    """A question to a passage (``text``, as the tokenizer folds it), and the windows it is read in."""

    text: str
    windows: tuple[Window, ...]


def encode_passages(
    tokenizer: LanguageTokenizer, asked: Sequence[tuple[str, str, int | None, str]], context: int
) -> list[Passage]:
    """Return the windows of passages: ``asked`` holds passage, question, the character where the answer begins (None:
    unknown) and the answer.

    Raises UserError where a question leaves less than 16 tokens for its passage.
    """
    found = []
    known: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
    fold = getattr(tokenizer, "fold", str)
    for text, question, start, answer in asked:
        if text not in known:
            known[text] = tokenizer.offsets(text)
        ids, spans = known[text]
        before = [tokenizer.begin_id, *tokenizer.encode(question), tokenizer.separator_id]
        room = context - len(before) - 1
        if room < 16:
            raise UserError(
                f"a question of {len(before) - 2} tokens leaves {max(0, room)} of the model's context of {context} for "
                "its passage; take a model with a longer context"
            )
        inside = None if start is None else _tokens_of(spans, start, start + len(answer))
        windows = []
        for left in range(0, max(1, len(ids) - room // 2), max(1, room // 2)):
            part = ids[left : left + room]
            ends = (0, 0)
            if inside is not None and left <= inside[0] and inside[1] < left + len(part):
                ends = (len(before) + inside[0] - left, len(before) + inside[1] - left)
            row = (*before, *part, tokenizer.separator_id)
            windows.append(Window(row, len(before), tuple(spans[left : left + room]), ends))
        found.append(Passage(fold(text), tuple(windows)))
    return found


def _tokens_of(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last token that have characters of [start, end); None where there are none."""
    inside = [place for place, (first, last) in enumerate(spans) if first < end and last > start]
    return (inside[0], inside[-1]) if inside else None


@dataclass
class Spans:
    """The two ends of an answer, by a linear head on every position; ``score`` compares an answer with the accepted
    ones and returns a share of 1 (F1)."""

    name: str
    train: Sequence[Passage]
    validation: Sequence[Passage]
    validation_answers: Sequence[Sequence[str]]
    head: SpanHead
    score: Any  # (answer, accepted answers) -> float

    def __post_init__(self) -> None:
        self._rows = [window for passage in self.train for window in passage.windows]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every training window."""
        return [len(window.ids) for window in self._rows]

    @property
    def validation_tokens(self) -> int:
        """Tokens of all validation windows."""
        return sum(len(window.ids) for passage in self.validation for window in passage.windows)

    @property
    def written(self) -> float:
        """Nothing is written."""
        return 0.0

    def loss(self, network: Any, numbers: Sequence[int]) -> torch.Tensor:
        """Return the mean of the cross-entropies of both ends, in nats."""
        few = [self._rows[n] for n in numbers]
        first_BT, last_BT = _logits(network, self.head, few)
        starts_B, stops_B = torch.tensor([window.ends for window in few]).unbind(dim=1)
        return (F.cross_entropy(first_BT, starts_B) + F.cross_entropy(last_BT, stops_B)) / 2

    def predict(self, network: Any, passages: Sequence[Passage]) -> list[tuple[str, float]]:
        """Return what `answer_passages` does."""
        return answer_passages(network, self.head, passages)

    def validate(self, network: Any) -> dict[str, float]:
        """Return the mean score of the answers to the validation questions."""
        answers = self.predict(network, self.validation)
        scores = [self.score(a, accepted) for (a, _), accepted in zip(answers, self.validation_answers, strict=True)]
        mean = sum(scores) / len(scores)
        return {"f1": mean, "goal": mean}


def answer_passages(network: Any, head: SpanHead, passages: Sequence[Passage]) -> list[tuple[str, float]]:
    """Return for every passage the most probable span of it, with its log-odds against there being none."""
    rows = [(number, window) for number, passage in enumerate(passages) for window in passage.windows]
    best: list[tuple[float, str]] = [(-float("inf"), "")] * len(passages)
    with torch.inference_mode():
        for start in range(0, len(rows), AT_ONCE):
            few = rows[start : start + AT_ONCE]
            first_BT, last_BT = _logits(network, head, [window for _, window in few])
            for (number, window), first_T, last_T in zip(few, first_BT, last_BT, strict=True):
                found = _best_span(window, first_T, last_T)
                if found[0] > best[number][0]:
                    left, right = found[1]
                    best[number] = (found[0], passages[number].text[left:right])
    return [(answer.strip(), odds) for odds, answer in best]


def _logits(network: Any, head: SpanHead, few: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    ids_BT, lengths_B = pad([window.ids for window in few])
    allowed_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    allowed_BT[:, 0] = True
    for row, window in enumerate(few):
        allowed_BT[row, window.first : window.first + len(window.spans)] = True
    first, last = head(hidden_states(network, ids_BT, lengths_B), allowed_BT)
    return first, last


def _best_span(window: Window, first_T: torch.Tensor, last_T: torch.Tensor) -> tuple[float, tuple[int, int]]:
    """Return the log-odds of the best span of at most `LONGEST_ANSWER` tokens against none, and its characters."""
    n = len(window.spans)
    if not n:  # an empty passage
        return -float("inf"), (0, 0)
    starts, stops = (logits[window.first : window.first + n] for logits in (first_T, last_T))
    sums_NN = starts[:, None] + stops[None, :]
    fits = torch.ones(n, n, dtype=torch.bool).triu() & ~torch.ones(n, n, dtype=torch.bool).triu(LONGEST_ANSWER)
    sums_NN = sums_NN.masked_fill(~fits, -torch.inf)
    place = int(sums_NN.argmax())
    i, j = divmod(place, n)
    odds = float(sums_NN[i, j] - first_T[0] - last_T[0])
    return odds, (window.spans[i][0], window.spans[j][1])
