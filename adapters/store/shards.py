"""The folding of a rebuild: enterprises are dealt to shards, each shard folds its own (docs/decisions/0014).

A shard's rows and how far it has come are committed together, so that a rebuild that was killed goes on from there.
Run as ``python -m adapters.store.shards``, it folds the shards that its standard input names, tells on its standard
output how far it is, and ends when its input does.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from adapters.archive.folder import Archive, open_archive
from adapters.archive.merge import Merged, Recovered
from adapters.memory import FOLDING, calm_collector
from adapters.store import reader
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
from adapters.store.puts import Puts
from adapters.store.reader import Connection
from adapters.store.reading import EARLIEST, CallReading
from adapters.store.tables import columns_of
from calls.exchange import Belonging
from calls.facts import DIRECTORY_CHANGED, NEWEST, UNFOLDED_KINDS, Fact, leg_stream
from calls.order import Order
from projections.calls import CallsFold
from projections.live import park_all, project, wake_recent
from projections.ports import Checkpoint, Fenced, Rows
from projections.rebuild import Plan
from projections.runs import Run
from projections.unknown import require_known

BATCH: Final = 20_000
"""Facts folded between two commits: the larger, the fewer calls are told before their end."""
PAGE: Final = 2_000

NEXT: Final = """
SELECT position, enterprise, stream, version, kind, source, occurred_at, body{place} FROM facts
WHERE (incarnation, xid, position) > ($1, $2::text::xid8, $3)
  AND (incarnation, xid, position) <= ($4, $5::text::xid8, $6)
  AND enterprise = ANY($7) AND kind <> ALL($8) AND source <> 'recovery'
