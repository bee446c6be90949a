"""The event store as the rest of the house sees it: one object that appends and reads.

It implements the actors' port (actors.ports.FactLog); projections read by ``tables``. Trouble with PostgreSQL shows as
StoreUnavailable, whatever its kind.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from actors.ports import Appended, StoreUnavailable
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store import reader
from adapters.store.reader import Asked, Connection
from adapters.store.writer import Writer
from calls.exchange import Belonging
from calls.facts import NEWEST, Fact, NewFact

CALLS = "calls"
"""The projection that knows which legs make a call."""
UNSHOWN_WINDOW = timedelta(hours=6)
"""How far back a restart looks for settled calls whose last state was not shown."""


class EventStore:
    """Facts in PostgreSQL. ``writer`` is None for whoever only reads (a rebuild, a command)."""

    def __init__(self, pool: asyncpg.Pool, writer: Writer | None = None) -> None:
        self._pool = pool
        self._writer = writer

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=10) as connection:
                yield connection
        except SERVER_TROUBLE as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """Store one fact; returns once it is committed."""
        if self._writer is None:
            raise StoreUnavailable("this process only reads")
        return await self._writer.append(fact, within=within)

    async def read_after(self, position: int, upto: int, limit: int) -> list[Fact]:
        """Facts in the writer's order, after one position and up to another."""
        async with self._connection() as connection:
            return await reader.read_after(connection, position, upto, limit)

    async def read_calls(
        self,
        legs: Sequence[tuple[str, str]],
        chats: Sequence[tuple[str, int]],
        upto: int,
        whose: Mapping[tuple[str, str], Belonging] | None = None,
    ) -> list[Fact]:
        """All facts of the calls that these legs belong to, by position."""
        async with self._connection() as connection:
            return await reader.read_calls(connection, legs, chats, upto, call_of=whose)

    async def whose(self, legs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Belonging]:
        """The place of each leg of the calls that these legs belong to."""
        async with self._connection() as connection:
            return await reader.whose(connection, legs)

    async def read_directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        """The directory facts of all enterprises, or of one, up to a position."""
        async with self._connection() as connection:
            return await reader.read_directories(connection, upto, enterprise)

    async def unsettled_calls(
        self, chats: Sequence[tuple[str, int, int]], lately: float, upto: int
    ) -> list[tuple[str, str]]:
        """Calls that may still need something done, and all of the last ``lately`` seconds before ``upto``."""
        async with self._connection() as connection:
            return await reader.unsettled_calls(
                connection, chats, UNSHOWN_WINDOW, timedelta(seconds=lately), upto
            )

    async def read_stream(self, enterprise: str, stream: str) -> list[Fact]:
        """All facts of one stream, by version."""
        async with self._connection() as connection:
            return await reader.read_streams(connection, [(enterprise, stream)], NEWEST)

    async def recent_requests(self, window: float) -> Asked:
        """What was asked of Telegram within so many seconds, and what it said of it."""
        async with self._connection() as connection:
            return await reader.recent_requests(connection, timedelta(seconds=window))

    async def projected(self) -> int:
        """Position up to which ``calls`` and ``call_legs`` are right."""
        async with self._connection() as connection:
            position = await connection.fetchval(
                "SELECT least(position, (SELECT min(position) - 1 FROM folds_due)) FROM checkpoints"
                " WHERE projection = $1",
                CALLS,
            )
            return int(position or 0)

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        """Keep a fact that could not be folded."""
        async with self._connection() as connection:
            await reader.park(connection, place, fact, reason)
