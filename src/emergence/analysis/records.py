r"""From records to a scores table: what the outputs of each example imply, and standard errors clustered by source.

Records are a frame with one row per evaluated example (`core.schema.RECORD_COLUMNS`) and a column ``score_<metric>``
per metric. Columns that other tools' records may have beside these:

* ``choice_logprobs`` (list): natural-log probability of every choice, and ``right`` (list): positions of the right
  ones.
* ``cluster`` (text): examples with the same value share a source (a passage, a dialogue) and are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from emergence.core.schema import AXES

__all__ = ["RECORD_KEYS", "clustered_stderr", "score_metric", "scores_of_records", "with_smooth_scores"]

#: Records that agree in these belong to one score.
RECORD_KEYS = ("model", "seed", "step", "task", "shots")
#: Of the other columns of the scores table, those that are constant within a score and are handed on.
_HANDED_ON = ("family", *AXES)
_PREFIX = "score_"
#: Metrics of multiple choice, whose score of guessing follows from the number of choices.
_CHOICE_METRICS = ("acc", "acc_norm", "acc_mutual_info", "accuracy", "multiple_choice_grade", "choice_prob")


def clustered_stderr(values: npt.ArrayLike, clusters: Sequence[object] | None = None) -> float | None:
    r"""Return the standard error of the mean of ``values`` when those of one cluster are not independent.

    .. math:: \frac{1}{n} \sqrt{\frac{G}{G - 1} \sum_{c=1}^{G} \Bigl( \sum_{i \in c} (s_i - \bar s) \Bigr)^2 }

    Source: Miller 2024 (arXiv 2411.00640), on clustered standard errors; its sum over pairs within clusters is this sum
    of squares. The factor G/(G - 1), after Cameron and Miller 2015 (doi:10.3368/jhr.50.2.317), makes it the sample
    standard error exactly where every cluster has one member. ``clusters`` names the cluster of each value; None, as
    the whole argument or for one value, says that it stands alone. None is returned for fewer than two clusters. Raises
    ValueError where the lengths differ.
    """
    s = np.asarray(values, dtype=np.float64)
    if clusters is not None and len(clusters) != s.size:
        raise ValueError(f"{s.size} values but {len(clusters)} clusters")
    frame = pl.DataFrame({"score_x": s, "cluster": None if clusters is None else _names(clusters)})
    frame = frame.with_columns(pl.lit("").alias("task"))
    return score_metric(frame, "x", ["task"])["stderr"][0] if s.size else None


def _names(clusters: Sequence[object]) -> list[str | None]:
    return [None if cluster is None else str(cluster) for cluster in clusters]


def score_metric(records: pl.DataFrame, name: str, keys: Sequence[str]) -> pl.DataFrame:
    """Return ``keys``, score, stderr and n of the metric ``name``: mean, standard error and count of its values.

    Values that are null count nowhere. The standard error is clustered (`clustered_stderr`) where the records have a
    column ``cluster`` that joins any of them, and the sample standard deviation over the root of n otherwise; null for
    fewer than two clusters.
    """
    column = f"{_PREFIX}{name}"
    own = records.filter(pl.col(column).is_not_null()).with_columns(pl.col(column).cast(pl.Float64))
    scores = own.group_by(keys, maintain_order=True).agg(
        pl.col(column).mean().alias("score"),
        (pl.col(column).std() / pl.len().sqrt()).alias("stderr"),
        pl.len().cast(pl.Int64).alias("n"),
    )
    if "cluster" not in own.columns or own["cluster"].null_count() == own.height:
        return scores
    alone = pl.concat_str(pl.lit("\0alone"), pl.int_range(pl.len()).cast(pl.String))
    sums = (
        own.with_columns(
            pl.coalesce(pl.col("cluster").cast(pl.String), alone).alias("_cluster"),
            (pl.col(column) - pl.col(column).mean().over(keys)).alias("_off"),
        )
        .group_by(*keys, "_cluster", maintain_order=True)
        .agg(pl.col("_off").sum())
        .group_by(keys, maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("_clusters"), (pl.col("_off") ** 2).sum().alias("_squares"))
    )
    count = pl.col("_clusters")
    clustered = pl.when(count > 1).then((pl.col("_squares") * count / (count - 1)).sqrt() / pl.col("n"))
    return (
        scores.join(sums, on=list(keys), how="left", maintain_order="left", nulls_equal=True)
        .with_columns(pl.when(pl.col("n") == count).then("stderr").otherwise(clustered).alias("stderr"))
        .drop("_clusters", "_squares")
    )


def with_smooth_scores(records: pl.DataFrame) -> pl.DataFrame:
    r"""Return ``records`` with the smooth metrics that their log-probabilities imply, where those are not there yet.

    * From ``logprobs`` of the T target tokens: ``target_prob`` :math:`= \exp \sum_t \ell_t`, whose mean is the exact
      match expected of sampled answers to the same examples, and ``target_logprob`` :math:`= \frac{1}{T} \sum_t
      \ell_t`.
    * From ``choice_logprobs`` :math:`\ell_j` and ``right``: ``choice_prob`` :math:`= \sum_{j\ \mathrm{right}} p_j` with
      :math:`p_j = e^{\ell_j} / \sum_k e^{\ell_k}`, and, with one right choice, ``brier`` :math:`= \sum_j (p_j - [j\
      \mathrm{right}])^2` (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
    """
    added: list[pl.Expr | pl.Series] = []
    if "logprobs" in records.columns:
        tokens = pl.col("logprobs").list
        known = tokens.len() > 0
        added += [
            pl.when(known).then(tokens.sum().exp()).alias("score_target_prob"),
            pl.when(known).then(tokens.mean()).alias("score_target_logprob"),
        ]
    if {"choice_logprobs", "right"} <= set(records.columns):
        pairs = [
            _choice_scores(choices, right)
            for choices, right in zip(records["choice_logprobs"].to_list(), records["right"].to_list(), strict=True)
        ]
        added += [
            pl.Series("score_choice_prob", [prob for prob, _ in pairs], dtype=pl.Float64),
            pl.Series("score_brier", [brier for _, brier in pairs], dtype=pl.Float64),
        ]
    names = [column.name if isinstance(column, pl.Series) else column.meta.output_name() for column in added]
    return records.with_columns(
        column for name, column in zip(names, added, strict=True) if name not in records.columns
    )


def _choice_scores(choices: list[float] | None, right: list[int] | None) -> tuple[float | None, float | None]:
    if not choices or not right:
        return None, None
    logprobs = np.asarray(choices, dtype=np.float64)
    if not np.isfinite(logprobs.max()):
        return None, None  # no choice has any probability: there is nothing to normalise
    p = np.exp(logprobs - logprobs.max())
    p /= p.sum()
    prob = min(1.0, float(p[right].sum()))
    if len(right) > 1:
        return prob, None
    p[right[0]] -= 1
    return prob, float((p**2).sum())


def scores_of_records(records: pl.DataFrame, *, metrics: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the scores table of ``records``: one row per `RECORD_KEYS` and metric, in the order of the columns.

    ``metrics`` names those to score; by default every ``score_`` column and what `with_smooth_scores` adds. ``score``,
    ``stderr`` and ``n`` are as in `score_metric`. ``answer_tokens`` is the mean number of target tokens, null
    where none is known. ``floor`` is
    the score of guessing where ``choice_logprobs`` tells the number of choices: the mean share of right ones for
    accuracies and ``choice_prob``, of wrong ones for ``brier``. A metric without any value has no row.
    """
    if metrics is None:
        records = with_smooth_scores(records)
        metrics = [name.removeprefix(_PREFIX) for name in records.columns if name.startswith(_PREFIX)]
    keys = [name for name in (*RECORD_KEYS, *_HANDED_ON) if name in records.columns]
    guessing, length = pl.lit(None, dtype=pl.Float64), pl.lit(None, dtype=pl.Float64)
    if {"choice_logprobs", "right"} <= set(records.columns):
        guessing = (pl.col("right").list.len() / pl.col("choice_logprobs").list.len()).mean()
    if "logprobs" in records.columns:
        tokens = pl.col("logprobs").list.len()
        length = pl.when(tokens > 0).then(tokens).mean()  # what no token says, such as a number, has none
    beside = records.group_by(keys, maintain_order=True).agg(
        guessing.alias("_guessing"), length.cast(pl.Float64).alias("answer_tokens")
    )
    frames = []
    for name in metrics:
        base = name.partition(",")[0]
        floor = pl.col("_guessing") if base in _CHOICE_METRICS else 1 - pl.col("_guessing") if base == "brier" else None
        frames.append(
            score_metric(records, name, keys)
            .join(beside, on=keys, how="left", maintain_order="left", nulls_equal=True)
            .with_columns(
                pl.lit(name).alias("metric"),
                (pl.lit(None, dtype=pl.Float64) if floor is None else floor).alias("floor"),
            )
            .drop("_guessing")
        )
    return pl.concat(frames) if frames else pl.DataFrame()
