"""The database of the settings, whoever runs it: an embedded server, or one that DATABASE_URL names."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.errors import DatabaseError, DatabaseUnreachable, NotDurable, ServerTooOld

OLDEST_SERVER: Final = 14
CONNECT_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 0.05

# What passes by itself: no server yet, one in crash recovery or on its way down, all slots taken.
PASSING: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConnectionDoesNotExistError,
)


class Database:
    """A server that can be connected to again and again."""

    def __init__(self, dsn: str, embedded: EmbeddedPostgres | None) -> None:
        self.dsn = dsn
        self.embedded = embedded

    def describe(self) -> str:
        """One line that names the server, without its password."""
        if self.embedded is not None:
            return f"embedded PostgreSQL in {self.embedded.place.home}"
        return describe(self.dsn)

    async def connect(self, *, within: float = CONNECT_SECONDS, **options: Any) -> asyncpg.Connection:
        """A new connection, asyncpg's ``options`` added; brings the embedded server back where it is gone.

        Tries on for ``within`` seconds while the trouble may pass, then raises DatabaseUnreachable. Raises
        EmbeddedError where the embedded server cannot be started.
        """
        reason = "no answer"
        options.setdefault("timeout", within)
        try:
            async with asyncio.timeout(within):
                while True:
                    if self.embedded is not None:
                        await self.embedded.ensure_running()
                    try:
                        return await asyncpg.connect(self.dsn, **options)
                    except PASSING as error:
                        reason = _reason(error)
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError as error:
            raise DatabaseUnreachable(self.describe(), f"{reason} within {within:g} s") from error
        except ValueError:
            # asyncpg quotes what it could not parse, and that may be a piece of the password
            raise DatabaseUnreachable(self.describe(), "DATABASE_URL is no postgresql:// address") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DatabaseUnreachable(self.describe(), _reason(error)) from error

    @asynccontextmanager
    async def pool(
        self, *, min_size: int = 0, max_size: int = 8, **options: Any
    ) -> AsyncIterator[asyncpg.Pool]:
        """A pool whose connections are made as ``connect`` makes them; closed within 10 s, then by force."""

        async def connect(*_: Any, **given: Any) -> asyncpg.Connection:
            return await self.connect(**given)

        made = asyncpg.create_pool(self.dsn, min_size=min_size, max_size=max_size, connect=connect, **options)
        await made
        try:
            yield made
        finally:
            try:
                async with asyncio.timeout(10):
                    await made.close()
            except TimeoutError:
                made.terminate()


@asynccontextmanager
async def open_database(database_url: str, data_dir: Path, *, check: bool = True) -> AsyncIterator[Database]:
    """The database that the settings name; an empty ``database_url`` means the embedded one in ``data_dir``.

    Raises the first of ``complaints`` unless ``check`` is off (doctor lists them all), and what ``connect``
    and EmbeddedPostgres raise.
    """
    if database_url:
        database = Database(database_url, None)
        if check:
            await _check(database)
        yield database
        return
    async with EmbeddedPostgres(data_dir) as server:
        database = Database(server.dsn, server)
        if check:
            await _check(database)
        yield database


async def complaints(connection: asyncpg.Connection) -> list[DatabaseError]:
    """What keeps this server from being callfold's store; empty when nothing does."""
    found: list[DatabaseError] = []
    version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    if version < OLDEST_SERVER:
        found.append(ServerTooOld(version, OLDEST_SERVER))
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value == "off":
            found.append(NotDurable(setting, value))
    return found


def describe(dsn: str) -> str:
    """An address without what may be secret: user, hosts and database alone."""
    try:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
    except ValueError:
        return "PostgreSQL of DATABASE_URL"
    # An unescaped @ or / in a password moves the borders: what is left must look like hosts and nothing else.
    if parts.scheme not in {"postgresql", "postgres"}:
        return "PostgreSQL of DATABASE_URL"
    credentials, _, hosts = parts.netloc.rpartition("@")
    hosts = hosts or ",".join(query.get("host", []))
    user = credentials.partition(":")[0]
    if (
        not re.fullmatch(r"[\w.,:/\[\]-]*", hosts)
        or not re.fullmatch(r"/?[\w.-]*", parts.path)
        or "@" in parts.path
    ):
        return "PostgreSQL of DATABASE_URL"
    return f"postgresql://{user}{'@' if user else ''}{hosts}{parts.path}"


async def _check(database: Database) -> None:
    connection = await database.connect()
    try:
        for complaint in await complaints(connection):
            raise complaint
    finally:
        await connection.close(timeout=5)


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
