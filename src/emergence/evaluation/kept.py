"""Answers kept on disk, so that what was asked of a model before costs nothing to ask again. No torch here.

One SQLite file in write-ahead mode: a batch of answers is one transaction, which a killed process leaves whole or not
at all, and several processes may read and write at once. An answer is found by a 128-bit BLAKE2b digest of the model's
identity and of the whole request, and kept with the bits that were computed and a checksum. A file that is damaged is
set aside and a new one begun: all that is lost is time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from emergence.core.errors import UserError
from emergence.evaluation.requests import Answer, Continuation, GenerateRequest, Likelihood, Request, ScoreRequest

__all__ = ["KeptAnswers", "default_folder"]

FILE, LOCK = "answers.sqlite", "answers.lock"
LIMIT_BYTES = 2**30
TRIMMED = 0.9  # of the limit, what is left when the oldest answers go
AT_ONCE = 500  # answers looked up by one statement; SQLite has allowed at least 999 variables since its beginning
PATIENCE = 30.0  # seconds to wait for another process that writes
BEGINNING = 0.05  # seconds between attempts to begin a file that another process is just beginning
FORMAT = 1  # to be raised when answers are computed or kept otherwise

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS answers (age INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL);
PRAGMA user_version = {FORMAT};
"""


def default_folder() -> Path:
    """Return the folder of kept answers: ``$EMERGENCE_CACHE``, or ``emergence/answers`` among the user's caches."""
    named = os.environ.get("EMERGENCE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emergence" / "answers"


class DamagedAnswersError(Exception):
    """What is on disk is not what was written."""


class KeptAnswers:
    """Answers that were given before, in a folder; a context manager. All methods may be called by several processes.

    A folder on a full or failing disk never costs an answer: what cannot be kept is computed again next time.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open the answers in ``folder``, which is made where there is none; the oldest go beyond ``limit_bytes``.

        Raises UserError where the folder cannot be written.
        """
        self._path = folder / FILE
        self._limit = limit_bytes
        self._database: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"cannot keep answers in {folder}: {error.strerror}; choose another cache") from error
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._disconnect()
        os.close(self._lock)

    def answer(
        self,
        model: str,
        requests: Sequence[Request],
        compute: Callable[[list[Request]], list[Answer]],
        *,
        end_id: int,
    ) -> list[Answer]:
        """Return the answers of ``model`` to ``requests``; what is not known is computed, all at once, and kept.

        ``model`` is the identity of weights and tokenizer. A text is greedy and ends at ``end_id``.
        """
        keys = list(_keys(model, end_id, requests))
        known = self._guarded(lambda database: _look_up(database, keys, requests)) or {}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
        if missing:
            found = dict(zip(missing, compute(list(missing.values())), strict=True))
            self._guarded(lambda database: self._insert(database, found))
            known |= found
        return [known[key] for key in keys]

    def _insert(self, database: sqlite3.Connection, found: dict[bytes, Answer]) -> None:
        """Keep answers in one transaction, then drop the oldest beyond the limit."""
        rows = [(key, _seal(key, _to_bytes(answer))) for key, answer in found.items()]
        with _transaction(database):
            database.executemany("INSERT OR IGNORE INTO answers (key, value) VALUES (?, ?)", rows)
        pages, free, size = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = (pages - free) * size
        if used <= self._limit:
            return
        share = 1 - TRIMMED * self._limit / used
        oldest = "DELETE FROM answers WHERE age <= (SELECT min(age) + (max(age) - min(age) + 1) * ? - 1 FROM answers)"
        with _transaction(database):
            database.execute(oldest, (share,))
        database.execute("PRAGMA incremental_vacuum").fetchall()

    def _guarded(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do ``work`` on the database and return its result; None where that is not possible, which costs only time."""
        if self._database is None:
            return None
        try:
            return work(self._database)
        except sqlite3.OperationalError:  # locked for too long, a full disk: the file is sound, this result is not kept
            return None
        except (sqlite3.DatabaseError, DamagedAnswersError):
            self._set_aside()
            return None

    def _open(self) -> None:
        """Connect, while no other process sets the file aside; a damaged one is set aside first."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            for attempt in range(20):
                with contextlib.suppress(sqlite3.OperationalError):
                    self._database = _connect(self._path)
                    return
                time.sleep(BEGINNING * (attempt > 0))
            self._disconnect()
        except (sqlite3.DatabaseError, DamagedAnswersError):
            self._set_aside()

    def _set_aside(self) -> None:
        """Rename the damaged file and begin a new one, or do without where another process still uses it.

        A database that another process has open must not be renamed: on closing, that process would remove the journal
        of its successor (sqlite.org/howtocorrupt.html, section 2.4).
        """
        self._disconnect()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        with contextlib.suppress(OSError, sqlite3.Error):
            for suffix in ("", "-wal", "-shm"):
                damaged = self._path.with_name(FILE + suffix)
                if damaged.exists():
                    damaged.replace(self._path.with_name(f"{FILE}.damaged{suffix}"))
            self._database = _connect(self._path)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _disconnect(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; a file once large can shrink
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # in WAL mode a power cut costs the last batch, not the file
        database.execute("PRAGMA journal_size_limit = 16777216")
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version not in (0, FORMAT):
            raise DamagedAnswersError(f"{path} has format {version}")
        if version == 0:
            database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _keys(model: str, end_id: int, requests: Sequence[Request]) -> Iterator[bytes]:
    """Yield the digest that stands for each request; every part is as long as the numbers before it say."""
    start = f"{FORMAT} {model} ".encode()
    previous: tuple[int, ...] = ()
    prompt = b""
    for request in requests:
        if request.prompt is not previous:  # the choices of a question share their prompt
            previous = request.prompt
            prompt = array("i", previous).tobytes()
        if isinstance(request, ScoreRequest):
            head, rest = b"score %d " % len(previous), array("i", request.target).tobytes()
        else:
            head, rest = b"write %d %d %d " % (len(previous), request.max_tokens, end_id), b""
        source = request.source
        through = b"through %d " % len(source) + array("i", source).tobytes() if source else b""
        yield hashlib.blake2b(b"".join((start, through, head, prompt, rest)), digest_size=16).digest()


def _look_up(database: sqlite3.Connection, keys: list[bytes], requests: Sequence[Request]) -> dict[bytes, Answer]:
    """Return the answers that are there."""
    kinds = dict(zip(keys, map(type, requests), strict=True))
    wanted = list(kinds)
    known: dict[bytes, Answer] = {}
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        query = f"SELECT key, value FROM answers WHERE key IN ({','.join('?' * len(some))})"
        for key, value in database.execute(query, some):
            known[key] = _from_bytes(kinds[key], _unseal(key, value))
    return known


def _seal(key: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(4, "little") + content


def _unseal(key: bytes, value: bytes) -> bytes:
    content = value[4:]
    if zlib.crc32(content, zlib.crc32(key)) != int.from_bytes(value[:4], "little"):
        raise DamagedAnswersError("an answer does not match its checksum")
    return content


def _to_bytes(answer: Answer) -> bytes:
    """Return the bits of an answer: ids, or log-probabilities in double precision and then one byte for each hit."""
    if isinstance(answer, Continuation):
        return array("i", answer.ids).tobytes()
    return array("d", answer.logprobs).tobytes() + bytes(answer.hits)


def _from_bytes(kind: type[Request], content: bytes) -> Answer:
    if kind is GenerateRequest:
        return Continuation(tuple(array("i", content)))
    n = len(content) // 9
    return Likelihood(tuple(array("d", content[: 8 * n])), tuple(map(bool, content[8 * n :])))
