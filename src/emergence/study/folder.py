"""The study folder: who owns it, where things lie in it, and the manifest with every file's checksum."""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from emergence.core.errors import UserError
from emergence.core.settings import StudySettings
from emergence.core.store import (
    TEMPORARY_PREFIX,
    DamagedFileError,
    locked,
    read_sealed,
    remove_temporary,
    sha256,
    write_bytes,
    write_sealed,
)
from emergence.core.yaml import read_yaml, to_yaml

__all__ = [
    "FREE",
    "GROWING",
    "SOURCE",
    "StudyFolder",
    "claim",
    "differences",
    "kept_embeddings",
    "open_folder",
    "records_file",
]

#: Settings of what is done with trained models: each job of it is done again if it has changed (`study.stages`).
STAGE_SETTINGS = ("finetune", "compress")
#: Settings that may change between two runs in one folder, since they do not change what is trained or asked.
#: The texts themselves are compared by content (`study.prepare`), so their paths may change too.
FREE = ("description", "analysis", "execution", "corpus.files", "model.allow_pickle", "search.trials", *STAGE_SETTINGS)
_DIALS = (f"model.ladder.{key}" for key in ("smallest", "largest", "rungs", "counts"))
#: Settings that may change if every model in the folder stays what it is.
GROWING = ("model.family", *_DIALS, "model.huggingface", "replicas")
SOURCE = "source.json"  # of a run: the model, trained elsewhere, that was asked
DAMAGED_FORECASTS = "forecasts-damaged.json"


@dataclass
class StudyFolder:
    """Paths and the manifest of one study."""

    path: Path
    manifest: dict[str, Any]

    def run(self, name: str) -> Path:
        """Return the folder of a run, for example ``models/R03-s1``."""
        return self.path / "models" / name

    def records(self, name: str, step: int) -> Path:
        """Return the file with the records of a run at one checkpoint."""
        return records_file(self.path, name, step)

    @property
    def data(self) -> Path:
        """The folder of the tokenizer and of everything packed for training."""
        return self.path / "data"

    @property
    def embeddings(self) -> Path:
        """The file of the token vectors that every run begins with, where the study names any."""
        return _embeddings(self.path)

    def record_files(self, *folders: Path) -> None:
        """Put the checksum of every file below ``folders`` (or of the files themselves) into the manifest and save
        it."""
        for folder in folders:
            for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
                if path.is_file():
                    self.manifest["files"][str(path.relative_to(self.path))] = sha256(path)
        self.save()

    def note(self, event: str) -> None:
        """Keep what a reader of the report should know; it stays whatever happens next."""
        if event not in self.manifest["events"]:
            self.manifest["events"].append(event)
            self.save()

    def forget(self, *folders: Path) -> None:
        """Take files out of the manifest that are about to be written again: the new ones are not damaged.

        Each of ``folders`` is a file, a folder with all it holds, or the beginning of names, which ends with a dash.
        """
        exact = {str(folder.relative_to(self.path)) for folder in folders}
        gone = tuple(name if name.endswith("-") else f"{name}/" for name in exact)
        files = self.manifest["files"]
        kept = {name: digest for name, digest in files.items() if name not in exact and not name.startswith(gone)}
        self.manifest["files"] = kept

    @contextlib.contextmanager
    def rewriting(self, *names: str) -> Iterator[None]:
        """Write files anew: the manifest forgets them first and has their checksums after.

        Killed in between, the next run then does not take a new file for a damaged one.
        """
        paths = [self.path / name for name in names]
        self.forget(*paths)
        self.save()
        yield
        self.record_files(*(path for path in paths if path.exists()))

    def save(self) -> None:
        """Write the manifest."""
        write_sealed(self.path / "manifest.json", self.manifest)

    def drop_damaged(self) -> None:
        """Delete files that do not match the manifest, forget those that are gone, and note what was lost.

        A checkpoint with a damaged file goes as a whole. Forecasts cannot be made again with their date: such a file is
        moved aside.
        """
        for name, digest in list(self.manifest["files"].items()):
            path = self.path / name
            if path.exists() and sha256(path) != digest:
                if name == "forecasts.json":
                    path.replace(self.path / DAMAGED_FORECASTS)
                    self.note(f"{name} was damaged or changed; it is now {DAMAGED_FORECASTS} and is not compared")
                    continue
                path.unlink()
                if "/" not in name:
                    continue  # scores and verdicts are written anew by every run
                self.note(f"{name} was damaged and has been removed")
                if path.parent.parent.name == "checkpoints":
                    shutil.rmtree(path.parent)
        self.manifest["files"] = {name: d for name, d in self.manifest["files"].items() if (self.path / name).exists()}


