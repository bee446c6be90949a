"""One state of the database, read by several short transactions one after the other.

A table stays locked against a swap (``callfold rebuild``) only while it is read, not until all are. What is read may
have been renamed meanwhile, so tables are known by what they were when the state was taken.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from adapters.analysts.errors import ExportError
from adapters.postgres.database import Database

# Names as they are in this state: to_regclass would say what they are by now.
NAMED: Final = """
SELECT relname, oid FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname = ANY($1::text[])
"""
APPLICATION: Final = "callfold export"


class Snapshot:
    """A state of the database; ``reading`` lends transactions in it."""

    def __init__(self, connection: asyncpg.Connection, name: str, tables: dict[str, int]) -> None:
        self._connection, self._name, self._tables = connection, name, tables

    @asynccontextmanager
    async def reading(self, table: str) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
        """A read-only transaction in this state, and under which name the table is to be read in it."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            await self._connection.execute(f"SET TRANSACTION SNAPSHOT '{self._name}'")
            yield self._connection, await self._locked(table)

    async def _locked(self, table: str) -> str:
        """Keep the table under its present name until the transaction ends."""
        while True:
            name = str(await self._connection.fetchval("SELECT $1::oid::regclass::text", self._tables[table]))
            if name.isdecimal():  # the number of a table that is no more
                raise ExportError(f"{table} was rebuilt twice meanwhile: export again")
            await self._connection.execute(f"LOCK TABLE ONLY {name} IN ACCESS SHARE MODE")
            if await self._connection.fetchval("SELECT to_regclass($1)::oid", name) == self._tables[table]:
                return name


@asynccontextmanager
async def snapshot(database: Database, tables: Iterable[str]) -> AsyncIterator[Snapshot]:
    """The state of these tables now; read-only transactions hold no writer and no projection back."""
    wanted = sorted(tables)
    settings = {
        "application_name": APPLICATION,
        "timezone": "UTC",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    holder = await database.connect(server_settings=settings)
    try:
        async with holder.transaction(isolation="repeatable_read", readonly=True):
            name = await holder.fetchval("SELECT pg_export_snapshot()")
            known = {row["relname"]: row["oid"] for row in await holder.fetch(NAMED, wanted)}
            missing = [table for table in wanted if table not in known]
            if missing:
                raise ExportError(
                    f"the database has no table {', '.join(missing)}: start this version's service once"
                )
            reader = await database.connect(server_settings=settings)
            try:
                yield Snapshot(reader, name, known)
            finally:
                await reader.close(timeout=10)
    finally:
        await holder.close(timeout=10)
