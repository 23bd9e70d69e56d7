"""Which charts a report has: for every ability its curves along every axis, then losses and scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from emergence.analysis.curves import ladder, rows_along
from emergence.core.schema import ADAPTATIONS, AXES, PER_MODEL, Axis, Interval
from emergence.report.charts import loss_chart, model_chart, runs_chart, scale_chart, scaling_chart
from emergence.report.data import Ability, ReportData, ScalingFit, complete, models_by_size
from emergence.report.encodings import Extent, Rungs, Score, Spec
from emergence.report.evidence import next_forecasts, next_lines
from emergence.report.evidence_charts import replica_chart
from emergence.report.evidence_tables import change_table, next_table, replica_tables
from emergence.report.numbers import axis_value
from emergence.report.series import Curves, Pool, axes_of, last_checkpoints, thin
from emergence.report.texts import Texts
from emergence.report.theme import rung_colours

__all__ = ["AbilityCharts", "Chart", "Gallery", "extent_of", "score_of"]

_HISTORY_POINTS = 120
_LOSS_METRICS = ("loss", "validation_loss")


@dataclass(frozen=True)
class Chart:
    """A specification with the tables it draws (name in the specification -> name in the pool) and what it shows."""

    spec: Spec
    tables: dict[str, str]
    title: str
    role: str = ""


@dataclass(frozen=True)
class AbilityCharts:
    """The charts of one ability: per axis the headline and the smooth curve, then every run in training.

    ``next`` says per axis what the chart's forecasts are; ``replicas`` draws the share of replicas with the ability.
    """

    ability: Ability
    curves: dict[Axis, list[Chart]]
    runs: dict[Axis, list[Chart]]
    numbers: list[dict[str, Any]]  # per model: params and the mean of either metric with its interval
    next: dict[Axis, list[str]]
    replicas: Chart | None


@dataclass
class Gallery:
    """All charts of a report and the pool of tables they share. With ``legend`` each chart explains its own colours."""

    data: ReportData
    texts: Texts
    legend: bool = False
    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        self.scores = complete(self.data.scores)
        self.curves = Curves(self.scores, self.pool)
        self._rungs: dict[str, Rungs] = {}

    def rungs(self, family: str | None = None) -> Rungs:
        """Return the models of a family, or of the whole report, with their colours on a light page."""
        key = family or ""
        if key not in self._rungs:
            sizes = models_by_size(self.scores, family)
            if not sizes and self.data.history is not None:
                sizes = [(str(model), None) for model in self.data.history["model"].unique().sort()]
            light, _ = rung_colours([size for _, size in sizes])
            self._rungs[key] = Rungs(tuple(name for name, _ in sizes), tuple(light))
        return self._rungs[key]

    def ability(self, ability: Ability) -> AbilityCharts:
        """Return the charts of one ability."""
        shown = []
        for metric, role in ((ability.metric, "headline"), (ability.smooth, "smooth")):
            curve = self.curves.get(ability.family, ability.task, ability.shots, metric)
            if curve is not None and curve.height:
                # A smooth metric that is judged alone is drawn as what it is.
                actual = "smooth" if curve["role"][0] == "smooth" else role
                shown.append((curve, score_of(str(metric), actual, curve)))
        axes = [axis for axis in AXES if any(axis in axes_of(curve) for curve, _ in shown)]
        curves = {axis: [self._curve_chart(ability, axis, curve, score) for curve, score in shown] for axis in axes}
        runs: dict[Axis, list[Chart]] = {
            axis: [self._runs_chart(ability, axis, curve, score) for curve, score in shown]
            for axis in axes
            if axis not in ("params", *ADAPTATIONS) and "tokens" in axes
        }
        numbers = self._numbers([(curve, score.role) for curve, score in shown])
        following = next_forecasts(ability, self.data)
        captions = {axis: next_lines([f for f in following if f.axis == axis], self.texts) for axis in axes}
        captions = {axis: lines for axis, lines in captions.items() if lines and axis != "tokens"}
        return AbilityCharts(ability, curves, runs, numbers, captions, self._replica_chart(ability))

    def losses(self) -> list[Chart]:
        """Return training and validation loss in training, on the same scale."""
        history = self.data.history
        if history is None or not history.height or "tokens" not in history.columns:
            return []
        columns = [
            name for name in ("train_loss", "validation_loss") if name in history.columns and history[name].count()
        ]
        values = (
            pl.concat([history[name].cast(pl.Float64) for name in columns]).drop_nulls().drop_nans()
            if columns
            else None
        )
        positive = values.filter(values > 0) if values is not None else None
        if positive is None or not positive.len():
            return []
        domain = (float(positive.min()) * 0.97, float(positive.max()) * 1.03)  # type: ignore[arg-type]
        charts = []
        for column in columns:
            rows = history.filter(
                pl.col(column).is_not_null() & pl.col(column).cast(pl.Float64).is_not_nan() & (pl.col("tokens") > 0)
            )
            if not rows.height:
                continue
            rows = thin(
                rows.with_columns(pl.col("tokens").cast(pl.Float64)), ["model", "seed"], "tokens", _HISTORY_POINTS
            )
            table = self.pool.add_frame(column, rows, ["model", "seed", "tokens", column])
            spec = loss_chart(column, extent_of(rows, "tokens"), domain, self.rungs(), self.texts, legend=self.legend)
            charts.append(
                Chart(
                    spec,
                    {"history": table},
                    self.texts("losses.train" if column == "train_loss" else "losses.validation"),
                )
            )
        return charts

    def scaling(self) -> list[tuple[ScalingFit, Chart]]:
        """Return the loss against each axis that has a fitted line."""
        found = []
        for index, fit in enumerate(self.data.scaling):
            points = self._loss_points(fit)
            if points is None or fit.axis == "loss":
                continue
            table = self.pool.add_frame(f"scaling{index}", points, ["model", "seed", fit.axis, "loss"])
            places = points[fit.axis].to_list()
            ends = [min(places), max(places)]
            line = {fit.axis: ends, "loss": [fit.coefficient * place**-fit.exponent for place in ends]}
            fitted = self.pool.add(f"fit{index}", line)
            spec = scaling_chart(
                fit.axis,
                extent_of(points, fit.axis),
                fit.metric,
                self.rungs(fit.family),
                self.texts,
                legend=self.legend,
            )
            title = self.texts(
                "scaling.exponent",
                exponent=self.texts.amount(Interval(estimate=fit.exponent, low=fit.low, high=fit.high)),
            )
            title = f"{fit.family}: {title}" if fit.family else title
            found.append((fit, Chart(spec, {"points": table, "fit": fitted}, title)))
        return found

    def standalone(self, charts: Sequence[Chart], title: str, width: int = 420) -> Spec:
        """Return charts side by side as one specification that holds its own data."""
        tables = {name for chart in charts for name in chart.tables.values()}
        panels = []
        for chart in charts:
            panel = _renamed(chart.spec, chart.tables)
            panels.append(
                {**panel, "width": width, "title": {"text": chart.title, "fontWeight": "normal", "fontSize": 12}}
            )
        body: Spec = {"hconcat": panels} if len(panels) > 1 else dict(panels[0])
        if len(panels) > 1:
            body["title"] = title
        else:
            body["title"] = {"text": title, "subtitle": charts[0].title}
        return {**body, "datasets": {name: self.pool.rows(name) for name in sorted(tables)}}

    def _curve_chart(self, ability: Ability, axis: Axis, curve: pl.DataFrame, score: Score) -> Chart:
        title = self.texts.metric(score.metric)
        marks = self._marks(ability, axis, curve, score)
        name = f"{ability.key}-{axis}-{score.role}"
        if axis in ADAPTATIONS:
            return self._adaptation_chart(ability, axis, curve, score)
        if axis == "tokens":
            curve = rows_along(curve, axis)
            extent = extent_of(curve, axis)
            changed = ability.along(axis) if score.metric == ability.metric else ()
            changes = change_table(self.pool, f"changes-{name}", changed, curve, extent)
            spec = model_chart(axis, extent, score, self.rungs(ability.family), self.texts, legend=self.legend)
            tables = {"steps": self.curves.step_means(curve), "marks": marks, "changes": changes}
            return self.chart(spec, tables, title, score.role)
        following = next_forecasts(ability, self.data, score.metric)
        following_table = next_table(self.pool, f"next-{name}", axis, following, self.texts)
        tables = {
            "mean": self.curves.means(curve),
            "final": self.curves.replicas(curve),
            "marks": marks,
            "next": following_table,
        }
        lowest, highest = extent_of(last_checkpoints(curve), axis)
        beyond = self.pool.tables[following_table]["columns"][axis]
        extent = min([lowest, *beyond]), max([highest, *beyond])
        return self.chart(scale_chart(axis, extent, score, self.texts), tables, title, score.role)

    def _adaptation_chart(self, ability: Ability, axis: Axis, curve: pl.DataFrame, score: Score) -> Chart:
        """Return the curves of models after pre-training, one line per model."""
        steps, start = self.curves.adapted_means(curve, axis)
        following = next_forecasts(ability, self.data, score.metric)
        beyond = next_table(self.pool, f"next-{ability.key}-{axis}-{score.role}", axis, following, self.texts)
        lowest, highest = extent_of(rows_along(curve, axis), axis)
        extent = lowest, max([highest, *self.pool.tables[beyond]["columns"][axis]])
        spec = model_chart(axis, extent, score, self.rungs(ability.family), self.texts, legend=self.legend)
        marks = self._marks(ability, axis, curve, score)
        tables = {"steps": steps, "start": start, "marks": marks, "next": beyond}
        return self.chart(spec, tables, self.texts.metric(score.metric), score.role)

    def _replica_chart(self, ability: Ability) -> Chart | None:
        """Return the share of able replicas along the axis of the primary verdict; None without replicas."""
        verdict = ability.primary
        if verdict is None or verdict.n_replicas < 2 or len(verdict.replicas.rungs) < 2:
            return None
        places = [rung.at for rung in verdict.replicas.rungs]
        extent = (min(places), max(places))
        tables = replica_tables(self.pool, f"able-{ability.key}", verdict.replicas, verdict.axis, extent)
        return self.chart(replica_chart(verdict.axis, extent, self.texts), tables, self.texts("replicas.chart"), "")

    def _runs_chart(self, ability: Ability, axis: Axis, curve: pl.DataFrame, score: Score) -> Chart:
        spec = runs_chart(
            axis, extent_of(curve, axis), score, self.rungs(ability.family), self.texts, legend=self.legend
        )
        return Chart(spec, {"runs": self.curves.all_runs(curve)}, self.texts.metric(score.metric), score.role)

    def chart(self, spec: Spec, tables: dict[str, str], title: str, role: str) -> Chart:
        """Return a chart without the layers that have nothing to draw, such as error bars where none are known."""

        def drawn(layer: Spec) -> bool:
            columns = self.pool.tables.get(tables.get(layer["data"].get("name", ""), ""), {}).get("columns", {})
            fields = {layer["encoding"].get(channel, {}).get("field") for channel in ("x", "y")}
            return all(any(value is not None for value in columns[name]) for name in fields if name in columns)

        layers = [layer for layer in spec["layer"] if drawn(layer)]
        used = {layer["data"].get("name") for layer in layers}
        return Chart({**spec, "layer": layers}, {k: v for k, v in tables.items() if k in used}, title, role)

    def _marks(self, ability: Ability, axis: Axis, curve: pl.DataFrame, score: Score) -> str:
        """Keep onsets and thresholds, cut to what the axis shows: an interval may reach far beyond the ladder."""
        per_model = axis in PER_MODEL
        lowest, highest = extent_of(rows_along(curve, axis) if per_model else last_checkpoints(curve), axis)
        margin = 1.02 if axis == "loss" else 1.3
        rows: list[dict[str, Any]] = []
        for verdict in ability.along(axis):
            pairs = (("onset", verdict.onset), ("threshold", verdict.threshold))
            for kind, interval in pairs[1:] if per_model else pairs:
                at = interval.estimate
                if at is None or not lowest / margin <= at <= highest * margin:
                    continue
                row: dict[str, Any] = {"kind": kind, "at": at, "low": None, "high": None}
                if interval.low is not None and interval.high is not None:
                    row |= {"low": max(interval.low, lowest / margin), "high": min(interval.high, highest * margin)}
                if per_model:
                    row |= {"model": verdict.model, "level": _halfway(score)}
                else:
                    row["label"] = f"{self.texts.level(kind, axis).lower()} {axis_value(at, axis)}"
                rows.append(row)
        if per_model and score.role == "smooth":
            rows = []  # the threshold is a level of the headline metric
        keys = ("kind", "at", "low", "high", "model", "level") if per_model else ("kind", "at", "low", "high", "label")
        name = f"marks-{ability.key}-{axis}" + (f"-{score.role}" if per_model else "")
        return self.pool.add(name, {key: [row[key] for row in rows] for key in keys})

    def _numbers(self, shown: list[tuple[pl.DataFrame, str]]) -> list[dict[str, Any]]:
        models: dict[str, dict[str, Any]] = {}
        for curve, role in shown:
            for row in self.pool.rows(self.curves.means(curve)):
                entry = models.setdefault(
                    row["model"], {"model": row["model"], "params": row["params"], "replicas": row["replicas"]}
                )
                entry[role] = Interval(estimate=row["score"], low=row["low"], high=row["high"])
        ordered = sorted(models.values(), key=lambda entry: (entry["params"] or 0.0, entry["model"]))
        return [*ordered, *(entry for axis in ADAPTATIONS for entry in self._adapted_numbers(shown, axis))]

    def _adapted_numbers(self, shown: list[tuple[pl.DataFrame, str]], axis: Axis) -> list[dict[str, Any]]:
        """Return the same of adapted models, one entry for each place on ``axis``."""
        found: dict[tuple[str, float], dict[str, Any]] = {}
        for curve, role in shown:
            if rows_along(curve, axis).is_empty():
                continue
            for row in (row for name in self.curves.adapted_means(curve, axis) for row in self.pool.rows(name)):
                label = f"{row['model']}, {axis_value(row[axis], axis)} {self.texts(f'unit.{axis}')}"
                entry = {"model": label, "params": None, "replicas": row["replicas"]}
                entry = found.setdefault((row["model"], row[axis]), entry)
                entry[role] = Interval(estimate=row["score"], low=row["low"], high=row["high"])
        return [found[key] for key in sorted(found)]

    def _loss_points(self, fit: ScalingFit) -> pl.DataFrame | None:
        """Return what a scaling line was fitted to: on `tokens` all of training, else the end of every run."""
        if fit.metric in _LOSS_METRICS:
            source = ladder(self.scores).select("family", "model", "seed", "params", "tokens", "flops", "loss").unique()
        else:
            source = (
                ladder(self.scores).filter(pl.col("metric") == fit.metric).with_columns(pl.col("score").alias("loss"))
            )
        if fit.family is not None:
            source = source.filter(pl.col("family") == fit.family)
        source = source.filter((pl.col("loss") > 0) & (pl.col(fit.axis) > 0))
        if fit.axis != "tokens":
            source = source.sort("tokens").group_by("model", "seed", maintain_order=True).last()
        return source.sort("params", "model", "seed", "tokens") if source.height else None


def score_of(metric: str, role: str, curve: pl.DataFrame) -> Score:
    """Return how the vertical axis of a metric is drawn, by what its rows say."""
    row = curve.row(0, named=True)
    better = row["higher_is_better"]
    return Score(metric, role, row["floor"], row["ceiling"], True if better is None else bool(better))


def extent_of(frame: pl.DataFrame, axis: str) -> Extent:
    """Return the smallest and the largest positive place on an axis."""
    values = frame[axis].drop_nulls().to_numpy()
    values = values[values > 0]
    return (float(values.min()), float(values.max())) if values.size else (1.0, 1.0)


def _halfway(score: Score) -> float | None:
    if score.floor is None or score.ceiling is None:
        return None
    return score.floor + 0.5 * (score.ceiling - score.floor)


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Return a specification with the tables' names in the pool in place of its own."""
    if isinstance(node, dict):
        if set(node) == {"name"} and node["name"] in names:
            return {"name": names[node["name"]]}
        return {key: _renamed(value, names) for key, value in node.items()}
    return [_renamed(item, names) for item in node] if isinstance(node, list) else node
