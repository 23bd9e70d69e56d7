"""Reading files of sentence pairs: English and Chinese, or any other two languages, on each line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError, nearest

__all__ = ["read_pairs"]

#: What columns and keys are called; where a table has no such header, its first two columns are taken.
SOURCES = ("english", "en", "eng", "source", "src")
TARGETS = ("chinese", "zh", "cmn", "zh-cn", "target", "tgt")
FORMATS = (".tsv", ".txt", ".csv", ".jsonl")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of a file, each once, in their order; runs of white space become one space.

    ``.tsv`` and ``.txt`` have tabs between columns, ``.csv`` commas, ``.jsonl`` an object on each line. Columns are
    found by their names (`SOURCES`, `TARGETS`), or else are the first two. Raises UserError for a file that cannot be
    read, a line without a pair, and a file without any.
    """
    if path.suffix.lower() not in FORMATS:
        hint = nearest(path.suffix.lower(), FORMATS)
        raise UserError(f"{path}: cannot read pairs from '{path.suffix or path.name}'{hint}; use {', '.join(FORMATS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the pairs {path}: {error.strerror}; correct the name") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}; convert it") from error
    rows = _objects(text, path) if path.suffix.lower() == ".jsonl" else _table(text, path)
    pairs: dict[tuple[str, str], None] = {}
    for line, source, target in rows:
        pair = " ".join(source.split()), " ".join(target.split())
        if not all(pair):
            raise UserError(f"{path}, line {line}: one side of the pair is empty; complete or remove it")
        pairs[pair] = None
    if not pairs:
        raise UserError(f"{path} holds no pairs; give lines of a sentence and its translation")
    return list(pairs)


def _table(text: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, source and target of a table; quotes mean nothing between tabs."""
    if path.suffix.lower() == ".csv":
        reader = csv.reader(text.splitlines(keepends=True), strict=True)
    else:
        reader = csv.reader(text.splitlines(keepends=True), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns: tuple[int, int] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                names = [cell.strip().casefold() for cell in cells]
                header = _first(names, SOURCES), _first(names, TARGETS)
                columns = (0, 1)
                if header[0] is not None and header[1] is not None:
                    columns = header[0], header[1]
                    continue
            if len(cells) <= max(columns):
                raise UserError(
                    f"{path}, line {reader.line_num}: there is no translation beside {cells[0][:40]!r}; "
                    f"put a {'comma' if path.suffix.lower() == '.csv' else 'tab'} between the two sentences"
                )
            yield reader.line_num, cells[columns[0]], cells[columns[1]]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; correct the line") from error


def _first(names: list[str], known: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _objects(text: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, source and target of the objects in a file of JSON lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: this is not JSON: {error}; correct it") from error
        keys = {key.casefold(): key for key in value} if isinstance(value, dict) else {}
        source, target = (next((value[keys[k]] for k in known if k in keys), None) for known in (SOURCES, TARGETS))
        if not isinstance(source, str) or not isinstance(target, str):
            raise UserError(
                f"{path}, line {number}: a pair is an object with text under '{SOURCES[0]}' and '{TARGETS[0]}' "
                f"(or {', '.join(SOURCES[1:])}; {', '.join(TARGETS[1:])})"
            )
        yield number, source, target
