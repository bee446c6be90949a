"""Tables beside the live ones, for a rebuild: made like them, compared with them, put in their place."""

from typing import Any, Final

import asyncpg

from adapters.store.queries import row_shown
from adapters.store.tables import CALL_COLUMNS, CUSTOMER_COLUMNS, CallTables
from projections.calls import FOLD_VERSION
from projections.ports import Checkpoint, NameOf, ProjectionError
from projections.rebuild import Difference

SUFFIX: Final = "_next"
OLD: Final = "_old"
TABLES: Final = ("calls", "call_legs", "customers")
COMPARED: Final = {
    "calls": (("enterprise", "call_id"), CALL_COLUMNS),
    "customers": (("enterprise", "phone"), CUSTOMER_COLUMNS),
}
LIVE: Final = "calls"
# Indexes of two tables of one shape, by what stands behind the names.
SAME_INDEXES: Final = """
SELECT live.indexname, fresh.indexname FROM pg_indexes live
JOIN pg_indexes fresh ON fresh.schemaname = live.schemaname
    AND split_part(fresh.indexdef, ' USING ', 2) = split_part(live.indexdef, ' USING ', 2)
WHERE live.schemaname = current_schema() AND live.tablename = $1 AND fresh.tablename = $2
"""
REBUILD_LOCK: Final = 0x63616C6C_72656264  # "callrebd"


class BesideLive(CallTables):
    """One rebuild at a time; its tables are gone when it ends, swapped or not."""

    def __init__(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        super().__init__(pool, SUFFIX)
        self._own = connection
        self._holding: Any = None
        self.counts_customers = False

    async def begin(self) -> None:
        """Make the tables, empty. Raises ProjectionError where another rebuild is at work."""
        if not await self._own.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
            raise ProjectionError("another rebuild is at work on this database")
        await self.drop()
        for table in TABLES:
            await self._own.execute(f"CREATE TABLE {table}{SUFFIX} (LIKE {table} INCLUDING ALL)")

    async def drop(self) -> None:
        """Throw the tables away."""
        for table in TABLES:
            await self._own.execute(f"DROP TABLE IF EXISTS {table}{SUFFIX}")
        await self._own.execute("DELETE FROM checkpoints WHERE projection = $1", self.projection)

    async def live_checkpoint(self) -> Checkpoint:
        """How far the live tables have come."""
        row = await self._own.fetchrow(
            "SELECT incarnation, xid::text::bigint, position FROM checkpoints WHERE projection = $1", LIVE
        )
        return Checkpoint(*row) if row else Checkpoint()

    async def hold_live(self) -> Checkpoint:
        """Keep the live runner from writing: it has to move its checkpoint, and that row is locked now."""
        self._holding = self._own.transaction()
        await self._holding.start()
        await self._own.execute("SELECT 1 FROM checkpoints WHERE projection = $1 FOR UPDATE", LIVE)
        return await self.live_checkpoint()

    async def release(self) -> None:
        """Let the live runner go on."""
        if self._holding is not None:
            holding, self._holding = self._holding, None
            await holding.commit()

    async def count_all_customers(self, name_of: NameOf) -> None:
        """Count every customer anew."""
        async with self.connection() as connection, connection.transaction():
            rows = await connection.fetch(
                f"SELECT DISTINCT enterprise, customer FROM {self.calls} WHERE customer IS NOT NULL"
            )
            await self.count_customers(connection, {(row[0], row[1]) for row in rows}, name_of)

    async def differences(self) -> list[Difference]:
        """Every row of calls and customers that differs, byte for byte."""
        found = []
        for table, (keys, columns) in COMPARED.items():
            names = ", ".join(columns)
            live, rebuilt = await self._both(table, names, keys)
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

    async def _both(
        self, table: str, names: str, keys: tuple[str, ...]
    ) -> tuple[dict[tuple[str, ...], asyncpg.Record], dict[tuple[str, ...], asyncpg.Record]]:
        """Rows that one side has and the other has not in that form, by key."""
        one = await self._own.fetch(f"SELECT {names} FROM {table} EXCEPT SELECT {names} FROM {table}{SUFFIX}")
        other = await self._own.fetch(
            f"SELECT {names} FROM {table}{SUFFIX} EXCEPT SELECT {names} FROM {table}"
        )
        return (
            {tuple(row[key] for key in keys): row for row in one},
            {tuple(row[key] for key in keys): row for row in other},
        )

    async def swap(self) -> None:
        """Put these tables in the place of the live ones; the former ones are kept as ``…_old``."""
        for table in TABLES:
            await self._own.execute(f"DROP TABLE IF EXISTS {table}{OLD}")
            # migrations know indexes and constraints by their names
            for live, fresh in await self._own.fetch(SAME_INDEXES, table, f"{table}{SUFFIX}"):
                await self._own.execute(f"ALTER INDEX {live} RENAME TO {live}{OLD}")
                await self._own.execute(f"ALTER INDEX {fresh} RENAME TO {live}")
            await self._own.execute(f"ALTER TABLE {table} RENAME TO {table}{OLD}")
            await self._own.execute(f"ALTER TABLE {table}{SUFFIX} RENAME TO {table}")
        await self._own.execute(
            "UPDATE checkpoints SET fold_version = $1 WHERE projection = $2", FOLD_VERSION, LIVE
        )
