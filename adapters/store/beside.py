"""Tables beside the live ones, for a rebuild: made like them, filled, compared with them, put in their place.

Of one rebuild at a time. What it has made so far stays when it is interrupted, and the next one goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import asyncpg
import msgspec

from adapters.analysts.live import bind
from adapters.archive.folder import open_archive
from adapters.store import sums
from adapters.store.columns import CALL_COLUMNS, CUSTOMER_COLUMNS, LEG_COLUMNS, SHARE_COLUMNS
from adapters.store.lock import lock_rebuild
from adapters.store.queries import row_shown
from adapters.store.reader import Connection
from adapters.store.reading import LIVE, read_checkpoint
from adapters.store.shards import Shard, Work, read_shards
from adapters.store.tables import CallTables
from calls.facts import UNFOLDED_KINDS
from projections.hosts import HostRow
from projections.names import NAMES, TABLES, Name
from projections.ports import Busy, Checkpoint, ProjectionError
from projections.rebuild import Difference, Plan

# Both have come equally far; only the version of the fold that made the rows differs.
SWAP_CHECKPOINTS: Final = """
UPDATE checkpoints mine SET fold_version = other.fold_version FROM checkpoints other
WHERE mine.projection IN ($1, $2) AND other.projection IN ($1, $2) AND mine.projection <> other.projection
"""
A_GLANCE: Final = "SET LOCAL default_statistics_target = 20"
"""Before an ANALYZE: a fifth of the rows that it would look at tell enough until autovacuum looks at more."""
OLD: Final = "_old"
ASIDE: Final = "_aside"
SWAP_MS: Final = 1_000
DUE_WITHIN: Final = 60.0
DUE_POLL: Final = 0.2
COMPARED: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "calls": (("enterprise", "call_id"), CALL_COLUMNS),
    "customers": (("enterprise", "phone"), CUSTOMER_COLUMNS),
    "legs": (("enterprise", "unique_id"), LEG_COLUMNS),
    "call_agents": (("enterprise", "call_id", "extension"), SHARE_COLUMNS),
    "agents": (("enterprise", "extension", "day"), sums.AGENTS.columns),
    "traffic": (("enterprise", "line", "direction", "hour"), sums.TRAFFIC.columns),
    "hosts": (("enterprise",), HostRow.__struct_fields__),
}
"""Key and columns of what a rebuild compares, by table."""

# Indexes of a table, those that rows are found by while it is filled in front.
INDEXES: Final = """
SELECT indexes.indexname AS name, indexes.indexdef AS def, constraints.conname IS NOT NULL AS key
FROM pg_indexes indexes LEFT JOIN pg_constraint constraints
    ON constraints.conname = indexes.indexname AND constraints.contype = 'p'
    AND constraints.conrelid = to_regclass($1)
WHERE indexes.schemaname = current_schema() AND indexes.tablename = $1
ORDER BY key DESC, name
"""
WANTED_EARLY: Final = frozenset({"call_legs_of_call", "legs_of_call"})
"""Rows are woken and replaced by these while tables are filled; the others are made at the end, which is cheaper."""
EVENTS_OF: Final = """
SELECT enterprise, sum(facts)::bigint FROM (
    SELECT enterprise, count(*) AS facts FROM facts WHERE position <= $1 GROUP BY enterprise
    UNION ALL SELECT enterprise, facts FROM archived WHERE first_position <= $1
) AS told GROUP BY enterprise ORDER BY 2 DESC, 1
"""
BESIDE_SHARDS: Final = """
SELECT (SELECT count(*) FROM facts WHERE source = 'recovery' AND position <= $3)
     + (SELECT coalesce(sum(recovered), 0)::bigint FROM archived WHERE last_position <= $3)
     + (SELECT count(*) FROM facts WHERE (incarnation, xid, position) > ($1, $2::text::xid8, $3)
        AND (incarnation, xid, position) <= ($4, $5::text::xid8, $6) AND kind <> ALL($7))
