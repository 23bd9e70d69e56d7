"""Values that cannot be scores: each is refused in one line that names its row, its column and the mend."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

import polars as pl

from emergence.analysis.frames import Where, refuse
from emergence.analysis.metrics import metric
from emergence.core.errors import UserError
from emergence.core.schema import ADAPTATIONS, HARD_REQUIRED

__all__ = ["KEY", "check_bounds", "check_consistency", "check_duplicates", "check_swapped", "check_values"]

#: Two rows that agree in these would be the same measurement.
KEY = ("model", "family", *ADAPTATIONS, "seed", "step", "task", "metric", "shots")

#: A ladder does not pass over this factor between one size and the next; billions beside raw counts do.
_GAP, _LARGEST_IN_BILLIONS = 1e4, 2000.0
#: Replicas of one model may count a few parameters differently.
SAME_SIZE = 1.1
_SLACK = 1e-9  # rounding that other tools leave at the bounds of a metric

# Column -> (condition a value breaks, what to say). Tokens and FLOPs may be zero: that is the untrained model.
_BROKEN: dict[str, tuple[Callable[[pl.Expr], pl.Expr], str]] = {
    "params": (lambda x: x <= 0, "a model has more than zero parameters"),
    "tokens": (lambda x: x < 0, "training tokens cannot be negative"),
    "flops": (lambda x: x < 0, "training operations cannot be negative"),
    "loss": (lambda x: x < 0, "a validation loss in nats cannot be negative"),
    "examples": (lambda x: x < 0, "a number of fine-tuning examples cannot be negative"),
    "bits": (lambda x: x <= 0, "a weight is stored in more than zero bits"),
    "training_tasks": (lambda x: x < 0, "a number of training tasks cannot be negative"),
    "step": (lambda x: x < 0, "a training step cannot be negative"),
    "shots": (lambda x: x < 0, "a number of examples in the prompt cannot be negative"),
    "stderr": (lambda x: x < 0, "a standard error cannot be negative"),
    "n": (lambda x: x < 1, "a score stands on at least one example"),
    "answer_tokens": (lambda x: x <= 0, "an answer has more than zero tokens"),
}


def check_swapped(frame: pl.DataFrame, where: Where) -> None:
    """Raise UserError where two columns of a table, typed or not, hold each other's values."""
    pair: tuple[str, str] | None = None
    numbers = {name: _numbers(frame[name]) for name in frame.columns if name in ("model", "task", "metric", "score")}
    if "score" in numbers and not numbers["score"].is_finite().any():
        texts = (name for name in ("model", "task", "metric") if numbers[name].is_finite().all())
        pair = next(((name, "score") for name in texts), None)
    elif "params" in frame.columns and "score" in numbers:
        params, scores = _numbers(frame["params"]).drop_nulls(), numbers["score"].drop_nulls()
        if len(params) and params.is_between(0, 1).all() and len(scores) and (scores >= 1000).all():
            pair = ("params", "score")
    if pair is None:
        named = frame.select("task", "metric").unique().iter_rows()
        if all(metric(str(task)) is not None and metric(str(name)) is None for task, name in named):
            pair = ("task", "metric")
    if pair is not None:
        first, second = (f"'{name}' is {frame[name][0]}" for name in pair)
        raise UserError(f"{where(0)}: {first} and {second}: are these two columns swapped?")


def _numbers(column: pl.Series) -> pl.Series:
    """Return the numbers in a column, NaN for what is none; a missing value stays missing."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    return text.cast(pl.Float64, strict=False).fill_null(float("nan")).set(text.is_null() | (text == ""), None)


def _check_sizes(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError for sizes that are written in billions, all of them or some."""
    sizes = table["params"]
    mend = "write every size as a number of parameters, such as 1.3e9"
    fraction = (sizes < 1) | ((sizes < _LARGEST_IN_BILLIONS) & (sizes != sizes.round()))
    refuse(sizes, fraction, where, f"{{:g}} parameters: is this in billions? {mend}")
    known = sizes.drop_nulls().unique().sort().to_list()
    for low, high in pairwise(known):
        if low <= _LARGEST_IN_BILLIONS and high >= _GAP * low:
            refuse(sizes, sizes == low, where, f"{{:g}} beside {high:g} in other rows: mixed units? {mend}")


