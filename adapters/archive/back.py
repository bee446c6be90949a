"""Looking the archive through, and bringing months of it back into the database."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from adapters.archive.files import FactFile, Row
from adapters.archive.folder import Archive, ArchivedFile, ArchiveError, read_manifest, tidy, verify
from adapters.archive.index import stream_key
from adapters.store.partitions import MOST_MOVED

AT_ONCE: Final = 5_000
LOCK_MS: Final = 500
READ_AT_A_GLANCE: Final = 512 << 20
"""Bytes of an archive whose checksums are compared also where nobody asked for it: a second or two."""
_FORGET_STREAMS: Final = "DELETE FROM archived_streams WHERE month = $1 AND key = ANY($2)"
_FORGET_RECORDINGS: Final = """
UPDATE recordings SET archived_position = NULL, archived_body = NULL
WHERE enterprise = $1 AND archived_position IS NOT NULL AND 'leg/' || unique_id = ANY($2)
"""

Told = Callable[[int], None]
"""Is told how many facts more are done."""


class Restored(msgspec.Struct, frozen=True):
    """What came back: of a month and enterprise so many facts."""

    month: date
    enterprise: str
    facts: int


class Seen(msgspec.Struct, frozen=True):
    """The archive at a glance; ``read``: checksums were compared too, not sizes alone."""

    files: int
    bytes: int
    read: bool
    wrong: list[str]


async def glance(connection: asyncpg.Connection, folder: Path) -> Seen:
    """Whether each file is there in its size, and what is in it where that is little. Needs no pyarrow."""
    archive = Archive(folder)
    await archive.load(connection)
    size = sum(one.bytes for one in archive.files.values())
    read = size <= READ_AT_A_GLANCE
    wrong = []
    for one in archive.files.values():
        try:
            await asyncio.to_thread(_glance, archive.path(one), one, read=read)
        except ArchiveError as error:
            wrong.append(str(error))
    return Seen(len(archive.files), size, read, wrong)


def _glance(path: Path, one: ArchivedFile, *, read: bool) -> None:
    try:
        found = path.stat().st_size
    except OSError:
        found = one.bytes  # what is the matter is said below
        read = True
    if found != one.bytes:
        raise ArchiveError(
            f"{path} of the archive is damaged: it should have {one.bytes} bytes and has {found};"
            " put it back from a copy"
        )
    if read:
        verify(path, one)


async def check(connection: asyncpg.Connection, folder: Path, told: Told) -> list[str]:
    """Read every file of the archive; what is wrong with it, in a line each. Raises ExtraMissing."""
    archive = Archive(folder)
    await archive.load(connection)
    wrong = []
    for one in archive.files.values():
        try:
            await asyncio.to_thread(_check, archive, one)
        except ArchiveError as error:
            wrong.append(str(error))
        told(one.facts)
    for month in sorted({month for month, _ in archive.files}):
        mine = [one for (of, _), one in archive.files.items() if of == month]
        if await asyncio.to_thread(read_manifest, folder, month) != mine:
            wrong.append(
                f"the manifest of {month:%Y-%m} does not name the files that there are; `callfold archive` mends it"
            )
    return wrong


def _check(archive: Archive, one: ArchivedFile) -> None:
    verify(archive.path(one), one)
    file = FactFile(archive.path(one))
    facts = sum(1 for group in range(file.groups) for _ in file.columns(group, ("position",)))
    file.close()
    if facts != one.facts:
        raise ArchiveError(f"{archive.path(one)} should have {one.facts} facts and has {facts}")


async def restore(
    connection: asyncpg.Connection, folder: Path, month: date, enterprise: str | None, told: Told
) -> list[Restored]:
    """Bring the facts of a month back into the table, each enterprise in one transaction; the files go.

    The caller holds lock.REBUILD_LOCK. Raises ArchiveError, ExtraMissing, OSError, what asyncpg raises.
    """
    await tidy(connection, folder)
    archive = Archive(folder)
    await archive.load(connection)
    wanted = [
        one for (of, number), one in archive.files.items() if of == month and enterprise in {None, number}
    ]
    if not wanted:
        raise ArchiveError(f"nothing of {month:%Y-%m} is archived")
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            await connection.execute("SELECT make_facts_partition($1, $2)", month, MOST_MOVED)
    except asyncpg.LockNotAvailableError as error:
        raise ArchiveError("somebody reads the months that have no table; run the command again") from error
    restored = []
    for one in wanted:
        file = await asyncio.to_thread(archive.open, one)
        try:
            async with connection.transaction():
                await _bring_back(connection, one, file.all(), told)
                await connection.execute(
                    "DELETE FROM archived WHERE month = $1 AND enterprise = $2", month, one.enterprise
                )
        finally:
            file.close()
        restored.append(Restored(month, one.enterprise, one.facts))
    await tidy(connection, folder)
    return restored


async def _bring_back(
    connection: asyncpg.Connection, one: ArchivedFile, rows: Iterator[Row], told: Told
) -> None:
    while some := await asyncio.to_thread(list, islice(rows, AT_ONCE)):
        records = [row._replace(xid=str(row.xid)) for row in some]  # type: ignore[arg-type]
        await connection.executemany(_BRING, records)
        streams = {row.stream for row in some}
        keys = [stream_key(one.enterprise, stream) for stream in streams]
        await connection.execute(_FORGET_STREAMS, one.month, keys)
        await connection.execute(_FORGET_RECORDINGS, one.enterprise, list(streams))
        told(len(some))


_VALUES: Final = ", ".join(
    f"${place}::text::xid8" if name == "xid" else f"${place}" for place, name in enumerate(Row._fields, 1)
)
_BRING: Final = f"INSERT INTO facts ({', '.join(Row._fields)}) OVERRIDING SYSTEM VALUE VALUES ({_VALUES})"
