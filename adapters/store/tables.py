"""The tables that are made of calls, in PostgreSQL, with their checkpoint.

A rebuild writes the same tables beside the live ones, under names with a suffix.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import asyncpg
import msgspec

from adapters.store import sums
from adapters.store.reader import Connection
from adapters.store.reading import CallReading
from adapters.store.sums import Sum
from calls.call import Call, seconds
from calls.details import LegPlace, Share
from projections.calls import FOLD_VERSION
from projections.hosts import HostRow
from projections.names import NAMES, Name
from projections.ports import Checkpoint, Due, Fenced, NameOf, ReaderTrouble, Rows

CALL_COLUMNS: Final = (
    "enterprise",
    "call_id",
    "direction",
    "origin",
    "outcome",
    "customer",
    "line",
    "caller",
    "dialled",
    "rung",
    "answered_by",
    "talked",
    "consulted",
    "started_at",
    "answered_at",
    "ended_at",
    "wait_s",
    "talk_s",
    "total_s",
    "source",
    "legs",
    "last_position",
    "recordings",
)
CUSTOMER_COLUMNS: Final = (
    "enterprise",
    "phone",
    "name",
    "first_seen_at",
    "last_seen_at",
    "in_total",
    "in_answered",
    "in_missed",
    "out_total",
    "out_answered",
    "out_missed",
    "last_call_at",
    "last_direction",
    "last_outcome",
    "last_talked",
    "last_line",
)

LEG_COLUMNS: Final = (
    "enterprise",
    "unique_id",
    "call_id",
    "role",
    "number",
    "leads",
    "first_at",
    "last_at",
    "entered_at",
    "left_at",
    "hung_up_at",
    "answered",
)
SHARE_COLUMNS: Final = (
    "enterprise",
    "call_id",
    "extension",
    "day",
    "rung",
    "answered",
    "missed",
    "lost",
    "talked_s",
    "transfers_in",
    "transfers_out",
)

RENAME = """
UPDATE {customers} customers SET name = named.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS named (enterprise, phone, name)
WHERE customers.enterprise = named.enterprise AND customers.phone = named.phone
  AND customers.name IS DISTINCT FROM named.name
"""

BELONGINGS = """
INSERT INTO {call_legs} (enterprise, unique_id, call_id, lost)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
ON CONFLICT (enterprise, unique_id) DO UPDATE SET call_id = excluded.call_id, lost = excluded.lost
"""

MOVE_CHECKPOINT = """
INSERT INTO checkpoints (projection, fold_version, incarnation, xid, position)
VALUES ($1, $2, $3, $4::text::xid8, $5)
ON CONFLICT (projection) DO UPDATE
    SET incarnation = excluded.incarnation, xid = excluded.xid, position = excluded.position, changed_at = now()
    WHERE (checkpoints.incarnation, checkpoints.xid, checkpoints.position) = ($6, $7::text::xid8, $8)
