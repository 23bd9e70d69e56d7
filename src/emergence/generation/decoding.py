"""Continuing many prompts of different lengths at once, one token of each per forward pass.

Shapes: B rows that go on, T positions of the longest prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils import parametrize

from emergence.core.errors import UserError
from emergence.generation.prefixes import Group, Sequences, group, prefix_tree
from emergence.models.family import Cache, LanguageModel

__all__ = ["decode", "tokens_at_once"]

CACHE_BYTES = 2**28  # of keys and values; more for the LEAST_ROWS of a large model
LEAST_ROWS = 16
LOGITS_AT_ONCE = 2**22
STEP_TOKENS = 32  # what a forward pass costs beside its tokens, in tokens
REFILL = 1 / 4  # share of rows that have to be free before waiting texts take their place

Pick = Callable[[torch.Tensor], torch.Tensor]


def tokens_at_once(device: torch.device) -> int:
    """Return how many tokens one forward pass reads best: on a processor, what stays in its cache."""
    return 2**11 if device.type == "cpu" else 2**15


@dataclass(slots=True, eq=False)
class _Text:
    """A text as the network sees it, the first ``read`` tokens of which are in a cache, and what was written of it."""

    ids: list[int]
    limit: int
    read: int = 0
    written: list[int] = field(default_factory=list)

    def write(self, token: int) -> bool:
        """Put a token behind the others and say whether more may follow."""
        self.ids.append(token)
        self.written.append(token)
        return len(self.written) < self.limit

    def forget(self, length: int) -> None:
        """Go on from the last ``length`` tokens alone."""
        self.ids, self.read = self.ids[-length:], 0


@torch.inference_mode()
@parametrize.cached()  # weights that an adapter changes are computed once
def decode(
    network: LanguageModel, prompts: Sequence[Sequence[int]], limits: Sequence[int], pick: Pick, *, end_id: int
) -> list[list[int]]:
    """Return the continuation of every prompt, up to its limit and up to but not including the end token.

    ``pick`` chooses one token for each row of logits [B, V]. A text that outgrows the context goes on from the later
    half of what was read and written. Raises UserError for an empty prompt.
    """
    if not all(prompts):
        raise UserError("an empty prompt cannot be continued; give at least one token")
    context = network.config.context
    texts = [_Text(list(prompt[-context:]), limit) for prompt, limit in zip(prompts, limits, strict=True)]
    # The last token of a prompt is read in the prompt's own row, where it predicts the first token of the answer.
    sequences = Sequences([text.ids[:-1] for text in texts])
    worth = STEP_TOKENS * (max(limits, default=0) + 16)  # a group of its own needs passes of its own
    outermost = group(prefix_tree(sequences), worth=worth, branching=0)
    overgrown: list[_Text] = []
    for prefix, read, members in _shared(network, outermost, sequences, None):
        for index in members:
            texts[index].read = read
        overgrown += _continue(network, [texts[i] for i in members], prefix, pick, end_id)
    while overgrown:
        overgrown = _continue(network, overgrown, None, pick, end_id)
    return [text.written for text in texts]


def _shared(
    network: LanguageModel, group: Group, sequences: Sequences, prefix: Any
) -> Iterator[tuple[Any, int, list[int]]]:
    """Yield every shared beginning, read once: its cache, its length, and the texts that go on from there."""
    if group.stop > group.start:
        cache = network.new_cache(1, group.stop - group.start, prefix=prefix)
        ids = torch.from_numpy(sequences.tokens(group.sequence, group.start, group.stop)).long().to(network.device)
        network(ids[None], cache, torch.zeros(0, dtype=torch.long, device=network.device))
        prefix = cache
    members = [*group.ends, *(end for row in group.rows for node in row.walk() for end in node.ends)]
    if members:
        yield prefix, group.stop, members
    for lower in group.groups:
        yield from _shared(network, lower, sequences, prefix)


def _continue(network: LanguageModel, texts: list[_Text], prefix: Any, pick: Pick, end_id: int) -> list[_Text]:
    """Continue texts that were read as far as ``prefix`` reaches; return those that outgrew the context.

    As many go on at once as memory allows; when enough of them are finished, waiting ones take their place.
    """
    context = network.config.context
    waiting = sorted(texts, key=lambda text: len(text.ids))
    length = max(min(context, len(text.ids) + text.limit - len(text.written)) - text.read for text in texts)
    fitting = max(LEAST_ROWS, CACHE_BYTES // max(1, length * network.position_bytes))
    room = min(len(texts), fitting, max(LEAST_ROWS, LOGITS_AT_ONCE // network.config.vocabulary))
    cache: Cache = network.new_cache(room, length, prefix=prefix)
    cache.keep(torch.arange(0))
    going: list[_Text] = []
    overgrown: list[_Text] = []
    while waiting or going:
        logits = []
        if going:
            newest = torch.tensor([[text.ids[-1]] for text in going], device=network.device)
            logits.append(network(newest, cache)[:, -1])
        if len(going) <= (1 - REFILL) * room:
            while waiting and len(going) < room:
                chosen = _choose(network, waiting, room - len(going))
                logits.append(_begin(network, chosen, cache, prefix))
                going += chosen
        kept = []
        for row, (text, token) in enumerate(zip(going, pick(torch.cat(logits)).tolist(), strict=True)):
            if token == end_id or not text.write(token):
                continue
            if len(text.ids) > context:
                text.forget(max(1, context // 2))
                overgrown.append(text)
            else:
                kept.append(row)
        if len(kept) < len(going):
            rows = _fill_gaps(kept)
            cache.keep(torch.tensor(rows, dtype=torch.long))
            going = [going[row] for row in rows]
    return overgrown


def _choose(network: LanguageModel, waiting: list[_Text], room: int) -> list[_Text]:
    """Take the longest of the waiting texts, as many as one forward pass is to read."""
    longest = len(waiting[-1].ids)
    unread = longest - waiting[-1].read
    count = min(room, max(1, tokens_at_once(network.device) // unread))
    chosen = waiting[-count:]
    if not network.maskable:
        chosen = [text for text in chosen if len(text.ids) == longest]
    del waiting[-len(chosen) :]
    return chosen


def _begin(network: LanguageModel, texts: list[_Text], cache: Cache, prefix: Any) -> torch.Tensor:
    """Read what is unread of some texts, put them behind the rows of ``cache`` and return their logits [B, V]."""
    unread = [text.ids[text.read :] for text in texts]
    T = max(map(len, unread))
    ids_BT = torch.tensor([ids + [0] * (T - len(ids)) for ids in unread], device=network.device)
    lengths_B = torch.tensor([len(ids) for ids in unread], device=network.device)
    own = network.new_cache(len(texts), T, prefix=prefix)
    logits_BV = network(ids_BT, own, torch.arange(0, len(texts) * T, T, device=network.device) + lengths_B - 1)
    if any(len(ids) < T for ids in unread):
        own.trim(lengths_B)
    cache.append(own)
    return logits_BV


def _fill_gaps(kept: list[int]) -> list[int]:
    """Return the rows to keep in an order that moves few of them: rows from the end go to the gaps before them."""
    stay = [row for row in kept if row < len(kept)]
    moved = [row for row in kept if row >= len(kept)]
    at_home = set(stay)
    return [row if row in at_home else moved.pop() for row in range(len(kept))]
