"""Tables summed up from others by SQL: ``customers`` and ``traffic`` from calls, ``agents`` from call_agents.

A sum is counted anew for the keys of which a batch has changed something, or for all at the end of a rebuild: the same
query, so the same rows.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from adapters.store.columns import OF_CALLS
from adapters.store.reader import Connection
from projections.names import SUMS

Key = tuple[str, ...]
"""A key of a sum, as PostgreSQL writes its values."""


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """How one table is counted. ``keys``: (column, its type, what of the source it is), the enterprise first.

    ``ofs``: columns and what of the source they are; ``where``: which rows of the source count at all.
    """

    table: str
    source: str
    keys: tuple[tuple[str, str, str], ...]
    ofs: tuple[tuple[str, str], ...]
    where: str = "true"

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the keys in front."""
        return (*[key for key, _, _ in self.keys], *[column for column, _ in self.ofs])

    @property
    def reads(self) -> tuple[str, ...]:
        """What of the source its columns are made of."""
        return tuple(sorted(set(re.findall(r"source\.(\w+)", " ".join(what for _, what in self.ofs)))))

    def told(self, suffix: str) -> str:
        """Query of what the rows of given calls tell the sum: (table, key, call and values)."""
        keys = ", ".join(f"({what})::text" for _, _, what in self.keys)
        values = "".join(f", source.{column}::text" for column in self.reads)
        return (
            f"SELECT '{self.table}', ARRAY[{keys}], ARRAY[source.call_id{values}]"
            f" FROM {self.source}{suffix} source WHERE {OF_CALLS} AND {self.where}"
        )

    def wanted(self, place: int) -> str:
        """The keys that are counted, given as arrays of texts, the first of this place."""
        arrays = ", ".join(f"${place + number}::text[]" for number in range(len(self.keys)))
        names = ", ".join(key for key, _, _ in self.keys)
        typed = ", ".join(f"{key}::{kind} AS {key}" for key, kind, _ in self.keys)
        return (
            f"wanted_{self.table} AS MATERIALIZED (SELECT {typed} FROM unnest({arrays}) AS given ({names}))"
        )

    def count(self, suffix: str) -> str:
        """Count what is wanted."""
        names = ", ".join(key for key, _, _ in self.keys)
        joined = " AND ".join(f"{what} = wanted.{key}" for key, _, what in self.keys)
        excluded = ", ".join(f"excluded.{column}" for column in self.columns)
        return (
            f"INSERT INTO {self.table}{suffix} ({', '.join(self.columns)})"
            f" {self._select(suffix, f'JOIN wanted_{self.table} wanted ON {joined}')}"
            f" ON CONFLICT ({names}) DO UPDATE SET ({', '.join(self.columns)}) = ({excluded})"
        )

    def count_all(self, suffix: str) -> str:
        """Fill the empty table."""
        return f"INSERT INTO {self.table}{suffix} ({', '.join(self.columns)}) {self._select(suffix, '')}"

    def forget(self, suffix: str) -> str:
        """Delete what is wanted and counts nothing any more."""
        mine = " AND ".join(f"mine.{key} = wanted.{key}" for key, _, _ in self.keys)
        joined = " AND ".join(f"{what} = wanted.{key}" for key, _, what in self.keys)
        return (
            f"DELETE FROM {self.table}{suffix} mine USING wanted_{self.table} wanted"
            f" WHERE {mine} AND NOT EXISTS (SELECT FROM {self.source}{suffix} source"
            f" WHERE {joined} AND {self.where})"
        )

    def _select(self, suffix: str, restricted: str) -> str:
        told = ", ".join([*[what for _, _, what in self.keys], *[what for _, what in self.ofs]])
        grouped = ", ".join(what for _, _, what in self.keys)
        return (
            f"SELECT {told} FROM {self.source}{suffix} source {restricted}"
            f" WHERE {self.where} GROUP BY {grouped}"
        )


def _newest(column: str) -> str:
    """Of the call that began last."""
    return f"(array_agg({column} ORDER BY source.started_at DESC, source.call_id DESC))[1]"


def _first(percent: str, column: str, where: str = "true") -> str:
    return (
        f"percentile_disc({percent}) WITHIN GROUP (ORDER BY source.{column})"
        f" FILTER (WHERE source.{column} IS NOT NULL AND {where})"
    )


_ANSWERED: Final = "source.outcome IN ('answered', 'lost_in_transfer')"
_MISSED: Final = "source.outcome IN ('missed', 'not_answered')"

