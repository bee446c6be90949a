"""Moving months into the archive and back (docs/decisions/0011-store-for-years.md).

A month of an enterprise is moved at once: its file is written, read back and put in its place, then one transaction
notes it and deletes the rows. Whatever is killed between, readers find each fact once: by the table ``archived``, which
names the file as soon as the rows are gone and not before.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from adapters.archive.files import FactFile, Row
from adapters.archive.folder import Archive, ArchivedFile, ArchiveError, Draft, keep, tidy
from adapters.archive.index import REST, Place
from adapters.store.beside import OLD
from adapters.store.lock import lock_rebuild, unlock_rebuild
from adapters.store.partitions import later
from adapters.store.reading import LIVE, read_checkpoint
from projections.ports import Checkpoint

PAGE: Final = 2_000
MOST_TRIES: Final = 3
"""How often a month is read again because facts came while it was."""
LOCK_MS: Final = 100
"""Milliseconds to wait for a lock while appends wait behind it."""
DROPS: Final = 20
"""How often dropping an empty month is tried, a reader being in the way."""
DROP_EVERY: Final = 0.5
AT_ONCE: Final = 10_000
QUIET: Final = timedelta(days=1)
"""How long a month must have heard nothing: then nothing of it is in the memory of actors and projections."""

EARLIER: Final = "an earlier month of it stays"

_MONTHS: Final = """
SELECT to_date(substr(relid::text, 7), 'YYYY_MM') FROM pg_partition_tree('facts')
WHERE isleaf AND relid::text ~ '^facts_[0-9]{4}_[0-9]{2}$' ORDER BY 1
"""
_ENTERPRISES: Final = """
SELECT enterprise, count(*) AS facts, max(recorded_at) > $1::timestamptz - $2::interval AS lately,
       coalesce(bool_or((incarnation, xid, position) > ($3, $4::text::xid8, $5)), false) AS ahead,
       coalesce(bool_or((incarnation, xid, position) > ($6, $7::text::xid8, $8)), false) AS put_aside,
       max(position) = (SELECT max(position) FROM facts) AS newest
FROM {partition} GROUP BY enterprise ORDER BY enterprise
"""
_HELD: Final = """
SELECT
    (SELECT count(*) FROM calls WHERE enterprise = $1 AND outcome = 'open' AND started_at < $3),
    (SELECT count(*) FROM call_legs WHERE enterprise = $1 AND lost
     AND facts_month('leg/' || unique_id) BETWEEN '2000-01-01' AND $2),
    (SELECT count(*) FROM parked JOIN {partition} mine ON mine.position = parked.position
     WHERE parked.enterprise = $1 AND mine.enterprise = $1 AND parked.reason NOT LIKE 'CallArchived%'),
    (SELECT count(*) FROM folds_due WHERE enterprise = $1)
"""
_BRIDGES: Final = """
SELECT stream FROM facts_without_month WHERE enterprise = $1 AND starts_with(stream, 'bridge/')
GROUP BY stream
HAVING max(recorded_at) < $2
"""
_COLUMNS: Final = ", ".join("xid::text::bigint AS xid" if name == "xid" else name for name in Row._fields)
_ROWS: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT * FROM {{partition}} WHERE enterprise = $1
    UNION ALL SELECT * FROM facts_without_month WHERE enterprise = $1 AND stream IN ({_BRIDGES})
) AS facts
WHERE source {{which}} 'recovery' AND (incarnation, facts.xid, position) <= ($3, $4::text::xid8, $5)
ORDER BY {{order}}
"""
_DELETE: Final = "DELETE FROM {partition} WHERE enterprise = $1 AND position <= $2"
_DELETE_BRIDGES: Final = "DELETE FROM facts_without_month WHERE enterprise = $1 AND position = ANY($2)"
_RECORDINGS: Final = """
UPDATE recordings SET archived_position = told.position, archived_body = told.body
FROM (
    SELECT DISTINCT ON (stream) stream, position, body FROM {partition}
    WHERE enterprise = $1 AND kind = 'recording_added' AND position <= $2 ORDER BY stream, version DESC
) AS told
WHERE recordings.enterprise = $1 AND 'leg/' || recordings.unique_id = told.stream
"""
_STREAMS: Final = """
INSERT INTO archived_streams SELECT * FROM archived_now
ON CONFLICT (key, month) DO UPDATE SET
    (version, first_group, last_group) = (excluded.version, excluded.first_group, excluded.last_group)
"""


