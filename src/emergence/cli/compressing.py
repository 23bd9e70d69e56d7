"""``emergence compress``: a smaller model of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emergence.cli.models import print_json, with_json, with_model_options
from emergence.core.compression_settings import METHODS
from emergence.core.errors import UserError

__all__ = ["compress"]


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--method", required=True, type=click.Choice(METHODS), help="How.")
@click.option("--sparsity", type=float, help="Share of the weights to set to zero (pruning).")
@click.option("--bits", type=int, help="Bits of a weight: 8, 4, 3 or 2 (quantised).")
@click.option("--group", type=int, help="Inputs that share a step: 32, 64 or 128 [default: all of an output].")
@click.option("--zero-point", is_flag=True, help="Let steps begin elsewhere than around zero.")
@click.option("--embeddings", is_flag=True, help="Quantise token vectors and output head too.")
@click.option(
    "--calibration",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Text file that shows what the model reads (wanda); may be repeated.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@with_model_options
@with_json
def compress(
    model: str,
    folder: Path,
    method: str,
    calibration: tuple[Path, ...],
    seed: int,
    step: int | None,
    revision: str | None,
    allow_pickle: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Prune or quantise MODEL and write it to FOLDER, from which every command reads it.

    \b
    Example:  emergence compress runs/quickstart/models/R07-s0 small --method quantised --bits 4
              emergence compress my-llama half --method wanda --sparsity 0.5 --calibration text.txt
    """
    import emergence as em

    try:
        texts = [path.read_text(encoding="utf-8") for path in calibration]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--calibration: {error}; name files of plain text in UTF-8") from error
    loaded = em.load(model, step, revision=revision, allow_pickle=allow_pickle)
    done = loaded.compress(folder, method, calibration=texts, seed=seed, **how)
    if as_json:
        found = {"bits": done.bits, "all_bits": done.all_bits, "sparsity": done.sparsity}
        print_json({"folder": str(folder), "matrices": len(done.matrices), **found})
        return
    click.echo(
        f"{len(done.matrices)} matrices: {done.bits:.2f} bits a weight, {done.sparsity:.1%} of them zero; "
        f"the whole model {done.all_bits:.2f} bits a weight. Written to {folder}"
    )
