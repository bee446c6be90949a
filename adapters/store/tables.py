"""The tables of the calls projection in PostgreSQL: ``calls``, ``call_legs``, ``customers`` and their checkpoint.

A rebuild writes the same tables beside the live ones, under names with a suffix.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store import reader
from adapters.store.reader import Connection
from calls.call import Call, seconds
from calls.facts import Fact
from projections.calls import FOLD_VERSION
from projections.ports import Checkpoint, Fenced, NameOf, ReaderTrouble, Rows

CALL_COLUMNS: Final = (
    "enterprise",
    "call_id",
    "direction",
    "origin",
    "outcome",
    "customer",
    "line",
    "caller",
    "dialled",
    "rung",
    "answered_by",
    "talked",
    "consulted",
    "started_at",
    "answered_at",
    "ended_at",
    "wait_s",
    "talk_s",
    "total_s",
    "source",
    "legs",
    "last_position",
    "recordings",
)
CUSTOMER_COLUMNS: Final = (
    "enterprise",
    "phone",
    "name",
    "first_seen_at",
    "last_seen_at",
    "in_total",
    "in_answered",
    "in_missed",
    "out_total",
    "out_answered",
    "out_missed",
    "last_call_at",
    "last_direction",
    "last_outcome",
    "last_talked",
    "last_line",
)

# One call counts once; lost_in_transfer counts as answered (CONTRACT 6).
CUSTOMERS = """
WITH wanted AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (enterprise, phone, name)),
mine AS (
    SELECT calls.*, wanted.name FROM {calls} calls
    JOIN wanted ON wanted.enterprise = calls.enterprise AND wanted.phone = calls.customer
    WHERE outcome <> 'open'
),
newest AS (
    SELECT DISTINCT ON (enterprise, customer) * FROM mine
    ORDER BY enterprise, customer, started_at DESC, call_id DESC
)
INSERT INTO {customers} ({columns})
SELECT mine.enterprise, mine.customer, min(mine.name), min(mine.started_at), max(mine.ended_at),
       count(*) FILTER (WHERE mine.direction = 'in'),
       count(*) FILTER (WHERE mine.direction = 'in' AND mine.outcome <> 'missed'),
       count(*) FILTER (WHERE mine.direction = 'in' AND mine.outcome = 'missed'),
       count(*) FILTER (WHERE mine.direction = 'out'),
       count(*) FILTER (WHERE mine.direction = 'out' AND mine.outcome <> 'not_answered'),
       count(*) FILTER (WHERE mine.direction = 'out' AND mine.outcome = 'not_answered'),
       newest.started_at, newest.direction, newest.outcome, newest.talked, newest.line
FROM mine JOIN newest USING (enterprise, customer)
GROUP BY mine.enterprise, mine.customer, newest.started_at, newest.direction, newest.outcome, newest.talked,
         newest.line
ON CONFLICT (enterprise, phone) DO UPDATE SET ({columns}) = ({excluded})
"""

NO_MORE_CUSTOMERS = """
DELETE FROM {customers} customers USING unnest($1::text[], $2::text[]) AS wanted (enterprise, phone)
WHERE customers.enterprise = wanted.enterprise AND customers.phone = wanted.phone
  AND NOT EXISTS (
      SELECT 1 FROM {calls} calls
      WHERE calls.enterprise = wanted.enterprise AND calls.customer = wanted.phone AND calls.outcome <> 'open'
  )
"""

RENAME = """
UPDATE {customers} customers SET name = named.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS named (enterprise, phone, name)
WHERE customers.enterprise = named.enterprise AND customers.phone = named.phone
"""

LEGS = """
INSERT INTO {call_legs} (enterprise, unique_id, call_id, lost)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
ON CONFLICT (enterprise, unique_id) DO UPDATE SET call_id = excluded.call_id, lost = excluded.lost
"""

MOVE_CHECKPOINT = """
INSERT INTO checkpoints (projection, fold_version, incarnation, xid, position)
VALUES ($1, $2, $3, $4::text::xid8, $5)
ON CONFLICT (projection) DO UPDATE
    SET incarnation = excluded.incarnation, xid = excluded.xid, position = excluded.position, changed_at = now()
    WHERE (checkpoints.incarnation, checkpoints.xid, checkpoints.position) = ($6, $7::text::xid8, $8)