ORDER BY facts.incarnation, facts.xid, facts.position
LIMIT $9
"""
RECOVERED: Final = f"""
SELECT {reader.COLUMNS} FROM facts
WHERE enterprise = $1 AND source = 'recovery' AND position <= $2 AND (follows, occurred_at, position) > ($3, $4, $5)
ORDER BY follows, occurred_at, position LIMIT $6
"""
WITH_RECOVERED: Final = """
SELECT DISTINCT enterprise FROM facts WHERE source = 'recovery' AND enterprise = ANY($1) AND position <= $2
"""
PLACE_OF: Final = "SELECT incarnation, xid::text::bigint, position FROM facts WHERE position = $1"
MOVE: Final = """
UPDATE rebuild_shards SET incarnation = $3, xid = $4::text::xid8, position = $5, facts = facts + $6, done = $7
WHERE shard = $1 AND position = $2 AND NOT done RETURNING facts
"""


class Work(msgspec.Struct, frozen=True):
    """What a process is to fold: these shards of the rebuild with this suffix, up to a checkpoint."""

    dsn: str
    suffix: str
    plan: Plan
    upto: Checkpoint
    shards: tuple[int, ...]
    archive: str = ""
    """Folder of the archive."""


class Shard(msgspec.Struct, frozen=True):
    """Enterprises folded together, and how far they have come."""

    shard: int
    enterprises: list[str]
    checkpoint: Checkpoint
    facts: int
    expected: int
    done: bool


async def read_shards(source: Connection | asyncpg.Pool) -> list[Shard]:
    """All shards of the rebuild that goes on."""
    rows = await source.fetch(
        "SELECT shard, enterprises, incarnation, xid::text::bigint, position, facts, expected, done"
        " FROM rebuild_shards ORDER BY shard"
    )
    return [Shard(row[0], row[1], Checkpoint(row[2], row[3], row[4]), *row[5:]) for row in rows]


class ShardReading(CallReading):
    """Reads for the enterprises of one shard, by the tables beside the live ones."""

    def __init__(
        self, pool: asyncpg.Pool, work: Work, enterprises: Sequence[str], archive: Archive | None
    ) -> None:
        super().__init__(pool, work.suffix, work.plan.names)
        self._enterprises = list(enterprises)
        self.archive = archive

    async def unforgotten(self, upto: int) -> list[tuple[str, str]]:
        """Likewise, of these enterprises."""
        return [leg for leg in await super().unforgotten(upto) if leg[0] in self._enterprises]

    async def directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        """Likewise, of these enterprises."""
        facts = await super().directories(upto, enterprise)
        return [fact for fact in facts if fact.enterprise in self._enterprises]


class ShardFold:
    """Folds one shard up to the plan's end. ``folded`` is told how many facts each batch had."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        work: Work,
        shard: Shard,
        folded: Callable[[int], None],
        archive: Archive | None,
    ) -> None:
        self._pool, self._work, self._shard, self._folded = pool, work, shard, folded
        self._archive = archive if archive and archive.of(shard.enterprises) else None
        self._merged: Merged | None = None
        self._reading = ShardReading(pool, work, shard.enterprises, self._archive)
        names = work.plan.names
        self._puts = Puts(work.suffix, names, calls=False)
        self._fold = CallsFold(detailed="legs" in names or "agents" in names)
        self._skipped = [*UNFOLDED_KINDS, *([DIRECTORY_CHANGED] if work.plan.latest else [])]
        self._recovered: dict[str, _Recovered] = {}
        see = self._fold.hosts.see if "hosts" in names else None
        self._run = Run(self._fold.exchange, see, self._recovered)
        """Its ``begun`` are the legs that the batch is the first to tell of: they have no row to be replaced."""

    async def run(self) -> None:
        """Raises UnknownKind, NewerShape, Fenced where another process folds the same shard, ReaderTrouble."""
        checkpoint = self._shard.checkpoint
        await self._load(checkpoint)
        while True:
            rows, place = await self._take(checkpoint)
            done = len(rows) < BATCH
            await self._fold_all(rows)
            self._fold.touch(self._shard.enterprises)
            reached = self._work.upto if done else place or await self._place(rows[-1][0])
            for recovered in self._recovered.values():
                async for fact in recovered.rest() if done else recovered.before(reached.position):
                    await self._apply(fact)
            await self._write(self._fold.take(), checkpoint, reached, len(rows), done=done)
            checkpoint = reached
            self._folded(len(rows))
            if done:
                return

    async def _load(self, checkpoint: Checkpoint) -> None:
        reading, fold, upto = self._reading, self._fold, self._work.upto
        latest = self._work.plan.latest
        directories = await reading.directories(NEWEST if latest else checkpoint.position)
        for fact in directories:
            require_known(fact)
        await park_all(reading, fold.remember(directories))
        fold.hosts.remember(
            [row for row in await reading.hosts() if row.enterprise in self._shard.enterprises]
        )
        if checkpoint.position:
            await wake_recent(fold, reading, checkpoint.position)
        async with reading.connection() as connection:
            found = await connection.fetch(WITH_RECOVERED, self._shard.enterprises, upto.position)
        recovered = {row[0] for row in found}
        if self._archive:
            enterprises = self._shard.enterprises
            told = self._archive.live(enterprises, checkpoint, upto, self._skipped)
            self._merged = Merged(told, partial(self._next, placed=True), checkpoint, BATCH)
            recovered |= {one.enterprise for one in self._archive.of(enterprises) if one.recovered}
        for enterprise in recovered:
            self._recovered[enterprise] = _Recovered(reading, enterprise, checkpoint.position, upto.position)

    async def _take(self, after: Checkpoint) -> tuple[Sequence[Any], Checkpoint | None]:
        """The next facts; with the place of the last where that is known."""
        if self._merged is None:
            return await self._next(after), None
        return await self._merged.next(BATCH, after)

    async def _next(self, after: Checkpoint, *, placed: bool = False) -> list[asyncpg.Record]:
        upto = self._work.upto
        async with self._reading.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                NEXT.format(place=", incarnation, xid::text::bigint" if placed else ""),
                after.incarnation,
                str(after.xid),
                after.position,
                upto.incarnation,
                str(upto.xid),
                upto.position,
                self._shard.enterprises,
                self._skipped,
                BATCH,
            )
            return rows

    async def _place(self, position: int) -> Checkpoint:
        async with self._reading.connection() as connection:
            row = await connection.fetchrow(PLACE_OF, position)
            assert row is not None, "facts stay"
            return Checkpoint(*row)

    async def _fold_all(self, rows: Sequence[Any]) -> None:
        run, late = self._run, self._recovered
        index = run.fold(rows, 0)
        while index < len(rows):
            await self._park()
            position, enterprise, stream, version, kind, source, at, body = rows[index]
            if late and enterprise in late:
                async for earlier in late[enterprise].before(position):
                    await self._apply(earlier)
            elif version == 1:
                run.begun.add((enterprise, stream))
            await self._apply(Fact(position, enterprise, stream, version, kind, source, at, at, body))
            index = run.fold(rows, index + 1)
        await self._park()

    async def _park(self) -> None:
        """Park what could not be folded, before anything else asks the store for its call."""
        failed, self._run.failed = self._run.failed, []
        await park_all(self._reading, failed)

    async def _apply(self, fact: Fact) -> None:
        """Fold a fact that may need what is not in memory."""
        require_known(fact)
        self._fold.hosts.see(fact)
        await project(self._fold, fact, self._reading, self._work.upto.position)

    async def _write(self, rows: Rows, old: Checkpoint, new: Checkpoint, facts: int, *, done: bool) -> None:
        suffix, names = self._work.suffix, self._work.plan.names
        async with self._reading.connection() as connection, connection.transaction():
            moved = await connection.fetchval(
                MOVE,
                self._shard.shard,
                old.position,
                new.incarnation,
                str(new.xid),
                new.position,
                facts,
                done,
            )
            if moved is None:
                raise Fenced(old)
            keys = [(call.enterprise, call.call_id) for call in rows.calls]
            stale = [*[key for key in keys if key not in rows.fresh], *rows.gone]
            gone = columns_of(stale, 2)
            if stale:
                for table in ("calls", *(["call_agents"] if "agents" in names else [])):
                    await connection.execute(f"DELETE FROM {table}{suffix} source WHERE {OF_CALLS}", *gone)
            await _copy(connection, f"calls{suffix}", CALL_COLUMNS, list(map(call_row, rows.calls)))
            if "legs" in names:
                await _replace_legs(connection, suffix, rows, gone)
            if "agents" in names:
                shares = [share_row(*share) for share in rows.shares]
                await _copy(connection, f"call_agents{suffix}", SHARE_COLUMNS, shares)
            await _replace_belongings(connection, f"call_legs{suffix}", rows, self._run.begun)
            if "hosts" in names:
                await self._puts.write(connection, rows)
        self._run.begun.clear()


