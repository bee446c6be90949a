"""Which streams have facts in the archive: what the service knows of it without opening a file.

docs/decisions/0011-store-for-years.md.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Final

import asyncpg
import asyncpg.pool
import msgspec

from adapters.store.partitions import later

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Stream = tuple[str, str]
"""(enterprise, stream)"""

REST: Final = timedelta(days=31)
"""How long ago a month must have ended to be archived."""
_SLACK: Final = timedelta(days=1)
"""The clock that archives and the one that writes may differ by so much."""
RECOVERED_AFTER: Final = timedelta(days=1)
"""How long after the archived months the first event must have occurred that can still be recovered."""

_PLACES: Final = """
SELECT key, month, version, first_group, last_group FROM archived_streams WHERE key = ANY($1) ORDER BY month
"""
_EDGES: Final = """
SELECT enterprise, max(month) FROM archived WHERE enterprise = ANY($1) GROUP BY enterprise
"""


class Place(msgspec.Struct, frozen=True):
    """Where facts of a stream are: in the file of this month, up to this version, in these row groups."""

    month: date
    version: int
    first_group: int
    last_group: int


def stream_key(enterprise: str, stream: str) -> int:
    """64 bits, signed, that stand for a stream in ``archived_streams``."""
    text = f"{enterprise}\x1f{stream}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def archived_before(now: datetime) -> date:
    """Streams of months before this one may be in the archive, and those of no month; none that begins just now."""
    return (now - REST + _SLACK).date().replace(day=1)


async def places_of(connection: Connection, streams: Iterable[Stream]) -> dict[Stream, list[Place]]:
    """The streams that have facts in the archive, each with the files, oldest first."""
    keys = {stream_key(*stream): stream for stream in streams}
    found: dict[Stream, list[Place]] = {}
    if keys:
        for key, *place in await connection.fetch(_PLACES, list(keys)):
            found.setdefault(keys[key], []).append(Place(*place))
    return found


async def edges_of(connection: Connection, enterprises: Collection[str]) -> Mapping[str, date]:
    """By enterprise, the first day after its archived months; nothing of one that has none."""
    rows = await connection.fetch(_EDGES, list(enterprises))
    return {row[0]: later(row[1], 1) for row in rows}
