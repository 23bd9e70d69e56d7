"""What a finished study or an analysis hands back: verdicts, scores, plots and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError, unknown_name
from emergence.core.schema import SCHEMA_VERSION, Axis, Calibration, Verdict
from emergence.core.store import write_bytes

if TYPE_CHECKING:
    import polars as pl

    from emergence.analysis import Assessment
    from emergence.core.carry_over import CarryOver
    from emergence.core.collapse import Collapse
    from emergence.core.forecasts import ForecastFile
    from emergence.core.onset_shift import OnsetShift
    from emergence.report import Figure, ReportData

__all__ = ["Result", "Verdicts", "earlier_forecasts"]


class Verdicts(Sequence[Verdict]):
    """The verdicts of a result, in the order of the analysis."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self._verdicts = tuple(verdicts)

    def __getitem__(self, index: Any) -> Any:
        return self._verdicts[index]

    def __len__(self) -> int:
        return len(self._verdicts)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._verdicts)

    def on(self, axis: Axis) -> Verdicts:
        """Return the verdicts along one axis."""
        return Verdicts([verdict for verdict in self if verdict.axis == axis])

    def to_json(self) -> dict[str, Any]:
        """Return the verdicts as plain values; `Result.to_json` has all that was found."""
        return {"schema_version": SCHEMA_VERSION, "verdicts": [v.model_dump(mode="json") for v in self]}

    def to_frame(self) -> pl.DataFrame:
        """Return one row per verdict; an interval becomes the columns ``<name>``, ``<name>_low`` and ``<name>_high``.

        Candidate curves, change points and the share of able replicas by rung are in `to_json` alone.
        """
        import polars as pl

        rows = []
        for verdict in self:
            row: dict[str, Any] = {}
            for key, value in verdict.model_dump(mode="json").items():
                if key in ("gain", "onset", "threshold", "width_decades", "explained_by_metric"):
                    row |= {key: value["estimate"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
                elif key in ("surprise", "bimodal"):
                    row |= {f"{key}_{part}": number for part, number in value.items() if part != "reason"}
                elif key == "replicas":
                    at = value["threshold"]
                    row |= {"replicas_threshold": at["estimate"], "replicas_mixture": value["mixture"]}
                    row |= {f"replicas_threshold_{end}": at[end] for end in ("low", "high")}
                elif key not in ("models", "change_points"):
                    row[key] = value
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)


def earlier_forecasts(folder: str | Path) -> ForecastFile | None:
    """Return the forecasts that an earlier report on outside results left in ``folder``, None where there are none.

    Raises UserError where the folder holds a study, whose scores are its own, or ``forecasts.json`` cannot be read.
    """
    from emergence.study.findings import read_forecasts

    path = Path(folder)
    if (path / "study.yaml").exists():
        raise UserError(f"{path} holds a study, and its scores are not these; choose another folder")
    return read_forecasts(path / "forecasts.json")


@dataclass(frozen=True)
class Result:
    """Verdicts, forecasts and scores, and the report on them. ``path`` is the study's folder, where there is one."""

    data: ReportData
    path: Path | None = None

    @property
    def verdicts(self) -> Verdicts:
        """The verdicts."""
        return Verdicts(self.data.verdicts)

    @property
    def calibration(self) -> tuple[Calibration, ...]:
        """How often the procedure errs on ladders simulated in the image of the scores."""
        return tuple(self.data.calibration)

    @property
    def collapses(self) -> tuple[Collapse, ...]:
        """Whether families and sizes fall on one curve against the loss, by task and metric."""
        return tuple(self.data.collapses)

    @property
    def carry_overs(self) -> tuple[CarryOver, ...]:
        """Whether a threshold found in one family holds in another."""
        return tuple(self.data.carry_overs)

    @property
    def onset_shifts(self) -> tuple[OnsetShift, ...]:
        """How fine-tuning moves onsets to smaller models, and where that forecasts them without it."""
        return tuple(self.data.onset_shifts)

    @property
    def forecasts(self) -> ForecastFile | None:
        """How the forecasters did on held-out rungs, and what they say of the next; None where there are none."""
        return self.data.forecasts

    @property
    def scores(self) -> pl.DataFrame:
        """The completed scores table."""
        return self.data.scores

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know besides: runs that diverged, files that were mended."""
        return tuple(self.data.notes)

    def plot(self, name: str) -> Figure:
        """Return a figure by its name, or the main figure of a task. Raises UserError for an unknown name."""
        from emergence.report import figures

        found = figures(self.data)
        if name in found:
            return found[name]
        matches = [key for key in found if key.startswith(name)]
        if not matches:
            raise unknown_name("figure", name, found)
        return found[matches[0]]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints: ``verdicts.json`` and, as ``forecasts``, ``forecasts.json``; and
        the ``search`` of a study that has one, and as ``adaptation`` what was fine-tuned and compressed, over seeds."""
        from emergence.report.adaptation_document import adaptation_document

        forecasts, search = self.data.forecasts, self.data.search
        adapted = adaptation_document(self.data.adaptations)
        return {
            **self._assessment().to_json(),
            "forecasts": None if forecasts is None else forecasts.model_dump(mode="json"),
            **({} if search is None else {"search": search.model_dump(mode="json")}),
            **({} if adapted is None else {"adaptation": adapted}),
        }

    def _assessment(self) -> Assessment:
        from emergence.analysis import Assessment

        return Assessment(tuple(self.verdicts), self.calibration, self.collapses, self.carry_overs, self.onset_shifts)

    def with_earlier(self, folder: str | Path) -> Result:
        """Return this result with the forecasts of an earlier report in ``folder``, compared with these scores.

        A forecast made again keeps its first date. Raises UserError as `earlier_forecasts` does.
        """
        from emergence.study.findings import with_earlier

        earlier = earlier_forecasts(folder)
        return replace(self, data=replace(self.data, forecasts=with_earlier(earlier, self.forecasts, self.scores)))

    def report(self, folder: str | Path | None = None) -> Path:
        """Write ``report.html``, ``report.md`` and ``figures/*.svg`` and return the path of the page.

        They go into ``folder``, by default the study's own. The figures written are the main one of each of the most
        telling abilities; `plot` makes any other. Results from outside also leave ``scores.parquet``, ``verdicts.json``
        and ``forecasts.json``; forecasts that an earlier report left in ``folder`` are kept, and compared where their
        rung now exists. Raises UserError when there is no folder, or it cannot be written.
        """
        from emergence.report import main_figures, render_html, render_markdown
        from emergence.study.findings import write_findings

        target = Path(folder) if folder is not None else self.path
        if target is None:
            raise UserError("say where the report should go, for example result.report('my-report')")
        data = self.data
        if self.path is None:
            data = self.with_earlier(target).data
        try:
            if self.path is None:
                write_findings(target, data.scores, self._assessment(), data.forecasts)
            write_bytes(target / "report.html", render_html(data).encode())
            write_bytes(target / "report.md", render_markdown(data).encode())
            for name, figure in main_figures(data).items():
                figure.save(target / "figures" / f"{name}.svg")
        except OSError as error:
            raise UserError(f"cannot write the report to {target}: {error.strerror}; choose another folder") from error
        return target / "report.html"
