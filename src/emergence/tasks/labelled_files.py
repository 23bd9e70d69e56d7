"""From files to labelled examples: columns by name or number, classes by mapping, and what was dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError, nearest
from emergence.tasks.labelled_options import Files, ReadingOptions
from emergence.tasks.labelled_schema import Kind, Labelled
from emergence.text.corpus import matching_files
from emergence.text.tables import read_cells, read_lines

__all__ = ["Found", "named_files", "read_set"]

#: What columns are called where nobody says so, the first that is there.
KNOWN_COLUMNS: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "premise", "document", "article", "review", "prompt", "source"),
    "second": ("second", "sentence2", "hypothesis", "question"),
    "label": ("label", "gold_label", "category", "class", "sentiment", "intent", "emotion"),
    "value": ("value", "score", "rating", "stars", "label"),
    "answer": ("answer", "target", "summary", "completion", "highlights"),
}
#: What each kind of task cannot do without, beside the text.
WANTED: dict[Kind, str] = {"classification": "label", "regression": "value", "generation": "answer"}


@dataclass
class Found:
    """The examples of one set in the order of its files, and how many rows were dropped for which reason."""

    examples: list[Labelled] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def sentence(self, name: str) -> str | None:
        """Say what was dropped of the set called ``name``, or None."""
        if not self.dropped:
            return None
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())
        return f"{name}: {sum(self.dropped.values()):,} rows were left out: {reasons}"


def named_files(files: Files) -> Iterator[tuple[str | None, Path]]:
    """Yield every file that is named, each once, with the class that it is named for, if any."""
    by_class: dict[str | None, Sequence[str]] = {}
    if isinstance(files, dict):
        by_class.update(files)
    else:
        by_class[None] = files
    for label, patterns in by_class.items():
        yield from ((label, path) for path in dict.fromkeys(p for one in patterns for p in matching_files(one, Path())))


def read_set(options: ReadingOptions, kind: Kind, task: str, group: str | int | None = None) -> Found:
    """Return the examples of one set of files.

    Runs of white space become one space, except where text is to be written. Rows without a text or without a label,
    and those whose label is of no class or of several, are dropped and counted. Raises UserError for files and columns
    that are not there, and for a set in which nothing is left.
    """
    found = Found()
    names: list[str] = []
    for label, path in named_files(options.files):
        names.append(str(path))
        if label is None:
            for cells in _rows(path, options, kind, task, group):
                _take(found, cells, options, _stripped if kind == "generation" else _text)
            continue
        if kind != "classification":
            raise UserError(f"task {task}: files by class are for classification; list the files")
        for _, line in read_lines(path, options.encoding):
            text = " ".join(line.split())
            found.examples.append(Labelled(text, label=label))
    if not found.examples:
        why = f" ({found.sentence('all')})" if found.dropped else ""
        raise UserError(f"task {task}: there is no labelled example in {', '.join(names[:3])}{why}; name other files")
    return found


def _take(found: Found, cells: dict[str, Any], options: ReadingOptions, clean: Callable[[Any], str]) -> None:
    """Add the example of one row, its texts made ``clean``, or count why there is none."""
    text = clean(cells["text"])
    if not text:
        found.dropped["without a text"] += 1
        return
    second, group = clean(cells.get("second")), _text(cells.get("group"))
    if "label" in cells:
        ids = cells["label"]
        label, reason = class_of(", ".join(map(_text, ids)) if isinstance(ids, list) else _text(ids), options.labels)
        if label is None:
            found.dropped[reason] += 1
            return
        found.examples.append(Labelled(text, second, label=label, group=group))
    elif "value" in cells:
        raw = _text(cells["value"])
        if not raw:
            found.dropped["without a value"] += 1
            return
        found.examples.append(Labelled(text, second, value=_number(raw, cells["where"]), group=group))
    else:
        given = cells["answer"] if isinstance(cells["answer"], list) else [cells["answer"]]
        answers = tuple(filter(None, map(clean, given)))
        if not answers:
            found.dropped["without an answer"] += 1
            return
        found.examples.append(Labelled(text, second, answers=answers, group=group))


def class_of(cell: str, labels: dict[str, tuple[str, ...]] | None) -> tuple[str | None, str]:
    """Return the class that a cell stands for, or None and why it stands for none."""
    if not cell:
        return None, "without a label"
    if labels is None:
        return cell, ""
    known = {raw: name for name, raws in labels.items() for raw in raws}
    parts = [cell] if cell in known else [part.strip() for part in cell.split(",")]
    classes = {known[part] for part in parts if part in known}
    if len(classes) == 1:
        return classes.pop(), ""
    return None, "with labels of several classes" if classes else "with a label of no class"


def _text(value: Any) -> str:
    return " ".join(str(value).split()) if value is not None else ""


def _stripped(value: Any) -> str:
    return str(value).strip() if value is not None else ""


def _number(raw: str, where: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{where}: {raw[:40]!r} is no number; correct it, or name another column for the value")
    return value


def _rows(
    path: Path, options: ReadingOptions, kind: Kind, task: str, group: str | int | None
) -> Iterator[dict[str, Any]]:
    """Yield what the columns that matter hold in each row of a table, and ``where`` the row stands."""
    wanted = WANTED[kind]
    chosen: dict[str, str | int] = {str(role): column for role, column in options.columns.items()}
    if group is not None and group != "text":
        chosen["group"] = group
    if options.separator is not None and not options.columns:
        chosen |= {"text": 1, wanted: 2}
    numbered = {name: column for name, column in chosen.items() if isinstance(column, int)}
    if chosen and numbered and len(numbered) < len(chosen):
        raise UserError(f"task {task}: name all columns or number all of them, not some of each")
    places: dict[str, int] | None = None
    if numbered:
        places = {name: column - 1 for name, column in numbered.items()}
        _complete(places, wanted, task, path)
    for row in read_cells(path, form=options.format, separator=options.separator, encoding=options.encoding):
        where = f"{path}, line {row.line}"
        if row.names:
            places = _places(row.names, chosen, wanted, task, where)
        elif places is None:
            places = _places(tuple(map(str, row.values)), chosen, wanted, task, where)
            continue
        if max(places.values()) >= len(row.values):
            raise UserError(
                f"{where}: there are {len(row.values)} cells but column {max(places.values()) + 1} is wanted; correct "
                "the line, or say format: or columns:"
            )
        yield {name: row.values[place] for name, place in places.items()} | {"where": where}


def _complete(places: dict[str, int], wanted: str, task: str, path: Path) -> None:
    for name in ("text", wanted):
        if name not in places:
            raise UserError(f"task {task}: {path}: which column is the {name}? Add it to columns, as {{{name}: 1}}")


def _places(
    header: tuple[str, ...], chosen: dict[str, str | int], wanted: str, task: str, where: str
) -> dict[str, int]:
    """Return where each column stands in a header: those that are chosen, or else known names."""
    names = [name.strip() for name in header]
    folded = [name.casefold() for name in names]
    places = {}
    for role, column in chosen.items():
        if str(column) not in names:
            raise UserError(
                f"{where}: there is no column '{column}'{nearest(str(column), names)} (there are: "
                f"{', '.join(n[:40] for n in names)})"
            )
        places[role] = names.index(str(column))
    taken = {place for role, place in places.items() if role != "group"}  # a group may be one of the texts
    for role in ("text", "second", wanted):
        known = [name for name in KNOWN_COLUMNS[role] if name in folded and folded.index(name) not in taken]
        if role not in places and known and (role != "second" or not chosen.keys() - {"group"}):
            places[role] = folded.index(known[0])
            taken.add(places[role])
    for role in ("text", wanted):
        if role not in places:
            hint = nearest(KNOWN_COLUMNS[role][0], names)
            raise UserError(
                f"{where}: task {task} cannot tell which column is the {role}{hint} (there are: "
                f"{', '.join(n[:40] for n in names)}); say columns: {{text: …, {wanted}: …}}, with numbers from 1 "
                "where the file has no header"
            )
    return places
