"""Finding a study: a YAML file, or one of the built-in ones by name, with ``--set`` changes applied."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError, unknown_name
from emergence.core.settings import StudySettings, validate_study
from emergence.core.yaml import override, parse_yaml, read_yaml

__all__ = ["built_in_studies", "load_study"]


def built_in_studies() -> dict[str, str]:
    """Return name -> YAML text of the studies that come with the package."""
    folder = resources.files("emergence.study") / "builtin"
    return {
        Path(item.name).stem: item.read_text(encoding="utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".yaml")
    }


def load_study(name: str, assignments: Iterable[str] = ()) -> StudySettings:
    """Return the validated settings of a study file or a built-in study.

    Paths in ``corpus.files``, and the ``file`` of a task, are relative to the file that names them; those given by
    ``--set`` to the current folder. Raises UserError for anything wrong, naming file and line.
    """
    assignments = list(assignments)
    studies = built_in_studies()
    path = Path(name)
    document: Any
    if path.suffix in (".yaml", ".yml") or (name not in studies and _exists(path)):
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the study file, or the name of a built-in study")
        document, lines = read_yaml(path)
        base, source = path.parent, str(path)
    else:
        if name not in studies:
            raise unknown_name("study", name, studies)
        document, lines = parse_yaml(studies[name], source=name)
        base, source = Path(), f"built-in study {name}"
    if isinstance(document, dict):
        document = _with_paths(override(_with_paths(document, base), assignments), Path.cwd())
        changed = [tuple(assignment.partition("=")[0].strip().split(".")) for assignment in assignments]
        lines = {key: line for key, line in lines.items() if not any(key[: len(c)] == c for c in changed)}
    return validate_study(document, source=source if not assignments else f"{source} with --set", lines=lines)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _with_paths(document: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return the document with the files of the corpus and of tasks seen from ``base``; absolute ones stay as they
    are."""
    corpus, tasks = document.get("corpus"), document.get("tasks")
    if isinstance(corpus, dict) and isinstance(corpus.get("files"), str | list):
        files = [corpus["files"]] if isinstance(corpus["files"], str) else corpus["files"]
        seen = [str(base / f) if isinstance(f, str) else f for f in files]
        document = {**document, "corpus": {**corpus, "files": seen}}
    if isinstance(tasks, list):
        own = [
            {**task, "file": str(base / task["file"])} if isinstance(task, dict) and _names_file(task) else task
            for task in tasks
        ]
        document = {**document, "tasks": own}
    return document


def _names_file(task: dict[str, Any]) -> bool:
    return isinstance(task.get("file"), str) and bool(task["file"])
