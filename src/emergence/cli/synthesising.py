"""``synthesise`` and ``backtranslate``, which let models write training examples, and ``perturb``, which shows what
augmentation and perturbation make of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emergence.cli.models import print_json, with_json

if TYPE_CHECKING:
    from emergence.api.synthesising import Written

__all__ = ["add_synthesis_commands"]

_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write (.jsonl).")
_SEED = click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
_TOP_K = click.option("--top-k", type=int, help="Draw from this many most probable tokens.")
_TOP_P = click.option("--top-p", type=float, help="Draw from the most probable tokens that have this share together.")


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def add_synthesis_commands(program: click.Group) -> None:
    """Add the commands to the program."""
    for command in (synthesise, backtranslate, perturb):
        program.add_command(command)


@click.command()
@click.argument("model")
@click.option("--task", help="A labelled task: '{name: classification, files: train.tsv}'.")
@click.option("--label", "labels", multiple=True, help="Write this class; may be repeated [default: the task's].")
@click.option("--number", "-n", required=True, type=int, help="Texts of each class.")
@click.option(
    "--template",
    default="{label}: {text}\\n",
    show_default=True,
    help="An example; what stands before {text} is the prompt, what stands behind it ends an answer.",
)
@click.option("--shots", default=0, show_default=True, help="Training texts of the class in the prompt.")
@click.option("--shortest", type=int, help="Fewest characters of a text [default: as in training].")
@click.option("--longest", type=int, help="Most characters of a text [default: as in training].")
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--max-tokens", default=64, show_default=True)
@_with(_TOP_K, _TOP_P, _SEED, _OUT)
@with_json
def synthesise(model: str, task: str | None, template: str, out: Path, as_json: bool, **asked: Any) -> None:
    """Let MODEL, a causal one, write labelled texts, class by class.

    Texts that are empty, too short or long, there twice, or in the task's sets are thrown away and counted. The task
    reads the file as its option synthetic. The same command again does nothing.

    \b
    Example:  emergence synthesise runs/lm/models/R05-s0 -n 200 --label positive --label negative --out more.jsonl
              emergence synthesise my-llama --task '{name: classification, files: train.tsv}' --shots 4 -n 100
                  --out more.jsonl
    """
    import emergence as em
    from emergence.cli.progress import Words

    with Words(_stderr()) as words:
        template = template.replace("\\n", "\n").replace("\\t", "\t")
        written = em.synthesise(model, out, task=_parsed(task), template=template, progress=words, **asked)
    _show(written, as_json)


@click.command()
@click.argument("there")
@click.argument("back")
@click.option("--task", required=True, help="A labelled task: '{name: classification, files: train.tsv}'.")
@click.option("--there-prompt", help="How THERE is asked [default: '{text}→' for an own model, else '{text}'].")
@click.option("--back-prompt", help="How BACK is asked.")
@click.option("--copies", default=1, show_default=True, help="Translations back of each text.")
@click.option("--limit", type=int, help="Take so many training texts alone.")
@click.option("--temperature", default=0.0, show_default=True, help="Of the way back; 0 is the most probable text.")
@click.option("--max-tokens", default=128, show_default=True)
@_with(_TOP_K, _TOP_P, _SEED, _OUT)
@with_json
def backtranslate(there: str, back: str, task: str, out: Path, as_json: bool, **asked: Any) -> None:
    """Translate the training texts of a labelled task with the model THERE, and back with BACK.

    Texts that come back unchanged, or much shorter or longer, are thrown away and counted. The task reads the file as
    its option synthetic. The same command again does nothing.

    \b
    Example:  emergence backtranslate runs/en-zh/models/seq2seq-R02-s0 runs/zh-en/models/seq2seq-R02-s0
                  --task '{name: classification, files: train.tsv}' --out more.jsonl
    """
    import emergence as em
    from emergence.cli.progress import Words

    with Words(_stderr()) as words:
        written = em.back_translate(there, back, out, task=_parsed(task), progress=words, **asked)
    _show(written, as_json)


@click.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--lexicon", type=click.Path(path_type=Path), help="Lists of names, for the perturbation names.")
@click.option("--share", default=0.1, show_default=True, help="Of the words, for the ways of augmentation.")
@_SEED
@with_json
def perturb(texts: tuple[str, ...], lexicon: Path | None, share: float, seed: int, as_json: bool) -> None:
    """Show what every way of augmentation and every perturbation makes of TEXTS.

    \b
    Example:  emergence perturb "The film isn't very good." --seed 1
    """
    import emergence as em

    shown = em.show_changes(texts, share=share, seed=seed, lexicon=lexicon)
    if as_json:
        print_json(shown)
        return
    width = max(len(way) for changes in shown.values() for way in changes)
    for text, changes in shown.items():
        click.echo(text)
        for way, changed in changes.items():
            click.echo(f"  {way:<{width}}  {changed if changed != text else '(unchanged)'}")


def _parsed(task: str | None) -> Any:
    from emergence.core.yaml import parse_yaml

    return None if task is None else parse_yaml(task, source=f"--task {task}")[0]


def _show(written: Written, as_json: bool) -> None:
    if as_json:
        made = {"file": str(written.path), "examples": written.examples, "made": written.made}
        print_json({**made, "notes": list(written.notes)})
        return
    for note in written.notes:
        click.echo(note)
    there = "" if written.made else " were there already, as this command made them"
    click.echo(f"{written.examples} examples: {written.path}{there}")


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)