RETURNING position
"""

OF_CALLS = "(source.enterprise, source.call_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))"


def call_row(call: Call) -> tuple[object, ...]:
    """A call as a row of CALL_COLUMNS."""
    return (
        call.enterprise,
        call.call_id,
        call.direction,
        call.origin,
        call.outcome,
        call.customer,
        call.line,
        call.caller,
        call.dialled,
        list(call.rung),
        call.answered_by,
        list(call.talked),
        list(call.consulted),
        call.started_at,
        call.answered_at,
        call.ended_at,
        seconds(call.wait),
        seconds(call.talk),
        seconds(call.total),
        call.source,
        list(call.legs),
        call.last_position,
        list(call.recordings),
    )


def leg_row(enterprise: str, call_id: str, leg: LegPlace) -> tuple[object, ...]:
    """A leg as a row of LEG_COLUMNS."""
    return (
        enterprise,
        leg.unique_id,
        call_id,
        leg.role,
        leg.number,
        leg.leads,
        leg.first_at,
        leg.last_at,
        leg.entered_at,
        leg.left_at,
        leg.hung_up_at,
        leg.answered,
    )


def share_row(enterprise: str, call_id: str, share: Share) -> tuple[object, ...]:
    """A share as a row of SHARE_COLUMNS."""
    return (
        enterprise,
        call_id,
        share.extension,
        share.day,
        share.rung,
        share.answered,
        share.missed,
        share.lost,
        seconds(share.talked),
        share.transfers_in,
        share.transfers_out,
    )


Keys = list[list[object]]
"""Keys of rows, one list a column."""


class CallTables(CallReading):
    """One set of the tables; ``names``: the projections whose tables are written."""

    def __init__(self, pool: asyncpg.Pool, suffix: str = "", names: Collection[Name] = NAMES) -> None:
        super().__init__(pool, suffix, names)
        self.sums = [one for name, one in sums.ALL.items() if name in names]
        self._upsert = self._upsert_calls()

    def _upsert_calls(self) -> str:
        columns = ", ".join(CALL_COLUMNS)
        values = ", ".join(f"${place}" for place in range(1, len(CALL_COLUMNS) + 1))
        changed = ", ".join(f"excluded.{column}" for column in CALL_COLUMNS)
        return (
            f"INSERT INTO calls{self.suffix} ({columns}) VALUES ({values})"
            f" ON CONFLICT (enterprise, call_id) DO UPDATE SET ({columns}) = ({changed})"
        )

    async def due(self) -> dict[str, Due]:
        """What was noted to be folded anew, by enterprise."""
        async with self.connection() as connection:
            rows = await connection.fetch("SELECT enterprise, since, position FROM folds_due")
            return {row[0]: Due(row[1], row[2]) for row in rows}

    async def write(
        self,
        rows: Rows,
        old: Checkpoint,
        new: Checkpoint,
        name_of: NameOf,
        due: Mapping[str, Due] | None = None,
    ) -> None:
        """Write rows and checkpoint in one transaction; raises Fenced where ``old`` is not the checkpoint.

        ``due``: what is to be folded anew from now on, of all enterprises; None where that stays as it was.
        """
        try:
            await self._write(rows, old, new, name_of, due)
        except asyncpg.IntegrityConstraintViolationError as error:
            # A defect of a fold's state; made again from the facts it may well be right.
            raise ReaderTrouble(f"{type(error).__name__}: {error}") from error

    async def _write(
        self,
        rows: Rows,
        old: Checkpoint,
        new: Checkpoint,
        name_of: NameOf,
        due: Mapping[str, Due] | None,
    ) -> None:
        async with self.connection() as connection, connection.transaction():
            await self._move_checkpoint(connection, old, new)
            if due is not None:
                await connection.execute("DELETE FROM folds_due")
                await connection.executemany(
                    "INSERT INTO folds_due (enterprise, since, position) VALUES ($1, $2, $3)",
                    [(enterprise, one.since, one.position) for enterprise, one in due.items()],
                )
            changed = columns_of([*[(call.enterprise, call.call_id) for call in rows.calls], *rows.gone], 2)
            touched: dict[str, set[tuple[object, ...]]] = {one.table: set() for one in self.sums}
            if changed[0]:
                await self._touch(connection, changed, touched)
                await self._write_calls(connection, rows)
                await self._write_details(connection, rows, changed)
                await self._touch(connection, changed, touched)
            if rows.belongings:
                await connection.execute(self.sql(BELONGINGS), *columns_of(rows.belongings, 4))
            if "hosts" in self.names:
                await write_hosts(connection, self.suffix, rows.hosts)
            for one in self.sums:
                await self._count(connection, one, touched[one.table])
            if "customers" in self.names:
                await self._name_customers(connection, touched["customers"], rows.names, name_of)

    async def _move_checkpoint(self, connection: Connection, old: Checkpoint, new: Checkpoint) -> None:
        moved = await connection.fetchval(
            MOVE_CHECKPOINT,
            self.projection,
            FOLD_VERSION,
            new.incarnation,
            str(new.xid),
            new.position,
            old.incarnation,
            str(old.xid),
            old.position,
        )
        if moved is None:
            raise Fenced(old)

    async def _touch(
        self, connection: Connection, changed: Keys, touched: dict[str, set[tuple[object, ...]]]
    ) -> None:
        """Note the keys that the rows of these calls count in, as the rows are now."""
        for one in self.sums:
            found = await connection.fetch(one.touched(one.source + self.suffix, OF_CALLS), *changed)
            touched[one.table].update(tuple(row) for row in found)

    async def _write_calls(self, connection: Connection, rows: Rows) -> None:
        if rows.gone:
            await connection.execute(
                f"DELETE FROM calls{self.suffix} source WHERE {OF_CALLS}", *columns_of(rows.gone, 2)
            )
        if rows.calls:
            await connection.executemany(self._upsert, [call_row(call) for call in rows.calls])

    async def _write_details(self, connection: Connection, rows: Rows, changed: Keys) -> None:
        if "legs" in self.names:
            await write_legs(connection, self.suffix, rows, changed)
        if "agents" in self.names:
            await connection.execute(
                f"DELETE FROM call_agents{self.suffix} source WHERE {OF_CALLS}", *changed
            )
            shares = [share_row(*share) for share in rows.shares]
            await copy(connection, f"call_agents{self.suffix}", SHARE_COLUMNS, shares)

    async def _count(self, connection: Connection, one: Sum, touched: set[tuple[object, ...]]) -> None:
        if touched:
            keys = columns_of(sorted(touched, key=repr), len(one.keys))
            await connection.execute(one.count(self.suffix), *keys)
            await connection.execute(one.forget(self.suffix), *keys)

    async def _name_customers(
        self,
        connection: Connection,
        touched: Iterable[tuple[object, ...]],
        names: dict[tuple[str, str], str | None],
        name_of: NameOf,
    ) -> None:
        """Give customers the names that the directory has for them now."""
        named = {(str(number), str(phone)): name_of(str(number), str(phone)) for number, phone in touched}
        await self.rename(connection, named | names)

    async def rename(self, connection: Connection, names: dict[tuple[str, str], str | None]) -> None:
        """Give these customers these names."""
        if names:
            enterprises, phones = columns_of(sorted(names), 2)
            await connection.execute(
                self.sql(RENAME), enterprises, phones, [names[key] for key in sorted(names)]
            )


async def write_legs(connection: Connection, suffix: str, rows: Rows, changed: Keys) -> None:
    """Put the legs of the calls told in the place of those that the ``changed`` calls had, wherever these stood."""
    if changed[0]:
        await connection.execute(f"DELETE FROM legs{suffix} source WHERE {OF_CALLS}", *changed)
    legs = {(number, leg.unique_id): leg_row(number, call_id, leg) for number, call_id, leg in rows.legs}
    if legs:
        await connection.execute(
            f"DELETE FROM legs{suffix} WHERE (enterprise, unique_id)"
            " IN (SELECT * FROM unnest($1::text[], $2::text[]))",
            *columns_of(list(legs), 2),
        )
        await copy(connection, f"legs{suffix}", LEG_COLUMNS, list(legs.values()))


async def write_hosts(connection: Connection, suffix: str, hosts: Sequence[HostRow]) -> None:
    """Put the rows of these hosts in the place of those that were there."""
    if hosts:
        columns = HostRow.__struct_fields__
        values = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        changed = ", ".join(f"excluded.{column}" for column in columns)
        await connection.executemany(
            f"INSERT INTO hosts{suffix} ({', '.join(columns)}) VALUES ({values})"
            f" ON CONFLICT (enterprise) DO UPDATE SET ({', '.join(columns)}) = ({changed})",
            [msgspec.structs.astuple(host) for host in hosts],
        )


async def copy(
    connection: Connection, table: str, columns: Sequence[str], records: Sequence[tuple[object, ...]]
) -> None:
    """Add rows to a table."""
    if records:
        await connection.copy_records_to_table(table, records=records, columns=columns)


def columns_of(rows: Sequence[tuple[object, ...]], width: int) -> Keys:
    """Rows as one list a column, as unnest takes them."""
    return [[row[place] for row in rows] for place in range(width)]