"""
NEWEST_BELOW: Final = """
SELECT incarnation, xid::text::bigint, position FROM facts
WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) OR incarnation < (SELECT max(incarnation) FROM incarnations)
ORDER BY incarnation DESC, facts.xid DESC, position DESC LIMIT 1
"""
LAST_BEFORE: Final = """
SELECT incarnation, xid::text::bigint, position FROM facts
WHERE recorded_at <= $1 AND (incarnation, xid, position) <= ($2, $3::text::xid8, $4)
ORDER BY incarnation DESC, facts.xid DESC, position DESC LIMIT 1
"""


class Following(CallTables):
    """A set of tables that can be brought as far as the live ones and put in their place.

    ``own``: a connection that is the set's for its life.
    """

    def __init__(
        self, pool: asyncpg.Pool, own: asyncpg.Connection, suffix: str, names: Collection[Name]
    ) -> None:
        super().__init__(pool, suffix, names)
        self._own = own

    @property
    def tables(self) -> list[str]:
        """Names of the live tables that this set has."""
        return [table for name in NAMES if name in self.names for table in TABLES[name]]

    async def live_checkpoint(self) -> Checkpoint:
        """How far the live tables have come."""
        return await read_checkpoint(self._own, LIVE)

    @asynccontextmanager
    async def live_held(self) -> AsyncIterator[Checkpoint]:
        """Keep the live runner from writing meanwhile; how far its rows have come.

        It has to move its checkpoint, and that row is locked now. What is done on the own connection is committed at
        the end. Waits while recovered facts are still to be folded in. Raises ProjectionError where that takes long.
        """
        for _ in range(round(DUE_WITHIN / DUE_POLL)):
            async with self._own.transaction():
                await self._own.execute("SELECT 1 FROM checkpoints WHERE projection = $1 FOR UPDATE", LIVE)
                if not await self._own.fetchval("SELECT EXISTS (SELECT FROM folds_due)"):
                    yield await self.live_checkpoint()
                    return
            await asyncio.sleep(DUE_POLL)  # the live runner folds them as soon as no more come
        raise ProjectionError(
            f"facts are being recovered, and for {DUE_WITHIN:.0f} s the live tables were not whole: run the command"
            " again, it goes on from there"
        )


class Beside(Following):
    """The tables of one rebuild. ``work`` says what its shards fold; then it is followed like a live one."""

    def __init__(
        self, pool: asyncpg.Pool, own: asyncpg.Connection, suffix: str, plan: Plan, upto: Checkpoint
    ) -> None:
        super().__init__(pool, own, suffix, plan.names)
        self.plan, self.upto = plan, upto

    @classmethod
    async def open(
        cls,
        pool: asyncpg.Pool,
        own: asyncpg.Connection,
        plan: Plan,
        jobs: int,
        *,
        afresh: bool = False,
        archive: Path | None = None,
    ) -> Self:
        """Take up the rebuild of this plan that was interrupted, or begin one with ``jobs`` shards.

        ``archive``: the folder of archived months. Raises ProjectionError where another one is at work, ArchiveError
        and ExtraMissing where what is archived cannot be read.
        """
        if not await lock_rebuild(own):
            raise ProjectionError("another rebuild is at work on this database")
        files = await open_archive(own, archive)
        row = await own.fetchrow(
            "SELECT suffix, plan, incarnation, xid::text::bigint, position FROM rebuilds"
        )
        if row and not afresh and msgspec.json.decode(row[1], type=Plan) == plan:
            beside = cls(pool, own, row[0], plan, Checkpoint(*row[2:]))
            beside.archive = files
            return beside
        if row:
            await cls(pool, own, row[0], plan, Checkpoint()).drop()
        async with own.transaction():
            upto = await read_checkpoint(own, LIVE)
            if upto == Checkpoint():
                found = await own.fetchrow(NEWEST_BELOW)
                upto = Checkpoint(*found) if found else upto
            if plan.as_of is not None:
                found = await own.fetchrow(
                    LAST_BEFORE, plan.as_of, upto.incarnation, str(upto.xid), upto.position
                )
                told = Checkpoint(*found) if found else Checkpoint()
                upto = max(told, files.last_before(plan.as_of, upto)) if files else told
            number = await own.fetchval("SELECT nextval('rebuild_numbers')")
            beside = cls(pool, own, f"_v{number}", plan, upto)
            beside.archive = files
            await beside._make(jobs)
        return beside

    async def _make(self, jobs: int) -> None:
        for table in self.tables:
            options = await self._own.fetchval(
                "SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)", table
            )
            stored = f" WITH ({', '.join(options)})" if options else ""
            await self._own.execute(
                f"CREATE TABLE {table}{self.suffix} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES){stored}"
            )
            await self._index(self._own, table, early=True)
        await self._own.execute(
            "INSERT INTO rebuilds (suffix, plan, incarnation, xid, position) VALUES ($1, $2, $3, $4::text::xid8, $5)",
            self.suffix,
            msgspec.json.encode(self.plan),
            self.upto.incarnation,
            str(self.upto.xid),
            self.upto.position,
        )
        dealt: list[tuple[int, list[str]]] = [(0, []) for _ in range(jobs)]
        for enterprise, events in await self._own.fetch(EVENTS_OF, self.upto.position):
            least = min(range(jobs), key=lambda shard: dealt[shard][0])
            dealt[least] = (dealt[least][0] + events, [*dealt[least][1], enterprise])
        await self._own.executemany(
            "INSERT INTO rebuild_shards (shard, enterprises, expected) VALUES ($1, $2, $3)",
            [(number, mine, events) for number, (events, mine) in enumerate(dealt) if mine],
        )

    async def _index(self, connection: Connection, table: str, *, early: bool) -> None:
        """Make the indexes that the live table has; ``early``: its key and those that filling needs, else the rest."""
        for name, definition, key in await connection.fetch(INDEXES, table):
            if (key or name in WANTED_EARLY) != early:
                continue
            columns = definition.partition(" USING ")[2]
            unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
            await connection.execute(
                f"CREATE {unique}INDEX IF NOT EXISTS {name}{self.suffix} ON {table}{self.suffix} USING {columns}"
            )
            if key:
                await connection.execute(
                    f"ALTER TABLE {table}{self.suffix} ADD CONSTRAINT {name}{self.suffix}"
                    f" PRIMARY KEY USING INDEX {name}{self.suffix}"
                )

    # filling

    async def shards(self) -> list[Shard]:
        """How far each shard has come."""
        return await read_shards(self._own)

    def work(self, dsn: str, shards: Sequence[int]) -> Work:
        """What a process that folds these shards has to know."""
        folder = str(self.archive.folder.absolute()) if self.archive else ""
        return Work(dsn, self.suffix, self.plan, self.upto, tuple(shards), folder)

    async def beside_shards(self) -> int:
        """Facts in these tables that shards do not count: recovered ones, and what was caught up with so far."""
        upto, reached = self.upto, await self.checkpoint()
        places = (one for at in (upto, reached) for one in (at.incarnation, str(at.xid), at.position))
        return int(await self._own.fetchval(BESIDE_SHARDS, *places, list(UNFOLDED_KINDS)))

    async def finish(self, names: dict[tuple[str, str], str | None]) -> None:
        """When all shards are folded: count the sums, name the customers, make the indexes, note how far it all is."""
        if await self.checkpoint() >= self.upto:
            return  # it was finished before it was interrupted
        counted = [one.table for one in self.sums]
        folded = [table for table in self.tables if table not in counted]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._count(names, counted))
            group.create_task(self._make_ready(folded))
        await self._move_checkpoint(self._own, Checkpoint(), self.upto)

    async def _count(self, names: dict[tuple[str, str], str | None], counted: Sequence[str]) -> None:
        async with self._own.transaction():
            for one in self.sums:
                await self._own.execute(
                    f"TRUNCATE {one.table}{self.suffix}"
                )  # counted before an interruption
                await self._own.execute(one.count_all(self.suffix))
            if "customers" in self.names:
                await self.rename(self._own, names)
            for table in counted:
                await self._index(self._own, table, early=False)
        for table in counted:
            await self._own.execute(f"{A_GLANCE}; ANALYZE {table}{self.suffix}")

    async def _make_ready(self, folded: Sequence[str]) -> None:
        async with self.connection() as connection:
            for table in folded:
                await self._index(connection, table, early=False)
                await connection.execute(f"{A_GLANCE}; ANALYZE {table}{self.suffix}")

    # against the live tables

    @asynccontextmanager
    async def as_now(self) -> AsyncIterator[Connection]:
        """A connection that sees all tables as they are at the entry, whatever is written later."""
        async with self._pool.acquire(timeout=10) as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")
            try:
                yield connection
            finally:
                await connection.execute("ROLLBACK")

    async def differences(self, connection: Connection) -> list[Difference]:
        """Every row that differs from the live one, byte for byte; where both have come equally far."""
        found = []
        for table in self.tables:
            if table not in COMPARED:
                continue
            keys, columns = COMPARED[table]
            other = table + self.suffix
            differing = await connection.fetch(_differing(table, other, keys, columns))
            if not differing:
                continue
            wanted = [list(column) for column in zip(*differing, strict=True)]
            live = await self._rows(connection, table, keys, columns, wanted)
            rebuilt = await self._rows(connection, other, keys, columns, wanted)
            for key in sorted(live.keys() | rebuilt.keys()):
                mine, theirs = live.get(key), rebuilt.get(key)
                found.append(
                    Difference(
                        table,
                        key,
                        row_shown(mine, columns) if mine else None,
                        row_shown(theirs, columns) if theirs else None,
                    )
                )
        return found

    async def _rows(
        self,
        connection: Connection,
        table: str,
        keys: Sequence[str],
        columns: Sequence[str],
        wanted: Sequence[Sequence[str]],
    ) -> dict[tuple[str, ...], asyncpg.Record]:
        """Rows of these keys, as texts one list a column, by key."""
        arrays = ", ".join(f"${place}::text[]" for place in range(1, len(keys) + 1))
        told = ", ".join(f"{key}::text" for key in keys)
        rows = await connection.fetch(
            f"SELECT {', '.join(columns)} FROM {table} WHERE ({told}) IN (SELECT * FROM unnest({arrays}))",
            *wanted,
        )
        return {tuple(str(row[key]) for key in keys): row for row in rows}

    async def swap(self) -> None:
        """Put these tables in the place of the live ones; only while the live runner is held.

        The former ones are kept as ``…_old`` with their checkpoint, for a way back.
        """
        async with soon(self._own, self.tables):
            await drop_old(self._own)
            for table in self.tables:
                await rename(self._own, table, "", OLD)
                await rename(self._own, table, self.suffix, "")
            await bind(self._own)
        await self._own.execute(
            "INSERT INTO checkpoints SELECT $2, fold_version, incarnation, xid, position FROM checkpoints"
            " WHERE projection = $1",
            LIVE,
            LIVE + OLD,
        )
        await self._own.execute(
            "INSERT INTO checkpoints (projection, fold_version, incarnation, xid, position)"
            " SELECT $2, fold_version, incarnation, xid, position FROM checkpoints WHERE projection = $1"
            " ON CONFLICT (projection) DO UPDATE SET fold_version = excluded.fold_version",
            self.projection,
            LIVE,
        )
        await self._forget()

    async def name_as_of(self, suffix: str) -> None:
        """Give the tables a name of their own and let go of them."""
        async with self._own.transaction():
            for table in self.tables:
                await self._own.execute(f"DROP TABLE IF EXISTS {table}{suffix}")
                await rename(self._own, table, self.suffix, suffix)
            await self._forget()

    async def drop(self) -> None:
        """Throw the tables away."""
        async with self._own.transaction():
            for table in (table for tables in TABLES.values() for table in tables):
                await self._own.execute(f"DROP TABLE IF EXISTS {table}{self.suffix}")
            await self._forget()

    async def _forget(self) -> None:
        await self._own.execute("DELETE FROM checkpoints WHERE projection = $1", self.projection)
        await self._own.execute("DELETE FROM rebuilds")
        await self._own.execute("DELETE FROM rebuild_shards")


class Former(Following):
    """The tables that the last swap has put aside, for a way back."""

    @classmethod
    async def open(cls, pool: asyncpg.Pool, own: asyncpg.Connection, *, archive: Path | None = None) -> Self:
        """Raises ProjectionError where there are none, ArchiveError, ExtraMissing."""
        if not await lock_rebuild(own):
            raise ProjectionError("another rebuild is at work on this database")
        there = [
            name for name in NAMES if await own.fetchval("SELECT to_regclass($1)", TABLES[name][0] + OLD)
        ]
        if "calls" not in there:
            raise ProjectionError("there is no way back: no rebuild has put tables aside")
        former = cls(pool, own, OLD, there)
        former.archive = await open_archive(own, archive)
        return former

    async def swap(self) -> None:
        """Put these tables back; the others are kept in their stead. Only while the live runner is held."""
        async with soon(self._own, self.tables):
            for table in self.tables:
                await rename(self._own, table, "", ASIDE)
                await rename(self._own, table, OLD, "")
                await rename(self._own, table, ASIDE, OLD)
            await bind(self._own)
        await self._own.execute(SWAP_CHECKPOINTS, LIVE, LIVE + OLD)


def _differing(one: str, other: str, keys: Sequence[str], columns: Sequence[str]) -> str:
    """Query of the keys, as texts, of rows that two tables do not both have in the same form.

    One pass over both; EXCEPT, this way and that, takes three times as long.
    """
    told = ", ".join(f"coalesce(one.{key}, other.{key})::text" for key in keys)
    same = " AND ".join(f"one.{key} = other.{key}" for key in keys)
    ours, theirs = (", ".join(f"{side}.{column}" for column in columns) for side in ("one", "other"))
    return (
        f"SELECT {told} FROM {one} one FULL JOIN {other} other ON {same}"
        f" WHERE ROW({ours}) IS DISTINCT FROM ROW({theirs})"
    )


@asynccontextmanager
async def soon(connection: asyncpg.Connection, tables: Sequence[str]) -> AsyncIterator[None]:
    """Have these tables for oneself, but wait for them for a moment only: behind one that waits all readers wait.

    All at once and first of all: whoever renames one and waits for the next stands in the way of a vacuum that has
    the next and waits for the catalogue. Raises Busy where somebody keeps a table for longer.
    """
    await connection.execute(f"SET LOCAL lock_timeout = {SWAP_MS}")
    try:
        await connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise Busy("somebody reads the tables for long (a question, a dump): try again") from error
    await connection.execute("SET LOCAL lock_timeout = 0")


async def rename(connection: asyncpg.Connection, table: str, now: str, then: str) -> None:
    """Give a table and its indexes another suffix: migrations know them by their names."""
    for name, _, _ in await connection.fetch(INDEXES, table + now):
        base = name.removesuffix(now) if now else name
        await connection.execute(f"ALTER INDEX {name} RENAME TO {base}{then}")
    await connection.execute(f"ALTER TABLE {table}{now} RENAME TO {table}{then}")


async def drop_old(connection: asyncpg.Connection) -> None:
    """Throw away what an earlier swap has put aside."""
    for table in (table for tables in TABLES.values() for table in tables):
        await connection.execute(f"DROP TABLE IF EXISTS {table}{OLD}")
    await connection.execute("DELETE FROM checkpoints WHERE projection = $1", LIVE + OLD)
