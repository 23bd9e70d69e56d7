"""Rows of cells from files of several formats: CSV, TSV, JSON lines, and lines cut at one character."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emergence.core.errors import UserError, nearest

__all__ = ["TABLE_FORMATS", "Cells", "TableFormat", "read_cells", "read_lines", "read_text"]

TableFormat = Literal["csv", "tsv", "jsonl"]
TABLE_FORMATS: tuple[TableFormat, ...] = ("csv", "tsv", "jsonl")


@dataclass(frozen=True)
class Cells:
    """One row: the line it ends on, and its cells by place; rows of JSON lines have ``names`` of their own."""

    line: int
    values: tuple[Any, ...]
    names: tuple[str, ...] = ()


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file with ``\\n`` at line ends and without a byte order mark.

    Raises UserError for a file that cannot be read, an encoding that does not exist, and bytes that are not of it.
    """
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UserError(f"encoding: there is no encoding '{encoding}'; use utf-8, latin-1 or gb18030, say") from None
    try:
        text = path.read_bytes().decode(encoding)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; correct the name or its permissions") from error
    except UnicodeDecodeError as error:
        other = "latin-1" if codecs.lookup(encoding).name == "utf-8" else "utf-8"
        raise UserError(
            f"{path}: byte {error.start} is not {encoding}; say which encoding it has, for example encoding: {other}"
            " (Chinese text may be gb18030)"
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not blank."""
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def read_cells(
    path: Path, *, form: TableFormat | None = None, separator: str | None = None, encoding: str = "utf-8"
) -> Iterator[Cells]:
    """Yield the rows of a table, the header (if it has one) among them; blank lines are left out.

    With ``separator`` every line is two cells, cut where that character stands last. Otherwise ``form`` says the
    format, or else the file's suffix. Between tabs a cell is one line; quotes around it are taken off where those
    inside are doubled, as spreadsheets write them, and mean nothing otherwise.
    Raises UserError with file and line.
    """
    text = read_text(path, encoding)
    if separator is not None:
        yield from _separated(text, separator, path)
        return
    suffix = path.suffix.lower().lstrip(".")
    if form is None and suffix not in TABLE_FORMATS:
        raise UserError(
            f"{path}: cannot tell the format from '{path.suffix or path.name}'{nearest(suffix, TABLE_FORMATS)}; say "
            "format: csv, tsv or jsonl, or separator: '@'; or give files by class, {positive: [...], negative: [...]}"
        )
    yield from {"csv": _commas, "tsv": _tabs, "jsonl": _objects}[form or suffix](text, path)


def _separated(text: str, separator: str, path: Path) -> Iterator[Cells]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        before, found, after = line.rpartition(separator)
        if not found:
            raise UserError(f"{path}, line {number}: there is no {separator!r} in {line[:40]!r}; correct the line")
        yield Cells(number, (before.strip(), after.strip()))


def _commas(text: str, path: Path) -> Iterator[Cells]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Cells(reader.line_num, tuple(cells))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; correct the line") from error


def _tabs(text: str, path: Path) -> Iterator[Cells]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield Cells(number, tuple(map(_bare, line.split("\t"))))


def _bare(cell: str) -> str:
    cell = cell.strip()
    inside = cell[1:-1].replace('""', "")
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inside
    return cell[1:-1].replace('""', '"') if quoted else cell


def _objects(text: str, path: Path) -> Iterator[Cells]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: this is not JSON: {error}; correct it") from error
        if not isinstance(value, dict):
            raise UserError(f'{path}, line {number}: this is no JSON object; write {{"text": …, "label": …}}')
        yield Cells(number, tuple(value.values()), tuple(value))
