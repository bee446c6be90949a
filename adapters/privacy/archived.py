"""What is in the archive of a person: files rewritten month by month, and the rows that nobody folds anew from them."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from adapters.archive.files import Row
from adapters.archive.folder import FOLDER, Archive, Change, Changed, rewrite
from adapters.archive.index import edges_of
from adapters.postgres.database import Database
from adapters.privacy import traces
from adapters.privacy.person import Person
from adapters.store import sums
from adapters.store.reading import LIVE
from calls.deliveries import DELIVERY_KINDS
from calls.facts import RECORDING_ADDED, RECORDING_FORGOTTEN
from calls.guests import EMPTY

_RENAME_CALLS: Final = """
UPDATE calls SET
    customer = CASE WHEN customer = $2 THEN $3 ELSE customer END,
    caller = CASE WHEN caller = $2 THEN $3 ELSE caller END,
    dialled = CASE WHEN dialled = $2 THEN $3 ELSE dialled END,
    answered_by = CASE WHEN answered_by = $2 THEN $3 ELSE answered_by END,
    rung = array_replace(rung, $2, $3), talked = array_replace(talked, $2, $3),
    consulted = array_replace(consulted, $2, $3)
WHERE enterprise = $1 AND $2 = ANY(rung || talked || consulted || ARRAY[customer, caller, dialled, answered_by])
"""
_RENAME: Final = (
    _RENAME_CALLS,
    "UPDATE legs SET number = $3 WHERE enterprise = $1 AND number = $2",
    "UPDATE call_agents SET extension = $3 WHERE enterprise = $1 AND extension = $2",
    "UPDATE agents SET extension = $3 WHERE enterprise = $1 AND extension = $2",
)
_SPANS: Final = """
SELECT min(first_at) AS first, max(last_at) FROM legs WHERE enterprise = $1
GROUP BY call_id HAVING max(last_at) > $2 ORDER BY first
"""
_STEP: Final = timedelta(seconds=1)
_ADD: Final = "UPDATE forgotten SET facts = facts + $3 WHERE enterprise = $1 AND digest = $2"
_KEYS: Final = "SELECT key FROM idempotency WHERE enterprise = $1"
_REKEY: Final = "UPDATE idempotency SET key = $3 WHERE enterprise = $1 AND key = $2"
_URLS: Final = """
SELECT id, archived_body FROM recordings WHERE enterprise = $1 AND archived_body IS NOT NULL
"""


async def edge_of(connection: asyncpg.Connection, enterprise: str, now: datetime) -> datetime | None:
    """From when on calls are folded anew that lie behind what is archived; None where nothing is archived.

    A call is not told alike without those that went on beside it, and of these some are archived. So it is the first
    moment at which none goes on or has just ended; rows before it are renamed in their places. Where nobody is ever
    quiet it is the first moment that is not archived.
    """
    day = (await edges_of(connection, (enterprise,))).get(enterprise)
    if day is None:
        return None
    edge = moment = datetime.combine(day, time(), UTC)
    async with connection.transaction(readonly=True):
        async for first, last in connection.cursor(_SPANS, enterprise, edge - EMPTY):
            if first >= moment:
                break
            moment = max(moment, last + EMPTY + _STEP)
    return moment if moment < now else edge


async def rewrite_archive(
    connection: asyncpg.Connection, database: Database, data_dir: Path, person: Person
) -> None:
    """Rewrite the person's months, and rename rows: those of archived calls are folded anew by a rebuild alone.

    Raises ArchiveError, ExtraMissing, OSError, what asyncpg raises; done again, it goes on.
    """
    archive = Archive(data_dir / FOLDER)
    await archive.load(connection)
    files = archive.of((person.enterprise,))
    for one in files:
        changed = await elsewhere(database, data_dir, one.month, person.enterprise, _renamed(person))
        await connection.execute(_ADD, person.enterprise, person.digest, changed.facts)
        await traces.touch(connection, person, changed.streams)
    if not files:
        return
    for row in await connection.fetch(_URLS, person.enterprise):
        body = person.renaming.rewrite(row["archived_body"])
        await connection.execute("UPDATE recordings SET archived_body = $2 WHERE id = $1", row["id"], body)
    await _rename_keys(connection, person)
    await _rename_rows(connection, person)


async def strip_archive(
    connection: asyncpg.Connection, database: Database, data_dir: Path, person: Person
) -> None:
    """Of the person's archived calls take hashes of shown texts, and that there was a recording.

    Raises as ``rewrite_archive``.
    """
    legs = await traces.legs_of(connection, person)
    archive = Archive(data_dir / FOLDER)
    await archive.load(connection)
    for one in archive.of((person.enterprise,)) if legs else ():
        await elsewhere(database, data_dir, one.month, person.enterprise, _stripped(frozenset(legs)))


async def elsewhere(
    database: Database, data_dir: Path, month: date, enterprise: str, change: Change
) -> Changed:
    """Rewrite a file in a thread: a month takes seconds, and hosts are answered meanwhile."""

    async def work() -> Changed:
        own = await database.connect()
        try:
            return await rewrite(own, data_dir / FOLDER, month, enterprise, change)
        finally:
            await own.close(timeout=10)

    return await asyncio.to_thread(lambda: asyncio.run(work()))


def _renamed(person: Person) -> Change:
    rename = person.renaming

    def change(row: Row) -> Row | None:
        key = None if row.idempotency_key is None else rename.rewrite_text(row.idempotency_key)
        new = row._replace(body=rename.rewrite(row.body), meta=rename.rewrite(row.meta), idempotency_key=key)
        return None if new == row else new

    return change


def _stripped(legs: frozenset[str]) -> Change:
    def change(row: Row) -> Row | None:
        if row.stream.rpartition("/")[2] not in legs:
            return None
        if row.kind == RECORDING_ADDED:
            return row._replace(kind=RECORDING_FORGOTTEN, body=b"{}")
        if row.kind not in DELIVERY_KINDS:
            return None
        new = row._replace(body=traces.without_hash(row.body))
        return None if new == row else new

    return change


async def _rename_keys(connection: asyncpg.Connection, person: Person) -> None:
    """Keys that hosts gave with archived events too."""
    rename = person.renaming.rewrite_text
    async with connection.transaction():
        keys = [row[0] async for row in connection.cursor(_KEYS, person.enterprise)]
        changed = [(person.enterprise, key, new) for key in keys if (new := rename(key)) != key]
        await connection.executemany(_REKEY, changed)


async def _rename_rows(connection: asyncpg.Connection, person: Person) -> None:
    number, pseudonym = person.renaming.number, person.pseudonym
    async with connection.transaction():
        # The live runner has to move its checkpoint, so it waits.
        await connection.execute("SELECT 1 FROM checkpoints WHERE projection = $1 FOR UPDATE", LIVE)
        for sql in _RENAME:
            await connection.execute(sql, person.enterprise, number, pseudonym)
        keys = {(person.enterprise, number), (person.enterprise, pseudonym)}
        await sums.recount(connection, "", {sums.CUSTOMERS: keys})
