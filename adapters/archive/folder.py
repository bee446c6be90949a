"""The archive: facts of old months in files below ``DATA_DIR/archive``, and reading them (docs/decisions/0011).

Which files there are, the table ``archived`` says; ``manifest.json`` beside them says the same to people, and to
whoever has nothing but the files. A file's name holds a part of its SHA-256, so a changed one is another file.
"""

import asyncio
import heapq
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from adapters.archive.files import FactFile, FileWriter, Row, need_pyarrow, sha256_of, sync_folder
from adapters.archive.index import Connection, Place, Stream, places_of
from adapters.store.errors import StoreError
from calls.facts import Fact, Source
from calls.order import place_between, place_of
from projections.ports import Checkpoint

_T = TypeVar("_T")

FOLDER: Final = "archive"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
"""Version of the files and of the manifest."""
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
GROUPS_KEPT: Final = 4
"""Row groups that are kept in memory for looking up streams."""

COLUMNS: Final = (
    "month, enterprise, file, sha256, bytes, facts, recovered, incarnation, xid::text::bigint, first_position,"
    " last_position, since, until, last_recorded_at"
)
FILES: Final = f"SELECT {COLUMNS} FROM archived ORDER BY month, enterprise"
KEEP: Final = """
INSERT INTO archived (month, enterprise, file, sha256, bytes, facts, recovered, incarnation, xid, first_position,
                      last_position, since, until, last_recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::xid8, $10, $11, $12, $13, $14)
ON CONFLICT (month, enterprise) DO UPDATE SET
    (file, sha256, bytes, facts, recovered, incarnation, xid, first_position, last_position, since, until,
     last_recorded_at, archived_at) =
    (excluded.file, excluded.sha256, excluded.bytes, excluded.facts, excluded.recovered, excluded.incarnation,
     excluded.xid, excluded.first_position, excluded.last_position, excluded.since, excluded.until,
     excluded.last_recorded_at, now())
"""


class ArchiveError(StoreError):
    """The archive cannot be read, or nothing can be moved; the text is a reason for people."""


class ArchivedFile(msgspec.Struct, frozen=True):
    """A row of the table ``archived``."""

    month: date
    enterprise: str
    file: str
    sha256: str
    bytes: int
    facts: int
    recovered: int
    incarnation: int
    xid: int
    first_position: int
    last_position: int
    since: datetime | None
    until: datetime | None
    last_recorded_at: datetime

    @property
    def place(self) -> tuple[int, int, int]:
        """Before all of its facts in the readers' order."""
        return self.incarnation, self.xid, 0


class Manifest(msgspec.Struct, frozen=True):
    """``manifest.json`` of a month."""

    format: int
    month: date
    columns: tuple[str, ...]
    files: tuple[ArchivedFile, ...]


class Told(NamedTuple):
    """An archived fact as far as a rebuild reads it, its place in the readers' order in front."""

    incarnation: int
    xid: int
    position: int
    enterprise: str
    stream: str
    version: int
    kind: str
    source: Source
    occurred_at: datetime
    body: bytes


async def open_archive(source: asyncpg.Pool | Connection, folder: Path | None) -> "Archive | None":
    """The archive for whoever has to read all facts; None where nothing is archived.

    Raises ArchiveError where nobody said where it is, and ExtraMissing.
    """
    if not await source.fetchval("SELECT EXISTS (SELECT FROM archived)"):
        return None
    if folder is None:
        raise ArchiveError("months are archived, and it was not said where: DATA_DIR/archive is needed")
    need_pyarrow()
    archive = Archive(folder)
    await archive.load(source)
    return archive


