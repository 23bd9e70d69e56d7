"""Tables of the command line: plans and listings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.cli.adaptation import adaptation_document, adaptation_lines
from emergence.cli.search import search_document, search_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emergence.study.plan import Plan
    from emergence.study.published import PublishedPlan
    from emergence.text import Summary

__all__ = ["listing", "plan_document", "plan_table"]


def listing(what: str) -> dict[str, str]:
    """Return name -> one-line summary of every task, family, study, metric, augmenter or perturbation."""
    if what == "tasks":
        from emergence.tasks.catalogue import TASKS

        return {name: TASKS.summary(name) for name in TASKS}
    if what == "families":
        from emergence.models.family import FAMILIES

        return {name: FAMILIES.summary(name) for name in FAMILIES}
    if what == "metrics":
        from emergence.analysis.metrics import known_metrics

        return {metric.name: metric.summary for metric in known_metrics()}
    if what == "augmenters":
        from emergence.text.augmentation import AUGMENTERS

        return {name: AUGMENTERS.summary(name) for name in AUGMENTERS}
    if what == "perturbations":
        from emergence.text.perturbation import PERTURBATIONS

        return {name: PERTURBATIONS.summary(name) for name in PERTURBATIONS}
    from emergence.core.yaml import parse_yaml
    from emergence.study.load import built_in_studies

    return {name: parse_yaml(text, source=name)[0].get("description", "") for name, text in built_in_studies().items()}


def plan_document(plan: Plan | PublishedPlan) -> dict[str, Any]:
    """Return a plan as plain values."""
    from emergence.study.packing import lay_out
    from emergence.study.published import PublishedPlan

    if isinstance(plan, PublishedPlan):
        return _published_document(plan)
    layout = lay_out(plan)
    summary = plan.texts.summary()
    return {
        "study": plan.study.name,
        "corpus": asdict(summary) if summary is not None else None,
        "tokens": plan.tokens,
        "steps": plan.steps,
        "replicas": plan.study.replicas,
        "workers": plan.workers,
        "checkpoints": list(plan.checkpoint_steps),
        "sources": plan.sources,
        "flops": plan.flops,
        "teacher": _teacher_document(plan),
        "seconds": layout.seconds,
        "steps_computed": plan.schedule.computed_steps,
        **({"search": search_document(plan.search)} if plan.search is not None else {}),
        **adaptation_document(plan),
        "rungs": [
            {
                "name": rung.name,
                "family": rung.family,
                "parameters": rung.config.parameters,
                "non_embedding_parameters": rung.config.non_embedding_parameters,
                "shape": rung.config.to_dict(),
                "flops": rung.flops,
                "stack": layout.stacks[rung.name],
                "memory_bytes": rung.memory,
            }
            for rung in plan.rungs
        ],
    }


def _teacher_document(plan: Plan) -> dict[str, Any] | None:
    """Return the teacher as plain values; None where there is none."""
    if plan.teacher is None or plan.teacher_settings is None:
        return None
    asked = plan.teacher_settings
    return {
        "model": plan.teacher.shown,
        "family": plan.teacher.family,
        "parameters": plan.teacher.parameters,
        "kind": asked.kind,
        "flops": plan.teaching_flops,
    }


def _teacher_lines(plan: Plan) -> list[RenderableType]:
    """Return a sentence on the teacher; none where there is none."""
    from rich.text import Text

    found = _teacher_document(plan)
    if found is None or plan.teacher_settings is None:
        return []
    asked = plan.teacher_settings
    does = f"reads every token beside them (weight {asked.share:g}, temperature {asked.softness:g})"
    if asked.kind == "sequence":
        does = f"writes {asked.number:,} texts for each of {', '.join(plan.sources)} first, at most"
    share = found["flops"] / plan.flops
    return [
        Text(
            f"Teacher: {found['model']} ({found['family']}, {found['parameters']:,.0f} parameters) {does}: "
            f"{found['flops']:.3g} of the FLOPs ({share:.0%})"
        )
    ]


def _published_document(plan: PublishedPlan) -> dict[str, Any]:
    return {
        "study": plan.study.name,
        "workers": plan.workers,
        "questions": plan.questions,
        **adaptation_document(plan),
        "models": [
            {
                "name": run.name,
                "rung": run.rung,
                "seed": run.seed,
                "family": run.family,
                "parameters": run.parameters,
                "memory_bytes": run.memory,
                "checkpoints": [
                    {
                        "model": checkpoint.shown,
                        "step": checkpoint.step,
                        "tokens": checkpoint.tokens,
                        "flops": checkpoint.flops,
                        "loss": checkpoint.loss,
                    }
                    for checkpoint in run.checkpoints
                ],
            }
            for run in plan.runs
        ],
    }


def _published_table(plan: PublishedPlan) -> list[RenderableType]:
    """Return a table of the models to load, and a line on what they are asked."""
    from rich.table import Table

    table = Table(title=plan.study.name, title_justify="left")
    for column in ("run", "family", "loads", "step", "tokens", "parameters", "memory"):
        words = column in ("run", "family", "loads")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for run in plan.runs:
        for index, checkpoint in enumerate(run.checkpoints):
            table.add_row(
                "" if index else run.name,
                "" if index else run.family,
                checkpoint.shown.removeprefix(f"{Path.cwd()}/"),
                f"{checkpoint.step:,}",
                "–" if checkpoint.tokens is None else f"{checkpoint.tokens:.4g}",
                "" if index else "–" if run.parameters is None else f"{run.parameters:,.0f}",
                "" if index else f"{run.memory / 2**20:,.0f} MiB",
            )
    shots = ", ".join(map(str, plan.study.evaluation.shots))
    models = sum(len(run.checkpoints) for run in plan.runs)
    untrained = "; nothing is trained" if plan.study.finetune is None else ""
    return [
        table,
        f"{models} models to load, each asked up to {plan.questions:,} questions "
        f"({', '.join(plan.tasks)}; {shots} shots), {plan.workers} side by side{untrained}",
        *adaptation_lines(plan),
    ]


def plan_table(plan: Plan | PublishedPlan) -> list[RenderableType]:
    """Return a table of the rungs, a line on the whole, and what the corpus holds."""
    from rich.table import Table

    from emergence.study.packing import lay_out
    from emergence.study.published import PublishedPlan

    if isinstance(plan, PublishedPlan):
        return _published_table(plan)
    layout = lay_out(plan)
    table = Table(title=plan.study.name, title_justify="left")
    for column in ("rung", "parameters", "width", "depth", "FLOPs a run", "memory", "stack"):
        table.add_column(column, justify="left" if column == "rung" else "right")
    for rung in plan.rungs:
        config = rung.config
        table.add_row(
            rung.name,
            f"{config.non_embedding_parameters:,}",
            str(config.width),
            str(config.depth),
            f"{rung.flops:.2g}",
            f"{rung.memory / 2**20:,.0f} MiB",
            str(layout.stacks[rung.name]),
        )
    budgets = ""
    if plan.schedule.branches:
        ends = ", ".join(f"{step * plan.tokens // plan.steps:,}" for step in plan.checkpoint_steps)
        budgets = f"; serves the budgets {ends} ({plan.flops_apart:.3g} FLOPs if each had a run of its own)"
    sources = ", ".join(f"{name} {share:.0%}" for name, share in plan.sources.items())
    return [
        table,
        f"{len(plan.jobs)} runs of {plan.tokens:,} tokens ({plan.steps:,} steps; {sources}), {plan.flops:.3g} FLOPs, "
        f"{plan.workers} side by side: about {_duration(layout.seconds)}{budgets}",
        *([] if plan.search is None else search_lines(plan.search, plan.flops)),
        *_teacher_lines(plan),
        *adaptation_lines(plan),
        *([] if (summary := plan.texts.summary()) is None else _corpus_lines(summary, plan)),
    ]


def _corpus_lines(summary: Summary, plan: Plan) -> list[RenderableType]:
    """Return sentences on the corpus: what is frequent in it, and how the tokenizer cuts it."""
    from rich.text import Text

    assert plan.study.corpus is not None
    kind = plan.study.corpus.tokenizer.kind
    unknown = f", {summary.unknown:.2g} of them unknown" if summary.unknown else ""
    size = f"{summary.documents:,} documents, {summary.characters:,} characters ({summary.chinese:.0%} Chinese)"
    tokens = (
        f"{plan.texts.tokenizer.vocabulary_size:,} tokens of {summary.characters_per_token:.2f} characters{unknown}"
    )
    lines = [
        f"Corpus: {size}; {kind} tokenizer, {tokens}",
        f"Frequent words: {summary.missing}" if summary.missing else _listed("Frequent words", summary.words),
        *([_listed("Frequent pairs", summary.pairs)] if summary.pairs else []),
    ]
    return [Text(line) for line in lines]


def _listed(title: str, counts: Sequence[tuple[str, int]]) -> str:
    return f"{title}: {', '.join(f'{words} ({count:,})' for words, count in counts) or 'none'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
