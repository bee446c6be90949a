"""Forgetting a person: number and name replaced in everything that is stored, then the rows folded anew.

Done in steps of a few seconds, each of which leaves the row of the list where it came to: what was interrupted goes on
with the next call for the same number, and a fact is rewritten whole or not at all. The one writer goes on meanwhile.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
import msgspec

from actors.ports import Clock, FactLog
from adapters.postgres.database import Database
from adapters.privacy import traces
from adapters.privacy.archived import edge_of, rewrite_archive, strip_archive
from adapters.privacy.digests import Digests
from adapters.privacy.person import ForgetRefused, Person, find_person, start_over
from adapters.privacy.recordings import forget_recordings
from adapters.recordings.files import RecordingFiles
from adapters.store.lock import lock_rebuild
from adapters.store.partitions import month_of
from adapters.store.reader import Connection
from calls.facts import CUSTOMER_FORGOTTEN, DIRECTORY_CHANGED, DIRECTORY_STREAM, NewFact, forgotten_stream

PAGE: Final = 500
AT_ONCE: Final = 25
"""Facts that are rewritten before others have their turn."""
LONGEST: Final = 3.0
"""Seconds of one step, but for the last."""
WITHIN: Final = 30.0
EXPORTS: Final = "exports"

_PAGE: Final = """
SELECT position, month, stream, kind, occurred_at, body, meta, idempotency_key FROM facts
WHERE enterprise = $1 AND position > $2 AND position <= $3 AND kind <> $4 ORDER BY position LIMIT $5
"""
_DIRECTORY: Final = (
    "SELECT position, month, body FROM facts WHERE enterprise = $1 AND kind = $2 AND month = $3"
)
_REWRITE: Final = """
UPDATE facts SET body = $3, meta = $4, idempotency_key = $5 WHERE month = $2 AND position = $1
"""
_REKEY: Final = "UPDATE idempotency SET key = $3 WHERE enterprise = $1 AND key = $2"
_MOVE: Final = """
UPDATE forgotten SET position = $3, facts = facts + $4, since = least(since, $5)
WHERE enterprise = $1 AND digest = $2
"""
_OPEN: Final = """
SELECT EXISTS (
    SELECT FROM calls WHERE enterprise = $1 AND outcome = 'open'
    AND (customer = ANY($2) OR rung && $2 OR talked && $2 OR consulted && $2)
)
"""


class Progress(msgspec.Struct, frozen=True):
    """How far it has come: facts up to ``position`` of ``head`` were looked at; ``removed``: what else is gone."""

    done: bool
    pseudonym: str
    position: int
    head: int
    facts: int = 0
    recordings: int = 0
    removed: tuple[str, ...] = ()


class Forgotten(msgspec.Struct, frozen=True):
    """Body of a ``customer_forgotten`` fact."""

    pseudonym: str
    facts: int


class Forgetting:
    """Forgets people, one step at a time.

    ``folded``: fold an enterprise's rows anew since a time, and let what is kept in memory follow.
    """

    def __init__(
        self,
        *,
        database: Database,
        facts: FactLog,
        clock: Clock,
        data_dir: Path,
        folded: Callable[[str, datetime], Awaitable[None]],
        rest: Callable[[float], Awaitable[None]],
    ) -> None:
        self._database, self._facts, self._clock = database, facts, clock
        self._data_dir, self._folded, self._rest = data_dir, folded, rest
        self._files = RecordingFiles(data_dir / "recordings")
        self._turn = asyncio.Lock()

    async def step(self, enterprise: str, phone: str) -> Progress:
        """Go on with forgetting whoever has this number. Raises ForgetRefused, ForgetKeyError, LogError, asyncpg's."""
        async with self.alone() as connection:
            digests = await asyncio.to_thread(Digests.open, self._data_dir)
            person = await find_person(connection, digests, enterprise, phone)
            if person.row.done_at is not None:
                person = await start_over(connection, person)
            await _refuse_open(connection, person)
            end = monotonic() + LONGEST
            head = await _head(connection)
            position, facts = person.row.position, person.row.facts
            while position < head and monotonic() < end:
                position, more = await self._page(connection, person, position, head)
                facts += more
            if position < head:
                return Progress(False, person.pseudonym, position, head, facts)
            return await self._finish(connection, person, position)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection while which nobody rebuilds or forgets: a rebuild would bring back what it has read before."""
        async with self._turn:
            connection = await self._database.connect()
            try:
                if not await lock_rebuild(connection):
                    raise ForgetRefused(
                        "a rebuild is at work on this database; run it again when that has ended"
                    )
                yield connection
            finally:
                await connection.close(timeout=10)

    async def _page(
        self, connection: asyncpg.Connection, person: Person, after: int, upto: int
    ) -> tuple[int, int]:
        """Rewrite the next facts; how far they reach, and how many were changed."""
        rows = await connection.fetch(_PAGE, person.enterprise, after, upto, DIRECTORY_CHANGED, PAGE)
        reached = rows[-1]["position"] if len(rows) == PAGE else upto
        changed = []
        for first in range(0, len(rows), AT_ONCE):
            begun = monotonic()
            for row in rows[first : first + AT_ONCE]:
                new = _rewritten(row, person)
                if new is not None:
                    changed.append((row, new))
            await self._rest(monotonic() - begun)
        async with connection.transaction():
            await _write(connection, person, changed)
            since = min((row["occurred_at"] for row, _ in changed), default=None)
            await connection.execute(_MOVE, person.enterprise, person.digest, reached, len(changed), since)
        return reached, len(changed)

    async def _finish(self, connection: asyncpg.Connection, person: Person, position: int) -> Progress:
        """What comes when all facts are rewritten; each part may be done again."""
        stored = await self._facts.append(self._fact(person), within=WITHIN)
        while position < stored.position:
            position, _ = await self._page(connection, person, position, stored.position)
        await traces.rewrite_rejected(connection, person)
        await traces.rewrite_parked(connection, person)
        await traces.rewrite_preview(connection, person)
        await _rewrite_directory(connection, person)
        await rewrite_archive(connection, self._database, self._data_dir, person)
        recordings = await forget_recordings(connection, self._files, person)
        await traces.rewrite_deliveries(connection, person)
        await strip_archive(connection, self._database, self._data_dir, person)
        facts, since = await _result(connection, person, stored.position)
        edge = await edge_of(connection, person.enterprise, self._clock.now())
        since = since or self._clock.now()  # also where no fact was changed: the directory was
        await self._folded(person.enterprise, max(since, edge) if edge else since)
        await traces.rewrite_preview(connection, person)  # once more: an edit may have been under way
        removed = await traces.drop_aside(connection)
        removed += await asyncio.to_thread(remove_exports, self._data_dir / EXPORTS)
        await traces.vacuum(connection)
        async with connection.transaction():
            await connection.execute(
                "DELETE FROM forgotten_legs WHERE enterprise = $1 AND pseudonym = $2",
                person.enterprise,
                person.pseudonym,
            )
            await connection.execute(
                "UPDATE forgotten SET done_at = now() WHERE enterprise = $1 AND digest = $2",
                person.enterprise,
                person.digest,
            )
        return Progress(
            True, person.pseudonym, stored.position, stored.position, facts, recordings, tuple(removed)
        )

    def _fact(self, person: Person) -> NewFact:
        return NewFact(
            enterprise=person.enterprise,
            stream=forgotten_stream(person.pseudonym),
            kind=CUSTOMER_FORGOTTEN,
            source="service",
            occurred_at=self._clock.now(),
            body=msgspec.json.encode(Forgotten(person.pseudonym, person.row.facts)),
        )


def _rewritten(row: asyncpg.Record, person: Person) -> tuple[bytes, bytes, str | None] | None:
    """Body, meta and key of a fact without the person; None where it has nothing of them."""
    if row["kind"] == CUSTOMER_FORGOTTEN:
        return None
    body, meta = person.renaming.rewrite(row["body"]), person.renaming.rewrite(row["meta"])
    key = row["idempotency_key"]
    told = None if key is None else person.renaming.rewrite_text(key)
    if body is row["body"] and meta is row["meta"] and told == key:
        return None
    return body, meta, told


async def _write(
    connection: Connection,
    person: Person,
    changed: Sequence[tuple[asyncpg.Record, tuple[bytes, bytes, str | None]]],
) -> None:
    await connection.executemany(
        _REWRITE, [(row["position"], row["month"], body, meta, key) for row, (body, meta, key) in changed]
    )
    keys = [(person.enterprise, row["idempotency_key"], key) for row, (_, _, key) in changed]
    await connection.executemany(_REKEY, [told for told in keys if told[1] != told[2]])
    await traces.touch(connection, person, [row["stream"] for row, _ in changed])


async def _rewrite_directory(connection: asyncpg.Connection, person: Person) -> None:
    """All facts of the directory at once: where they are read in half, the person's name is known in half."""
    rows = await connection.fetch(
        _DIRECTORY, person.enterprise, DIRECTORY_CHANGED, month_of(DIRECTORY_STREAM)
    )
    changed = [
        (row["position"], row["month"], new)
        for row in rows
        if (new := traces.rewrite_change(row["body"], person)) != row["body"]
    ]
    async with connection.transaction():
        await connection.executemany("UPDATE facts SET body = $3 WHERE month = $2 AND position = $1", changed)
        await connection.execute(
            "UPDATE forgotten SET facts = facts + $3 WHERE enterprise = $1 AND digest = $2",
            person.enterprise,
            person.digest,
            len(changed),
        )


