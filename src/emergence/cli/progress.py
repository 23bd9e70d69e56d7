"""What a person sees while a study runs, a bar or a few plain lines, and while results are analyzed."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emergence.cli.search import SearchProgress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Bar", "StudyProgress", "Words"]


class Bar:
    """What all of them share: the bar that is there while they are entered, and gone afterwards."""

    _bar: Progress

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class Words(Bar):
    """What is being done, in words, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __call__(self, words: str) -> None:
        """Show what is being done."""
        self._bar.update(self._task, description=words)


class StudyProgress(Bar):
    """Receives a study's events. The bar counts training FLOPs, which is what the time goes by."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = console
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[doing]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._flops: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._work = "training"
        self._doing: dict[str, str] = {}
        self._total = 0
        self._finished = 0
        self._since = time.monotonic()
        self._search = SearchProgress(self._bar, self._say)

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=not self._console.is_terminal)

    def _on_searching(self, event: dict[str, Any]) -> None:
        self._search.begin(event)

    def _on_trial_training(self, event: dict[str, Any]) -> None:
        self._search.train(event)

    def _on_trial(self, event: dict[str, Any]) -> None:
        self._search.end(event)

    def _on_plan(self, event: dict[str, Any]) -> None:
        self._search.close()
        plan = event["plan"]
        if plan.study.model.huggingface:
            self._on_published(plan)
            return
        self._flops = {job.name: job.rung.flops for job in plan.jobs}
        families = list(dict.fromkeys(rung.family for rung in plan.sized))
        parts = []
        if families:
            sizes = [rung.config.non_embedding_parameters for rung in plan.sized]
            each = f" of each of {', '.join(families)}" if len(families) > 1 else ""
            parts.append(f"{len(sizes) // len(families)} rungs{each} from {min(sizes):,} to {max(sizes):,} parameters")
        parts += [f"{rung.family} (no sizes)" for rung in plan.rungs if rung not in plan.sized]
        self._say(
            f"{plan.study.name}: {' and '.join(parts)}, {plan.study.replicas} replicas each, "
            f"{plan.tokens:,} tokens a run, {plan.workers} processes"
        )

    def _on_published(self, plan: Any) -> None:
        """Models that somebody else trained are only asked: the bar counts what that costs."""
        self._work = "asking"
        self._flops = {run.name: run.cost for run in plan.runs}
        models = sum(len(run.checkpoints) for run in plan.runs)
        self._say(
            f"{plan.study.name}: {models} models that were trained elsewhere ({len(plan.runs)} runs), up to "
            f"{plan.questions:,} questions each, {plan.workers} processes"
        )

    def _on_jobs(self, event: dict[str, Any]) -> None:
        self._total = event["total"]
        self._finished = event["total"] - len(event["waiting"])
        if self._finished:
            self._say(f"{self._finished} of {self._total} runs are finished already")
        self._flops = {name: self._flops[name] for name in event["waiting"]}
        self._task = self._bar.add_task(self._work, total=sum(self._flops.values()) or 1, doing="")

    def _on_lessons(self, event: dict[str, Any]) -> None:
        self._say(f"the teacher writes {event['texts']:,} texts first ({', '.join(event['sources'])})")

    def _on_groups(self, event: dict[str, Any]) -> None:
        stacked = [name for name in event["names"] if "+" in name]
        if stacked:
            self._say(f"stacked: {', '.join(stacked)}")

    def _on_training(self, event: dict[str, Any]) -> None:
        name = event["run"]
        self._done[name] = event["share"]
        self._doing[name] = f"{name} loss {event['loss']:.2f}"
        self._update()

    def _on_evaluating(self, event: dict[str, Any]) -> None:
        self._doing[event["run"]] = f"{event['run']} evaluating"
        self._update()

    def _on_asked(self, event: dict[str, Any]) -> None:
        self._done[event["run"]] = event["share"]
        self._update()

    def _on_finished(self, event: dict[str, Any]) -> None:
        name = event["run"]
        self._done[name] = 1.0
        self._doing.pop(name, None)
        self._finished += 1
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._since
            self._say(f"[{seconds:5.0f} s] {name} {event['status']} ({self._finished} of {self._total})")
        elif event["status"] != "done":
            self._say(f"{name} {event['status']}")
        self._update()

    def _on_killed(self, event: dict[str, Any]) -> None:
        self._say(f"the worker of {event['job']} died (exit status {event['code']}); going on from its last checkpoint")

    def _on_stage(self, event: dict[str, Any]) -> None:
        """Models are adapted: a bar of its own, of what that costs."""
        self._total, self._finished = event["total"], event["total"] - len(event["waiting"])
        if self._finished:
            self._say(f"{self._finished} of {self._total} adaptations are finished already")
        self._flops, self._done, self._doing = dict(event["waiting"]), {}, {}
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task("adapting", total=sum(self._flops.values()) or 1, doing="")

    def _on_adapting(self, event: dict[str, Any]) -> None:
        self._done[event["job"]] = event["share"]
        self._doing[event["job"]] = f"{event['job']} {event['says']}"
        self._update()

    def _on_adapted(self, event: dict[str, Any]) -> None:
        name = event["job"]
        self._done[name] = 1.0
        self._doing.pop(name, None)
        self._finished += 1
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._since
            self._say(f"[{seconds:5.0f} s] {name} done ({self._finished} of {self._total})")
        self._update()

    def _on_judging(self, event: dict[str, Any]) -> None:
        self._bar.update(self._task, description="judging", doing=event["doing"])

    def _on_reporting(self, event: dict[str, Any]) -> None:
        self._bar.update(self._task, description="writing the report", doing="")

    def _update(self) -> None:
        completed = sum(share * self._flops.get(name, 0.0) for name, share in self._done.items())
        self._bar.update(self._task, completed=completed, doing=" · ".join(list(self._doing.values())[:2]))
