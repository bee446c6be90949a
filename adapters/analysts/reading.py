"""Rows of the relations in one state of the database, day by day, in a fixed order and in little memory."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

import msgspec

from adapters.analysts.absent import archived_months
from adapters.analysts.bodies import shown_text
from adapters.analysts.relations import EVENTS, POSTGRES, Relation
from adapters.analysts.snapshot import Snapshot
from calls.facts import KNOWN_KINDS
from projections.ports import Checkpoint

CHUNK: Final = 10_000
"""Rows in memory at once; one row group of a Parquet file."""
AT_ONCE: Final = 250_000
"""Events that PostgreSQL sorts at once, unless a single day has more: not years, and not each day by itself either."""
PROJECTION: Final = "calls"
DAY: Final = timedelta(days=1)

_FOLDED: Final = "(incarnation, xid, position) <= ($4::integer, $5::text::xid8, $6::bigint)"
DAYS: Final = f"""
SELECT CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS day, count(*) FROM {{table}}
WHERE {EVENTS.where} AND {{wanted}} AND {_FOLDED} GROUP BY day ORDER BY day
"""  # noqa: S608 - constants of ours; values are parameters
UNKNOWN: Final = f"""
SELECT kind, count(*) FROM {{table}}
WHERE kind <> ALL($7) AND {{wanted}} AND {_FOLDED} GROUP BY kind ORDER BY kind
"""  # noqa: S608
LEFT: Final = f"""
SELECT count(*) FROM {{table}} WHERE {EVENTS.where} AND (incarnation, xid, position) > ($1, $2::text::xid8, $3)
"""  # noqa: S608


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: rows from ``since`` on and before ``until`` (None: no bound), of one enterprise or of all."""

    since: datetime | None = None
    until: datetime | None = None
    enterprise: str | None = None

    @property
    def first_day(self) -> date | None:
        """The day that ``since`` is in."""
        return self.since.astimezone(UTC).date() if self.since else None

    @property
    def end_day(self) -> date | None:
        """The first day of which nothing is asked for."""
        if self.until is None:
            return None
        until = self.until.astimezone(UTC)
        return until.date() + (DAY if until.time() > time() else timedelta())

    def covers(self, day: date) -> bool:
        """True for a day of which anything is asked for."""
        after = self.first_day is None or day >= self.first_day
        return after and (self.end_day is None or day < self.end_day)


Rows = tuple[date | None, list[tuple[Any, ...]]]
"""The day of some rows, and the rows in the order of the relation's columns."""


