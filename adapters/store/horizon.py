"""Who holds the horizon: transactions elsewhere that are open for long.

Readers take only what no running transaction can still come before, so one that has an id and stays open makes every
projection wait; one that has only a snapshot keeps vacuum from cleaning up, and rows that are updated in place grow.
"""

import asyncio
import re
from typing import Final, Literal

import asyncpg
import msgspec
import structlog

from adapters.postgres.errors import SERVER_TROUBLE
from adapters.store.reader import Connection

log = structlog.get_logger(__name__)

LONG: Final = 60.0
"""Seconds after which an open transaction is named."""
EVERY: Final = 10.0
"""Seconds between two looks of the service."""

# Of every database of the server: ids of transactions are the server's.
_HOLDERS: Final = """
SELECT pid, application_name AS application, usename AS "user", datname AS database,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age, coalesce(query, '') AS query,
       CASE WHEN backend_xid IS NULL THEN 'vacuum' ELSE 'readers' END AS holds, NULL AS prepared
FROM pg_stat_activity
WHERE (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND backend_type = 'client backend'
  AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - make_interval(secs => $1)
UNION ALL
SELECT NULL, NULL, owner, database, extract(epoch FROM clock_timestamp() - prepared)::float8, '', 'readers', gid
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - make_interval(secs => $1)
ORDER BY age DESC
"""
_BEHIND: Final = """
SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8 FROM facts
WHERE incarnation = (SELECT max(incarnation) FROM incarnations) AND xid >= pg_snapshot_xmin(pg_current_snapshot())
ORDER BY incarnation, xid, position LIMIT 1
"""


class Holder(msgspec.Struct, frozen=True):
    """A transaction that is open for ``age`` seconds. ``prepared``: its name, where nobody is connected to it.

    ``holds``: whom it keeps waiting. ``query``: the first words of its last statement, up to the first value.
    """

    pid: int | None
    application: str | None
    user: str | None
    database: str | None
    age: float
    query: str
    holds: Literal["readers", "vacuum"]
    prepared: str | None

    @property
    def says(self) -> str:
        """Who it is, in words."""
        if self.prepared is not None:
            return f"the prepared transaction {self.prepared!r} of {self.user} is open for {self.age:.0f} s"
        return (
            f"a transaction of backend {self.pid} ({self.application or 'no name'}, user {self.user}, database"
            f" {self.database}) is open for {self.age:.0f} s: {self.query or 'its query is not shown'}"
        )

    @property
    def do(self) -> str:
        """What to do about it."""
        waits = "projections wait for it" if self.holds == "readers" else "vacuum waits for it"
        if self.prepared is not None:
            return f"{waits}; end it: COMMIT PREPARED or ROLLBACK PREPARED with its name"
        return f"{waits}; end it there, or SELECT pg_terminate_backend({self.pid})"


class Horizon(msgspec.Struct, frozen=True):
    """``behind``: age in seconds of the oldest committed fact that readers may not yet have."""

    behind: float = 0.0
    holders: tuple[Holder, ...] = ()

    @property
    def oldest(self) -> float:
        """Age in seconds of the oldest transaction that readers wait for."""
        return max((holder.age for holder in self.holders if holder.holds == "readers"), default=0.0)


def first_words(query: str, most: int = 6) -> str:
    """The first words of a statement, up to the first thing that may be a value."""
    words: list[str] = []
    for word in query.split()[:most]:
        plain = re.match(r"[A-Za-z_.,*()]+", word)
        if plain is None or plain[0] != word:
            break
        words.append(word)
    return " ".join(words)


async def look(connection: Connection, long: float = LONG) -> Horizon:
    """Who holds the horizon for longer than so many seconds, the oldest first. Raises what asyncpg raises."""
    rows = await connection.fetch(_HOLDERS, long)
    holders = [Holder(**{**dict(row), "query": first_words(row["query"])}) for row in rows]
    return Horizon(float(await connection.fetchval(_BEHIND) or 0.0), tuple(holders))


class Watch:
    """Looks now and then; ``last`` is what it saw."""

    def __init__(self, pool: asyncpg.Pool, long: float = LONG) -> None:
        self._pool, self._long = pool, long
        self._named: set[tuple[int | None, str | None]] = set()
        self.last = Horizon()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
                log.info("the horizon cannot be looked at", reason=str(error))
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Look once; who is seen for the first time is logged."""
        async with self._pool.acquire(timeout=5) as connection:
            self.last = await look(connection, self._long)
        seen = {(holder.pid, holder.prepared): holder for holder in self.last.holders}
        for key in seen.keys() - self._named:
            log.warning("a transaction is open for long", says=seen[key].says, do=seen[key].do)
        self._named = set(seen)