class Left(msgspec.Struct, frozen=True):
    """What was not moved; ``enterprise``: None where it is about the whole month."""

    month: str
    enterprise: str | None
    reason: str


class Moved(msgspec.Struct):
    """What a command came to; ``dropped``: months that have no table any more."""

    files: list[ArchivedFile] = []
    left: list[Left] = []
    dropped: list[str] = []


class Wanted(msgspec.Struct, frozen=True):
    """Months that had ended ``before`` a day, of one enterprise or of all, at the time ``now``."""

    before: date
    enterprise: str | None
    now: datetime


Told = Callable[[int], None]
"""Is told how many facts more were moved."""


@asynccontextmanager
async def alone_with_files(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Nobody rebuilds, forgets or archives meanwhile; a rebuild that was interrupted is no hindrance.

    It reads files and tables as one, by places that facts keep when they come back. Raises ArchiveError.
    """
    if not await lock_rebuild(connection):
        raise ArchiveError(
            "a rebuild, or another command that needs the archive, is at work on this database"
        )
    try:
        yield
    finally:
        await unlock_rebuild(connection)


@asynccontextmanager
async def alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Likewise, and no rebuild was interrupted that counts on the facts as they are. Raises ArchiveError."""
    async with alone_with_files(connection):
        if await connection.fetchval("SELECT EXISTS (SELECT FROM rebuilds)"):
            raise ArchiveError(
                "a rebuild was interrupted and counts on the facts as they are: let the same `callfold rebuild` end,"
                " or another one with --afresh"
            )
        yield


def partition_of(month: date) -> str:
    """The table of a month."""
    return f"facts_{month:%Y_%m}"


class Mover:
    """Moves what is due. One connection does it all; the service goes on meanwhile."""

    def __init__(self, connection: asyncpg.Connection, folder: Path, wanted: Wanted) -> None:
        self._connection, self._folder, self._wanted = connection, folder, wanted
        self._held: dict[str, date] = {}
        """By enterprise, the first month that stays: no later one is moved, so what is archived ends with some day."""

    async def due(self) -> list[tuple[date, str, int]]:
        """(month, enterprise, facts) to be moved, oldest first; what cannot be is put into ``left``."""
        self.left: list[Left] = []
        self._held.clear()
        found = []
        for month in [row[0] for row in await self._connection.fetch(_MONTHS)]:
            if later(month, 1) > self._wanted.before:
                continue
            if later(month, 1) > (self._wanted.now - REST).date():
                self.left.append(Left(f"{month:%Y-%m}", None, f"it ended less than {REST.days} days ago"))
                continue
            found += await self._due_of(month)
        return found

    def _stays(self, month: date, enterprise: str) -> bool:
        """True where an earlier month stays."""
        return self._held.get(enterprise, month) < month

    async def _due_of(self, month: date) -> list[tuple[date, str, int]]:
        checkpoint = await read_checkpoint(self._connection, LIVE)
        former = await read_checkpoint(self._connection, LIVE + OLD)
        rows = await self._connection.fetch(
            _ENTERPRISES.format(partition=partition_of(month)),
            self._wanted.now,
            QUIET,
            *_place(checkpoint),
            *_place(checkpoint if former == Checkpoint() else former),
        )
        found = []
        for row in rows:
            enterprise = row["enterprise"]
            if self._wanted.enterprise not in {None, enterprise}:
                continue
            reason = await self._reason(month, row)
            if reason is None:
                found.append((month, enterprise, row["facts"]))
            else:
                self._held.setdefault(enterprise, month)
                self.left.append(Left(f"{month:%Y-%m}", enterprise, reason))
        return found

    async def _reason(self, month: date, row: asyncpg.Record) -> str | None:
        """Why a month of an enterprise is not sealed."""
        enterprise = row["enterprise"]
        told = await self._connection.fetchrow(
            _HELD.format(partition=partition_of(month)), enterprise, month, _midnight(later(month, 1))
        )
        assert told is not None, "a row of counts"
        calls, lost, parked, due = told
        reasons = {
            EARLIER: self._stays(month, enterprise),
            "it is not projected yet": row["ahead"],
            "the newest fact of all is in it": row["newest"],
            "something of it came within a day": row["lately"],
            f"{calls} calls that began before its end are open": calls,
            f"{lost} legs may still come to belong to a call": lost,
            f"{parked} of its facts are parked: see `callfold parked`": parked,
            "recovered facts are still to be folded in": due,
            "the tables that the last rebuild has put aside would need it: `callfold rebuild all` first": row[
                "put_aside"
            ],
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    async def run(self, told: Told) -> Moved:
        """Move what is due and drop the months that are empty then.

        Raises ArchiveError, ExtraMissing, OSError, what asyncpg raises: what was moved before stays moved.
        """
        moved = Moved()
        await tidy(self._connection, self._folder)
        for month, enterprise, _ in await self.due():
            if self._stays(month, enterprise):
                self.left.append(Left(f"{month:%Y-%m}", enterprise, EARLIER))
            elif (one := await self._move(month, enterprise, told)) is None:
                self._held[enterprise] = month
                self.left.append(Left(f"{month:%Y-%m}", enterprise, "facts came while it was read"))
            else:
                moved.files.append(one)
        await tidy(self._connection, self._folder)
        moved.left = self.left
        moved.dropped = await self._drop_empty()
        return moved

    # one month of one enterprise

    async def _move(self, month: date, enterprise: str, told: Told) -> ArchivedFile | None:
        for _ in range(MOST_TRIES):
            archive = Archive(self._folder)
            await archive.load(self._connection)
            draft = Draft(self._folder, month, enterprise)
            try:
                read = await self._write(archive, draft, told)
            except BaseException:
                draft.abandon()
                raise
            if draft.writer.last_recorded_at > self._wanted.now - QUIET:
                draft.abandon()
                return None
            one = await asyncio.to_thread(draft.finish)
            if await self._commit(one, draft, read):
                return one
        return None

    async def _write(self, archive: Archive, draft: Draft, told: Told) -> "_Read":
        """Write what the tables have, and what the file from before has; both in the file's order."""
        month, enterprise = draft.month, draft.enterprise
        read = _Read()
        before = archive.files.get((month, enterprise))
        checkpoint = await read_checkpoint(self._connection, LIVE)
        arguments = (enterprise, _midnight(later(month, 1)), *_place(checkpoint))
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            for which, order in (
                ("<>", "incarnation, facts.xid, position"),
                ("=", "follows, occurred_at, position"),
            ):
                sql = _ROWS.format(partition=partition_of(month), which=which, order=order)
                old = _Behind(archive, before, recovered=which == "=")
                cursor = await self._connection.cursor(sql, *arguments)
                while page := await cursor.fetch(PAGE):
                    rows = [Row._make(row) for row in page]
                    await asyncio.to_thread(_add, draft, old, rows)
                    read.take(rows, month)
                    told(len(rows))
                await asyncio.to_thread(_add, draft, old, None)
        return read

    async def _commit(self, one: ArchivedFile, draft: Draft, read: "_Read") -> bool:
        """Note the file and delete the rows, or neither: False where other rows would go than were written."""
        connection, partition = self._connection, partition_of(one.month)
        try:
            async with connection.transaction():
                await connection.execute(_RECORDINGS.format(partition=partition), one.enterprise, read.last)
                await keep(connection, one)
                await _keep_streams(connection, draft.writer.streams)
                gone = _count(
                    await connection.execute(_DELETE.format(partition=partition), one.enterprise, read.last)
                )
                for begin in range(0, len(read.bridges), AT_ONCE):
                    some = read.bridges[begin : begin + AT_ONCE]
                    gone += _count(await connection.execute(_DELETE_BRIDGES, one.enterprise, some))
                _check(gone == read.facts)
        except _OtherRows:
            return False
        return True

    # months that are empty

    async def _drop_empty(self) -> list[str]:
        """Drop tables of months that are archived and have no row; one that a reader is in the way of stays empty."""
        dropped = []
        months = await self._connection.fetch("SELECT DISTINCT month FROM archived ORDER BY month")
        for month in [row[0] for row in months]:
            partition = partition_of(month)
            for _ in range(DROPS):
                if await self._connection.fetchval("SELECT to_regclass($1) IS NULL", partition):
                    break
                if await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {partition})"):
                    break
                if await self._drop(partition):
                    dropped.append(f"{month:%Y-%m}")
                    break
                await asyncio.sleep(DROP_EVERY)
            else:
                self.left.append(
                    Left(
                        f"{month:%Y-%m}",
                        None,
                        "its table is empty; somebody reads, so it is dropped next time",
                    )
                )
        return dropped

    async def _drop(self, partition: str) -> bool:
        """Whoever appends waits behind us for moments only: without the locks at once, it is tried later."""
        try:
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                await self._connection.execute("LOCK TABLE ONLY facts, facts_other IN ACCESS EXCLUSIVE MODE")
                await self._connection.execute(f"LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE")
                if not await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {partition})"):
                    await self._connection.execute(f"ALTER TABLE facts DETACH PARTITION {partition}")
                    await self._connection.execute(f"DROP TABLE {partition}")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            return False
        return True