class Archive:
    """Reads files. ``load`` says which; each is compared with its checksum before it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[tuple[date, str], ArchivedFile] = {}
        self._right: set[str] = set()
        self._groups: OrderedDict[tuple[str, int], dict[str, list[Row]]] = OrderedDict()

    async def load(self, connection: Connection | asyncpg.Pool) -> None:
        """Take the files that there are now. Raises what asyncpg raises."""
        rows = await connection.fetch(FILES)
        self.files = {(row[0], row[1]): ArchivedFile(*row) for row in rows}

    def of(self, enterprises: Collection[str]) -> list[ArchivedFile]:
        """The files of some enterprises, by the places at which they begin."""
        mine = [one for one in self.files.values() if one.enterprise in enterprises]
        return sorted(mine, key=lambda one: one.place)

    def path(self, one: ArchivedFile) -> Path:
        """Where a file is."""
        return self.folder / one.file

    def open(self, one: ArchivedFile) -> FactFile:
        """Raises ArchiveError where the file is not what it was, and ExtraMissing."""
        path = self.path(one)
        if one.file not in self._right:
            verify(path, one)
            self._right.add(one.file)
        file = FactFile(path)
        if not file.whole:
            file.close()
            raise ArchiveError(
                f"{path} of the archive was written by an earlier callfold: bring it back with that one"
                " (`callfold archive --restore`), then archive it again"
            )
        return file

    # by the readers' order

    def live(
        self, enterprises: Collection[str], after: Checkpoint, upto: Checkpoint, unwanted: Collection[str]
    ) -> Iterator[Told]:
        """Facts that were not recovered, but for the ``unwanted`` kinds, in the readers' order."""
        behind, last = msgspec.structs.astuple(after), msgspec.structs.astuple(upto)
        parts = [
            (one.place, self._live_of(one, behind, last, frozenset(unwanted)))
            for one in self.of(enterprises)
            if one.place <= last and one.recovered < one.facts
        ]
        return _merged(parts, lambda told: told[:3])

    def _live_of(
        self, one: ArchivedFile, behind: tuple[int, ...], last: tuple[int, ...], unwanted: frozenset[str]
    ) -> Iterator[Told]:
        file = self.open(one)
        try:
            for group in range(file.live_groups):
                for row in file.columns(group, Told._fields):
                    if row[:3] > last:
                        return
                    if row[:3] > behind and row[6] not in unwanted:
                        yield Told._make(row)
        finally:
            file.close()

    def begun(self, enterprise: str) -> int | None:
        """Position of the first archived fact of an enterprise."""
        return min((one.first_position for one in self.of((enterprise,))), default=None)

    def last_before(self, at: datetime, upto: Checkpoint) -> Checkpoint:
        """The place of the last fact up to ``upto`` that was recorded by then; before all where there is none."""
        found = Checkpoint()
        for one in sorted(self.files.values(), key=lambda one: -one.last_position):
            if one.last_position < found.position:
                break
            file = self.open(one)
            for group in range(file.groups):
                for *place, recorded_at in file.columns(group, (*Told._fields[:3], "recorded_at")):
                    if recorded_at <= at:
                        found = max(found, min(upto, Checkpoint(*place)))
            file.close()
        return found

    # recovered ones

    def recovered(self, enterprise: str, after: int, upto: int) -> Iterator[Fact]:
        """Recovered facts up to a position that follow another or what is behind it, in their order."""
        parts = [
            (self._first_recovered(one), self._recovered_of(one, after, upto))
            for one in self.of((enterprise,))
            if one.recovered
        ]
        return _merged(parts, place_of)

    def _first_recovered(self, one: ArchivedFile) -> int:
        file = self.open(one)
        try:
            follows: int = next(file.columns(file.live_groups, ("follows",)))[0]
            return follows
        finally:
            file.close()

    def _recovered_of(self, one: ArchivedFile, after: int, upto: int) -> Iterator[Fact]:
        file = self.open(one)
        try:
            for group in range(file.live_groups, file.groups):
                for row in file.rows(group):
                    if row.position <= upto and row.follows is not None and row.follows >= after:
                        yield fact_of(row)
        finally:
            file.close()

    # by stream

    async def streams(self, connection: Connection, streams: Iterable[Stream], upto: int) -> list[Fact]:
        """The archived facts of these streams up to a position."""
        found: list[Fact] = []
        for (enterprise, stream), places in (await places_of(connection, streams)).items():
            for place in places:
                one = self.files.get((place.month, enterprise))
                if one is None:
                    raise ArchiveError(
                        f"{place.month:%Y-%m} of {enterprise} was moved meanwhile; run the command again"
                    )
                found += [fact_of(row) for row in self._rows_of(one, place, stream) if row.position <= upto]
        return found

    def _rows_of(self, one: ArchivedFile, place: Place, stream: str) -> Iterator[Row]:
        file = None
        for group in range(place.first_group, place.last_group + 1):
            key = (one.file, group)
            kept = self._groups.get(key)
            if kept is None:
                file = file or self.open(one)
                kept = self._groups[key] = {}
                for row in file.rows(group):
                    kept.setdefault(row.stream, []).append(row)
                if len(self._groups) > GROUPS_KEPT:
                    self._groups.popitem(last=False)
            else:
                self._groups.move_to_end(key)
            yield from kept.get(stream, ())
        if file is not None:
            file.close()


