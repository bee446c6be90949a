"""What the fold of calls reads: facts below the horizon, and by call (projections.ports.FactReader)."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from adapters.archive.folder import Archive
from adapters.archive.index import places_of
from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store import reader
from adapters.store.reader import Connection
from calls.exchange import FORGET_SILENT_AFTER, Belonging
from calls.facts import UNFOLDED_KINDS, CallArchived, Fact, leg_stream
from calls.guests import EMPTY
from calls.order import Order
from projections.hosts import HostRow
from projections.names import NAMES, Name
from projections.ports import Checkpoint, ReaderTrouble, Stretch

LIVE: Final = "calls"
PAGE: Final = 5_000
MOST_STEPS: Final = 200
"""Steps back to a quiet moment; an enterprise without one is folded from its first fact."""

UNFORGOTTEN: Final = """
SELECT enterprise, call_id FROM {calls} WHERE outcome = 'open'
UNION SELECT enterprise, call_id FROM {calls} WHERE last_position > $1
UNION SELECT enterprise, unique_id FROM {call_legs} WHERE lost
UNION SELECT enterprise, substr(stream, 5) FROM facts
WHERE position > $2 AND position <= $3 AND kind = 'silence_observed'
"""
# The last fact before a time; no recovered one that occurred since stands before it, whatever clocks did.
BEFORE_TIME: Final = """
SELECT least(coalesce((
    SELECT position FROM facts
    WHERE enterprise = $1 AND position <= $3 AND source <> 'recovery' AND occurred_at < $2 AND kind <> ALL($4)
    ORDER BY position DESC LIMIT 1
), 0), (
    SELECT min(follows) FROM facts
    WHERE enterprise = $1 AND source = 'recovery' AND occurred_at >= $2 AND position <= $3
))
"""
# Calls with an event in the stretch, and the first moment of each. What callfold itself adds may come days after one,
# which is woken for it.
IN_STRETCH: Final = """
WITH inside AS (
    SELECT DISTINCT substr(stream, 5) AS unique_id FROM facts
    WHERE enterprise = $1 AND position <= $4 AND starts_with(stream, 'leg/')
      AND ((source = 'live' AND position > $2)
           OR (source = 'recovery' AND follows >= $2 AND occurred_at >= $3))
),
touched AS (
    SELECT DISTINCT call_legs.call_id FROM inside
    JOIN {call_legs} call_legs ON call_legs.enterprise = $1 AND call_legs.unique_id = inside.unique_id
),
theirs AS (
    SELECT 'leg/' || unique_id AS stream FROM {call_legs} WHERE enterprise = $1
      AND call_id IN (SELECT call_id FROM touched)
    UNION SELECT 'leg/' || unique_id FROM inside
)
SELECT min(facts.occurred_at) AS first, (SELECT array_agg(call_id) FROM touched) AS calls
FROM theirs JOIN facts ON facts.month = facts_month(theirs.stream) AND facts.enterprise = $1
  AND facts.stream = theirs.stream AND facts.position <= $4
"""
LIVE_OF: Final = f"""
SELECT {reader.COLUMNS} FROM facts
WHERE enterprise = $1 AND position > $2 AND position <= $3 AND source <> 'recovery' ORDER BY position LIMIT $4
"""
RECOVERED_OF: Final = f"""
SELECT {reader.COLUMNS} FROM facts
WHERE enterprise = $1 AND source = 'recovery' AND follows >= $2 AND occurred_at >= $3 AND position <= $4
ORDER BY follows, occurred_at, position
"""
# Up to where rows tell of an enterprise; from the first recovered fact on that is not folded in, they do not.
FOLDED: Final = """
SELECT least((SELECT position FROM checkpoints WHERE projection = $2),
             (SELECT position - 1 FROM folds_due WHERE enterprise = $1))
