"""Asking a model tasks: what `em.evaluate` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.api.loading import load
from emergence.api.model import Model
from emergence.core.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from emergence.evaluation.evaluate import Ask
    from emergence.evaluation.kept import KeptAnswers
    from emergence.evaluation.requests import Answer, Request
    from emergence.models.family import Network
    from emergence.tasks.task import Question, Task, TaskContext

__all__ = ["Evaluation", "Tasks", "evaluate"]

MOST_EXAMPLES, MOST_SHOTS = 1_000_000, 64

Tasks = str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model (`core.schema.SCORE_COLUMNS`), and one record per example behind them
    (`core.schema.RECORD_COLUMNS`).

    ``notes`` say what a reader should know besides: questions that were longer than the context, and lost the start of
    their prompt.
    """

    scores: pl.DataFrame
    records: pl.DataFrame
    notes: tuple[str, ...] = ()


def evaluate(
    model: Model | str | Path,
    tasks: Tasks,
    *,
    examples: int = 512,
    shots: int = 0,
    seed: int = 0,
    cache: bool | str | Path = True,
    progress: Callable[[str], None] = lambda words: None,
) -> Evaluation:
    """Ask a model up to ``examples`` held-out questions of every task, with ``shots`` worked examples before each.

    ``model`` is what `load` returns or takes; ``tasks`` are names, or mappings such as ``{"name": "modular_addition",
    "modulus": 97}``. The same ``seed`` asks the same questions, in a study too. Answers are kept on disk, in the folder
    ``cache``, by default ``$EMERGENCE_CACHE`` or ``~/.cache/emergence/answers``, so that what was asked before is not
    computed again; with ``cache=False`` nothing is. A question longer than the model's context loses the start of its
    prompt; its record says how many tokens (``truncated``), and a note how many did. ``progress`` is told in words what
    is being done. Raises UserError for an unknown task or option, and for a task that the model cannot be asked.
    """
    from emergence.evaluation.engine import answer
    from emergence.evaluation.evaluate import evaluate as ask_all

    chosen = _tasks(tasks)
    for name, value, low, high in (("examples", examples, 1, MOST_EXAMPLES), ("shots", shots, 0, MOST_SHOTS)):
        if not low <= value <= high:
            raise UserError(f"{name} is {value}; give a number from {low} to {high:,}")
    if not isinstance(model, Model):
        progress("loading the model")
        model = load(model)
    progress("making the questions")
    context = _context(model, seed)
    asked = [(task, _questions(task, context, examples, shots)) for task in chosen]
    with ExitStack() as stack:
        ask: Ask = answer
        if cache is not False:
            from emergence.evaluation.kept import KeptAnswers, default_folder

            try:
                kept = stack.enter_context(KeptAnswers(default_folder() if cache is True else Path(cache)))
                ask = _keeping(kept, model)
            except UserError as fault:
                if cache is not True:  # a folder that was named must be there, the default one is a convenience
                    raise
                progress(f"without a cache: {fault}")
        progress(f"asking {sum(len(questions) for _, questions in asked):,} questions")
        frames = ask_all(model.network, model.tokenizer, asked, seed=seed, ask=ask)
    return _scored(model, chosen, frames, shots)


def _tasks(tasks: Tasks) -> list[Task]:
    """Return the tasks that are named; raise UserError where one is unknown, twice, or nothing is named."""
    from emergence.tasks.catalogue import make_task

    given = [tasks] if isinstance(tasks, str | Mapping) else list(tasks)
    found: dict[str, Task] = {}
    for task in given:
        options = {"name": task} if isinstance(task, str) else dict(task) if isinstance(task, Mapping) else {}
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UserError(f"a task is a name, or has one: {{name: copy, length: 4}}; not {task!r}")
        if name in found:
            raise UserError(f"the task '{name}' is asked for twice; evaluate once for each of its options")
        found[name] = make_task(name, options)
    if not found:
        raise UserError("no task is asked for; give one or more (emergence list tasks)")
    return list(found.values())


def _context(model: Model, seed: int) -> TaskContext:
    """Return what tasks form their questions with; the model of a study has held-out text beside it."""
    from emergence.tasks.task import TaskContext
    from emergence.text import Tokenizer, open_packed

    own = isinstance(model.tokenizer, Tokenizer)  # another's tokens would mean nothing to it
    held_out = model.path.resolve().parent.parent / "data" / "corpus-validation.bin"
    return TaskContext(
        tokenizer=model.tokenizer,
        context=model.network.config.context,
        seed=seed,
        validation_tokens=open_packed(held_out).tokens if own and held_out.exists() else None,
        truncates=True,
        whole_documents=held_out.with_name("corpus-validation-rows.bin").exists(),
    )


def _questions(task: Task, context: TaskContext, examples: int, shots: int) -> Sequence[Question]:
    """Return a task's questions; raise UserError where there are none, or the tokenizer cannot write one."""
    from emergence.evaluation.questions import writable_questions

    questions = writable_questions(task, context, examples, shots)
    if not questions:
        raise UserError(f"the task {task.name} has no questions with {shots} shots; ask with 0")
    return questions


def _keeping(kept: KeptAnswers, model: Model) -> Ask:
    """Return what answers from the kept answers first."""
    from emergence.evaluation.engine import answer

    identity = f"{model.network.fingerprint()} {model.tokenizer.identity}"

    def ask(network: Network, requests: Sequence[Request], *, end_id: int) -> list[Answer]:
        return kept.answer(identity, requests, lambda missing: answer(network, missing, end_id=end_id), end_id=end_id)

    return ask


def _scored(model: Model, tasks: Sequence[Task], frames: Sequence[pl.DataFrame], shots: int) -> Evaluation:
    """Return scores and records, with what is known of the model's place on every axis; a family without sizes has one
    along the tokens alone."""
    import polars as pl

    from emergence.analysis import normalise
    from emergence.evaluation.scores import score_records, truncation_notes
    from emergence.models.family import FAMILIES
    from emergence.text import Tokenizer

    records = pl.concat(frames, how="diagonal").with_columns(
        pl.lit(model.name).alias("model"),
        pl.lit(model.replica, dtype=pl.Int64).alias("seed"),
        pl.lit(model.step, dtype=pl.Int64).alias("step"),
        pl.lit(shots, dtype=pl.Int64).alias("shots"),
    )
    scores = score_records(records, {task.name: task for task in tasks}).with_columns(
        pl.lit(model.family).alias("family"), pl.lit(float(model.params)).alias("params")
    )
    history = model.path / "history.parquet"
    if history.exists():
        place = pl.col("tokens"), pl.col("flops"), pl.col("validation_loss").alias("loss")
        places = pl.read_parquet(history, glob=False).drop_nulls("validation_loss").select("step", *place)
        scores = scores.join(places, on="step", how="left")
    # A model in Hugging Face's layout may be of a family that has the name of one of ours.
    if isinstance(model.tokenizer, Tokenizer) and not FAMILIES.load(model.family).sized:
        scores = scores.with_columns(pl.lit(None, dtype=pl.Float64).alias(axis) for axis in ("params", "flops", "loss"))
    return Evaluation(normalise(scores), records, tuple(truncation_notes(records)))
