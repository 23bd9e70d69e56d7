"""Reading YAML 1.2 safely, with the line of every key, and ``--set key=value`` overrides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError

__all__ = ["KeyLines", "override", "parse_yaml", "read_yaml", "to_yaml"]

KeyLines = dict[tuple[str | int, ...], int]


def read_yaml(path: Path) -> tuple[Any, KeyLines]:
    """Return the plain content of a YAML file and the line (from 1) of each key path; raise UserError if unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> tuple[Any, KeyLines]:
    """Return the plain content of a YAML text and its key lines; raise UserError when it does not parse."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{source}{line}: this is not YAML: {error.problem or error.context}") from error
    except (YAMLError, ValueError) as error:
        raise UserError(f"{source}: this is not YAML: {' '.join(str(error).split())}") from error
    lines: KeyLines = {}
    return _plain(tree, (), lines, source), lines


def _plain(node: Any, path: tuple[str | int, ...], lines: KeyLines, source: str) -> Any:
    """Copy ruamel's round-trip containers and scalars into plain Python, collecting the line of each key."""
    marks: Any = getattr(node, "lc", None)  # where ruamel keeps line numbers
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                raise UserError(f"{source}: the key {key!r} is not text; put it in quotes")
            with contextlib.suppress(TypeError, KeyError):  # a merged key has no line of its own
                lines[*path, key] = marks.key(key)[0] + 1
        return {str(key): _plain(value, (*path, str(key)), lines, source) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            lines[*path, index] = marks.item(index)[0] + 1
        return [_plain(value, (*path, index), lines, source) for index, value in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if node is None or type(node).__name__ == "ScalarBoolean":
        return None if node is None else bool(node)
    raise UserError(
        f"{source}: {'.'.join(map(str, path))}: {node!r} is not a number, text, list or mapping; put it in quotes"
    )


def override(document: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``document`` with ``key.path=value`` assignments applied; values are read as YAML.

    An entry of a list of named mappings is reached by its name: ``tasks.copy.length=4``.
    """
    result: dict[str, Any] = dict(document)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise UserError(f"--set {assignment}: write it as key.path=value, for example training.tokens=1e6")
        value, _ = parse_yaml(text, source=f"--set {assignment}")
        _assign(result, keys, value, assignment)
    return result


def _assign(target: dict[str, Any], keys: list[str], value: Any, assignment: str) -> None:
    """Put ``value`` at a path below ``target``; what lies on the way is copied."""
    key, *below = keys
    inner = target.get(key)
    if not below:
        target[key] = value
        return
    if isinstance(inner, list):
        named = [
            index for index, entry in enumerate(inner) if isinstance(entry, dict) and entry.get("name") == below[0]
        ]
        if named and below[1:]:
            entries = list(inner)
            entries[named[0]] = dict(inner[named[0]])
            _assign(entries[named[0]], below[1:], value, assignment)
            target[key] = entries
            return
    if inner is not None and not isinstance(inner, dict):
        raise UserError(f"--set {assignment}: '{key}' holds a {type(inner).__name__}, not a mapping")
    target[key] = dict(inner or {})
    _assign(target[key], below, value, assignment)


def to_yaml(document: Any) -> str:
    """Return ``document`` (plain mappings, lists and scalars) as YAML 1.2 text."""
    import io

    from ruamel.yaml import YAML

    stream = io.StringIO()
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # keys keep their order
    writer.allow_unicode = True
    writer.width = 120
    writer.dump(document, stream)
    return stream.getvalue()
