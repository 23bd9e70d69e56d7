"""``emergence``: the commands. This file parses and prints; it computes nothing.

Exit status: 0 done; 2 the input is wrong (one line on standard error); 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emergence.cli.compressing import compress
from emergence.cli.console import make_console
from emergence.cli.evaluating import evaluate_options
from emergence.cli.models import add_model_commands, print_json, with_json
from emergence.cli.power import power_options
from emergence.cli.synthesising import add_synthesis_commands
from emergence.cli.tuning import add_tuning_commands
from emergence.core.errors import UserError

if TYPE_CHECKING:
    pass

__all__ = ["main"]

LISTED = ["tasks", "families", "studies", "metrics", "augmenters", "perturbations"]
AXIS_NAMES = ("params", "tokens", "flops", "loss", "examples", "bits", "training_tasks")


class _Program(click.Group):
    """Commands in the order a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="emergence")
def cli() -> None:
    """A laboratory for the emergent abilities of language models.

    \b
    Try:  emergence run quickstart
    """


def _with_set(command: Any) -> Any:
    option = click.option(
        "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting, e.g. training.tokens=1e6."
    )
    return option(command)


@cli.command()
@click.argument("study")
@_with_set
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study [default: runs/NAME].")
@click.option("--no-report", is_flag=True, help="Write scores and verdicts alone; `emergence report` does the rest.")
@with_json
def run(study: str, changes: tuple[str, ...], out: Path | None, no_report: bool, as_json: bool) -> None:
    """Train the ladder of STUDY (a file or a built-in name), judge it, and write the report.

    A study that was interrupted goes on where it stopped.

    \b
    Example:  emergence run quickstart --set replicas=5 --out runs/five
    """
    import emergence as em
    from emergence.cli.progress import StudyProgress

    with StudyProgress(make_console(stderr=True)) as progress:
        result = em.run(study, changes=changes, out=out, report=not no_report, progress=progress)
    if as_json:
        print_json(result.to_json())
        return
    _show(result)
    assert result.path is not None
    said = f"Study: {result.path}" if no_report else f"Report: {result.path / 'report.html'}"
    make_console().print(f"\n{said}", soft_wrap=True, highlight=False, markup=False)


@cli.command()
@click.argument("study", required=False)
@_with_set
@power_options
@with_json
def plan(study: str | None, changes: tuple[str, ...], power: str | None, as_json: bool, **asked: Any) -> None:
    """Show what STUDY would do: rungs, parameters, FLOPs, time and memory, before anything is spent.

    With --power, what it can see: the chance of the right verdict on an ability that is flat, gradual, a mirage or
    emergent, and how many more examples, replicas or rungs would suffice. STUDY may then be left out.

    \b
    Example:  emergence plan quickstart --set model.ladder.rungs=12
              emergence plan quickstart --power
              emergence plan --power --rungs 6 --replicas 2 --examples 200
    """
    import emergence as em

    given = {name: value for name, value in asked.items() if value not in (None, ())}
    if power is not None:
        _plan_power(study, changes, power, given, as_json)
        return
    if given:
        raise UserError(f"{_flag(next(iter(given)))} belongs to --power; add --power, or change the study with --set")
    if study is None:
        raise UserError("give a STUDY (a file or a built-in name), or --power for a design without one")
    from emergence.cli.tables import plan_document, plan_table

    planned = em.plan(study, changes=changes)
    if as_json:
        print_json(plan_document(planned))
    else:
        for part in plan_table(planned):
            make_console().print(part)


def _plan_power(study: str | None, changes: tuple[str, ...], power: str, given: dict[str, Any], as_json: bool) -> None:
    import emergence as em
    from emergence.cli.power import PowerProgress, power_document, power_tables, read_power

    share, study = read_power(power, study)
    if study is None and changes:
        raise UserError("--set changes a study; give the STUDY, or options such as --rungs")
    with PowerProgress(make_console(stderr=True)) as progress:
        report = em.power(study, changes=changes, power=share, progress=progress, **given)
    if as_json:
        print_json(power_document(report))
        return
    console = make_console()
    for part in power_tables(report):
        console.print(part, markup=False, highlight=False)


