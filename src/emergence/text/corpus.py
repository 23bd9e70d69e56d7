"""Reading text files of several formats into documents, and splitting the documents into training and validation."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emergence.core.errors import UserError, nearest
from emergence.text.shapes import document_in, documents_in, parse_json

__all__ = ["Corpus", "distinct", "lines_of", "matching_files", "read_corpus", "split_corpus"]


@dataclass(frozen=True)
class Corpus:
    """Documents, each once, in the order of their files, and the files they came from."""

    documents: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def characters(self) -> int:
        """The length of all documents together."""
        return sum(map(len, self.documents))


def read_corpus(patterns: Sequence[str], base: Path | None) -> Corpus:
    """Read every file that the ``patterns`` match; relative ones start at ``base`` (the working folder if None).

    ``.txt`` is one document; ``.jsonl`` has one on each line; ``.json`` is a list of texts or objects (see
    `emergence.text.shapes`); ``.parquet`` has one in each row of the column ``text``, or of the only column of text.
    Line ends become ``\\n``, empty documents are dropped, and a document that occurs again is kept once.
    Raises UserError for a pattern that matches nothing, and for a file that is unreadable or holds no text.
    """
    files = _files(patterns, base or Path())
    documents: dict[str, None] = {}  # a dictionary keeps the order and drops repetitions
    for file in files:
        try:
            texts = list(_READERS[file.suffix.lower()](file))
        except RecursionError as error:
            raise UserError(f"{file}: the lists are nested too deeply; flatten them") from error
        for text in texts:
            document = text.replace("\r\n", "\n").replace("\r", "\n")
            if document.strip():
                documents[document] = None
    if not documents:
        names = ", ".join(str(file) for file in files[:3]) + (" and others" if len(files) > 3 else "")
        raise UserError(f"the corpus is empty: there is no text in {names}; name files that contain text")
    return Corpus(documents=tuple(documents), files=files)


def distinct(corpus: Corpus, form: Callable[[str], str]) -> Corpus:
    """Return the corpus with the first of all documents that have the same ``form``: those in two scripts, say."""
    first: dict[str, str] = {}
    for document in corpus.documents:
        first.setdefault(form(document), document)
    return Corpus(documents=tuple(first.values()), files=corpus.files)


def lines_of(corpus: Corpus) -> Corpus:
    """Return the corpus whose documents are the lines of those of ``corpus``: each once, without blank ones."""
    lines = (line.strip() for document in corpus.documents for line in document.split("\n"))
    return Corpus(documents=tuple(dict.fromkeys(line for line in lines if line)), files=corpus.files)


def split_corpus(corpus: Corpus, *, seed: int, fraction: float = 0.1) -> tuple[list[str], list[str]]:
    """Return the training and the validation documents; no document is in both.

    Where a document goes is decided by a hash of its text and the seed alone, so that it stays where it is when files
    are added. Of several documents at least one goes to each side; a single one is cut, and its last ``fraction`` is
    validation.
    Raises UserError where there is too little text to split, ValueError where ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, not {fraction}")
    if len(corpus.documents) == 1:
        text = corpus.documents[0]
        if len(text) < 2:
            raise UserError("a corpus of one character cannot be split into training and validation; add text")
        cut = min(len(text) - 1, max(1, len(text) - round(len(text) * fraction)))
        return [text[:cut]], [text[cut:]]
    places = [_place(text, seed) for text in corpus.documents]
    held_out = {index for index, place in enumerate(places) if place < fraction}
    order = sorted(range(len(places)), key=places.__getitem__)
    held_out |= {order[0]}
    held_out -= {order[-1]}
    training = [text for index, text in enumerate(corpus.documents) if index not in held_out]
    return training, [corpus.documents[index] for index in sorted(held_out)]


def _place(text: str, seed: int) -> float:
    """Return a number in [0, 1) that the text and the seed determine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little") / 2**64


def _files(patterns: Sequence[str], base: Path) -> tuple[Path, ...]:
    if not patterns:
        raise UserError("the corpus names no file; give at least one, for example texts/*.txt")
    found: dict[Path, Path] = {}  # by the file itself: two patterns may match it, under two names
    for pattern in patterns:
        try:
            matches = matching_files(pattern, base)
        except OSError as error:
            raise UserError(f"cannot look for '{pattern}' in {base.absolute()}: {error.strerror}") from error
        for path in matches:
            if path.suffix.lower() not in _READERS:
                hint = nearest(path.suffix.lower(), _READERS)
                raise UserError(
                    f"{path}: cannot read '{path.suffix or path.name}' files{hint}; use {', '.join(_READERS)}"
                )
            found.setdefault(path.resolve(), path)
    return tuple(found.values())


def matching_files(pattern: str, base: Path) -> list[Path]:
    """Return the absolute paths of the files that one pattern matches, in order of name.

    Raises UserError for a pattern that matches nothing, and for a folder.
    """
    path = (base / Path(pattern).expanduser()).absolute()
    if path.is_dir():
        raise UserError(f"{path} is a folder; name files in it, for example {Path(pattern) / '*.txt'}")
    if path.is_file():  # before it is read as a pattern: a name may contain brackets
        return [path]
    if not glob.has_magic(pattern):
        raise UserError(f"there is no file {path}; correct the name")
    # Not Path.glob, which takes no absolute pattern and matches hidden files too.
    names = sorted(glob.glob(str(Path(pattern).expanduser()), root_dir=base, recursive=True))  # noqa: PTH207
    files = [found for found in ((base / name).absolute() for name in names) if found.is_file()]
    if not files:
        raise UserError(f"no file matches '{pattern}' in {base.absolute()}; correct the pattern")
    return files


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 (Chinese text may be GB18030)"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    return text.removeprefix("\ufeff")


def _txt(path: Path) -> Iterator[str]:
    yield _read_text(path)


def _jsonl(path: Path) -> Iterator[str]:
    # Not splitlines: a JSON text may contain U+2028, which is no line end here.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield document_in(parse_json(line, where, by_line=True), where)


def _json(path: Path) -> Iterator[str]:
    text = _read_text(path)
    if text.strip():
        yield from documents_in(parse_json(text, str(path), by_line=False), str(path))


def _parquet(path: Path) -> Iterator[str]:
    import polars as pl

    try:
        frame = pl.scan_parquet(path, glob=False)
        schema = frame.collect_schema()
        texts = [name for name, kind in schema.items() if kind == pl.String]
        column = "text" if "text" in texts else texts[0] if len(texts) == 1 else None
        values = frame.select(column).drop_nulls().collect().to_series().to_list() if column is not None else []
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: this is not a readable parquet file ({reason}); write or copy it again") from error
    if column is None:
        raise UserError(
            f"{path}: no column 'text' of strings among {', '.join(schema) or 'none'}; rename one to 'text'"
        )
    yield from values


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _txt,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
}
