"""The schema and its history: numbered SQL files, each applied once however many processes start together.

``migrations/NNNN_name.sql`` lead to what ``schema.sql`` says whole; a fresh database gets the whole at once.
Each file is one transaction. A file whose first line is ``-- no transaction`` (CREATE INDEX CONCURRENTLY) is
run one statement after another, each ending with ``;`` at the end of a line; it must bear to be run again,
since nothing undoes its first half.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import asyncpg
import msgspec

from adapters.postgres.errors import MigrationBusy, MigrationFailed, SchemaTooNew

LOCK_KEY: Final = 0x63616C6C666F6C64
"""The advisory lock of migrations: ``callfold`` in ASCII."""
LOCK_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05

NO_TRANSACTION: Final = "-- no transaction"
NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
# Owned by this module, not by schema.sql: it must be there before the first file is.
HISTORY: Final = """
CREATE TABLE IF NOT EXISTS schema_version (
    version int PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


# Views of analysts (adapters/analysts/live.py) would keep tables from being changed; the next question makes them anew.
NO_VIEWS: Final = """
DO $$ BEGIN
    IF obj_description(to_regnamespace('analyst'), 'pg_namespace') LIKE 'callfold %' THEN
        DROP SCHEMA analyst CASCADE;
    END IF;
END $$
"""


class Migration(msgspec.Struct, frozen=True):
    """One numbered file."""

    version: int
    name: str
    sql: str

    @property
    def in_transaction(self) -> bool:
        return self.sql.partition("\n")[0].strip() != NO_TRANSACTION


class Schema(msgspec.Struct, frozen=True):
    """All files, by number; ``whole`` is what they lead to, None to go there step by step."""

    steps: tuple[Migration, ...]
    whole: str | None = None

    @property
    def version(self) -> int:
        return self.steps[-1].version if self.steps else 0


def load_schema(folder: Traversable | None = None) -> Schema:
    """The schema that comes with the package, or the one in ``folder`` (schema.sql may be absent)."""
    root = folder if folder is not None else files("adapters.postgres")
    named = [(NAME.fullmatch(file.name), file) for file in (root / "migrations").iterdir()]
    steps = [Migration(int(m[1]), m[2], file.read_text("utf-8")) for m, file in named if m is not None]
    whole = root / "schema.sql"
    return Schema(
        tuple(sorted(steps, key=lambda step: step.version)),
        whole.read_text("utf-8") if whole.is_file() else None,
    )


async def schema_state(connection: asyncpg.Connection, schema: Schema | None = None) -> tuple[int, int]:
    """Version of the database (0: none) and version of the code."""
    want = (schema or load_schema()).version
    return max(await _applied(connection), default=0), want


async def migrate(
    target: asyncpg.Connection | str, schema: Schema | None = None, *, within: float = LOCK_SECONDS
) -> list[Migration]:
    """Bring a database (a connection, or a DSN) to the code's schema; returns what was applied, oldest first.

    Raises SchemaTooNew and leaves the database alone; MigrationFailed, with all earlier files in place;
    MigrationBusy when another process migrates for longer than ``within`` seconds.
    """
    schema = schema or load_schema()
    if not isinstance(target, str):
        return await _migrate(target, schema, within)
    connection = await asyncpg.connect(target, timeout=10)
    try:
        return await _migrate(connection, schema, within)
    finally:
        await connection.close(timeout=5)


async def _migrate(connection: asyncpg.Connection, schema: Schema, within: float) -> list[Migration]:
    if not _missing(await _applied(connection), schema):
        return []
    async with _alone(connection, within):
        applied = await _applied(connection)
        missing = _missing(applied, schema)
        await connection.execute(NO_VIEWS)
        if not applied and schema.whole is not None:
            whole = Migration(schema.version, "schema", schema.whole)
            await _apply(connection, whole, missing)
            return missing
        for step in missing:
            await _apply(connection, step, [step])
        return missing


async def _applied(connection: asyncpg.Connection) -> set[int]:
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return set()
    return {row["version"] for row in await connection.fetch("SELECT version FROM schema_version")}


def _missing(applied: set[int], schema: Schema) -> list[Migration]:
    have = max(applied, default=0)
    if have > schema.version:
        raise SchemaTooNew(have, schema.version)
    return [step for step in schema.steps if step.version not in applied]


@asynccontextmanager
async def _alone(connection: asyncpg.Connection, within: float) -> AsyncIterator[None]:
    """Hold the lock of migrations, asked for again and again.

    Who waits inside pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY of the lock's holder
    waits for that snapshot to go: a deadlock.
    """
    try:
        async with asyncio.timeout(within):
            while True:
                if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                    break
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise MigrationBusy(within) from error
    try:
        yield
    finally:
        if not connection.is_closed():  # with the connection the server frees its locks
            await connection.fetchval("SELECT pg_advisory_unlock($1)", LOCK_KEY)


async def _apply(connection: asyncpg.Connection, file: Migration, recorded: Sequence[Migration]) -> None:
    """Run one file and record the versions that it brings."""
    try:
        if file.in_transaction:
            async with connection.transaction():
                await connection.execute(file.sql)
                await _record(connection, recorded)
        else:
            for statement in _statements(file.sql):
                await connection.execute(statement)
            await _record(connection, recorded)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(file.version, file.name, str(error)) from error


async def _record(connection: asyncpg.Connection, recorded: Sequence[Migration]) -> None:
    await connection.execute(HISTORY)
    await connection.executemany(
        "INSERT INTO schema_version (version, name) VALUES ($1, $2)",
        [(step.version, step.name) for step in recorded],
    )


def _statements(sql: str) -> list[str]:
    """One by one: several in one message are one transaction to PostgreSQL."""
    return [part.strip() for part in re.split(r";[ \t]*(?:--.*)?$", sql, flags=re.MULTILINE) if part.strip()]
