"""A file of a host's backlog as lines: JSON Lines as they stand there, gzipped or not, or a day's SQLite file by rows.

Table ``AlternativeAPIlogs`` of a day's file: DateTime (the host's wall clock), event, Uniqueid, request (the JSON that
was sent), status, response, responseTime. What a host counts as delivered has the status ``<Response [200]>``.
"""

import gzip
import sqlite3
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from adapters.recovery.lines import LONGEST_LINE

TABLE: Final = "AlternativeAPIlogs"
DELIVERED: Final = b"<Response [200]>"
_SQLITE: Final = b"SQLite format 3\0"
_GZIP: Final = b"\x1f\x8b"
_PACKED: Final = {
    b"PK\x03\x04": "a zip",
    b"\x28\xb5\x2f\xfd": "a zstd",
    b"\xfd7zXZ\0": "an xz",
    b"BZh": "a bzip2",
    b"7z\xbc\xaf": "a 7z",
}
"""How files begin that have to be unpacked first, and what they are."""
_NEEDED: Final = ("event", "request")
_TOLD: Final = ("datetime", "status")
_AT_ONCE: Final = 1 << 20

_File = IO[bytes] | gzip.GzipFile
Numbered = tuple[int, bytes | None]
"""Number of a line from 1, and the line; None for one that is too long."""


class BacklogError(Exception):
    """A file that cannot be read; ``line``: up to which it was, None where nothing of it was."""

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        super().__init__(f"{path}{'' if line is None else f', behind line {line}'}: {problem}")
        self.path = path
        self.line = line


class _Row(msgspec.Struct, omit_defaults=True):
    t: str
    event: str
    body: msgspec.Raw
    answered: bool = False


_json: Final = msgspec.json.Decoder(msgspec.Raw)


def count_lines(path: Path) -> int:
    """How many lines or rows a file has. Raises BacklogError."""
    with _readable(path) as file:
        if not _is_sqlite(file):
            count, last = 0, b"\n"
            while piece := file.read(_AT_ONCE):
                count += piece.count(b"\n")
                last = piece[-1:]
            return count + (last != b"\n")
    with closing(_opened(path)) as base, _sound(path):
        return int(base.execute(f"SELECT count(*) FROM {TABLE}").fetchone()[0])  # noqa: S608 - a name of ours


def read_backlog(path: Path) -> Generator[Numbered, None, None]:
    """The lines of a file in its order, blank ones left out. Raises BacklogError."""
    with _readable(path) as file:
        if not _is_sqlite(file):
            yield from _lines(file)
            return
    with closing(_opened(path)) as base:
        yield from _rows(path, base)


@contextmanager
def _readable(path: Path) -> Iterator[_File]:
    """The file, unpacked where it is gzipped."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
            file.seek(0)
            kind = next((kind for magic, kind in _PACKED.items() if begin.startswith(magic)), None)
            if kind:
                raise BacklogError(
                    path,
                    f"is {kind} file: unpack it first; JSON Lines may be gzipped, nothing else is read packed",
                )
            if not begin.startswith(_GZIP):
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                if _is_sqlite(unpacked):
                    raise BacklogError(path, "is a gzipped SQLite file: unpack it first, with gunzip")
                yield unpacked
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BacklogError(path, f"is a gzip file that is cut off or damaged: {error}") from error
    except OSError as error:
        raise BacklogError(path, error.strerror or type(error).__name__) from error


def _is_sqlite(file: _File) -> bool:
    first = file.read(len(_SQLITE))
    file.seek(0)
    return first == _SQLITE


def _lines(file: _File) -> Iterator[Numbered]:
    number = 0
    while line := file.readline(LONGEST_LINE + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)
            yield number, None
        elif line := line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").strip():
            yield number, line


@contextmanager
def _sound(path: Path, line: int | None = None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BacklogError(path, f"not a day's file of a host, or damaged: {error}", line) from error


def _opened(path: Path) -> sqlite3.Connection:
    """The file, never written to; what a host's SQLite has not put into it yet stands in the -wal file beside."""
    beside = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if beside.exists() else "mode=ro&immutable=1"
    with _sound(path):
        base = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)
        base.text_factory = bytes
        return base


def _rows(path: Path, base: sqlite3.Connection) -> Iterator[Numbered]:
    with _sound(path):
        columns = {row[1].decode().lower() for row in base.execute(f"PRAGMA table_info({TABLE})")}
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise BacklogError(path, f"has no table {TABLE} with {' and '.join(missing)}")
    told = ", ".join([name if name in columns else "NULL" for name in (*_NEEDED, *_TOLD)])
    number = 0
    with _sound(path):
        rows = base.execute(f"SELECT {told} FROM {TABLE} ORDER BY rowid")  # noqa: S608 - names of ours
    while True:
        with _sound(path, number):
            row = rows.fetchone()
        if row is None:
            return
        number += 1
        line = _line(*row)
        yield number, line if len(line) <= LONGEST_LINE else None


def _line(event: object, request: object, at: object, status: object) -> bytes:
    """A row as a line."""
    row = _Row(
        t=_text(at),
        event=_text(event).strip().removeprefix("/"),
        body=_body(request),
        answered=isinstance(status, bytes) and status.strip() == DELIVERED,
    )
    return msgspec.json.encode(row)


def _body(request: object) -> msgspec.Raw:
    """What was sent; what is no JSON goes along as a text, to be refused by its reader."""
    if isinstance(request, bytes):
        sent = request.strip().replace(b"\r", b" ").replace(b"\n", b" ")
        try:
            return _json.decode(sent)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # said below in other words
    return msgspec.Raw(msgspec.json.encode(_text(request)))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