async def _replace_belongings(
    connection: Connection, table: str, rows: Rows, begun: Collection[tuple[str, str]]
) -> None:
    """Put whose leg is whose in the place of what was told before; by COPY, which takes half of the time of a put."""
    again = [(number, leg) for number, leg, _ in rows.belongings if (number, leg_stream(leg)) not in begun]
    if again:
        await _delete_legs(connection, table, again)
    records = [_belonging_record(*belonging) for belonging in rows.belongings]
    await _copy(connection, table, BELONGING_COLUMNS, records)


def _belonging_record(enterprise: str, unique_id: str, place: Belonging) -> tuple[object, ...]:
    *told, visits = belonging_row(enterprise, unique_id, place)
    return (*told, msgspec.json.encode(visits).decode() if visits else None)


async def _delete_legs(connection: Connection, table: str, legs: Sequence[tuple[str, str]]) -> None:
    await connection.execute(
        f"DELETE FROM {table} WHERE (enterprise, unique_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        *columns_of(legs, 2),
    )


async def _replace_legs(
    connection: Connection, suffix: str, rows: Rows, changed: Sequence[list[str]]
) -> None:
    """Put the legs of the calls told in the place of those that the ``changed`` calls had, wherever these stood."""
    if changed[0]:
        await connection.execute(f"DELETE FROM legs{suffix} source WHERE {OF_CALLS}", *changed)
    legs = {(number, leg.unique_id): leg_row(number, call_id, leg) for number, call_id, leg in rows.legs}
    if legs:
        await _delete_legs(connection, f"legs{suffix}", list(legs))
        await _copy(connection, f"legs{suffix}", LEG_COLUMNS, list(legs.values()))


