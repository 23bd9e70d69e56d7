"""Scores of many result files as growing columns, with the file and key that each came from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from emergence.analysis.table import KEY as TABLE_KEY
from emergence.core.errors import UserError

__all__ = ["Problem", "Results", "Run", "plural"]

_SCHEMA: dict[str, pl.DataType] = {
    "model": pl.String(),
    "family": pl.String(),
    "params": pl.Float64(),
    "seed": pl.Int64(),
    "step": pl.Int64(),
    "task": pl.String(),
    "metric": pl.String(),
    "shots": pl.Int64(),
    "score": pl.Float64(),
    "stderr": pl.Float64(),
    "n": pl.Int64(),
    "floor": pl.Float64(),
    "ceiling": pl.Float64(),
    "role": pl.String(),
    "higher_is_better": pl.Boolean(),
    "file": pl.Int64(),
}
#: Columns that make two rows the same measurement; result files know nothing of adapted models.
KEY = tuple(name for name in TABLE_KEY if name in _SCHEMA)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not read: a whole file, or one key of it."""

    path: Path
    key: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.key is None else f"{self.path}, {self.key}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Run:
    """Which model at which step a result file evaluates; ``date`` is seconds since 1970, where the file says it."""

    path: Path
    model: str
    family: str
    params: float | None
    seed: int
    step: int | None
    date: float | None


@dataclass(slots=True)
class Results:
    """What has been read so far. Columns are lists: a frame per file would cost more than the files themselves."""

    columns: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in _SCHEMA})
    runs: list[Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    _versions: dict[str, tuple[float, Path]] = field(default_factory=dict)
    _contents: dict[int, list[Path]] = field(default_factory=lambda: defaultdict(list))  # by the hash of all scores

    def add(self, run: Run, scores: Mapping[str, Sequence[object]]) -> None:
        """Append the scores of one file: the columns task, metric, score and any other of a scores table but the run's.

        A column that is left out is missing throughout.
        """
        count = len(scores["task"])
        file = len(self.runs)
        self.runs.append(run)
        for name, column in self.columns.items():
            if name in ("model", "family", "params", "seed", "step"):
                column.extend([getattr(run, name)] * count)
            else:
                column.extend([file] * count if name == "file" else scores.get(name) or [None] * count)
        content = hash(frozenset(zip(scores["task"], scores["metric"], scores["score"], strict=True)))
        self._contents[content].append(run.path)

    def check_version(self, task: str, version: object, path: Path) -> None:
        """Remember the version in which ``path`` ran ``task``; raise UserError where an earlier file has another."""
        if isinstance(version, bool) or not isinstance(version, int | float):
            return  # groups of tasks have "N/A"
        earlier, file = self._versions.setdefault(task, (float(version), path))
        if earlier != version:
            raise UserError(
                f"the task '{task}' was run in version {earlier:g} ({file}) and in version {version:g} ({path}); "
                "their scores do not compare, so read these files apart"
            )

    def identical(self) -> tuple[tuple[Path, ...], ...]:
        """Return the groups of files whose scores agree to the last digit: copies, or checkpoints that are equal."""
        return tuple(tuple(paths) for paths in self._contents.values() if len(paths) > 1)

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of these results should know, in sentences."""
        notes = [f"{text}: {_listed(paths)}" for text, paths in self.remarks.items() if paths]
        if groups := self.identical():
            notes.append(
                f"{plural(len(groups), 'group')} of files with identical scores, the first: {_listed(groups[0])}"
            )
        return tuple(notes)

    def frame(self) -> pl.DataFrame:
        """Return the scores as a frame with a column ``file``, the position in `runs`, and no measurement twice.

        Of two files with the same measurement the later by date counts, as when a harness is run again into the same
        folder; equal scores are one measurement. Raises UserError where two files disagree and do not both say when
        they were made.
        """
        frame = pl.DataFrame(self.columns, schema=_SCHEMA)
        if not frame.select(KEY).is_duplicated().any():
            return frame
        dates = pl.Series("date", [run.date for run in self.runs], dtype=pl.Float64)
        frame = frame.with_row_index("row").with_columns(dates.gather(frame["file"]))
        groups = frame.group_by(KEY, maintain_order=True).agg(
            "file", "date", pl.col("score").n_unique().alias("scores")
        )
        dated = pl.col("date").list.drop_nulls().list.n_unique() == pl.col("file").list.len()
        for row in groups.filter((pl.col("scores") > 1) & ~dated).iter_rows(named=True):
            first, second = (self.runs[file].path for file in row["file"][:2])
            at = "" if row["step"] is None else f" at step {row['step']}"
            raise UserError(
                f"{first} and {second} disagree on {row['task']} {row['metric']} of {row['model']}{at}; keep one"
            )
        kept = frame.sort("date", "row", nulls_last=False).unique(KEY, keep="last", maintain_order=True)
        dropped = frame.join(kept, on="row", how="anti")["file"].unique().sort()
        self.remarks["measured again elsewhere, so left out in part or whole"].extend(
            self.runs[i].path for i in dropped
        )
        return kept.sort("row").drop("row", "date")


def plural(count: int, noun: str) -> str:
    """Return "1 file" or "3 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(paths: Sequence[Path], most: int = 4) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(str(path) for path in paths[:most]) + more