def _flag(name: str) -> str:
    return "--probability" if name == "probabilities" else f"--{name.replace('_', '-')}"


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--axis", "axes", multiple=True, type=click.Choice(AXIS_NAMES), help="Judge along this axis; may be repeated."
)
@click.option("--model", "models", multiple=True, help="Keep only this model; may be repeated.")
@click.option(
    "--mapping", metavar="FILE", help="YAML file that says what the columns of another table mean, long or wide."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write a report to this folder.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap resamples behind an interval.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@click.option("--hold-out", default=1, show_default=True, help="Try the forecasters on this many top rungs.")
@click.option("--above", type=float, help="Try them on all rungs past this value of the only --axis instead.")
@click.option("--no-forecast", is_flag=True, help="Make no forecasts.")
@with_json
def analyze(
    sources: tuple[str, ...], axes: tuple[Any, ...], out: Path | None, no_forecast: bool, as_json: bool, **asked: Any
) -> None:
    """Judge results from elsewhere, and forecast the next scale from them.

    SOURCES are files and folders: score tables (CSV, Parquet, JSON), lm-evaluation-harness results and logged samples,
    BIG-bench score files, and any other long or wide table through --mapping. With --out, forecasts that an earlier
    report left in the folder are kept with their date, and compared with the rungs that are new.

    \b
    Example:  emergence analyze results/ --axis params --out my-report
              emergence analyze results/ --axis params --above 1e9
              emergence analyze leaderboard.csv --mapping columns.yaml
    """
    import emergence as em
    from emergence.api.results import earlier_forecasts
    from emergence.cli.progress import Words

    if asked["above"] is not None and len(axes) != 1:
        raise UserError("--above is a value of one axis; give that --axis, and no other")
    context = click.get_current_context()
    if (
        asked["above"] is not None
        and context.get_parameter_source("hold_out") == click.core.ParameterSource.COMMANDLINE
    ):
        raise UserError("--above and --hold-out both say which rungs are held out; give one of them")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder, which is made where there is none")
    if out is not None:
        earlier_forecasts(out)  # a folder that cannot be used is named before the work, not after it
    with Words(make_console(stderr=True)) as words:
        result = em.analyze(*sources, axes=axes or None, forecast=not no_forecast, progress=words, **asked)
        page = None
        if out is not None:
            words("writing the report")
            result = result.with_earlier(out)
            page = result.report(out)
    if as_json:
        print_json(result.to_json())
        return
    _show(result)
    if page is not None:
        make_console().print(f"\nReport: {page}", soft_wrap=True, highlight=False, markup=False)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write to this folder instead.")
def report(folder: Path, out: Path | None) -> None:
    """Write the report of the finished study in FOLDER again.

    \b
    Example:  emergence report runs/quickstart
    """
    import emergence as em

    page = em.open_study(folder).report(out)
    make_console().print(f"Report: {page}", soft_wrap=True, highlight=False, markup=False)


@cli.command("list")
@click.argument("what", type=click.Choice(LISTED))
@with_json
def list_(what: str, as_json: bool) -> None:
    """List what there is: tasks, families, studies, metrics, ways of augmentation, or perturbations.

    \b
    Example:  emergence list tasks
    """
    from emergence.cli.tables import listing

    rows = listing(what)
    if as_json:
        print_json(rows)
        return
    width = max(len(name) for name in rows)
    for name, summary in rows.items():
        click.echo(f"{name:<{width}}  {summary}")


@cli.command()
@click.argument("model")
@evaluate_options
@with_json
def evaluate(model: str, out: Path | None, as_json: bool, **asked: Any) -> None:
    """Ask MODEL the held-out questions of tasks, and print the scores.

    MODEL is the folder of a run, a folder in Hugging Face's layout, or the name owner/model[@revision] of a model on
    the hub. What was asked before is not computed again.

    \b
    Example:  emergence evaluate runs/quickstart/models/R07-s0 --task '{name: copy, length: 8}'
              emergence evaluate my-llama --task copy --task recall --shots 4 --out scores.parquet
    """
    from emergence.cli.evaluating import run_evaluation, scores_document, scores_table

    evaluation = run_evaluation(make_console(stderr=True), model, out, **asked)
    if as_json:
        print_json(scores_document(evaluation))
    else:
        make_console().print(scores_table(evaluation))


add_model_commands(cli)
cli.add_command(compress)
add_tuning_commands(cli)
add_synthesis_commands(cli)


def _show(result: Any) -> None:
    """Print the verdict table, how far it can be trusted, what is forecast, and the notes."""
    from emergence.report import verdict_table
    from emergence.report.adaptation import adaptation_table
    from emergence.report.search import search_line
    from emergence.report.terminal import assessment_lines, breaking_lines, telling

    console = make_console()
    shown, others = telling(result.verdicts)
    console.print(verdict_table(shown))
    if others:
        console.print(others, style="dim", markup=False, highlight=False)
    for line in breaking_lines(shown):
        console.print(line, markup=False, highlight=False)
    for line in assessment_lines(result.calibration, result.collapses, result.carry_overs, result.forecasts):
        console.print(line, markup=False, highlight=False)
    if (adapted := adaptation_table(result.data)) is not None:
        console.print(adapted)
    if searched := search_line(result.data):
        console.print(searched, markup=False, highlight=False)
    for note in result.notes:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)


def main() -> None:
    """Run the command line and turn what went wrong into an exit status."""
    try:
        cli(standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error), 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        _fail(f"interrupted; {_what_remains()}", 130)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("EMERGENCE_DEBUG"):
            raise
        _fail(f"{type(error).__name__}: {error} (set EMERGENCE_DEBUG=1 for the traceback)", 1)


def _what_remains() -> str:
    """Say what an interrupted command leaves. Only a study goes on; what else writes, writes whole files or none."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if command == "run":
        return "everything finished so far is kept, and the same command goes on from there"
    if command in ("analyze", "report", "export", "compress"):
        return "files that were written are whole; the same command begins again"
    return "nothing was written; the same command begins again"


def _fail(message: str, status: int) -> None:
    click.echo(f"emergence: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
