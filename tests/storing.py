"""Writing facts in tests without a service: through a Writer, or as bare batches on a connection."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from adapters.clock import SystemClock
from adapters.postgres.database import Database
from adapters.rebuilding import fold_beside
from adapters.recovery.following import Following
from adapters.store.batch import Written, write
from adapters.store.beside import COMPARED, Beside
from adapters.store.lock import settle_incarnation
from adapters.store.pending import Pending
from adapters.store.tables import CallTables
from adapters.store.writer import Writer
from calls.entries import DirectoryChange
from calls.facts import DIRECTORY_CHANGED, DIRECTORY_STREAM, Fact, NewFact, leg_stream
from otel.metrics import Metrics
from projections.calls import FOLD_VERSION
from projections.live import LiveCalls
from projections.names import NAMES
from projections.rebuild import Outcome, Plan, rebuild

AT = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)


def arrival(
    unique_id: str,
    body: bytes = b"{}",
    *,
    enterprise: str = "0367",
    kind: str = "start",
    at: datetime = AT,
    key: str | None = None,
    expected: int | None = None,
) -> NewFact:
    """A fact on its way into the store."""
    return NewFact(
        enterprise=enterprise,
        stream=leg_stream(unique_id),
        kind=kind,
        source="live",
        occurred_at=at,
        body=body,
        idempotency_key=key,
        expected_version=expected,
    )


def again(facts: Iterable[Fact]) -> list[NewFact]:
    """Facts of tests.folding as they come to a store; it numbers them itself."""
    return [
        NewFact(
            enterprise=fact.enterprise,
            stream=fact.stream,
            kind=fact.kind,
            source=fact.source,
            occurred_at=fact.occurred_at,
            body=fact.body,
        )
        for fact in facts
    ]


async def put(
    connection: asyncpg.Connection,
    facts: Sequence[NewFact],
    *,
    recorded_at: datetime | None = None,
    allowed: float = 10.0,
) -> Written:
    """One batch on this connection, as the writer would commit it; no lock is asked for."""
    incarnation = await settle_incarnation(connection)
    loop = asyncio.get_running_loop()
    written = Written()
    # what a recovered fact follows is stored before it
    for late, some in itertools.groupby(facts, key=lambda fact: fact.source == "recovery"):
        run = list(some)
        if late:
            run = await following(connection, run)
        batch = [Pending(fact, loop.create_future(), None) for fact in run]
        one = await write(connection, incarnation, batch, recorded_at or datetime.now(UTC), allowed)
        written.stored += one.stored
        written.known += one.known
        written.failed += one.failed
        written.left += one.left
    return written


async def following(connection: asyncpg.Connection, recovered: Sequence[NewFact]) -> list[NewFact]:
    """Recovered facts, each with what it follows."""
    known = Following()
    return [
        msgspec.structs.replace(
            fact, follows=(await known.of(connection, fact.enterprise, [fact.occurred_at]))[0]
        )
        for fact in recovered
    ]


class Followed:
    """A writer that runs, what it told its follower, and the task that runs it."""

    def __init__(self, dsn: str, instance: str) -> None:
        self.told: list[Fact] = []
        self.roles: list[bool] = []
        self.writer = Writer(
            Database(dsn, None),
            SystemClock(),
            Metrics(),
            committed=self.told.extend,
            role_changed=self.roles.append,
            instance=instance,
            url=f"http://{instance}",
        )
        self.task = asyncio.create_task(self.writer.run(), name=f"writer {instance}")

    async def vanish(self) -> None:
        """End as a killed process does: nothing is finished, the connection is gone."""
        if self.writer._connection is not None:
            self.writer._connection.terminate()
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def writing(dsn: str, instance: str = "one") -> AsyncIterator[Followed]:
    """A writer beside others; told to stop at the end."""
    followed = Followed(dsn, instance)
    try:
        async with asyncio.timeout(10):
            await followed.writer.decided.wait()
        yield followed
    finally:
        followed.writer.stop()
        _, late = await asyncio.wait([followed.task], timeout=10)
        for task in late:
            task.cancel()


def change_facts(changes: Iterable[DirectoryChange], enterprise: str = "0367") -> list[NewFact]:
    """What ``callfold apply`` appends."""
    return [
        NewFact(
            enterprise=enterprise,
            stream=DIRECTORY_STREAM,
            kind=DIRECTORY_CHANGED,
            source="service",
            occurred_at=AT,
            body=msgspec.json.encode(change),
        )
        for change in changes
    ]


class Projected:
    """A database whose facts are projected by hand, step by step."""

    def __init__(self, connection: asyncpg.Connection, pool: asyncpg.Pool, dsn: str) -> None:
        self.connection, self.pool, self.dsn = connection, pool, dsn
        self.live = self.runner()

    def runner(self) -> LiveCalls:
        """Another live runner on the same tables, not yet loaded."""
        tables = CallTables(self.pool)
        allowed = asyncio.Event()
        allowed.set()
        return LiveCalls(
            tables,
            tables,
            metrics=Metrics(),
            now=SystemClock().now,
            moved=lambda _: None,
            allowed=allowed,
            give_way=lambda _: asyncio.sleep(0),
            monotonic=itertools.count(0.0, 3_600.0).__next__,
        )

    async def restart(self) -> None:
        """The live runner as it is after a new start of the service."""
        self.live = self.runner()
        await self.live.load()

    async def tell(self, *facts: NewFact) -> None:
        """Store these facts at once, and project them."""
        await put(self.connection, facts)
        await self.project()

    async def project(self) -> None:
        """Project what there is."""
        while await self.live.step():
            pass

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of ``calls`` or ``customers``, by key."""
        keys, columns = COMPARED[table]
        found = await self.connection.fetch(
            f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(keys)}"
        )
        return [dict(row) for row in found]

    async def rebuild(self, *, check: bool = True, jobs: int = 2, archive: Path | None = None) -> Outcome:
        """As ``callfold rebuild`` does, on a connection of its own."""
        async with connected(self.dsn) as connection:
            beside = await Beside.open(
                self.pool, connection, Plan(NAMES, FOLD_VERSION), jobs, archive=archive
            )

            async def fold_shards() -> int:
                return await fold_beside(beside, self.dsn, jobs, lambda _: None)

            return await rebuild(beside, beside.upto, fold_shards, check=check)


