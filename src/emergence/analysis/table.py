"""The scores table: read from a file, validated, and completed to every column of `core.schema.SCORE_COLUMNS`.

What a table leaves out is filled in this order: what the row says; what the metric's name says (`metrics`); what the
model's and the task's names say (`facts`); what follows from other columns. What stays unknown is null, never zero.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from emergence.analysis.facts import known_models, read_name, task_facts
from emergence.analysis.faults import (
    KEY,
    check_bounds,
    check_consistency,
    check_duplicates,
    check_swapped,
    check_values,
)
from emergence.analysis.frames import Where, to_frame, typed, with_known_columns
from emergence.analysis.metrics import metric
from emergence.core.errors import UserError
from emergence.core.schema import ADAPTATIONS, AXES, SCORE_COLUMNS

__all__ = ["KEY", "Where", "check_duplicates", "normalise"]


def normalise(frame: object, *, where: Where | None = None) -> pl.DataFrame:
    """Return ``frame`` as a complete, valid scores table with the columns and types of `SCORE_COLUMNS`, in that order.

    ``frame`` is a Polars or pandas frame, a mapping of columns, a sequence of records, or anything that speaks the
    Arrow or the data-frame interchange protocol. Numbers may be text. Other columns are dropped; rows keep their order.

    * role, direction and ceiling come from `metrics`; the ceiling is the best possible value, so 0 for a loss. An
      unknown metric is a headline with ceiling 1 where all its values lie in [0, 1], and has no role otherwise; more is
      taken as better.
    * ``floor`` comes from the facts on the task.
    * ``n`` follows from the standard error of a share p: n = p (1 - p) / stderr² + 1, the inverse of the sample
      standard error that lm-evaluation-harness prints. For a metric that is not all-or-nothing per example (F1, a
      probability) this is the number of yes-or-no examples with the same noise. Failing that it is the n of the task's
      other rows, then the published number of items.
    * ``stderr`` follows from n as sqrt(p (1 - p) / (n - 1)), an upper bound where examples can be partly right. It is 0
      where all or none is right: n then says what that is worth.
    * ``params`` (non-embedding) and ``family`` come from the facts on the model, else from the size that its name
      states.
    * ``tokens`` of a known model are step x tokens per step; ``flops`` = 6 x params x tokens (Kaplan et al. 2020, arXiv
      2001.08361, section 2.1). Both may be 0, at step 0.
    * Of an adapted model (a value in one of `ADAPTATIONS`) nothing is completed from its name but the family: it has a
      place on its own axis, and on no ladder.

    ``where`` words the place of a row in errors; the default counts rows from 1 without the header.
    Raises UserError, in one line, for the first fault found.
    """
    place = where or (lambda index: f"row {index + 1}")
    known = with_known_columns(to_frame(frame))
    check_swapped(known, place)
    table = typed(known, place)
    check_values(table, place)
    table = _complete_metrics(table)
    check_bounds(table, place)
    table = _complete_models(table)
    _ask_for_sizes(table)
    table = _complete_counts(table).select(*SCORE_COLUMNS)
    check_duplicates(table, place)
    check_consistency(table, place)
    return table


# Completion.


def _complete_metrics(table: pl.DataFrame) -> pl.DataFrame:
    pairs = table.group_by("task", "metric").agg(
        pl.col("score").min().alias("low"), pl.col("score").max().alias("high")
    )
    rows = [_metric_row(task, name, low, high) for task, name, low, high in pairs.iter_rows()]
    schema = {"task": pl.String, "metric": pl.String, "_role": pl.String, "_up": pl.Boolean, "_floor": pl.Float64}
    facts = pl.DataFrame(
        rows, schema=schema | {"_ceiling": pl.Float64, "_n": pl.Int64, "_share": pl.Boolean}, orient="row"
    )
    return table.join(facts, on=["task", "metric"], how="left", maintain_order="left").with_columns(
        pl.coalesce("role", "_role").alias("role"),
        pl.coalesce("higher_is_better", "_up").alias("higher_is_better"),
        pl.coalesce("floor", "_floor").alias("floor"),
        pl.coalesce("ceiling", "_ceiling").alias("ceiling"),
    )


def _metric_row(task: str, name: str, low: float, high: float) -> tuple[Any, ...]:
    known = metric(name)
    facts = task_facts(task, name)
    floor, n = (facts.floor, facts.n) if facts else (None, None)
    if known is None:
        share = low >= 0 and high <= 1
        return task, name, "headline" if share else None, True, floor, 1.0 if share else None, n, share
    ceiling, share = known.best, known.is_share
    if known.percent_allowed:
        share = high <= 1
        ceiling = 1.0 if share else known.best
    return task, name, known.role, known.higher_is_better, floor, ceiling, n, share


def _complete_models(table: pl.DataFrame) -> pl.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for model in table["model"].unique(maintain_order=True):
        name = read_name(model)
        facts = known_models().get(name.model)
        size = float(facts.params) if facts else name.size
        rows.append(
            (model, name.family, size, *((facts.tokens_per_step, facts.train_tokens) if facts else (None, None)))
        )
    schema = {
        "model": pl.String,
        "_family": pl.String,
        "_params": pl.Float64,
        "_per_step": pl.Float64,
        "_tokens": pl.Float64,
    }
    facts_by_model = pl.DataFrame(rows, schema=schema, orient="row")
    pre_trained = pl.all_horizontal(pl.col(axis).is_null() for axis in ADAPTATIONS)
    at_step = pl.when(pl.col("step").is_null()).then("_tokens").otherwise(pl.col("step") * pl.col("_per_step"))
    return (
        table.join(facts_by_model, on="model", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("family", "_family").alias("family"),
            pl.coalesce("params", pl.when(pre_trained).then("_params")).alias("params"),
            pl.coalesce("tokens", pl.when(pre_trained).then(at_step)).alias("tokens"),
            pl.col("seed").fill_null(0),
            pl.col("shots").fill_null(0),
        )
        .with_columns(
            pl.coalesce("flops", pl.when(pre_trained).then(6 * pl.col("params") * pl.col("tokens"))).alias("flops")
        )
    )


def _ask_for_sizes(table: pl.DataFrame) -> None:
    """Raise UserError naming the models that have no place on any axis."""
    placed = pl.any_horizontal(pl.col(axis).is_not_null() for axis in AXES).any()
    models = table.group_by("model", maintain_order=True).agg(placed.alias("placed"))
    without = models.filter(~pl.col("placed"))["model"].to_list()
    if not without:
        return
    names = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
    many = f"{len(without)} of {models.height} models" if len(without) < models.height else "any model"
    others = ", ".join(axis for axis in AXES[1:] if axis not in ADAPTATIONS)
    raise UserError(
        f"no axis: no size is known of {many} ({names}); give a column params (or {others}), names that "
        f"state a size, such as opt-1.3b, or a mapping with sizes: {{{without[0]}: 1.3e9}}"
    )


def _complete_counts(table: pl.DataFrame) -> pl.DataFrame:
    variance = pl.col("score") * (1 - pl.col("score"))
    inferable = pl.col("_share") & (variance > 0) & (pl.col("stderr") > 0)
    # Above 2**53 a count is noise in the standard error, and does not fit the column.
    inferred = pl.when(inferable).then((variance / pl.col("stderr") ** 2 + 1).round().clip(1, 2.0**53)).cast(pl.Int64)
    table = table.with_columns(pl.coalesce("n", inferred).alias("n"))
    table = table.with_columns(pl.coalesce("n", _of_siblings(), "_n").alias("n"))
    table = table.with_columns(pl.coalesce("n", _of_siblings()).alias("n"))  # of those that the facts gave one
    spread = pl.when(pl.col("_share") & (pl.col("n") >= 2)).then((variance.clip(0) / (pl.col("n") - 1)).sqrt())
    return table.with_columns(pl.coalesce("stderr", spread).alias("stderr"))


def _of_siblings() -> pl.Expr:
    """The n of the task's other rows at the same shots, where they have only one."""
    counts = pl.col("n").drop_nulls()
    return pl.when((counts.n_unique() == 1).over("task", "shots")).then(counts.first().over("task", "shots"))
