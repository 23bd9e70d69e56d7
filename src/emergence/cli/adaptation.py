"""What a plan says of the stages that follow training: how many adaptations, and about how many FLOPs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emergence.study.plan import Plan
    from emergence.study.published import PublishedPlan

__all__ = ["adaptation_document", "adaptation_lines"]

_WHAT = {"finetune": "fine-tunings", "compress": "compressed models to ask everything again"}


def adaptation_document(plan: Plan | PublishedPlan) -> dict[str, Any]:
    """Return under ``adaptation``, by stage, the number of ``jobs`` and about their ``flops`` (None: not known
    beforehand), and the number of ``baselines``; nothing where the study has no stage. Raises UserError for a stage
    that cannot be."""
    if plan.study.finetune is None and plan.study.compress is None:
        return {}
    from emergence.study.published import PublishedPlan
    from emergence.study.stages import stage_jobs

    known = not isinstance(plan, PublishedPlan)
    found: dict[str, dict[str, Any]] = {}
    for job in stage_jobs(plan):
        told = found.setdefault(job.stage, {"jobs": 0, "baselines": 0, "flops": 0.0 if known else None})
        if job.run is None:
            told["baselines"] += 1  # which count words, and cost next to nothing
        elif job.stage == "finetune" or job.values["how"] is not None:
            told["jobs"] += 1
            if known:
                told["flops"] += job.cost
    return {"adaptation": dict(sorted(found.items(), reverse=True))}


def adaptation_lines(plan: Plan | PublishedPlan) -> list[str]:
    """Return a line for every stage that the study has."""
    lines = []
    for stage, told in adaptation_document(plan).get("adaptation", {}).items():
        baselines = f" and {told['baselines']:,} baselines" if told["baselines"] else ""
        cost = "their FLOPs are not known beforehand"
        ladder: float = getattr(plan, "flops", 0.0)
        if told["flops"] is not None:
            share = f" ({told['flops'] / ladder:.0%} of the ladder's)" if ladder else ""
            cost = f"about {told['flops']:.3g} FLOPs{share}"
        lines.append(f"Then {told['jobs']:,} {_WHAT[stage]}{baselines}: {cost}")
    return lines