def _merged(parts: list[tuple[Any, Iterator[_T]]], place: Callable[[_T], Any]) -> Iterator[_T]:
    """Iterators in order, merged; each is asked when what comes before its first place (given with it) is over."""
    waiting = sorted(parts, key=lambda part: part[0], reverse=True)
    heap: list[tuple[Any, int, _T, Iterator[_T]]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            rest = waiting.pop()[1]
            for first in rest:
                heapq.heappush(heap, (place(first), len(waiting), first, rest))
                break
        if heap:
            _, number, told, rest = heap[0]
            yield told
            for following in rest:
                heapq.heapreplace(heap, (place(following), number, following, rest))
                break
            else:
                heapq.heappop(heap)


def fact_of(row: Row) -> Fact:
    """An archived row as a fact."""
    return Fact(
        row.position,
        row.enterprise,
        row.stream,
        row.version,
        row.kind,
        row.source,
        row.occurred_at,
        row.recorded_at,
        row.body,
        row.meta,
        0 if row.follows is None else place_between(row.follows, row.occurred_at, row.position),
    )


def verify(path: Path, one: ArchivedFile) -> None:
    """Raises ArchiveError where a file is missing, or is not what was written."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ArchiveError(
            f"{path} of the archive cannot be read: {error.strerror or error}; put it back from a copy"
        ) from error
    if found != one.sha256:
        raise ArchiveError(
            f"{path} of the archive is damaged: its SHA-256 should be {one.sha256} and is {found};"
            " put it back from a copy"
        )


# writing


class Draft:
    """A file on its way into the archive: written beside, read back, then put in its place."""

    def __init__(self, folder: Path, month: date, enterprise: str) -> None:
        self._folder = folder
        self.month, self.enterprise = month, enterprise
        self._here = folder / f"{month:%Y-%m}"
        self._here.mkdir(parents=True, exist_ok=True)
        self._path = self._here / f"{enterprise}.part"
        self.writer = FileWriter(self._path, month)

    def abandon(self) -> None:
        """Let go of it, and leave nothing."""
        self.writer.abandon()
        self._path.unlink()

    def finish(self) -> ArchivedFile:
        """Put it in its place. Raises ArchiveError where what is read back is not what was written, and OSError."""
        writer = self.writer
        writer.close()
        back = FactFile(self._path)
        same = back.digest() == writer.digest
        back.close()
        if not same:
            raise ArchiveError(f"{self._path} reads otherwise than it was written: is the disk sound?")
        digest = sha256_of(self._path)
        place = self._here / f"{self.enterprise}.{digest[:12]}.parquet"
        size = self._path.stat().st_size
        self._path.rename(place)
        for folder in (self._here, self._folder, self._folder.parent):
            sync_folder(folder)
        incarnation, xid = writer.first_place
        return ArchivedFile(
            month=self.month,
            enterprise=self.enterprise,
            file=str(place.relative_to(self._folder)),
            sha256=digest,
            bytes=size,
            facts=writer.facts,
            recovered=writer.recovered,
            incarnation=incarnation,
            xid=xid,
            first_position=writer.first_position,
            last_position=writer.last_position,
            since=writer.since,
            until=writer.until,
            last_recorded_at=writer.last_recorded_at,
        )


async def keep(connection: Connection, one: ArchivedFile) -> None:
    """Note a file in the table, in the caller's transaction."""
    told = msgspec.structs.astuple(one)
    await connection.execute(KEEP, *told[:8], str(one.xid), *told[9:])


def write_manifest(folder: Path, month: date, files: Sequence[ArchivedFile]) -> None:
    """Write, or with the last file remove, a month's manifest, whole or not at all. Raises OSError."""
    here = folder / f"{month:%Y-%m}"
    path = here / MANIFEST
    if not files:
        path.unlink(missing_ok=True)
        if here.is_dir() and not any(here.iterdir()):
            here.rmdir()
        return
    here.mkdir(parents=True, exist_ok=True)
    told = msgspec.json.format(
        msgspec.json.encode(Manifest(FORMAT, month, Row._fields, tuple(files))), indent=1
    )
    draft = here / f"{MANIFEST}.part"
    with draft.open("wb") as file:
        file.write(told + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(here)


async def tidy(connection: Connection, folder: Path) -> None:
    """Make manifests what the table says, and remove files that it does not know: left by what was interrupted.

    Only for whoever holds lock.REBUILD_LOCK: nobody else writes then. Raises OSError.
    """
    archive = Archive(folder)
    await archive.load(connection)
    await asyncio.to_thread(_tidy, folder, list(archive.files.values()))


def _tidy(folder: Path, files: Sequence[ArchivedFile]) -> None:
    if not folder.is_dir():
        return
    known = {folder / one.file for one in files}
    found = [path for path in folder.iterdir() if _MONTH.fullmatch(path.name)]
    for path in [
        path for here in found for suffix in ("parquet", "part") for path in here.glob(f"*.{suffix}")
    ]:
        if path not in known:
            path.unlink()
    for month in {one.month for one in files} | {date.fromisoformat(f"{path.name}-01") for path in found}:
        mine = [one for one in files if one.month == month]
        if not mine or read_manifest(folder, month) != mine:
            write_manifest(folder, month, mine)


def read_manifest(folder: Path, month: date) -> list[ArchivedFile]:
    """The files that a month's manifest names; none where it has none, or one that cannot be read."""
    try:
        told = msgspec.json.decode((folder / f"{month:%Y-%m}" / MANIFEST).read_bytes(), type=Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return []
    return list(told.files)


# changing


Change = Callable[[Row], Row | None]
"""A fact as it shall be from now on; None where it stays. Its place, stream and version stay."""


class Changed(msgspec.Struct):
    """What rewriting files came to: how many facts, when the first of them occurred, which streams they are of."""

    facts: int = 0
    since: datetime | None = None
    streams: set[str] = set()


async def rewrite(
    connection: asyncpg.Connection, folder: Path, month: date, enterprise: str, change: Change
) -> Changed:
    """Rewrite the archived facts of one month and enterprise: all of them, or none where anything fails.

    The caller holds lock.REBUILD_LOCK, so that nobody reads or moves meanwhile. The file from before is removed.
    Raises ArchiveError, ExtraMissing, OSError, what asyncpg raises.
    """
    archive = Archive(folder)
    await archive.load(connection)
    one = archive.files[month, enterprise]
    changed = Changed()
    old = archive.open(one)
    draft = Draft(folder, month, enterprise)
    try:
        for row in old.all():
            new = change(row)
            draft.writer.add(new or row)
            if new is not None:
                changed.facts += 1
                changed.since = min(changed.since or row.occurred_at, row.occurred_at)
                changed.streams.add(row.stream)
    except BaseException:
        draft.abandon()
        raise
    finally:
        old.close()
    if changed.facts == 0:
        draft.abandon()
        return changed
    new_file = draft.finish()
    async with connection.transaction():
        await keep(connection, new_file)
    if new_file.file != one.file:
        archive.path(one).unlink()
    archive.files[month, enterprise] = new_file
    write_manifest(folder, month, [told for (of, _), told in archive.files.items() if of == month])
    return changed