@contextlib.contextmanager
def open_folder(path: Path, study: StudySettings, shapes: Mapping[str, Any]) -> Iterator[StudyFolder]:
    """Hold the folder of a study for this process, new or begun before.

    ``shapes`` are the configurations of the models that the study plans, by the name of the run; of models that
    somebody else trained, where each step comes from. A study may have grown since it was begun, by rungs or replicas,
    if every model that is there keeps its name and shape. Raises UserError when the folder cannot be written, is in
    use, or belongs to another study.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; choose a folder with --out")
    with locked(path):
        foreign = (p for p in path.iterdir() if p.name != ".lock" and not p.name.startswith(TEMPORARY_PREFIX))
        if not (path / "study.yaml").exists() and any(foreign):
            raise UserError(f"{path} is not empty and holds no study; choose another folder with --out")
        remove_temporary(path)
        claim(path, study, shapes)
        manifest: dict[str, Any] = {"files": {}, "started": _now(), "events": []}
        lost = False
        try:
            manifest |= read_sealed(path / "manifest.json")
        except DamagedFileError:
            lost = (path / "manifest.json").exists()
        folder = StudyFolder(path, {**manifest, "versions": _versions(study), "hardware": _hardware()})
        if lost:
            folder.note("manifest.json was damaged; every file was checked again by what it holds")
        folder.drop_damaged()
        folder.save()
        yield folder
        folder.manifest["finished"] = _now()
        folder.save()


def records_file(study: Path, run: str, step: int) -> Path:
    """Return the file with the records of a run at one checkpoint, below the folder of its study."""
    return study / "records" / f"{run}-{step:06d}.parquet"


def kept_embeddings(study: Path) -> Path | None:
    """Return the file of the token vectors with which the models in the folder of a study were begun; None where no
    model is begun yet, for then the study may still name others."""
    file = _embeddings(study)
    return file if file.exists() and (study / "models").exists() else None


def _embeddings(study: Path) -> Path:
    return study / "data" / "embeddings.safetensors"


def claim(path: Path, study: StudySettings, shapes: Mapping[str, Any]) -> None:
    """Write the resolved study, or check that the one there asks the same question of the same models, or of fewer."""
    resolved = study.model_dump(mode="json")
    file = path / "study.yaml"
    if file.exists() and (path / "models").exists():
        before, _ = read_yaml(file)
        with contextlib.suppress(ValidationError):  # what an earlier version did not know takes its default
            before = StudySettings.model_validate(before).model_dump(mode="json")
        changes = [key for key in differences(before, resolved) if not key.startswith(FREE)]
        other = next((key for key in changes if key not in GROWING), None)
        lost = _first_lost(path, shapes) if changes and other is None else None
        if other is not None or lost is not None:
            why = f"'{other}' differs from its study.yaml" if other else f"its model {lost} has no place in this ladder"
            raise UserError(
                f"{path} belongs to another study: {why}; choose another folder with --out, or delete this one"
                f"{_next_rung(before) if lost else ''}"
            )
    write_bytes(file, to_yaml(resolved).encode())


def _first_lost(path: Path, shapes: Mapping[str, Any]) -> str | None:
    """Return the first run in the folder that the study does not plan in the shape that it has."""
    for run in sorted((path / "models").iterdir()):
        with contextlib.suppress(DamagedFileError):  # of a run that never began, or that will be done again
            if not _has_place(run, shapes.get(run.name)):
                return run.name
    return None


def _has_place(run: Path, shape: Any) -> bool:
    """Say whether a run that is there is the one that is planned: of a model trained elsewhere, at every step asked."""
    if not (run / SOURCE).exists():
        return bool(shape == read_sealed(run / "config.json")["config"])
    asked = read_sealed(run / SOURCE)["checkpoints"]
    return shape is not None and all(shape.get(step, own["source"]) == own["source"] for step, own in asked.items())


def _next_rung(before: Mapping[str, Any]) -> str:
    """Say how the ladder of the study in the folder would be one rung longer."""
    dial = before["model"].get("ladder")
    if dial is None or (dial["rungs"] or 0) < 2:
        return ""
    ratio = (dial["largest"] / dial["smallest"]) ** (1 / (dial["rungs"] - 1))
    return f" (its ladder grows upwards, next to rungs: {dial['rungs'] + 1}, largest: {dial['largest'] * ratio:.6g})"


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted names of what differs between two documents."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        yield path or "the whole"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions(study: StudySettings) -> dict[str, str]:
    names = ["emergence", "torch", "numpy", "scipy", "tokenizers", "polars", "rjieba", "opencc"]
    if study.model.huggingface:
        names.append("transformers")
    if study.search is not None:
        names.append("optuna")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):  # some are extras
            found[name] = metadata.version(name)
    return found


def _hardware() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
