"""The store of the settings, ready for use: the part of the composition that commands need by itself.

Loading the whole service takes seconds, which nobody wants to wait for who only prints events.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from adapters.postgres.database import Database, open_database
from adapters.postgres.migrate import migrate
from adapters.settings import Settings

POOL = 8
"""Connections beside the writer's; the embedded server allows many more."""


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[tuple[Database, asyncpg.Pool]]:
    """The migrated database and a pool of connections to it."""
    async with open_database(settings.database_url.reveal(), settings.data_dir) as database:
        connection = await database.connect()
        try:
            await migrate(connection)
        finally:
            await connection.close(timeout=5)
        async with database.pool(min_size=1, max_size=POOL) as pool:
            yield database, pool