class _OtherRows(Exception):
    """Rows have come or gone since they were read."""


def _check(same: bool) -> None:
    if not same:
        raise _OtherRows


class _Read:
    """What was read of the tables: so many facts, the month's up to a position, and these of bridges."""

    def __init__(self) -> None:
        self.facts = 0
        self.last = 0
        self.bridges: list[int] = []

    def take(self, rows: Collection[Row], month: date) -> None:
        self.facts += len(rows)
        self.last = max([self.last, *[row.position for row in rows if row.month == month]])
        self.bridges += [row.position for row in rows if row.month != month]


class _Behind:
    """The rows of a file from before, read as far as others have come."""

    def __init__(self, archive: Archive, one: ArchivedFile | None, *, recovered: bool) -> None:
        self._rows = iter(()) if one is None else _part(archive.open(one), recovered=recovered)
        self._next = next(self._rows, None)
        self._recovered = recovered

    def before(self, row: Row | None) -> Iterator[Row]:
        """Those that come before this one, or all that are left."""
        while self._next is not None and (row is None or self._place(self._next) < self._place(row)):
            yield self._next
            self._next = next(self._rows, None)

    def _place(self, row: Row) -> tuple[object, ...]:
        return (row.follows, row.occurred_at, row.position) if self._recovered else row[:3]


def _part(file: FactFile, *, recovered: bool) -> Iterator[Row]:
    groups = range(file.live_groups, file.groups) if recovered else range(file.live_groups)
    for group in groups:
        yield from file.rows(group)
    file.close()


def _add(draft: Draft, old: _Behind, rows: list[Row] | None) -> None:
    for row in rows or ():
        for earlier in old.before(row):
            draft.writer.add(earlier)
        draft.writer.add(row)
    if rows is None:
        for left in old.before(None):
            draft.writer.add(left)


async def _keep_streams(connection: asyncpg.Connection, streams: Iterator[tuple[int, Place]]) -> None:
    await connection.execute("CREATE TEMPORARY TABLE archived_now (LIKE archived_streams) ON COMMIT DROP")
    await connection.copy_records_to_table(
        "archived_now",
        records=((key, one.month, one.version, one.first_group, one.last_group) for key, one in streams),
    )
    await connection.execute(_STREAMS)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])


def _place(checkpoint: Checkpoint) -> tuple[int, str, int]:
    return checkpoint.incarnation, str(checkpoint.xid), checkpoint.position


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
