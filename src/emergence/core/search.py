"""What a search found: every trial, the best values, and what they cost."""

from __future__ import annotations

from typing import Any, Literal

from emergence.core.schema import Frozen
from emergence.core.search_settings import SearchSettings

__all__ = ["SearchRecord", "SearchTrial", "TrialStatus"]

#: ``invalid`` values are each within their limits but do not go together; they cost nothing.
TrialStatus = Literal["complete", "pruned", "diverged", "invalid"]


class SearchTrial(Frozen):
    """One trial. ``value`` is the goal where it ended, ``curve`` the goal at every checkpoint it reached."""

    number: int
    values: dict[str, Any]
    status: TrialStatus
    value: float | None
    curve: tuple[float, ...]
    flops: float  # of training
    seconds: float
    note: str | None = None


class SearchRecord(Frozen):
    """A finished search."""

    settings: SearchSettings
    direction: Literal["minimize", "maximize"]
    trials: tuple[SearchTrial, ...]
    best: int  # the number of a trial

    @property
    def values(self) -> dict[str, Any]:
        """The best value of every setting."""
        return self.trials[self.best].values

    @property
    def flops(self) -> float:
        """Training FLOPs of all trials."""
        return sum(trial.flops for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Seconds of all trials."""
        return sum(trial.seconds for trial in self.trials)

    def count(self, status: TrialStatus) -> int:
        """Return how many trials ended in a way."""
        return sum(trial.status == status for trial in self.trials)

    def best_so_far(self) -> list[float | None]:
        """Return the best value of a complete trial up to each trial."""
        best = min if self.direction == "minimize" else max
        found: list[float | None] = []
        for trial in self.trials:
            known = [
                v
                for v in (found[-1] if found else None, trial.value if trial.status == "complete" else None)
                if v is not None
            ]
            found.append(best(known) if known else None)
        return found
