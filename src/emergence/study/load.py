"""Finding a study: a YAML file, or one of the built-in ones by name, with ``--set`` changes applied."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError, unknown_name
from emergence.core.published import split_revision
from emergence.core.settings import StudySettings, validate_study
from emergence.core.yaml import override, parse_yaml, read_yaml
from emergence.models.huggingface_load import hub_name

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

    Paths in ``corpus.files``, folders in ``model.huggingface`` and the files of a task are relative to the file that
    names them; those given by ``--set`` to the current folder. Raises UserError for anything wrong, naming file and
    line.
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
    """Return the document with its paths (corpus files, folders of models and of embeddings, files of tasks) seen
    from ``base``; absolute ones stay as they are."""
    changed = dict(document)
    corpus, model, training = (document.get(key) for key in ("corpus", "model", "training"))
    if isinstance(corpus, dict) and isinstance(corpus.get("files"), str | list):
        files = [corpus["files"]] if isinstance(corpus["files"], str) else corpus["files"]
        changed["corpus"] = {**corpus, "files": [str(base / f) if isinstance(f, str) else f for f in files]}
    if isinstance(model, dict) and isinstance(model.get("huggingface"), str | list | dict):
        named = model["huggingface"] if isinstance(model["huggingface"], list) else [model["huggingface"]]
        changed["model"] = {**model, "huggingface": [_with_folder(entry, base) for entry in named]}
    if isinstance(training, dict) and isinstance(training.get("initialise_embeddings"), str):
        given = str(base / training["initialise_embeddings"])
        changed["training"] = {**training, "initialise_embeddings": given}
    if isinstance(document.get("tasks"), list):
        changed["tasks"] = [_with_file(task, base) for task in document["tasks"]]
    return changed


def _with_file(task: Any, base: Path) -> Any:
    """Return a task of the study with its files, where it has some, as seen from ``base``."""
    if not isinstance(task, dict):
        return task
    changed = dict(task)
    for key in ("file", "files", "validation"):
        if task.get(key):
            changed[key] = _with_files(task[key], base)
    if isinstance(task.get("tests"), dict):
        changed["tests"] = {name: _with_files(value, base) for name, value in task["tests"].items()}
    return changed


def _with_files(value: Any, base: Path) -> Any:
    """Return names of files (in lists, by class, or under the key ``files`` of a set) as seen from ``base``."""
    if isinstance(value, str):
        return str(base / value)
    if isinstance(value, list):
        return [_with_files(one, base) for one in value]
    if isinstance(value, dict):
        named = {"files": value["files"]} if "files" in value else value
        return {**value, **{key: _with_files(one, base) for key, one in named.items()}}
    return value


def _with_folder(entry: Any, base: Path) -> Any:
    """Return a model of the study with its folder as seen from ``base``."""
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        return {**entry, "name": _seen_from(base, entry["name"])}
    if not isinstance(entry, str):
        return entry
    name, revision = (entry, None) if (base / entry).is_dir() else split_revision(entry)
    mapping = {"name": _seen_from(base, name)}
    return mapping if revision is None else {**mapping, "revision": revision}


def _seen_from(base: Path, name: str) -> str:
    """Return the path of a folder, or the name of a model on the hub as it is."""
    on_hub = hub_name(name) and not (base / name).parent.is_dir()
    return name if on_hub or not name else str(base / name)
