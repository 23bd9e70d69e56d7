"""What a person sees of a search: what it would cost, its trials as they end, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from emergence.core.search import SearchTrial
    from emergence.core.search_settings import SearchedSetting
    from emergence.study.search_plan import SearchPlan

__all__ = ["SearchProgress", "search_document", "search_lines"]


class SearchProgress:
    """Receives a search's events. The bar counts trials."""

    def __init__(self, bar: Progress, say: Callable[[str], None]) -> None:
        self._bar, self._say = bar, say
        self._done = self._before = 0
        self._best: float | None = None
        self._minimize = True

    def begin(self, event: Mapping[str, Any]) -> None:
        """Show what is searched."""
        plan: SearchPlan = event["search"]
        self._minimize = plan.direction == "minimize"
        self._task = self._bar.add_task("searching", total=plan.settings.trials, doing="")
        names = ", ".join(plan.settings.settings)
        self._say(
            f"{event['study']}: {plan.settings.trials} trials search {names} for the "
            f"{'least' if self._minimize else 'most'} {plan.settings.goal.words}, at most {plan.flops:.3g} FLOPs"
        )

    def train(self, event: Mapping[str, Any]) -> None:
        """Show how far a trial is."""
        doing = f"trial {self._done} loss {event['loss']:.2f}"
        self._bar.update(self._task, completed=self._done + event["share"], doing=doing)

    def end(self, event: Mapping[str, Any]) -> None:
        """Show how a trial ended; those that were finished before are counted."""
        trial: SearchTrial = event["trial"]
        self._done += 1
        value = trial.value if trial.status == "complete" else None
        if value is not None and (self._best is None or (value < self._best) == self._minimize):
            self._best = value
        if event["before"]:
            self._before += 1
        elif self._before:
            self._say(f"{self._before} of {event['of']} trials are finished already")
            self._before = 0
        if not event["before"]:
            shown = f"{trial.status}" if value is None else f"{value:.4g}"
            best = "" if self._best is None else f" (best {self._best:.4g})"
            self._say(f"trial {trial.number + 1} of {event['of']}: {values_text(trial.values)}: {shown}{best}")
        self._bar.update(self._task, completed=self._done, doing="")

    def close(self) -> None:
        """Make room for what comes after."""
        if self._done:
            self._bar.remove_task(self._task)
            self._done = 0


def values_text(values: Mapping[str, Any]) -> str:
    """Return ``name value, name value``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def search_document(plan: SearchPlan) -> dict[str, Any]:
    """Return the plan of a search as plain values."""
    return {
        "settings": {name: list(setting.ends) for name, setting in plan.settings.settings.items()},
        "trials": plan.settings.trials,
        "goal": plan.settings.goal.words,
        "direction": plan.direction,
        "runs_each": plan.runs,
        "flops_at_most": plan.flops,
    }


def search_lines(plan: SearchPlan, ladder_flops: float) -> list[str]:
    """Return a line on what is searched, and one on what that costs at most."""
    search = plan.settings
    what = "; ".join(f"{name} {_range(setting)}" for name, setting in search.settings.items())
    which = {"smallest": "the smallest rung", "largest": "the largest rung", "all": "all rungs"}[search.rungs]
    runs = f"{plan.runs} run{'s' * (plan.runs > 1)} ({which})"
    return [
        f"Search before the ladder is trained: {what}",
        f"{search.trials} trials of {runs} each for the {'least' if plan.direction == 'minimize' else 'most'} "
        f"{search.goal.words}: at most {plan.flops:.3g} FLOPs, {plan.flops / ladder_flops:.0%} of the ladder's "
        f"(pruning: {search.pruner.replace('_', ' ')})",
    ]


def _range(setting: SearchedSetting) -> str:
    if setting.choices is not None:
        return "one of " + ", ".join(map(str, setting.choices))
    more = ", log" if setting.log else "" if setting.step is None else f", step {setting.step:g}"
    return f"{setting.low:g} to {setting.high:g}{more}"
