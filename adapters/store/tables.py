"""The tables that are made of calls, in PostgreSQL, with their checkpoint.

A rebuild writes the same tables beside the live ones, under names with a suffix.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from adapters.store import sums
from adapters.store.puts import Puts
from adapters.store.reader import Connection
from adapters.store.reading import CallReading
from projections.calls import FOLD_VERSION
from projections.names import NAMES, Name
from projections.ports import Checkpoint, Due, Fenced, NameOf, ReaderTrouble, Rows

RENAME = """
UPDATE {customers} customers SET name = named.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS named (enterprise, phone, name)
WHERE customers.enterprise = named.enterprise AND customers.phone = named.phone
  AND customers.name IS DISTINCT FROM named.name
"""

# Rows are made of facts that are stored: what a crash of the server loses of them is made again from the checkpoint
# that it left, so nobody waits for the disk. It may have lost the first checkpoint, too: only who begins at none may
# write the first.
MOVE_CHECKPOINT = """
INSERT INTO checkpoints (projection, fold_version, incarnation, xid, position)
SELECT $1, $2, $3, $4::text::xid8, $5
WHERE $8::bigint = 0 OR EXISTS (SELECT FROM checkpoints WHERE projection = $1)
ON CONFLICT (projection) DO UPDATE
    SET incarnation = excluded.incarnation, xid = excluded.xid, position = excluded.position, changed_at = now()
    WHERE (checkpoints.incarnation, checkpoints.xid, checkpoints.position) = ($6, $7::text::xid8, $8)
RETURNING position, set_config('synchronous_commit', 'off', true)
"""


class CallTables(CallReading):
    """One set of the tables; ``names``: the projections whose tables are written."""

    def __init__(self, pool: asyncpg.Pool, suffix: str = "", names: Collection[Name] = NAMES) -> None:
        super().__init__(pool, suffix, names)
        self.sums = [one for name, one in sums.ALL.items() if name in names]
        self._puts = Puts(suffix, names)

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
            keys = [*[(call.enterprise, call.call_id) for call in rows.calls], *rows.gone]
            changed = columns_of(keys, 2)
            before = await sums.told(connection, self.sums, self.suffix, changed)
            await self._puts.write(connection, rows, *changed)
            after = await sums.told(connection, self.sums, self.suffix, changed)
            touched = sums.touched(before, after)
            await sums.recount(connection, self.suffix, touched)
            if "customers" in self.names:
                await self._name_customers(connection, touched.get(sums.CUSTOMERS, ()), rows.names, name_of)

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

    async def _name_customers(
        self,
        connection: Connection,
        counted: Iterable[sums.Key],
        names: dict[tuple[str, str], str | None],
        name_of: NameOf,
    ) -> None:
        """Give customers the names that the directory has for them now; a row that is new has none yet."""
        wanted = dict(names)
        for number, phone in counted:
            if (name := name_of(number, phone)) is not None:
                wanted[number, phone] = name
        await self.rename(connection, wanted)

    async def rename(self, connection: Connection, names: dict[tuple[str, str], str | None]) -> None:
        """Give these customers these names."""
        if names:
            enterprises, phones = columns_of(sorted(names), 2)
            await connection.execute(
                self.sql(RENAME), enterprises, phones, [names[key] for key in sorted(names)]
            )


def columns_of(rows: Sequence[tuple[str, ...]], width: int) -> list[list[str]]:
    """Rows as one list a column, as unnest takes them."""
    return [[row[place] for row in rows] for place in range(width)]