def _check_adaptations(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError for a row that would be a point of two curves."""
    for first, second in combinations(ADAPTATIONS, 2):
        refuse(
            table[second],
            table[first].is_not_null() & table[second].is_not_null(),
            where,
            f"{{:g}}, and the column '{first}' has a value too: one row is one point of one curve; keep one, "
            "and say the other in the name of the family, such as 'gpt tuned'",
        )


def check_values(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError for the first value of a typed table that its column cannot hold."""
    for name in HARD_REQUIRED:
        refuse(table[name], table[name].is_null(), where, "the value is missing")
    refuse(table["score"], table["score"].is_nan(), where, "the score is not a number (NaN); leave the row out")
    for name, (broken, complaint) in _BROKEN.items():
        bad = table.select(broken(pl.col(name)))[name]
        refuse(table[name], bad, where, f"{{}}: {complaint}")
    _check_sizes(table, where)
    _check_adaptations(table, where)
    unknown = table["role"].is_not_null() & ~table["role"].is_in(["headline", "smooth"])
    refuse(table["role"], unknown, where, "'{}' is neither 'headline' nor 'smooth'")


def check_bounds(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError for the first score outside the bounds of its metric."""
    for (name,), rows in table.with_row_index("row").group_by(["metric"], maintain_order=True):
        known = metric(str(name))
        if known is None:
            continue
        bad = rows.filter((pl.col("score") < known.lowest - _SLACK) | (pl.col("score") > known.highest + _SLACK))
        if bad.is_empty():
            continue
        row, score = bad["row"][0], bad["score"][0]
        bounds = f"{known.lowest:g} to {known.highest:g}"
        fault = f"{where(row)}, column 'score': {score:g} is outside the bounds of {name}, {bounds}"
        if known.scale == "log" and score < known.lowest:
            fault += "; if this is a cross-entropy in nats, call the metric loss"
        if not known.is_share or not rows["score"].is_between(0, 100).all():
            raise UserError(fault)
        if ((rows["score"] > 0) & (rows["score"] < 1)).any():
            raise UserError(
                f"{fault}; other rows of {name} lie below 1: mixed units? write every score as a share from 0 to 1"
            )
        raise UserError(f"{fault}; if these are percent, divide them by 100, or give a mapping with scale: percent")


def check_consistency(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError where rows of one curve contradict each other, or one model name stands for several sizes."""
    curve = ["task", "metric", "shots"]
    for column, keys in (("higher_is_better", curve), ("floor", curve), ("ceiling", curve), ("role", curve[:2])):
        values = table.with_row_index("row").filter(pl.col(column).is_not_null())
        first = pl.col(column).first().over(keys)
        bad = values.filter(pl.col(column) != first)
        if not bad.is_empty():
            row = bad.row(0, named=True)
            other = values.filter(*(pl.col(key).eq_missing(row[key]) for key in keys)).row(0, named=True)
            raise UserError(
                f"{where(row['row'])}, column '{column}': {row[column]}, but {where(other['row'])} has "
                f"{other[column]} for the same {row['task']} {row['metric']}; give one of them in every row"
            )
    upside_down = (pl.col("floor") - pl.col("ceiling")) * pl.when(pl.col("higher_is_better")).then(1).otherwise(-1) > 0
    bad = table.with_row_index("row").filter(upside_down)
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise UserError(
            f"{where(row['row'])}, column 'floor': {row['floor']:g} is better than the ceiling, {row['ceiling']:g}; "
            "mixed units? the floor is the score of guessing, the ceiling the best one"
        )
    shares = pl.col("score").is_between(0, 1).all().over("task", "metric")
    bad = table.with_row_index("row").filter(
        shares & (pl.col("ceiling") == 1) & (pl.col("floor") >= 0) & (pl.col("stderr") > 0.5)
    )
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise UserError(
            f"{where(row['row'])}, column 'stderr': {row['stderr']:g} is more than a share between 0 and 1 can have; "
            "is it in percent? divide it by 100"
        )
    sizes = table.with_row_index("row").filter(pl.col("params").is_not_null())
    bad = sizes.filter(pl.col("params") > SAME_SIZE * pl.col("params").min().over("model", "family"))
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise UserError(
            f"{where(row['row'])}, column 'params': {row['params']:g}, but other rows of model '{row['model']}' are "
            "smaller; replicas share a name, sizes do not: give every size a model name of its own"
        )


def check_duplicates(table: pl.DataFrame, where: Where) -> None:
    """Raise UserError naming the first two rows of a complete table that agree in `KEY`."""
    twice = table.select(KEY).is_duplicated()
    if not twice.any():
        return
    rows = table.with_row_index().filter(twice)
    first = rows.row(0, named=True)
    second = rows.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(first[name])) for name in KEY)).row(
        1, named=True
    )
    what = ", ".join(f"{name} {first[name]}" for name in KEY if name != "family" and first[name] is not None)
    raise UserError(
        f"{where(second['index'])}: duplicate of {where(first['index'])} ({what}); "
        "keep one, or tell replicas apart by 'seed' and checkpoints by 'step'"
    )
