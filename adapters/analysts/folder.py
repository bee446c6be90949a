"""The folder of an export: a reader finds in it the whole of an older export or the whole of a newer one.

::

    manifest.json                                 what there is; written last
    events/day=2026-05-04/events.parquet          tables with days: a file for each
    customers/customers.parquet                   the others
    .next/                                        an export that is being made; nobody looks there
    .ready/                                       one that was made and is being put in its place

Files are made in ``.next`` with a list of those that go. Renaming it to ``.ready`` decides: from then on whoever opens
the folder, a reader too, first finishes putting the files in their places. Whoever was killed before has changed
nothing.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

from adapters.analysts.errors import ExportError
from adapters.analysts.files import Format

MANIFEST: Final = "manifest.json"
VERSION: Final = 1
NEXT: Final = ".next"
READY: Final = ".ready"
PLAN: Final = "plan.json"
MAKING: Final = ".making"
READING: Final = ".reading"
POLL: Final = 0.05


class File(msgspec.Struct, frozen=True):
    """One file, and of which state of the database it is: ``position`` is the last fact folded into it."""

    table: str
    path: str
    rows: int
    bytes: int
    made_at: datetime
    position: int
    day: date | None = None


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds in one format, and how its last export was asked for (``since`` and ``until`` as given)."""

    enterprise: str | None
    made_at: datetime
    since: datetime | None
    until: datetime | None
    checkpoint: dict[str, int]
    left: int
    """Events that were stored and not folded when it was made: they are in the next one."""
    rows: dict[str, int]
    files: list[File]
    archived: list[str] = []
    """Months of which events are archived, and not in it."""
    unknown: dict[str, int] = {}
    """By kind, the facts that are not in it because the version that made it did not know their kind."""


class Manifest(msgspec.Struct, frozen=True):
    """The contents of ``manifest.json``."""

    exports: dict[Format, Export]
    version: int = VERSION


class _Plan(msgspec.Struct, frozen=True):
    """Files that go when those of ``.ready`` come."""

    remove: list[str]


def read_manifest(folder: Path) -> Manifest | None:
    """What the folder holds; None where there is no export. Raises ExportError for what is none of ours."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ExportError(f"{folder / MANIFEST} cannot be read: {error}") from error
    if manifest.version != VERSION:
        raise ExportError(
            f"{folder} was exported by another version of callfold: export again into an empty folder"
        )
    return manifest


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """An empty folder to make an export in; raises ExportError while another makes one here."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MAKING).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(f"another export is being made in {folder}") from error
        _settle(folder)
        fresh = folder / NEXT
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def publish(folder: Path, manifest: Manifest, remove: list[str]) -> None:
    """Put what was made in its place; waits for readers. From here on it happens, whoever is killed."""
    fresh = folder / NEXT
    (fresh / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    (fresh / PLAN).write_bytes(msgspec.json.encode(_Plan(remove)))
    for path in (fresh / MANIFEST, fresh / PLAN):
        _sync(path)
    for parent in sorted({path.parent for path in fresh.rglob("*")} | {fresh}):
        _sync(parent)
    with _locked(folder, fcntl.LOCK_EX):
        fresh.rename(folder / READY)
        _sync(folder)
        _put(folder)


@contextmanager
def reading(folder: Path) -> Iterator[Manifest]:
    """The folder's export, unchanged until the end; raises ExportError where there is none."""
    _settle(folder)
    with _locked(folder, fcntl.LOCK_SH):
        manifest = read_manifest(folder)
        if manifest is None:
            raise ExportError(f"{folder} holds no export: callfold export, or --export DIR, or --live")
        yield manifest


def _settle(folder: Path) -> None:
    """Finish what somebody who was killed had begun to put in its place."""
    if (folder / READY).exists():
        with _locked(folder, fcntl.LOCK_EX):
            if (folder / READY).exists():
                _put(folder)


def _put(folder: Path) -> None:
    """Each step may be done once more; the manifest comes last."""
    ready = folder / READY
    plan = ready / PLAN
    if plan.exists():
        for name in msgspec.json.decode(plan.read_bytes(), type=_Plan).remove:
            (folder / name).unlink(missing_ok=True)
            _remove_empty(folder, (folder / name).parent)
    for path in sorted(ready.rglob("*")):
        if path.is_file() and path.name not in {MANIFEST, PLAN}:
            target = folder / path.relative_to(ready)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            _sync(target.parent)
    if (ready / MANIFEST).exists():
        (ready / MANIFEST).replace(folder / MANIFEST)
        _sync(folder)
    shutil.rmtree(ready)


def _remove_empty(folder: Path, path: Path) -> None:
    while path not in {folder, folder.parent} and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent


@contextmanager
def _locked(folder: Path, mode: int) -> Iterator[None]:
    """Readers together, or one who changes. A folder that this user may not write in nobody changes from here."""
    try:
        lock = os.open(folder / READING, os.O_RDONLY | os.O_CREAT, 0o644)
    except (PermissionError, FileNotFoundError):
        yield
        return
    except OSError as error:
        raise ExportError(f"{folder} cannot be used: {error.strerror}") from error
    try:
        while True:
            try:
                fcntl.flock(lock, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL)
        yield
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
