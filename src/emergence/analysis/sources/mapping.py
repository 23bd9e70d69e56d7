"""Reading any table through a mapping: which of its columns is which column of the scores table.

.. code-block:: yaml

    model: Model                              # a column
    family: Model Family
    params: {column: "Model Size (B)", times: 1e9}
    flops: '"FLOPs (1E21)" × 1e21'            # the same, shorter
    tasks: [MMLU, ARC-C]                      # a wide table: one column a task; {MMLU: mmlu} renames
    metric: accuracy                          # no such column, so it holds for every row
    shots: {MMLU: 5, ARC-C: 25}               # by task
    floor: {MMLU: 0.25, ARC-C: 0.25}
    scale: percent                            # scores and their standard errors are divided by 100
    sizes: {my-model: 1.3e9}                  # params of models that nothing else tells the size of

A long table has ``task: Column`` and ``score: Column`` in place of ``tasks``. Columns of the scores table that the
mapping does not name are taken by their own names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError, nearest
from emergence.core.schema import AXES
from emergence.core.yaml import KeyLines, read_yaml

__all__ = ["ByTask", "Column", "Constant", "Field", "TableMapping", "read_mapping"]

TEXTS = ("model", "family", "task", "metric", "role")
NUMBERS = (
    *(*AXES, "seed", "step", "shots"),
    *("score", "stderr", "n", "floor", "ceiling", "answer_tokens"),
)
#: These may differ from task to task.
BY_TASK = ("metric", "role", "shots", "n", "floor", "ceiling", "answer_tokens", "higher_is_better")
OTHERS = ("higher_is_better", "tasks", "scale", "sizes")
KEYS = (*TEXTS, *NUMBERS, *OTHERS)

_TIMES = re.compile(r'(?:"(?P<quoted>[^"]+)"|(?P<plain>.+?))\s*(?:×|\*|\sx\s)\s*(?P<times>[\d.]+(?:[eE][+-]?\d+)?)')


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; its numbers are multiplied by ``times``. ``certain`` says that it cannot be a constant."""

    name: str
    times: float = 1.0
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Constant:
    """One value for every row."""

    value: str | float | bool


@dataclass(frozen=True, slots=True)
class ByTask:
    """One value for each task, by its name or the name of its column."""

    values: Mapping[str, str | float | bool]


Field = Column | Constant | ByTask


@dataclass(frozen=True, slots=True)
class TableMapping:
    """A validated mapping; ``where`` words the place of a key in errors."""

    fields: Mapping[str, Field]
    tasks: Mapping[str, str]  # column -> task, for a wide table
    percent: bool
    sizes: Mapping[str, float]
    source: str
    lines: KeyLines

    def where(self, *path: str | int) -> str:
        """Return the file, and the line of the nearest key on ``path`` that has one."""
        line = next((self.lines[path[:k]] for k in range(len(path), 0, -1) if path[:k] in self.lines), None)
        return self.source if line is None else f"{self.source}, line {line}"

    @property
    def of_columns(self) -> bool:
        """Whether it says anything about the columns of a table, beyond sizes."""
        return bool(self.fields or self.tasks)


def read_mapping(mapping: Path | str | Mapping[str, Any]) -> TableMapping:
    """Return a mapping from a YAML file or from plain keys and values.

    Raises UserError, naming file and line, for an unknown key (with the nearest known one), a value of the wrong kind,
    or keys that exclude each other.
    """
    document: Any = mapping
    source, lines = "the mapping", dict[tuple[str | int, ...], int]()
    if isinstance(mapping, str | Path):
        source = str(mapping)
        document, lines = read_yaml(Path(mapping))
    if not isinstance(document, Mapping) or not document:
        raise UserError(f"{source}: a mapping has keys such as model: Model, task: Task, score: Score")
    return _Reader(source, lines).read(document)


