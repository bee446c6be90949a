"""Which fact a recovered one follows: decided once, when it is stored (calls.order)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import asyncpg.pool

from adapters.store.partitions import OF_DIRECTORY
from calls.facts import DIRECTORY_CHANGED, UNFOLDED_KINDS
from calls.order import Followed

SLACK: Final = timedelta(minutes=1)
"""How far before a recovered fact is looked at least; clocks that are set back by less do no harm."""
FURTHER: Final = (SLACK, timedelta(hours=1), timedelta(days=1), timedelta(days=31), None)
"""Where nothing of the enterprise occurred then, how far; None: from the first fact on."""
APART: Final = timedelta(minutes=10)
"""Times that lie further apart are looked up separately: what happened between them need not be read."""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_NEAR: Final = """
SELECT occurred_at, position FROM facts
WHERE enterprise = $1 AND source <> 'recovery' AND kind <> ALL($2)
  AND occurred_at <= $3 AND ($4::timestamptz IS NULL OR occurred_at > $4)
"""
_FIRST: Final = """
SELECT coalesce(max(position), 0) FROM facts
WHERE month = $1 AND enterprise = $2 AND position < coalesce(
    least((SELECT min(position) FROM facts WHERE enterprise = $2 AND kind <> $3),
          (SELECT min(first_position) FROM archived WHERE enterprise = $2)), 1::bigint << 62)
"""
_ARCHIVED: Final = "SELECT coalesce(max(last_position), 0) FROM archived WHERE enterprise = $1"

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class Following:
    """Finds what recovered facts follow, for one backlog."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._nothing: dict[str, datetime] = {}
        """Up to when nothing occurred in an enterprise that is not archived."""

    async def of(self, connection: Connection, enterprise: str, times: Sequence[datetime]) -> list[int]:
        """For each time, the position behind which what occurred then stands. Raises what asyncpg raises."""
        if enterprise not in self._first:
            self._first[enterprise] = await connection.fetchval(
                _FIRST, OF_DIRECTORY, enterprise, DIRECTORY_CHANGED
            )
        found: dict[datetime, int] = {}
        for near in _together(sorted(set(times))):
            found |= await self._near(connection, enterprise, near)
        return [found[at] for at in times]

    async def _near(
        self, connection: Connection, enterprise: str, times: Sequence[datetime]
    ) -> dict[datetime, int]:
        """Times in order, not far apart."""
        first, nothing = self._first[enterprise], self._nothing.get(enterprise)
        for back in FURTHER:
            since = nothing if back is None else max(times[0] - back, nothing or _EARLIEST)
            rows = await connection.fetch(_NEAR, enterprise, list(UNFOLDED_KINDS), times[-1], since)
            followed = Followed(((row[0], row[1]) for row in rows), first)
            if followed.by(times[0]) is not None:
                return {at: followed.by(at) or first for at in times}
            if since == nothing:
                break
        # What of the table occurred before: nothing. Of the archive, of which no part can be recovered, everything did.
        self._nothing[enterprise] = times[0]
        before = max(first, await connection.fetchval(_ARCHIVED, enterprise))
        return {at: followed.by(at) or before for at in times}


def _together(times: Sequence[datetime]) -> list[list[datetime]]:
    """Cut where two lie APART."""
    parts: list[list[datetime]] = []
    for at in times:
        if parts and at - parts[-1][-1] < APART:
            parts[-1].append(at)
        else:
            parts.append([at])
    return parts