"""
OF_TOUCHED: Final = """
SELECT unique_id, call_id FROM {call_legs} WHERE enterprise = $1 AND call_id = ANY($2)
AND EXISTS (SELECT FROM archived WHERE enterprise = $1)
"""
EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)


class CallReading:
    """The reading of one set of tables: which legs make a call is read off ``call_legs`` with the suffix.

    ``names``: the projections that the set has.
    """

    def __init__(self, pool: asyncpg.Pool, suffix: str = "", names: Collection[Name] = NAMES) -> None:
        self._pool = pool
        self.suffix, self.names = suffix, names
        self.archive: Archive | None = None
        """Where it is known, calls are read from it too."""
        self.projection = f"{LIVE}{suffix}"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool; trouble with it shows as ReaderTrouble."""
        try:
            async with self._pool.acquire(timeout=10) as connection:
                yield connection
        except SERVER_TROUBLE as error:
            raise ReaderTrouble(f"{type(error).__name__}: {error}") from error

    def sql(self, text: str) -> str:
        """A query with the names of this set's tables."""
        names = ("calls", "call_legs", "customers")
        return text.format(**{name: f"{name}{self.suffix}" for name in names})

    async def checkpoint(self) -> Checkpoint:
        """How far the rows have come."""
        async with self.connection() as connection:
            return await read_checkpoint(connection, self.projection)

    async def next(
        self, after: Checkpoint, limit: int, upto: Checkpoint | None = None
    ) -> tuple[list[Fact], Checkpoint]:
        """The next facts below the horizon, and the checkpoint behind them."""
        async with self.connection() as connection:
            read = await reader.read_below_horizon(connection, after, limit, upto)
            return read.facts, read.checkpoint

    async def calls_of(
        self,
        legs: Collection[tuple[str, str]],
        upto: int,
        whose: Mapping[tuple[str, str], Belonging] | None = None,
    ) -> list[Fact]:
        """All facts up to a position of the calls that these legs belong to, in order."""
        async with self.connection() as connection:
            call_legs = f"call_legs{self.suffix}"
            return await reader.read_calls(
                connection, list(legs), (), upto, call_legs=call_legs, call_of=whose, archive=self.archive
            )

    async def whose(self, legs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Belonging]:
        """The place of each leg of the calls that these legs belong to."""
        async with self.connection() as connection:
            return await reader.whose(connection, legs, call_legs=f"call_legs{self.suffix}")

    async def directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        """All directory facts up to a position."""
        async with self.connection() as connection:
            return await reader.read_directories(connection, upto, enterprise)

    async def unforgotten(self, upto: int) -> list[tuple[str, str]]:
        """Open and newly settled calls, and legs that make no call yet."""
        async with self.connection() as connection:
            since = await connection.fetchval(reader.BEFORE_WINDOW, reader.UNFORGOTTEN_WINDOW, upto)
            silent = await connection.fetchval(reader.BEFORE_WINDOW, FORGET_SILENT_AFTER, upto)
            rows = await connection.fetch(self.sql(UNFORGOTTEN), since, silent, upto)
            return [(row[0], row[1]) for row in rows]

    async def hosts(self) -> list[HostRow]:
        """What is known of each enterprise's host."""
        if "hosts" not in self.names:
            return []
        async with self.connection() as connection:
            columns = ", ".join(HostRow.__struct_fields__)
            rows = await connection.fetch(f"SELECT {columns} FROM hosts{self.suffix}")
            return [HostRow(*row) for row in rows]

    async def lost_legs(self, enterprise: str) -> list[tuple[str, str]]:
        """Its legs that make no call yet."""
        async with self.connection() as connection:
            found = await connection.fetch(
                f"SELECT unique_id FROM call_legs{self.suffix} WHERE enterprise = $1 AND lost", enterprise
            )
            return [(enterprise, row[0]) for row in found]

    async def stretch(self, enterprise: str, since: datetime, upto: int) -> Stretch:
        """Back to a moment before which nobody of these calls was heard of, nor of another that they may find."""
        begin = _before(since, EMPTY)
        async with self.connection() as connection:
            for _ in range(MOST_STEPS):
                after = await connection.fetchval(BEFORE_TIME, enterprise, begin, upto, list(UNFOLDED_KINDS))
                row = await connection.fetchrow(self.sql(IN_STRETCH), enterprise, after, begin, upto)
                assert row is not None, "an aggregate has one row"
                if row["first"] is None or row["first"] >= begin:
                    return await self._without_archived(
                        connection, enterprise, after, begin, row["calls"] or ()
                    )
                begin = _before(row["first"], EMPTY)
            row = await connection.fetchrow(self.sql(IN_STRETCH), enterprise, 0, EARLIEST, upto)
            calls = (row and row["calls"]) or ()
            return await self._without_archived(connection, enterprise, 0, EARLIEST, calls)

    async def _without_archived(
        self, connection: Connection, enterprise: str, after: int, since: datetime, calls: Collection[str]
    ) -> Stretch:
        """A stretch but for calls of which something is archived: their rows stay as they are."""
        rows = await connection.fetch(self.sql(OF_TOUCHED), enterprise, list(calls))
        legs = {row[0]: row[1] for row in rows}
        archived = await places_of(connection, [(enterprise, leg_stream(leg)) for leg in legs])
        kept = {legs[stream[4:]] for _, stream in archived}
        still = frozenset(leg_stream(leg) for leg, call in legs.items() if call in kept)
        return Stretch(after, since, frozenset(calls) - kept, still)

    async def facts_of(self, enterprise: str, stretch: Stretch, upto: int) -> AsyncIterator[list[Fact]]:
        """The facts of a stretch, in the order of folding, in pages."""
        async with self.connection() as connection:
            rows = await connection.fetch(RECOVERED_OF, enterprise, stretch.after, stretch.since, upto)
            folded = await connection.fetchval(FOLDED, enterprise, self.projection) or 0
        order = Order()
        order.add(await self._foldable(map(reader.fact, rows), stretch, folded))
        after = stretch.after
        while True:
            async with self.connection() as connection:
                rows = await connection.fetch(LIVE_OF, enterprise, after, upto, PAGE)
            told = await self._foldable(map(reader.fact, rows), stretch, folded)
            page = [ordered for fact in told for ordered in order.upto(fact)]
            if len(rows) < PAGE:
                yield [*page, *order.rest()]
                return
            yield page
            after = rows[-1][0]

    async def _foldable(self, facts: Iterable[Fact], stretch: Stretch, folded: int) -> list[Fact]:
        """All but those of calls that stay as they are; what came new for one of these is parked."""
        told = []
        for fact in facts:
            if fact.stream not in stretch.still:
                told.append(fact)
            elif fact.position > folded:
                await self.park(LIVE, fact, f"CallArchived: {CallArchived()}")
        return told

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        """Keep a fact that could not be folded."""
        async with self.connection() as connection:
            await reader.park(connection, place, fact, reason)


async def read_checkpoint(connection: Connection, projection: str) -> Checkpoint:
    """How far a projection has come; before all facts where nobody has written it."""
    row = await connection.fetchrow(
        "SELECT incarnation, xid::text::bigint, position FROM checkpoints WHERE projection = $1", projection
    )
    return Checkpoint(*row) if row else Checkpoint()


def _before(at: datetime, by: timedelta) -> datetime:
    return at - by if at - EARLIEST > by else EARLIEST
