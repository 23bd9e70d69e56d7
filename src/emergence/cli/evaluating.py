"""``emergence evaluate``: its options, its table and its JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emergence.cli.models import MODEL_OPTIONS
from emergence.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from emergence.api import Evaluation

__all__ = ["evaluate_options", "run_evaluation", "scores_document", "scores_table"]

SCHEMA_VERSION = 1
FORMATS = (".parquet", ".csv")

_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--task", "tasks"),
        {"multiple": True, "required": True, "help": "A name, or '{name: copy, length: 4}'; may be repeated."},
    ),
    (("--examples",), {"default": 512, "show_default": True, "help": "Questions of each task, at most."}),
    (("--shots",), {"default": 0, "show_default": True, "help": "Worked examples before each question."}),
    (
        ("--seed",),
        {
            "default": 0,
            "show_default": True,
            "type": click.IntRange(0, 2**63 - 1),
            "help": "Draws the questions; that of a study draws the study's.",
        },
    ),
    *MODEL_OPTIONS,
    (("--out",), {"type": click.Path(path_type=Path), "help": "Write the scores to this file (.parquet or .csv)."}),
    (
        ("--cache",),
        {"metavar": "FOLDER", "help": "Where answers are kept [default: $EMERGENCE_CACHE or the user's cache folder]."},
    ),
    (("--no-cache",), {"is_flag": True, "help": "Keep no answers, and use none."}),
)


def evaluate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``evaluate``."""
    for flags, details in reversed(_OPTIONS):
        command = click.option(*flags, **details)(command)
    return command


def run_evaluation(
    console: Console,
    model: str,
    out: Path | None,
    *,
    tasks: tuple[str, ...],
    step: int | None,
    revision: str | None,
    allow_pickle: bool,
    cache: str | None,
    no_cache: bool,
    **asked: Any,
) -> Evaluation:
    """Evaluate with a line of progress on ``console``, and write the scores to ``out`` where that is given."""
    import emergence as em
    from emergence.cli.progress import Words

    if no_cache and cache is not None:
        raise UserError("--cache and --no-cache contradict each other; give one of them")
    if out is not None and (out.suffix not in FORMATS or out.is_dir()):
        raise UserError(f"--out {out}: name a file that ends in {' or '.join(FORMATS)}")
    named = [_task(text) for text in tasks]
    with Words(console) as words:
        words("loading the model")
        loaded = em.load(model, step, revision=revision, allow_pickle=allow_pickle)
        if loaded.pickled:
            console.print("The weights were read from pickle files: their tensors alone, and no code was run.")
        evaluation: Evaluation = em.evaluate(
            loaded, named, cache=not no_cache and (cache or True), progress=words, **asked
        )
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        _write(evaluation, out)
    return evaluation


def _task(text: str) -> Any:
    """Return what follows ``--task``: a name, or a mapping in YAML."""
    from emergence.core.yaml import parse_yaml

    return parse_yaml(text, source=f"--task {text}")[0]


def _write(evaluation: Evaluation, out: Path) -> None:
    from emergence.core.store import writing

    try:
        with writing(out) as temporary:
            if out.suffix == ".csv":
                evaluation.scores.write_csv(temporary)
            else:
                evaluation.scores.write_parquet(temporary)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another file with --out") from error


def scores_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the scores as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "scores": evaluation.scores.to_dicts(),
        "notes": list(evaluation.notes),
    }


def scores_table(evaluation: Evaluation) -> Table:
    """Return one row per task and metric."""
    from rich.table import Table

    first = evaluation.scores.row(0, named=True)
    size = "no sizes" if first["params"] is None else f"{first['params']:,.0f} parameters"
    table = Table(title=f"{first['model']}, {size}", title_justify="left")
    for column in ("task", "shots", "metric", "score", "± stderr", "guessing", "examples"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    for row in evaluation.scores.iter_rows(named=True):
        table.add_row(
            row["task"],
            str(row["shots"]),
            row["metric"],
            f"{row['score']:.4f}",
            "–" if row["stderr"] is None else f"{row['stderr']:.4f}",
            "–" if row["floor"] is None else f"{row['floor']:.3g}",
            f"{row['n']:,}",
        )
    return table
