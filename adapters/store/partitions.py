"""Facts by month: which month a stream is filed under, and partitions made ahead of need.

The month is read off the stream's name alone, so it is the same whenever and by whomever it is asked: a stream stands
in one partition, and its versions are unique there. docs/decisions/0011-store-for-years.md.
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from time import monotonic
from typing import Final

import asyncpg
import structlog

from calls.facts import DIRECTORY_STREAM

log = structlog.get_logger(__name__)

OF_DIRECTORY: Final = date(1900, 1, 1)
"""Of the directory's streams, which are read whole."""
NO_MONTH: Final = date(1900, 2, 1)
"""Of streams whose name tells no month: bridges, call backs, ids of other shapes."""
_NAMED: Final = {OF_DIRECTORY: "facts_directory", NO_MONTH: "facts_without_month"}
OTHER: Final = "facts_other"
"""Holds the months that have no partition: so no fact is ever refused for its month."""

AHEAD: Final = 2
"""Months after this one that have their partition beforehand."""
OLDEST: Final = date(2015, 1, 1)
"""Of older months none is made: a clock that was never set tells them, or somebody who wants many partitions."""
MOST_MOVED: Final = 20_000
"""Facts that are moved out of facts_other when their month is made; the writer waits for it."""
LOCK_MS: Final = 200
"""Milliseconds to wait for a reader to let go of facts_other; appends wait as long."""
MAKE_MS: Final = 1_000
"""Milliseconds that making a month may take in all."""
TRY_AGAIN: Final = 60.0
"""Seconds until a month that could not be made is tried once more."""

_NOT_NOW: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.DuplicateTableError,
)
_CARD: Final = re.compile(r"(?:delivery|notice)/-?[0-9]+/")
_EPOCH: Final = re.compile(r"([0-9]{10})[.]?")
_YEAR_2000: Final = 946_684_800
_YEAR_2100: Final = 4_102_444_800
_MONTHS: Final = """
SELECT relid::text FROM pg_partition_tree('facts') WHERE isleaf AND relid::text ~ '^facts_[0-9]{4}_[0-9]{2}$'
"""


def month_of(stream: str) -> date:
    """First day of the month (UTC) that a stream's name tells, or NO_MONTH; facts_month() in SQL says the same."""
    if stream.startswith("leg/"):
        return _month_of_id(stream[4:15])
    if stream == DIRECTORY_STREAM:
        return OF_DIRECTORY
    card = _CARD.match(stream)
    return _month_of_id(stream[card.end() : card.end() + 11]) if card else NO_MONTH


@lru_cache(maxsize=16_384)
def _month_of_id(told: str) -> date:
    """By the first eleven characters of a UniqueId: so those of one second are looked at once."""
    digits = _EPOCH.fullmatch(told)
    if digits is None:
        return NO_MONTH
    epoch = int(digits[1])
    if not _YEAR_2000 <= epoch < _YEAR_2100:
        return NO_MONTH
    return datetime.fromtimestamp(epoch, UTC).date().replace(day=1)


def later(month: date, count: int) -> date:
    """The month so many months after another one."""
    years, place = divmod(month.month - 1 + count, 12)
    return date(month.year + years, place + 1, 1)


class Partitions:
    """Which months have a partition, as far as this process knows; it alone makes them while it holds the lock."""

    def __init__(self) -> None:
        self._there: frozenset[date] = frozenset()
        self._prepared = NO_MONTH
        self._missing: set[date] = set()
        self._not_before: dict[date, float] = {}

    def table(self, month: date) -> str:
        """The partition that facts of a month are in; one that is missing is made by the next ``prepare``."""
        if month in self._there:
            return f"facts_{month:%Y_%m}"
        if month in _NAMED:
            return _NAMED[month]
        self._missing.add(month)
        return OTHER

    async def read(self, connection: asyncpg.Connection) -> None:
        """Look which months there are. Raises what asyncpg raises."""
        rows = await connection.fetch(_MONTHS)
        self._there = frozenset(date(int(row[0][6:10]), int(row[0][11:13]), 1) for row in rows)

    def due(self, now: datetime) -> bool:
        """True where ``prepare`` may have something to do."""
        return bool(self._missing) or now.date() != self._prepared

    async def prepare(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Make what is missing: this month and the next ones once a day, and those that facts have come for.

        What cannot be made now (a reader keeps a lock on facts_other) is tried again later, and its facts
        stand in facts_other meanwhile. Raises what asyncpg raises for a lost connection.
        """
        this = now.date().replace(day=1)
        last = later(this, AHEAD)
        wanted = {month for month in self._missing if OLDEST <= month <= last}
        self._missing.clear()
        if now.date() != self._prepared:
            self._prepared = now.date()
            wanted |= {later(this, count) for count in range(AHEAD + 1)}
        for month in sorted(wanted - self._there):
            if monotonic() >= self._not_before.get(month, 0.0):
                await self._make(connection, month)

    async def _make(self, connection: asyncpg.Connection, month: date) -> None:
        try:
            async with connection.transaction():
                await connection.execute(
                    f"SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL statement_timeout = {MAKE_MS}"
                )
                made = await connection.fetchval("SELECT make_facts_partition($1, $2)", month, MOST_MOVED)
        except _NOT_NOW as error:
            log.info("a month has no partition yet", month=f"{month:%Y-%m}", reason=str(error))
            made = False
        if made:
            self._there |= {month}
        else:
            self._not_before[month] = monotonic() + TRY_AGAIN
