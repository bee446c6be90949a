"""The files of recordings: ``DATA_DIR/recordings/<enterprise>/<id>/<sha256>``.

A file comes under a name of its own in ``incoming`` and is moved when it is whole. From before that until its fact
is stored, a note in ``incoming`` names it: a start looks at these notes alone to find files without a fact, however
many recordings there are. Nothing that a host says is part of a path. Every function here blocks.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgspec

from adapters.recordings.kinds import LOOKED_AT, kind_of

_NOTE: Final = re.compile(r"([0-9]{4})\.([0-9a-f]{32})\.([0-9a-f]{64})")
_PART: Final = ".part"


class Place(msgspec.Struct, frozen=True):
    """Whose file it is: number of the enterprise, id of the recording, digest of the content."""

    enterprise: str
    id: str
    sha256: str

    @property
    def note(self) -> str:
        """Name of the note in ``incoming``; ValueError for what must not stand in a path."""
        name = f"{self.enterprise}.{self.id}.{self.sha256}"
        if not _NOTE.fullmatch(name):
            raise ValueError(f"{name!r} names no file of a recording")
        return name


class Incoming:
    """A file on its way; gone when the ``with`` is left, unless it was kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._digest = hashlib.sha256()
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append; raises OSError where there is no room."""
        if len(self._head) < LOOKED_AT:
            self._head += data[: LOOKED_AT - len(self._head)]
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> tuple[str, str]:
        """Have all of it on the disk; its kind and its digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return kind_of(self._head), self._digest.hexdigest()


class RecordingFiles:
    """All files of recordings below one directory, which is made with the first of them."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._incoming = home / "incoming"

    def receive(self) -> Incoming:
        """A file to write to. Raises OSError."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Incoming(self._incoming / f"{secrets.token_hex(16)}{_PART}")

    def keep(self, incoming: Incoming, place: Place) -> None:
        """Move a whole file to its place, noted as one whose fact is not stored yet. Raises OSError."""
        self.note(place)
        path = self._path(place)
        for folder in (path.parent.parent, path.parent):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True, mode=0o700)
                _sync(folder.parent)
        incoming.path.replace(path)
        _sync(path.parent)

    def note(self, place: Place) -> None:
        """Let a start look at this recording: its files may be about to change. Raises OSError."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._note(place).touch(mode=0o600)
        _sync(self._incoming)

    def settle(self, place: Place, served: str) -> None:
        """Of a noted recording keep the content of this digest alone ("": none is served), and take the note back."""
        folder = self._path(place).parent
        with contextlib.suppress(FileNotFoundError):
            for name in [entry.name for entry in os.scandir(folder)]:
                if name != served:
                    (folder / name).unlink(missing_ok=True)
            if not served:
                folder.rmdir()
        self._note(place).unlink(missing_ok=True)

    def open(self, place: Place) -> BinaryIO | None:
        """The file to read, None where it is not there."""
        try:
            return self._path(place).open("rb")
        except FileNotFoundError:
            return None

    def has(self, place: Place) -> bool:
        """True where the file is there."""
        return self._path(place).is_file()

    def noted(self) -> list[Place]:
        """Files whose fact was perhaps never stored, as a process before left them; what came in half is removed."""
        found = []
        for name in self._names():
            if name.endswith(_PART):
                (self._incoming / name).unlink(missing_ok=True)
            elif match := _NOTE.fullmatch(name):
                found.append(Place(*match.groups()))
        return found

    def _names(self) -> Iterator[str]:
        try:
            yield from [entry.name for entry in os.scandir(self._incoming)]
        except FileNotFoundError:
            return

    def _note(self, place: Place) -> Path:
        return self._incoming / place.note

    def _path(self, place: Place) -> Path:
        enterprise, ident, digest = place.note.split(".")
        return self._home / enterprise / ident / digest


def _sync(folder: Path) -> None:
    """A name in a directory is safe only once the directory is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
