"""What ``import emergence as em`` offers. It joins the rooms and holds no logic of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.api.evaluating import Evaluation, evaluate
from emergence.api.loading import load
from emergence.api.model import Model
from emergence.api.planning import power
from emergence.api.results import Result, Verdicts
from emergence.api.synthesising import back_translate, show_changes, synthesise
from emergence.api.tuned import Prediction, TunedModel, load_tuned
from emergence.api.tuning import finetune
from emergence.core.errors import UserError, unknown_name
from emergence.core.schema import Axis, Verdict
from emergence.core.settings import StudySettings as Study
from emergence.core.settings import validate_study
from emergence.core.yaml import override

if TYPE_CHECKING:
    from emergence.study.plan import Plan
    from emergence.study.published import PublishedPlan

__all__ = [
    "Evaluation",
    "Model",
    "Prediction",
    "Result",
    "Study",
    "TunedModel",
    "UserError",
    "Verdict",
    "Verdicts",
    "analyze",
    "back_translate",
    "evaluate",
    "finetune",
    "load",
    "load_tuned",
    "open_study",
    "plan",
    "power",
    "run",
    "show_changes",
    "synthesise",
]

Progress = Callable[[dict[str, Any]], None]


def _study(study: str | Path | Study, changes: Iterable[str]) -> Study:
    from emergence.study.load import load_study

    if not isinstance(study, Study):
        return load_study(str(study), changes)
    changes = list(changes)
    return validate_study(override(study.model_dump(mode="json"), changes), source="the study") if changes else study


def run(
    study: str | Path | Study,
    *,
    changes: Iterable[str] = (),
    out: str | Path | None = None,
    report: bool = True,
    progress: Progress = lambda event: None,
) -> Result:
    """Run a study (a file, the name of a built-in one, or a `Study`), write its report, and return the result.

    ``changes`` are assignments such as ``"training.tokens=1e6"``; ``out`` is the folder, by default ``runs/NAME``. A
    study begun before goes on where it stopped. Without a ``report`` the scores and verdicts are there all the same,
    and `Result.report` writes it later. Raises UserError for wrong input.
    """
    from emergence.study.run import run_study

    settings = _study(study, changes)
    path = Path(out) if out is not None else Path("runs") / settings.name
    run_study(settings, path, progress)
    result = open_study(path)
    if report:
        progress({"event": "reporting"})
        result.report()
    return result


def plan(study: str | Path | Study, *, changes: Iterable[str] = ()) -> Plan | PublishedPlan:
    """Return what a study will do, before anything is spent. Raises UserError for wrong input."""
    from emergence.study.plan import make_plan
    from emergence.study.stages import stage_jobs

    made = make_plan(_study(study, changes))
    stage_jobs(made)  # what fine-tuning and compression cannot do is said before it is run
    return made


def open_study(folder: str | Path) -> Result:
    """Return the result of a study that was run before. Raises UserError where there is none."""
    from emergence.report.study import read_study

    return Result(read_study(Path(folder)), Path(folder))


def analyze(
    *sources: Any,
    axes: Sequence[Axis] | Axis | None = None,
    models: Sequence[str] = (),
    mapping: str | Path | Mapping[str, Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    hold_out: int = 1,
    above: float | None = None,
    forecast: bool = True,
    progress: Callable[[str], None] = lambda words: None,
) -> Result:
    """Judge outside results, and forecast the next scale from them.

    ``sources`` are data frames, files or folders: score tables, result files and logged samples of
    lm-evaluation-harness, score files of BIG-bench; ``mapping`` (a YAML file, or plain keys) reads any other table.
    ``axes`` are those to judge along, by default all that the results have; ``models`` keeps only the named ones. The
    forecasters are tried on the ``hold_out`` top rungs of every curve, or on all past ``above``, a value of the only
    axis; without ``forecast`` nothing is forecast. ``resamples`` stand behind an interval; the same ``seed`` gives the
    same results. ``progress`` is told in words what is being done. Raises UserError for input that cannot be read or
    judged.
    """
    from emergence.analysis.sources import read_sources
    from emergence.core.schema import AXES
    from emergence.report import ReportData
    from emergence.study.findings import ask_forecasts, check_above, find

    along: tuple[Axis, ...] = (axes,) if isinstance(axes, str) else tuple(axes or AXES)
    request = None
    if forecast:
        now = datetime.now(UTC)
        request = ask_forecasts(along, hold_out=hold_out, above=above, resamples=resamples, seed=seed, now=now)
    progress("reading")
    reading = read_sources(sources, mapping)
    scores = reading.scores
    if models:
        known = scores["model"].unique().to_list()
        for model in models:
            if model not in known:
                raise unknown_name("model", model, known)
        scores = scores.filter(scores["model"].is_in(list(models)))
    if request is not None:
        check_above(scores, request)
    found = find(scores, axes=along, resamples=resamples, seed=seed, request=request, progress=progress)
    title = ", ".join(Path(source).name if isinstance(source, str | Path) else "data frame" for source in sources)
    return Result(
        ReportData(
            title=title,
            description="",
            verdicts=found.assessment.verdicts,
            scores=scores,
            calibration=found.assessment.calibration,
            collapses=found.assessment.collapses,
            carry_overs=found.assessment.carry_overs,
            onset_shifts=found.assessment.onset_shifts,
            forecasts=found.forecasts,
            notes=[*map(str, reading.problems), *reading.notes, *found.notes],
        )
    )
