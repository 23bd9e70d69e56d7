"""Markdown that shows any text as it is: escaped words, code spans and aligned tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["code", "plain", "table", "visible"]

_LONGEST = 60


def plain(text: str) -> str:
    """Return ``text`` on one line, without control characters and without anything that Markdown or HTML would read."""
    return "".join(f"\\{char}" if char in "\\`*<>[]|#" else char for char in visible(text))


def visible(text: str) -> str:
    """Return ``text`` with line breaks and control characters as signs that a terminal shows and does not obey."""
    shown = []
    for char in text:
        if char in "\r\n\u2028\u2029":
            shown.append("⏎")
        elif unicodedata.category(char) in ("Cc", "Cf"):
            shown.append(" " if char == "\t" else f"\\x{ord(char):02x}")
        else:
            shown.append(char)
    return "".join(shown)


def code(text: str, longest: int = _LONGEST) -> str:
    """Return ``text`` as a code span, where Markdown and HTML have no power; cut after ``longest`` characters."""
    shown = visible(text if len(text) <= longest else text[: longest - 1] + "…")
    if not shown.strip():
        return "(empty)" if not shown else f"`{shown.replace(' ', '␣')}`"
    fence = "`"
    while fence in shown:
        fence += "`"
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: bool = False) -> str:
    """Return an aligned Markdown table; with ``numeric`` every column but the first is aligned to the right."""
    # A pipe ends a cell even inside a code span, unless it is escaped there.
    header, *rows = ([re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in [header, *rows])
    widths = [max(3, *(_width(row[column]) for row in [header, *rows])) for column in range(len(header))]
    right = [numeric and column > 0 for column in range(len(header))]
    rule = [
        ("-" * (width - 1) + ":") if to_right else "-" * width for width, to_right in zip(widths, right, strict=True)
    ]
    lines = [_line(header, widths, right), "| " + " | ".join(rule) + " |", *(_line(row, widths, right) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if to_right else cell + space)
    return "| " + " | ".join(padded) + " |"


def _width(text: str) -> int:
    """Return the columns that a text takes in a terminal; East Asian wide characters take two."""
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1 for char in text
    )