class _Reader:
    """Turns the plain document into fields, with one way to complain."""

    def __init__(self, source: str, lines: KeyLines) -> None:
        self.empty = TableMapping({}, {}, False, {}, source, lines)

    def fault(self, path: Sequence[str | int], complaint: str) -> UserError:
        return UserError(f"{self.empty.where(*path)}: {'.'.join(map(str, path))}: {complaint}")

    def read(self, document: Mapping[str, Any]) -> TableMapping:
        for key in document:
            if key not in KEYS:
                place = self.empty.where(str(key))
                raise UserError(f"{place}: unknown key '{key}'{nearest(str(key), KEYS)} (known: {', '.join(KEYS)})")
        if "tasks" in document and {"task", "score"} & set(document):
            raise self.fault(["tasks"], "a wide table has no 'task' and 'score'; give either those or 'tasks'")
        scale = document.get("scale", "share")
        if scale not in ("share", "percent"):
            raise self.fault(["scale"], f"'{scale}' is neither share nor percent")
        fields = {key: self.field(key, document[key]) for key in document if key not in ("tasks", "scale", "sizes")}
        return TableMapping(
            fields=fields,
            tasks=self.tasks(document.get("tasks")),
            percent=scale == "percent",
            sizes=self.sizes(document.get("sizes")),
            source=self.empty.source,
            lines=self.empty.lines,
        )

    def tasks(self, value: Any) -> dict[str, str]:
        if value is None:
            return {}
        pairs = value.items() if isinstance(value, Mapping) else [(name, name) for name in self.listed(value)]
        found = {str(column): str(task) for column, task in pairs if isinstance(task, str) and task.strip()}
        if not found or len(found) < len(pairs):
            raise self.fault(["tasks"], "write a list of columns, such as [MMLU, GSM8K], or {column: task}")
        if len(set(found.values())) < len(found):
            raise self.fault(["tasks"], "two columns are the same task")
        return found

    def listed(self, value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value]

    def sizes(self, value: Any) -> dict[str, float]:
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not value:
            raise self.fault(["sizes"], "write {model: parameters}, such as {my-model: 1.3e9}")
        for model, size in value.items():
            if not _is_number(size) or size < 1:
                raise self.fault(["sizes", str(model)], f"{size!r} is not a number of parameters, such as 1.3e9")
        return {str(model): float(size) for model, size in value.items()}

    def field(self, key: str, value: Any) -> Field:
        if isinstance(value, Mapping):
            return self.by_column(key, value) if {"column", "value"} & set(value) else self.by_task(key, value)
        if isinstance(value, str) and value.strip():
            found = _TIMES.fullmatch(value.strip())
            if found is None:
                return Column(value.strip(), certain=key in NUMBERS or key in ("model", "task"))
            if key in NUMBERS:
                return Column((found["quoted"] or found["plain"]).strip(), float(found["times"]))
            raise self.fault([key], "only numbers can be multiplied")
        return Constant(self.constant([key], key, value))

    def by_column(self, key: str, value: Mapping[str, Any]) -> Field:
        for inner in value:
            if inner not in ("column", "times", "value"):
                raise self.fault([key, str(inner)], f"unknown{nearest(str(inner), ('column', 'times', 'value'))}")
        if "value" in value:
            if len(value) > 1:
                raise self.fault([key], "give either a value or a column")
            return Constant(self.constant([key, "value"], key, value["value"]))
        name, times = value["column"], value.get("times", 1.0)
        if not isinstance(name, str) or not name.strip():
            raise self.fault([key, "column"], f"{name!r} is not the name of a column")
        if not _is_number(times) or times == 0 or (key not in NUMBERS and "times" in value):
            raise self.fault([key, "times"], f"{times!r} cannot multiply '{key}'")
        return Column(name.strip(), float(times))

    def by_task(self, key: str, value: Mapping[str, Any]) -> ByTask:
        if key not in BY_TASK or not value:
            raise self.fault([key], "write a column, {column: NAME, times: NUMBER} or {value: VALUE}")
        return ByTask({str(task): self.constant([key, str(task)], key, inner) for task, inner in value.items()})

    def constant(self, path: Sequence[str], key: str, value: Any) -> str | float | bool:
        if key == "higher_is_better":
            if isinstance(value, bool):
                return value
            raise self.fault(path, f"{value!r} is neither true nor false")
        if key in NUMBERS:
            if _is_number(value):
                return float(value)
            raise self.fault(path, f"{value!r} is neither a number nor a column")
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise self.fault(path, f"{value!r} is not text")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
