"""Rows of all tables put by one statement: whoever has to wait for turns of a busy loop waits once, not for each table.

Rows come as JSON, which costs a twentieth of giving asyncpg each value of each row.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from adapters.store.columns import (
    BELONGING_COLUMNS,
    CALL_COLUMNS,
    LEG_COLUMNS,
    OF_CALLS,
    SHARE_COLUMNS,
    belonging_row,
    call_row,
    leg_row,
    share_row,
)
from adapters.store.reader import Connection
from projections.hosts import HostRow
from projections.names import Name
from projections.ports import Rows


class _Put(msgspec.Struct, frozen=True):
    """``of_calls``: the rows of a call are put as a whole, what was there beside them goes."""

    table: str
    columns: Sequence[str]
    key: tuple[str, ...]
    of_calls: bool = True

    def steps(self, suffix: str, place: int) -> Iterable[str]:
        """Parts of a WITH; the rows are its parameter of this place."""
        table, columns = f"{self.table}{suffix}", ", ".join(self.columns)
        given = f"json_populate_recordset(NULL::{table}, convert_from(${place}, 'UTF8')::json)"
        yield f"new_{self.table} AS MATERIALIZED (SELECT {columns} FROM {given})"
        if self.of_calls:
            same = " AND ".join(f"new.{column} = source.{column}" for column in self.key)
            yield (
                f"gone_{self.table} AS (DELETE FROM {table} source WHERE {OF_CALLS}"
                f" AND NOT EXISTS (SELECT FROM new_{self.table} new WHERE {same}))"
            )
        changed = ", ".join(f"excluded.{column}" for column in self.columns)
        yield (
            f"put_{self.table} AS (INSERT INTO {table} ({columns}) SELECT {columns} FROM new_{self.table}"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET ({columns}) = ({changed}))"
        )


_CALLS: Final = _Put("calls", CALL_COLUMNS, ("enterprise", "call_id"))
_BELONGINGS: Final = _Put("call_legs", BELONGING_COLUMNS, ("enterprise", "unique_id"), of_calls=False)
_LEGS: Final = _Put("legs", LEG_COLUMNS, ("enterprise", "unique_id"))
_SHARES: Final = _Put("call_agents", SHARE_COLUMNS, ("enterprise", "call_id", "extension"))
_HOSTS: Final = _Put("hosts", HostRow.__struct_fields__, ("enterprise",), of_calls=False)


class Puts:
    """Writes what a batch changed into one set of tables: those of the projections ``names``.

    ``calls``: with the calls, their legs and shares; without them only what is of no call.
    """

    def __init__(self, suffix: str, names: Collection[Name], *, calls: bool = True) -> None:
        wanted = {_LEGS: "legs", _SHARES: "agents", _HOSTS: "hosts"}
        self._puts = [_CALLS, _BELONGINGS] if calls else []
        self._puts += [put for put, name in wanted.items() if name in names and (calls or not put.of_calls)]
        first = 3 if calls else 1
        steps = [step for place, put in enumerate(self._puts, first) for step in put.steps(suffix, place)]
        self._sql = f"WITH {', '.join(steps)} SELECT"

    async def write(self, connection: Connection, rows: Rows, *changed: list[str]) -> None:
        """``changed``: enterprises and ids of the calls that are put or gone, where calls are."""
        bodies = [_json(put.columns, _rows(put, rows)) for put in self._puts]
        await connection.execute(self._sql, *changed, *bodies)


def _rows(put: _Put, rows: Rows) -> Iterable[Sequence[object]]:
    if put is _CALLS:
        return map(call_row, rows.calls)
    if put is _BELONGINGS:
        return [belonging_row(*belonging) for belonging in rows.belongings]
    if put is _SHARES:
        return [share_row(*share) for share in rows.shares]
    if put is _HOSTS:
        return map(msgspec.structs.astuple, rows.hosts)
    # a leg that two calls name is the last one's
    return {(number, leg.unique_id): leg_row(number, call, leg) for number, call, leg in rows.legs}.values()


def _json(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    return msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows])
