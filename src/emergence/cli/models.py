"""The commands on a single model: ``generate``, ``sample``, ``interpolate``, ``loglikelihood``, ``export``.

They share the options that say which model is meant, and how it may be read; ``interpolate`` and ``export`` work on
runs alone, and take a step of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from emergence.api import Model

__all__ = ["MODEL_OPTIONS", "add_model_commands", "print_json", "with_json", "with_model_options"]

Options = tuple[tuple[tuple[str, ...], dict[str, Any]], ...]

#: Which checkpoint or version of a model, and whether its weights may be read from pickle files.
MODEL_OPTIONS: Options = (
    (("--step",), {"type": int, "help": "Checkpoint of a run [default: the last]."}),
    (("--revision",), {"help": "Version of a model on the hub."}),
    (
        ("--allow-pickle",),
        {
            "is_flag": True,
            "help": "Read weights from pickle files where there are no others: their tensors alone.",
        },
    ),
)
_SEED = (("--seed",), {"default": 0, "show_default": True, "type": click.IntRange(0, 2**63 - 1)})
_DRAWING: Options = (
    (("--max-tokens",), {"default": 128, "show_default": True}),
    (("--top-k",), {"type": int, "help": "Draw from this many most probable tokens."}),
    (("--top-p",), {"type": float, "help": "Draw from the most probable tokens that have this share together."}),
    _SEED,
)


def with_json(command: Any) -> Any:
    """Add ``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def print_json(document: Any) -> None:
    """Print a document for machines."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _with(options: Options) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for flags, details in reversed(options):
            command = click.option(*flags, **details)(command)
        return command

    return add


def add_model_commands(program: click.Group) -> None:
    """Add the commands to the program, in the order a newcomer meets them."""
    for command in (generate, sample, interpolate, loglikelihood, export):
        program.add_command(command)


def with_model_options(command: Any) -> Any:
    """Add the options that say which version of a model is meant."""
    return _with(MODEL_OPTIONS)(command)


def _load(model: str, step: int | None, revision: str | None, allow_pickle: bool) -> Model:
    """Return the model, and say on standard error where pickle files were read."""
    import emergence as em

    loaded: Model = em.load(model, step, revision=revision, allow_pickle=allow_pickle)
    if loaded.pickled:
        click.echo("The weights were read from pickle files: their tensors alone, and no code was run.", err=True)
    return loaded


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.option("--temperature", default=0.0, show_default=True, help="0 is greedy.")
@_with(_DRAWING)
@click.option("--beams", default=1, show_default=True, help="Beginnings to search with (encoder-decoder models).")
@_with(MODEL_OPTIONS)
@with_json
def generate(
    model: str, prompt: str, step: int | None, revision: str | None, allow_pickle: bool, as_json: bool, **asked: Any
) -> None:
    """Continue PROMPT with MODEL: a run's folder, or a model in Hugging Face's layout.

    \b
    Example:  emergence generate runs/quickstart/models/R07-s0 "qwertyui|"
    """
    text = _load(model, step, revision, allow_pickle).generate(prompt, **asked)
    if as_json:
        print_json({"prompt": prompt, "output": text})
    else:
        click.echo(text)


@click.command()
@click.argument("model")
@click.option("--number", "-n", default=5, show_default=True, help="How many texts.")
@click.option("--temperature", default=1.0, show_default=True, help="0 is greedy.")
@_with(_DRAWING)
@_with(MODEL_OPTIONS)
@with_json
def sample(
    model: str, number: int, step: int | None, revision: str | None, allow_pickle: bool, as_json: bool, **asked: Any
) -> None:
    """Let MODEL write by itself; a variational one draws a latent vector for each text.

    \b
    Example:  emergence sample runs/sentences/models/vae-R02-s0 -n 10
    """
    _show_texts(_load(model, step, revision, allow_pickle).sample(number, **asked), as_json)


@click.command()
@click.argument("model")
@click.argument("first")
@click.argument("last")
@click.option("--steps", default=7, show_default=True, help="Sentences, both ends among them.")
@click.option("--step", type=int, help="Checkpoint to use [default: the last].")
@with_json
def interpolate(model: str, first: str, last: str, steps: int, step: int | None, as_json: bool) -> None:
    """Print what a variational MODEL writes on the way from the sentence FIRST to LAST.

    \b
    Example:  emergence interpolate runs/sentences/models/vae-R02-s0 "What news?" "I will not go."
    """
    import emergence as em

    _show_texts(em.load(model, step).interpolate(first, last, steps), as_json)


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.argument("target")
@_with(MODEL_OPTIONS)
@with_json
def loglikelihood(
    model: str, prompt: str, target: str, step: int | None, revision: str | None, allow_pickle: bool, as_json: bool
) -> None:
    """Print the log-probability (in nats) that MODEL gives to TARGET after PROMPT.

    \b
    Example:  emergence loglikelihood runs/quickstart/models/R07-s0 "qwertyui|" "qwertyui"
    """
    likelihood = _load(model, step, revision, allow_pickle).loglikelihood(prompt, target)
    if as_json:
        print_json({"total": likelihood.total, "logprobs": list(likelihood.logprobs), "greedy": all(likelihood.hits)})
    else:
        click.echo(f"{likelihood.total:.6f}")


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--step", type=int, help="Checkpoint to use [default: the last].")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["huggingface", "onnx"]),
    default="huggingface",
    show_default=True,
    help="What reads it: transformers, or onnxruntime.",
)
def export(model: str, folder: Path, step: int | None, layout: Any) -> None:
    """Write MODEL to FOLDER with its tokenizer and a model card, as transformers loads it.

    A family that transformers does not have, such as lstm, is written as `emergence` loads it. With --format onnx,
    token ids go in and logits come out, at any batch and length.

    \b
    Example:  emergence export runs/quickstart/models/R07-s0 my-llama
              emergence export my-llama my-onnx --format onnx
    """
    import emergence as em

    click.echo(f"Exported to {em.load(model, step).export(folder, layout)}")


def _show_texts(texts: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"outputs": texts})
    else:
        click.echo("\n".join(texts))