@asynccontextmanager
async def projected(dsn: str) -> AsyncIterator[Projected]:
    """Projecting by hand in this database."""
    async with connected(dsn) as connection, Database(dsn, None).pool(max_size=4) as pool:
        yield Projected(connection, pool, dsn)


GATE = 4_242
GATED = f"""
CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared({GATE});
    PERFORM pg_advisory_unlock_shared({GATE});
    RETURN NEW;
END $$;
CREATE TRIGGER gate BEFORE INSERT ON facts FOR EACH ROW
    WHEN (NEW.kind LIKE 'start%') EXECUTE FUNCTION wait_at_the_gate();
"""


class Gate:
    """Holds back every insert of a ``start`` between its snapshot and its row, until it is opened."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def close(self) -> None:
        await self._connection.execute(f"SELECT pg_advisory_lock({GATE})")

    async def open(self) -> None:
        await self._connection.execute(f"SELECT pg_advisory_unlock({GATE})")

    async def held(self, count: int) -> None:
        """Wait until so many transactions stand before it."""
        async with asyncio.timeout(10):
            while await self._waiting() < count:
                await asyncio.sleep(0.01)

    async def _waiting(self) -> int:
        found = await self._connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            GATE,
        )
        return int(found)


@asynccontextmanager
async def gate(dsn: str) -> AsyncIterator[Gate]:
    """A closed gate."""
    async with connected(dsn) as connection:
        await connection.execute(GATED)
        made = Gate(connection)
        await made.close()
        yield made


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of one's own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        connection.terminate()