# One call counts once; lost_in_transfer counts as answered (CONTRACT 6).
CUSTOMERS: Final = Sum(
    table="customers",
    source="calls",
    where="source.outcome <> 'open' AND source.customer IS NOT NULL",
    keys=(("enterprise", "text", "source.enterprise"), ("phone", "text", "source.customer")),
    ofs=(
        ("first_seen_at", "min(source.started_at)"),
        ("last_seen_at", "max(source.ended_at)"),
        ("in_total", "count(*) FILTER (WHERE source.direction = 'in')"),
        ("in_answered", f"count(*) FILTER (WHERE source.direction = 'in' AND {_ANSWERED})"),
        ("in_missed", f"count(*) FILTER (WHERE source.direction = 'in' AND {_MISSED})"),
        ("out_total", "count(*) FILTER (WHERE source.direction = 'out')"),
        ("out_answered", f"count(*) FILTER (WHERE source.direction = 'out' AND {_ANSWERED})"),
        ("out_missed", f"count(*) FILTER (WHERE source.direction = 'out' AND {_MISSED})"),
        ("last_call_at", "max(source.started_at)"),
        ("last_direction", _newest("source.direction")),
        ("last_outcome", _newest("source.outcome")),
        (
            "last_talked",
            # arrays of arrays are a rectangle: so the texts of them
            f"{_newest('source.talked::text')}::text[]",
        ),
        ("last_line", _newest("source.line")),
    ),
)
AGENTS: Final = Sum(
    table="agents",
    source="call_agents",
    keys=(
        ("enterprise", "text", "source.enterprise"),
        ("extension", "text", "source.extension"),
        ("day", "date", "source.day"),
    ),
    ofs=(
        ("calls", "count(*)"),
        ("rung", "count(*) FILTER (WHERE source.rung)"),
        ("answered", "count(*) FILTER (WHERE source.answered)"),
        ("missed", "count(*) FILTER (WHERE source.missed)"),
        ("lost", "count(*) FILTER (WHERE source.lost)"),
        ("talked_s", "coalesce(sum(source.talked_s), 0)"),
        ("transfers_in", "sum(source.transfers_in)"),
        ("transfers_out", "sum(source.transfers_out)"),
    ),
)
TRAFFIC: Final = Sum(
    table="traffic",
    source="calls",
    keys=(
        ("enterprise", "text", "source.enterprise"),
        ("line", "text", "coalesce(source.line, '')"),
        ("direction", "text", "source.direction"),
        ("hour", "timestamptz", "date_trunc('hour', source.started_at, 'UTC')"),
    ),
    ofs=(
        ("begun", "count(*)"),
        ("answered", f"count(*) FILTER (WHERE {_ANSWERED})"),
        ("missed", f"count(*) FILTER (WHERE {_MISSED})"),
        ("lost", "count(*) FILTER (WHERE source.outcome = 'lost_in_transfer')"),
        ("wait_p50_s", _first("0.5", "wait_s")),
        ("wait_p90_s", _first("0.9", "wait_s")),
        ("talk_p50_s", _first("0.5", "talk_s")),
        ("talk_p90_s", _first("0.9", "talk_s")),
    ),
)
ALL: Final = {one.table: one for one in (CUSTOMERS, AGENTS, TRAFFIC)}
assert tuple(ALL) == SUMS


Told = frozenset[tuple[str, Key, tuple[str | None, ...]]]
"""What rows tell sums: (table, key, call and values)."""


async def told(
    connection: Connection, wanted: Sequence[Sum], suffix: str, changed: Sequence[Sequence[str]]
) -> Told:
    """What the rows of these calls tell now; ``changed``: their enterprises and ids."""
    if not wanted or not changed[0]:
        return frozenset()
    rows = await connection.fetch(" UNION ALL ".join(one.told(suffix) for one in wanted), *changed)
    return frozenset((table, tuple(key), tuple(values)) for table, key, values in rows)


def touched(before: Told, after: Told) -> dict[Sum, set[Key]]:
    """The keys to count anew: an open call is written many times before it tells a sum something else."""
    found: dict[Sum, set[Key]] = {}
    for table, key, _ in before ^ after:
        found.setdefault(ALL[table], set()).add(key)
    return found


async def recount(connection: Connection, suffix: str, keys: Mapping[Sum, Collection[Key]]) -> None:
    """Count these keys anew in one statement."""
    steps: list[str] = []
    arrays: list[list[str]] = []
    for one in ALL.values():
        if wanted := keys.get(one):
            steps += [
                one.wanted(len(arrays) + 1),
                f"counted_{one.table} AS ({one.count(suffix)})",
                f"gone_{one.table} AS ({one.forget(suffix)})",
            ]
            arrays += [list(column) for column in zip(*sorted(wanted), strict=True)]
    if steps:
        await connection.execute(f"WITH {', '.join(steps)} SELECT", *arrays)
