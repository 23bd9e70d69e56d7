"""What a search left in the folder of its study before: nothing, a part, the whole, or that of another question."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from emergence.core.errors import UserError
from emergence.core.search import SearchRecord
from emergence.core.settings import StudySettings
from emergence.core.store import DamagedFileError, read_sealed
from emergence.core.yaml import override
from emergence.study.folder import FREE, GROWING, differences
from emergence.study.search_plan import with_values

__all__ = ["comparable", "found_before", "with_found"]


def found_before(study: StudySettings, path: Path | None) -> SearchRecord | None:
    """Return the finished search of a study in its folder, None where it is still to be done, or to go on.

    Raises UserError where the folder has a search that asks something else, or would go on after its ladder was begun.
    """
    if study.search is None or path is None or not (path / "search" / "search.json").exists():
        return None
    folder = path / "search"
    with contextlib.suppress(DamagedFileError):
        before = read_sealed(folder / "search.json")
        changed = next(differences(before["study"], comparable(study)), None)
        if changed is not None:
            raise UserError(
                f"{folder} holds a search with other settings: '{changed}' differs; choose another folder with --out, "
                f"or delete {folder}"
            )
    try:
        record = SearchRecord.model_validate(read_sealed(folder / "result.json"))
    except (DamagedFileError, ValidationError):
        return None
    if len(record.trials) >= study.search.trials:
        return record
    if (path / "models").exists():
        raise UserError(
            f"the ladder in {path} is trained with the best of {len(record.trials)} trials; more of them may find "
            f"others: choose another folder with --out, or delete its models and records, and the search goes on"
        )
    return None


def with_found(study: StudySettings, path: Path) -> StudySettings:
    """Return the study with the best values where its search is finished in the folder, else as it is."""
    record = found_before(study, path)
    return study if record is None else with_values(study, record.values)


def comparable(study: StudySettings) -> dict[str, Any]:
    """Return what trials depend on: neither what may change in a study's folder, nor what they set themselves."""
    assert study.search is not None
    document = study.model_dump(mode="json")
    for name in (*FREE, *GROWING):
        *above, last = name.split(".")
        inner: Any = document
        for key in above:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    return override(document, (f"{name}=null" for name in study.search.settings))