class Reading:
    """All relations in one state; ``checkpoint``: which facts the rows of the projections are made of.

    Events behind it are left out, so that events and calls tell the same.
    """

    def __init__(self, state: Snapshot, wanted: Wanted, checkpoint: Checkpoint) -> None:
        self._state, self._wanted, self.checkpoint = state, wanted, checkpoint

    @classmethod
    async def begin(cls, state: Snapshot, wanted: Wanted) -> "Reading":
        """Read how far the projections have come."""
        async with state.reading("checkpoints") as (connection, table):
            row = await connection.fetchrow(
                f"SELECT incarnation, xid::text::bigint, position FROM {table} WHERE projection = $1",  # noqa: S608
                PROJECTION,
            )
        return cls(state, wanted, Checkpoint(*row) if row else Checkpoint())

    async def stretches_of_events(self) -> list[tuple[date, date]]:
        """First and last days of stretches that together have all events."""
        async with self._state.reading(EVENTS.table) as (connection, table):
            sql = DAYS.format(table=table, wanted=_bounds(EVENTS))
            rows = await connection.fetch(sql, *self._bounds_of(EVENTS), *self._folded)
        stretches: list[tuple[date, date]] = []
        room = 0
        for day, count in rows:
            if stretches and count <= room:
                stretches[-1] = (stretches[-1][0], day)
            else:
                stretches.append((day, day))
                room = AT_ONCE
            room -= count
        return stretches

    async def archived(self) -> list[str]:
        """Months of which events are wanted and archived, so that they are not read."""
        wanted = self._wanted
        async with self._state.reading(EVENTS.table) as (connection, _):
            return await archived_months(connection, wanted.enterprise, wanted.since, wanted.until)

    async def unknown(self) -> dict[str, int]:
        """How many facts there are of kinds that this version does not know, by kind."""
        async with self._state.reading(EVENTS.table) as (connection, table):
            sql = UNKNOWN.format(table=table, wanted=_bounds(EVENTS))
            rows = await connection.fetch(sql, *self._bounds_of(EVENTS), *self._folded, sorted(KNOWN_KINDS))
            return {row[0]: row[1] for row in rows}

    async def left(self) -> int:
        """How many events no projection has folded yet."""
        async with self._state.reading(EVENTS.table) as (connection, table):
            place = (self.checkpoint.incarnation, str(self.checkpoint.xid), self.checkpoint.position)
            return int(await connection.fetchval(LEFT.format(table=table), *place))

    async def events(self, first: date, last: date) -> AsyncIterator[Rows]:
        """Events of some days."""
        since, until = (datetime.combine(day, time(), UTC) for day in (first, last + DAY))
        since = max(since, self._wanted.since or since)
        until = min(until, self._wanted.until or until)
        columns = ", ".join(
            [column.sql if column.kind != "json" else column.name for column in EVENTS.columns]
        )
        sql = (
            f"SELECT {columns} FROM {{table}} WHERE {EVENTS.where} AND {_bounds(EVENTS)} AND {_FOLDED}"  # noqa: S608
            f" ORDER BY {EVENTS.order}"
        )
        bounds = (since, until, self._wanted.enterprise, *self._folded)
        place = EVENTS.names.index(EVENTS.by)
        async for rows in self._chunks(EVENTS, sql, bounds):
            for day, of_day in groupby(rows, lambda row: _day(row[place])):
                yield day, [(*row[:-1], shown_text(row[-1])) for row in of_day]

    async def rows(self, relation: Relation) -> AsyncIterator[Rows]:
        """All rows of a projection, by day where it has days."""
        sql = f"{relation.select()} AND {_bounds(relation)} ORDER BY {relation.order}"
        place = relation.names.index(relation.by) if relation.by else None
        async for rows in self._chunks(relation, sql, self._bounds_of(relation)):
            if place is None:
                yield None, rows
                continue
            for day, of_day in groupby(rows, lambda row: _day(row[place])):
                yield day, list(of_day)

    async def _chunks(
        self, relation: Relation, sql: str, arguments: Sequence[Any]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        async with self._state.reading(relation.table) as (connection, table):
            cursor = await connection.cursor(sql.format(table=table), *arguments)
            while rows := await cursor.fetch(CHUNK):
                yield [tuple(row) for row in rows]

    def _bounds_of(self, relation: Relation) -> tuple[Any, ...]:
        wanted = self._wanted
        if not relation.by:
            return (None, None, wanted.enterprise)
        if _kind(relation) == "date":
            return (wanted.first_day, wanted.end_day, wanted.enterprise)
        return (wanted.since, wanted.until, wanted.enterprise)

    @property
    def _folded(self) -> tuple[int, str, int]:
        return (self.checkpoint.incarnation, str(self.checkpoint.xid), self.checkpoint.position)


def _kind(relation: Relation) -> str:
    """``time`` or ``date``: by what the rows of a relation are dated."""
    return next((column.kind for column in relation.columns if column.name == relation.by), "time")


def _bounds(relation: Relation) -> str:
    """What is wanted of a relation, as SQL over $1 to $3."""
    dated = POSTGRES["date" if _kind(relation) == "date" else "time"]
    by = (
        dict(zip(relation.names, relation.columns, strict=True))[relation.by].expression
        if relation.by
        else "$1"
    )
    return (
        f"($1::{dated} IS NULL OR {by} >= $1) AND ($2::{dated} IS NULL OR {by} < $2)"
        " AND ($3::text IS NULL OR enterprise = $3)"
    )


def _day(value: date | datetime) -> date:
    """The day, by UTC, of what a row is dated by."""
    return value.astimezone(UTC).date() if isinstance(value, datetime) else value