async def _copy(
    connection: Connection, table: str, columns: Sequence[str], records: Sequence[tuple[object, ...]]
) -> None:
    if records:
        await connection.copy_records_to_table(table, records=records, columns=columns)


class _Recovered:
    """The recovered facts of one enterprise that follow a position or what is behind it, page by page in their order.

    Those that stand before the last position of a batch are folded with it.
    """

    def __init__(self, reading: CallReading, enterprise: str, after: int, upto: int) -> None:
        self._reading, self._enterprise, self._upto = reading, enterprise, upto
        self._order = Order()
        self._reached: tuple[int, datetime, int] = (after, EARLIEST, 0)
        archive = reading.archive
        self._archived = Recovered(archive, enterprise, after, upto) if archive else None
        self._more = True

    async def before(self, position: int) -> AsyncIterator[Fact]:
        """Those that come before what was not recovered and has this position."""
        while True:
            for earlier in self._order.before(position):
                yield earlier
            if self._order.waits or not await self._page():
                break

    async def rest(self) -> AsyncIterator[Fact]:
        """Those that come after all others."""
        while True:
            for fact in self._order.rest():
                yield fact
            if not await self._page():
                return

    async def _page(self) -> bool:
        if not self._more:
            return False
        async with self._reading.connection() as connection:
            rows = await connection.fetch(RECOVERED, self._enterprise, self._upto, *self._reached, PAGE)
        self._more = len(rows) == PAGE
        page = [reader.fact(row) for row in rows]
        if rows:
            self._reached = (rows[-1]["follows"], page[-1].occurred_at, page[-1].position)
        if self._archived:
            page = self._archived.merged(page, last=not self._more)
        self._order.add(page)
        return bool(page)


async def fold_shards(work: Work, told: Callable[[int, int], None]) -> None:
    """Fold the shards of ``work`` one after the other; ``told`` gets (shard, facts) after each batch."""
    # Months are merged in order, as reader.MERGED says why. What a crash of the server takes back is folded again.
    # A plan that knows the enterprises looks them up in a hash table, one for any of them compares each in turn.
    settings = {"enable_sort": "off", "synchronous_commit": "off", "plan_cache_mode": "force_custom_plan"}
    pool = await asyncpg.create_pool(work.dsn, min_size=1, max_size=2, server_settings=settings)
    async with pool:
        archive = await open_archive(pool, Path(work.archive) if work.archive else None)
        known = {shard.shard: shard for shard in await read_shards(pool)}
        for number in work.shards:
            shard = known[number]
            if not shard.done:
                await ShardFold(pool, work, shard, partial(told, number), archive).run()


async def _main() -> int:
    """Work comes as one line of JSON; the input's end means that nobody wants it any more."""
    loop = asyncio.get_running_loop()
    told = await loop.run_in_executor(None, sys.stdin.buffer.readline)
    work = msgspec.json.decode(told, type=Work)
    calm_collector(FOLDING)

    def say(shard: int, facts: int) -> None:
        print(f"{shard} {facts}", flush=True)  # noqa: T201 - that is the protocol

    folding = asyncio.create_task(fold_shards(work, say))
    alone = loop.run_in_executor(None, sys.stdin.buffer.read)
    await asyncio.wait([folding, alone], return_when=asyncio.FIRST_COMPLETED)
    if not folding.done():
        os._exit(3)  # whoever wanted the rows is gone; what is not committed is nobody's
    error = folding.exception()
    if error is not None:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
    os._exit(0 if error is None else 1)  # the input is still being read


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
