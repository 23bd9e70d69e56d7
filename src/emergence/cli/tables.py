"""Tables of the command line: plans and listings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emergence.study.plan import Plan

__all__ = ["listing", "plan_document", "plan_table"]


def listing(what: str) -> dict[str, str]:
    """Return name -> one-line summary of every task, family, study or metric."""
    if what == "tasks":
        from emergence.tasks.catalogue import TASKS

        return {name: TASKS.summary(name) for name in TASKS}
    if what == "families":
        from emergence.models.family import FAMILIES

        return {name: FAMILIES.summary(name) for name in FAMILIES}
    if what == "metrics":
        from emergence.analysis.metrics import known_metrics

        return {metric.name: metric.summary for metric in known_metrics()}
    from emergence.core.yaml import parse_yaml
    from emergence.study.load import built_in_studies

    return {name: parse_yaml(text, source=name)[0].get("description", "") for name, text in built_in_studies().items()}


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values."""
    from emergence.study.packing import lay_out

    layout = lay_out(plan)
    return {
        "study": plan.study.name,
        "tokens": plan.tokens,
        "steps": plan.steps,
        "replicas": plan.study.replicas,
        "workers": plan.workers,
        "checkpoints": list(plan.checkpoint_steps),
        "sources": plan.sources,
        "flops": plan.flops,
        "seconds": layout.seconds,
        "steps_computed": plan.schedule.computed_steps,
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


def plan_table(plan: Plan) -> list[RenderableType]:
    """Return a table of the rungs and a line on the whole."""
    from rich.table import Table

    from emergence.study.packing import lay_out

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
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
