"""What pydantic found wrong with settings, in our words: the key as the user wrote it, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

__all__ = ["Fault", "first_fault"]

#: Steps of pydantic's path that name a branch of a union and no key of the user's.
_BRANCHES = ("constrained-", "literal[", "function-")


@dataclass(frozen=True)
class Fault:
    """One fault: what pydantic calls it, the keys that lead to it, what is wrong, and what was given."""

    type: str
    path: tuple[str | int, ...]
    says: str
    given: Any

    @property
    def key(self) -> str:
        """The path in one word; empty for a fault of the whole."""
        return ".".join(map(str, self.path))

    @property
    def sentence(self) -> str:
        """The key and what is wrong with it."""
        return f"{self.key}: {self.says}" if self.path else self.says


def first_fault(error: ValidationError) -> Fault:
    """Return an unknown key if there is one, for it may be why others are missing; else the first fault."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    path = tuple(part for part in fault["loc"] if not (isinstance(part, str) and part.startswith(_BRANCHES)))
    return Fault(fault["type"], path, fault["msg"].removeprefix("Value error, "), fault["input"])
