"""``finetune`` and ``predict``: a model learns a task from labelled examples, and is used for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emergence.cli.console import make_console
from emergence.cli.models import MODEL_OPTIONS, print_json, with_json
from emergence.core.errors import UserError

if TYPE_CHECKING:
    from emergence.api import TunedModel

__all__ = ["add_tuning_commands"]


def add_tuning_commands(program: click.Group) -> None:
    """Add the commands to the program."""
    for command in (finetune, predict):
        program.add_command(command)


def _model_options(command: Any) -> Any:
    for flags, details in reversed(MODEL_OPTIONS):
        command = click.option(*flags, **details)(command)
    return command


@click.command()
@click.argument("model")
@click.option("--task", required=True, help="A name, or '{name: classification, files: train.tsv}'.")
@click.option("--examples", type=click.IntRange(1), help="Training examples to learn from [default: all].")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, e.g. epochs=5.",
)
@click.option("--teacher", help="A fine-tuned model's folder, to be learnt from beside the labels (distillation).")
@click.option("--temperature", default=2.0, show_default=True, help="At which the teacher is read.")
@click.option("--teacher-weight", default=0.5, show_default=True, help="Its share of the loss.")
@click.option("--questions", default=512, show_default=True, help="Of the test, where answers are written.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@_model_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the tuned model.")
@with_json
def finetune(
    model: str,
    task: str,
    changes: tuple[str, ...],
    step: int | None,
    revision: str | None,
    allow_pickle: bool,
    out: Path,
    as_json: bool,
    **asked: Any,
) -> None:
    """Let MODEL learn a task from labelled examples, with early stopping, and test it.

    The settings are those of finetune.settings in a study: epochs, learning_rate, freeze, adapter, augment and others.

    \b
    Example:  emergence finetune runs/lm/models/R05-s0 --task '{name: classification, files: train.tsv}'
                  --set freeze=1 --out tuned
    """
    import emergence as em
    from emergence.cli.progress import Words
    from emergence.core.yaml import override, parse_yaml

    with Words(make_console(stderr=True)) as words:
        words("reading the task")
        named = parse_yaml(task, source=f"--task {task}")[0]
        settings = override({}, changes)
        loaded = em.load(model, step, revision=revision, allow_pickle=allow_pickle)
        tuned = em.finetune(loaded, named, out=out, settings=settings, progress=words, **asked)
    if as_json:
        print_json({"folder": str(out), "kind": tuned.kind, "labels": list(tuned.labels), **tuned.about})
        return
    console = make_console()
    for part in _tables(tuned):
        console.print(part)
    for note in tuned.about["notes"]:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(f"\nTuned model: {out}", soft_wrap=True, highlight=False, markup=False)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1)
@click.option(
    "--pair", "pairs", nargs=2, multiple=True, help="Two texts: premise and hypothesis, passage and question."
)
@click.option("--base", help="The model it was tuned from, where that has moved.")
@with_json
def predict(
    folder: Path, texts: tuple[str, ...], pairs: tuple[tuple[str, str], ...], base: str | None, as_json: bool
) -> None:
    """Print what the fine-tuned model in FOLDER says of TEXTS.

    \b
    Example:  emergence predict tuned "a film of rare warmth" "not worth the ticket"
    """
    import emergence as em

    if not texts and not pairs:
        raise UserError("give one or more texts, or pairs with --pair")
    asked: list[str | tuple[str, str]] = [*texts, *pairs]
    found = em.load_tuned(folder, base).predict(asked)
    if as_json:
        shown = [
            {"text": text, "answer": p.answer, "value": p.value, "probabilities": p.probabilities}
            for text, p in zip(asked, found, strict=True)
        ]
        print_json(shown)
        return
    for text, prediction in zip(asked, found, strict=True):
        sure = "" if prediction.probabilities is None else f" ({prediction.probabilities[prediction.answer]:.0%})"
        click.echo(f"{prediction.answer}{sure}\t{text if isinstance(text, str) else ' | '.join(text)}")


def _tables(tuned: TunedModel) -> list[Any]:
    """Return a table of all test sets, and of classes the report of each."""
    from rich.markup import escape
    from rich.table import Table

    about = tuned.about
    title = f"{escape(about['task'])}: {about['examples']:,} examples, {about['steps']:,} steps, "
    title += f"best at {about['best_step']:,}; "
    title += f"{about['share']:.1%} of the parameters learnt ({about['trainable']:,})"
    tests = Table(title=title, title_justify="left")
    reports: dict[str, dict[str, Any]] = about["reports"]
    first = next(iter(reports.values()))
    measures = [name for name, value in first.items() if value is None or isinstance(value, int | float)]
    tests.add_column("test set")
    for name in measures:
        tests.add_column(name, justify="right")
    for test, report in reports.items():
        tests.add_row(escape(test), *(_number(name, report[name]) for name in measures))
    found: list[Any] = [tests]
    if "classes" in first:
        found.append(_class_table(first))
    return found


def _class_table(report: dict[str, Any]) -> Any:
    """Return precision, recall and F1 of every class, and where its examples went."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="test set, by class", title_justify="left")
    for column in ("class", "precision", "recall", "F1", "examples", "most often taken for"):
        table.add_column(column, justify="left" if column in ("class", "most often taken for") else "right")
    for place, entry in enumerate(report["classes"]):
        row = [count if other != place else -1 for other, count in enumerate(report["confusion"][place])]
        worst = max(range(len(row)), key=row.__getitem__)
        other = f"{escape(report['classes'][worst]['label'])} ({row[worst]})" if row[worst] > 0 else "–"
        numbers = [_number(name, entry[name]) for name in ("precision", "recall", "f1")]
        table.add_row(escape(entry["label"]), *numbers, f"{entry['support']:,}", other)
    return table


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if name == "n" else f"{value:.3f}"
