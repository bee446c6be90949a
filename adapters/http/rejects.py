"""Refused bodies: kept with their reason for 30 days, no more than so many, never in the way of a host."""

import asyncio
from datetime import datetime

import asyncpg
import msgspec
import structlog

from actors.ports import Clock
from adapters.postgres.errors import SERVER_TROUBLE

log = structlog.get_logger(__name__)

WAITING = 500
KEPT = 20_000
"""Rows kept at most; the oldest go first. With bodies of up to 64 KiB that bounds the table."""
DAYS = 30
PRUNE_EVERY = 500
LARGEST = 64 * 1024


class _Reject(msgspec.Struct, frozen=True):
    received_at: datetime
    path: str
    status: int
    reason: str
    enterprise: str | None
    sender: str
    size: int
    body: bytes


class RejectedBodies:
    """Writes refused bodies behind the answers; where they come faster than that, some are only counted."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock
        self._queue: asyncio.Queue[_Reject] = asyncio.Queue(WAITING)
        self._written = 0
        self.dropped = 0

    def keep(
        self, path: str, status: int, reason: str, enterprise: str | None, sender: str, body: bytes
    ) -> None:
        """Keep one; never waits."""
        reject = _Reject(
            self._clock.now(), path, status, reason, enterprise, sender, len(body), body[:LARGEST]
        )
        try:
            self._queue.put_nowait(reject)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            reject = await self._queue.get()
            try:
                await self._write(reject)
            except (*SERVER_TROUBLE, asyncpg.PostgresError) as error:
                log.warning("a refused body could not be kept", reason=str(error))
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Returns when everything kept so far is written (or was given up)."""
        await self._queue.join()

    async def _write(self, reject: _Reject) -> None:
        async with self._pool.acquire(timeout=10) as connection:
            await connection.execute(
                "INSERT INTO rejected (received_at, path, status, reason, enterprise, sender, size, body)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                reject.received_at,
                reject.path,
                reject.status,
                reject.reason.replace("\0", "\\0"),
                reject.enterprise,
                reject.sender,
                reject.size,
                reject.body,
            )
            if self._written % PRUNE_EVERY == 0:
                await connection.execute(
                    "DELETE FROM rejected WHERE received_at < now() - make_interval(days => $1)"
                    " OR id <= (SELECT max(id) - $2 FROM rejected)",
                    DAYS,
                    KEPT,
                )
            self._written += 1
