"""What was run and what it cost, from the ladder and the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from emergence.report.data import ReportData
from emergence.report.numbers import decimal, duration, percent, power, quantity
from emergence.report.texts import Texts

__all__ = ["CostTable", "RunCost", "cost_line", "cost_table", "run_cost"]


@dataclass(frozen=True)
class RunCost:
    """The sum over all runs."""

    runs: int
    flops: float | None
    seconds: float | None


@dataclass(frozen=True)
class CostTable:
    """One row per model; columns without a single value are left out."""

    header: list[str]
    rows: list[list[str]]


def run_cost(data: ReportData) -> RunCost | None:
    """Return what all runs cost together; None without a history."""
    last = _last(data)
    if last is None:
        return None
    return RunCost(last.height, _sum(last, "flops_spent"), _sum(last, "seconds"))


def cost_line(data: ReportData, texts: Texts) -> str:
    """Return what all runs cost in a sentence, and what fine-tuning cost besides; nothing where neither is known."""
    cost, adapted = run_cost(data), data.adaptations
    said = []
    if cost is not None:
        said.append(texts("run.cost", runs=cost.runs, flops=power(cost.flops), time=duration(cost.seconds)))
    tuned = [] if adapted is None else [record for record in adapted.tuned if not record.baseline]
    if adapted is not None and tuned:
        share = ""
        if cost is not None and cost.flops:
            share = texts("adaptation.cost.share", share=percent(adapted.flops / cost.flops))
        flops, time = power(adapted.flops), duration(adapted.seconds)
        said.append(texts("adaptation.cost", n=len(tuned), flops=flops, share=share, time=time))
    return " ".join(said)


def cost_table(data: ReportData, texts: Texts) -> CostTable | None:
    """Return the models with their shapes and what a run of each cost; None without a ladder and a history."""
    last = _last(data)
    if data.ladder is None and last is None:
        return None
    names: list[str] = []
    if data.ladder is not None:
        names = [
            str(name)
            for name in (data.ladder.sort("params") if "params" in data.ladder.columns else data.ladder)["model"]
        ]
    if last is not None:
        names += [str(name) for name in last["model"].unique().sort() if str(name) not in names]
    shape = {} if data.ladder is None else {str(row["model"]): row for row in data.ladder.iter_rows(named=True)}
    cost = (
        {} if last is None else {str(row["model"]): row for row in last.group_by("model").mean().iter_rows(named=True)}
    )
    columns = (
        ("params", shape, lambda v: quantity(v, 3)),
        ("width", shape, _whole),
        ("depth", shape, _whole),
        ("heads", shape, _whole),
        ("seeds", shape, _whole),
        ("tokens", cost, quantity),
        ("flops", cost, power),
        ("seconds", cost, duration),
        ("rate", cost, quantity),
        ("utilisation", cost, lambda v: "–" if v is None else f"{100 * v:.3g} %"),
        ("loss", cost, decimal),
        ("validation_reconstruction", cost, decimal),
        ("validation_kl", cost, decimal),
    )
    source = {"seeds": "replicas", "rate": "tokens_per_second", "loss": "validation_loss"}
    header, cells = [texts("column.rung")], [names]
    for key, table, form in columns:
        values = [table.get(name, {}).get(source.get(key, key)) for name in names]
        if any(value is not None for value in values):
            header.append(texts(f"column.{key}"))
            cells.append([form(None if value is None else float(value)) for value in values])
    return CostTable(header, [list(row) for row in zip(*cells, strict=True)])


def _last(data: ReportData) -> pl.DataFrame | None:
    """Return the end of every run, with all that it cost; a loss is taken from the last row that has one."""
    history = data.history
    if history is None or not history.height:
        return None
    spent = [name for name in ("flops_spent", "seconds") if name in history.columns]
    runs = history.sort("step").group_by("model", "seed", maintain_order=True)
    return runs.agg(pl.exclude(*spent, "model", "seed").drop_nulls().last(), pl.col(spent).max())


def _sum(frame: pl.DataFrame, column: str) -> float | None:
    return float(frame[column].sum()) if column in frame.columns and frame[column].count() else None


def _whole(value: Any) -> str:
    return "–" if value is None else f"{value:.0f}"