async def _result(
    connection: asyncpg.Connection, person: Person, position: int
) -> tuple[int, datetime | None]:
    """How many facts were rewritten, which its own fact tells from now on, and since when rows are to be folded."""
    row = await connection.fetchrow(
        "SELECT facts, since FROM forgotten WHERE enterprise = $1 AND digest = $2",
        person.enterprise,
        person.digest,
    )
    assert row is not None, "the list keeps whom it has"
    await connection.execute(
        "UPDATE facts SET body = $2 WHERE position = $1",
        position,
        msgspec.json.encode(Forgotten(person.pseudonym, row["facts"])),
    )
    return row["facts"], row["since"]


async def _head(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT coalesce(max(position), 0) FROM facts"))


async def _refuse_open(connection: asyncpg.Connection, person: Person) -> None:
    """A call that goes on would end with the number: whoever compares could tell whose pseudonym it began with."""
    numbers = [person.renaming.number, person.pseudonym]
    if await connection.fetchval(_OPEN, person.enterprise, numbers):
        raise ForgetRefused("a call with this number goes on; run it again when that has ended")


def remove_exports(folder: Path) -> list[str]:
    """Exports may hold the number in any file, and can be made again."""
    if not folder.is_dir():
        return []
    shutil.rmtree(folder)
    return [str(folder)]
