"""The consoles that the commands print to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["make_console"]

LEAST_WIDTH = 72  # below it a terminal wraps lines, which loses nothing; a narrower table would drop columns


def make_console(*, stderr: bool = False) -> Console:
    """Return the console of standard output, or of standard error, at least as wide as a table needs."""
    from rich.console import Console

    console = Console(stderr=stderr)
    console.width = max(console.width, LEAST_WIDTH)
    return console