RETURNING position
"""

UNFORGOTTEN = """
SELECT enterprise, call_id FROM {calls} WHERE outcome = 'open'
UNION SELECT enterprise, call_id FROM {calls} WHERE last_position > $1
UNION SELECT enterprise, unique_id FROM {call_legs} WHERE lost
"""


def call_row(call: Call) -> tuple[object, ...]:
    """A call as a row of CALL_COLUMNS."""
    return (
        call.enterprise,
        call.call_id,
        call.direction,
        call.origin,
        call.outcome,
        call.customer,
        call.line,
        call.caller,
        call.dialled,
        list(call.rung),
        call.answered_by,
        list(call.talked),
        list(call.consulted),
        call.started_at,
        call.answered_at,
        call.ended_at,
        seconds(call.wait),
        seconds(call.talk),
        seconds(call.total),
        call.source,
        list(call.legs),
        call.last_position,
        list(call.recordings),
    )


class CallTables:
    """One set of the projection's tables, with the reading that its fold needs (projections.ports)."""

    def __init__(self, pool: asyncpg.Pool, suffix: str = "") -> None:
        self._pool = pool
        self.projection = f"calls{suffix}"
        self.calls, self.call_legs, self.customers = (
            f"calls{suffix}",
            f"call_legs{suffix}",
            f"customers{suffix}",
        )
        self.counts_customers = True
        """False while a rebuild counts them once at its end."""
        self._upsert = self._upsert_calls()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool; trouble with it shows as ReaderTrouble."""
        try:
            async with self._pool.acquire(timeout=10) as connection:
                yield connection
        except SERVER_TROUBLE as error:
            raise ReaderTrouble(f"{type(error).__name__}: {error}") from error

    def _sql(self, text: str) -> str:
        return text.format(
            calls=self.calls,
            call_legs=self.call_legs,
            customers=self.customers,
            columns=", ".join(CUSTOMER_COLUMNS),
            excluded=", ".join(f"excluded.{column}" for column in CUSTOMER_COLUMNS),
        )

    def _upsert_calls(self) -> str:
        columns = ", ".join(CALL_COLUMNS)
        values = ", ".join(f"${place}" for place in range(1, len(CALL_COLUMNS) + 1))
        changed = ", ".join(f"excluded.{column}" for column in CALL_COLUMNS)
        return (
            f"INSERT INTO {self.calls} ({columns}) VALUES ({values})"
            f" ON CONFLICT (enterprise, call_id) DO UPDATE SET ({columns}) = ({changed})"
        )

    # reading

    async def checkpoint(self) -> Checkpoint:
        """How far the rows have come."""
        async with self.connection() as connection:
            row = await connection.fetchrow(
                "SELECT incarnation, xid::text::bigint, position FROM checkpoints WHERE projection = $1",
                self.projection,
            )
            return Checkpoint(*row) if row else Checkpoint()

    async def next(
        self, after: Checkpoint, limit: int, upto: Checkpoint | None = None
    ) -> tuple[list[Fact], Checkpoint]:
        """The next facts below the horizon, and the checkpoint behind them."""
        async with self.connection() as connection:
            read = await reader.read_below_horizon(connection, after, limit, upto)
            return read.facts, read.checkpoint

    async def calls_of(self, legs: Sequence[tuple[str, str]], upto: int) -> list[Fact]:
        """All facts of the calls that these legs belong to, up to a position."""
        async with self.connection() as connection:
            return await reader.read_calls(connection, legs, (), upto, call_legs=self.call_legs)

    async def directories(self, upto: int) -> list[Fact]:
        """All directory facts up to a position."""
        async with self.connection() as connection:
            return await reader.read_directories(connection, upto)

    async def unforgotten(self) -> list[tuple[str, str]]:
        """Open and newly settled calls, and legs that make no call yet."""
        async with self.connection() as connection:
            since = await connection.fetchval(reader.RECENT, reader.UNFORGOTTEN_WINDOW)
            return [(row[0], row[1]) for row in await connection.fetch(self._sql(UNFORGOTTEN), since)]

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        """Keep a fact that could not be folded."""
        async with self.connection() as connection:
            await reader.park(connection, place, fact, reason)

    # writing

    async def write(self, rows: Rows, old: Checkpoint, new: Checkpoint, name_of: NameOf) -> None:
        """Write rows and checkpoint in one transaction; raises Fenced where ``old`` is not the checkpoint."""
        async with self.connection() as connection, connection.transaction():
            await self._move_checkpoint(connection, old, new)
            touched = await self._write_calls(connection, rows)
            if rows.legs:
                await connection.execute(self._sql(LEGS), *_columns(rows.legs, 4))
            if self.counts_customers:
                await self.count_customers(connection, touched, name_of)
                await self.rename_customers(connection, rows.names)

    async def _move_checkpoint(self, connection: Connection, old: Checkpoint, new: Checkpoint) -> None:
        moved = await connection.fetchval(
            MOVE_CHECKPOINT,
            self.projection,
            FOLD_VERSION,
            new.incarnation,
            str(new.xid),
            new.position,
            old.incarnation,
            str(old.xid),
            old.position,
        )
        if moved is None:
            raise Fenced(old)

    async def _write_calls(self, connection: Connection, rows: Rows) -> set[tuple[str, str]]:
        """Rows that came, changed and went; the customers that this concerns, before and after."""
        keys = [(call.enterprise, call.call_id) for call in rows.calls] + list(rows.gone)
        touched: set[tuple[str, str]] = set()
        if keys:
            known = await connection.fetch(
                f"SELECT DISTINCT enterprise, customer FROM {self.calls} WHERE customer IS NOT NULL"
                " AND (enterprise, call_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
                *_columns(keys, 2),
            )
            touched |= {(row[0], row[1]) for row in known}
        if rows.gone:
            await connection.execute(
                f"DELETE FROM {self.calls} WHERE (enterprise, call_id) IN"
                " (SELECT * FROM unnest($1::text[], $2::text[]))",
                *_columns(rows.gone, 2),
            )
        if rows.calls:
            await connection.executemany(self._upsert, [call_row(call) for call in rows.calls])
            touched |= {(call.enterprise, call.customer) for call in rows.calls if call.customer}
        return touched

    async def count_customers(
        self, connection: Connection, touched: Iterable[tuple[str, str]], name_of: NameOf
    ) -> None:
        """Count these customers' calls anew."""
        keys = sorted(touched)
        if not keys:
            return
        enterprises, phones = _columns(keys, 2)
        names = [name_of(enterprise, phone) for enterprise, phone in keys]
        await connection.execute(self._sql(CUSTOMERS), enterprises, phones, names)
        await connection.execute(self._sql(NO_MORE_CUSTOMERS), enterprises, phones)

    async def rename_customers(
        self, connection: Connection, names: dict[tuple[str, str], str | None]
    ) -> None:
        """Give customers the names that the directory has for them now."""
        if names:
            enterprises, phones = _columns(list(names), 2)
            await connection.execute(self._sql(RENAME), enterprises, phones, list(names.values()))


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows as one list a column, as unnest takes them."""
    return [[row[place] for row in rows] for place in range(width)]
