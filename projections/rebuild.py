"""Rebuilding projections beside the live tables, from the first fact on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from typing import Any, Protocol

import msgspec

from calls.facts import UNFOLDED_KINDS
from projections.calls import CallsFold
from projections.live import fold_facts, load, next_facts, recovered
from projections.names import Name
from projections.ports import Busy, Checkpoint, FactReader, Tables
from projections.unknown import require_known

BATCH = 5_000
SWAP_TRIES = 60
SWAP_AGAIN = 1.0
"""Seconds between two tries to swap tables that somebody reads."""


class Plan(msgspec.Struct, frozen=True):
    """What a rebuild makes: which projections, told by which directory, of a fold of this version.

    ``latest``: every fact is told by the directory as it is now, not as of its place. ``as_of``: the state of that
    time is made, in tables of its own.
    """

    names: tuple[Name, ...]
    fold_version: int
    latest: bool = False
    as_of: datetime | None = None


class Difference(msgspec.Struct, frozen=True):
    """A row that is not the same live and rebuilt; None where one side has none."""

    table: str
    key: tuple[str, ...]
    live: dict[str, object] | None
    rebuilt: dict[str, object] | None


class Outcome(msgspec.Struct, frozen=True):
    """What a rebuild came to: facts that its tables are made of, rows that differed from the live ones.

    ``facts``: all of them, those too that it had folded before it was interrupted. ``differences``: None where nothing
    was compared, because there were no live rows yet or none are wanted.
    """

    facts: int
    differences: list[Difference] | None


class Following(FactReader, Tables, Protocol):
    """A set of tables that can be brought as far as the live ones."""

    async def live_checkpoint(self) -> Checkpoint:
        """How far the live tables have come."""
        ...

    def live_held(self) -> AbstractAsyncContextManager[Checkpoint]:
        """Keep the live runner from writing meanwhile; how far its rows have come."""
        ...


class BesideTables(Following, Protocol):
    """Tables of the same shape beside the live ones."""

    async def finish(self, names: dict[tuple[str, str], str | None]) -> None:
        """Make of the shards' rows what the live tables are: sums, names of customers, indexes."""
        ...

    async def beside_shards(self) -> int:
        """Facts in these tables that shards do not count: recovered ones, and what was caught up with so far."""
        ...

    def as_now(self) -> AbstractAsyncContextManager[Any]:
        """Something that sees all tables as they are at the entry, whatever is written later."""
        ...

    async def differences(self, seen: Any) -> list[Difference]:
        """Every row that differs from the live one, as seen there."""
        ...

    async def swap(self) -> None:
        """Put these tables in the place of the live ones; only while the live runner is held."""
        ...

    async def drop(self) -> None:
        """Throw these tables away."""
        ...


async def catch_up(
    tables: Following, fold: CallsFold, after: Checkpoint, upto: Checkpoint, *, rebuilding: bool = True
) -> tuple[Checkpoint, int]:
    """Fold on to a checkpoint of the live tables, as the live runner would; how far it came, and the facts.

    ``rebuilding``: what only a newer version can read is an error, as in the shards; else it is passed over.
    """
    folded = 0
    while True:
        facts, reached = await next_facts(tables, after, upto, BATCH)
        if not facts:
            return after, folded
        for fact in facts if rebuilding else ():
            require_known(fact)
        anew = {enterprise: due.since for enterprise, due in recovered(facts).items()}
        rows = await fold_facts(fold, facts, tables, reached, anew)
        await tables.write(rows, after, reached, fold.name)
        after = reached
        folded += sum(fact.kind not in UNFOLDED_KINDS for fact in facts)


async def _fold_all(tables: BesideTables, upto: Checkpoint, fold_shards: Callable[[], Awaitable[int]]) -> int:
    folded = await fold_shards()
    fold = CallsFold()
    fold.remember(await tables.directories(upto.position))
    await tables.finish(fold.customer_names())
    return folded + await tables.beside_shards()


async def rebuild_as_of(
    tables: BesideTables, upto: Checkpoint, fold_shards: Callable[[], Awaitable[int]]
) -> Outcome:
    """Fold the facts up to ``upto`` and leave it at that; ``fold_shards`` as for ``rebuild``."""
    return Outcome(await _fold_all(tables, upto, fold_shards), None)


async def rebuild(
    tables: BesideTables, upto: Checkpoint, fold_shards: Callable[[], Awaitable[int]], *, check: bool
) -> Outcome:
    """Fold every fact into tables beside the live ones, compare, and swap unless it is only a check.

    ``fold_shards`` folds the facts up to ``upto`` and returns how many. Live reading and writing go on; the live runner
    waits only while the last facts are folded and while the tables are swapped.
    """
    folded = await _fold_all(tables, upto, fold_shards)
    fold = CallsFold()
    checkpoint = await tables.checkpoint()
    await load(fold, tables, checkpoint)
    checkpoint, more = await catch_up(tables, fold, checkpoint, await tables.live_checkpoint())
    folded += more
    if await tables.live_checkpoint() == Checkpoint():
        differences = None
    else:
        async with AsyncExitStack() as stack:
            async with tables.live_held() as live:
                checkpoint, more = await catch_up(tables, fold, checkpoint, live)
                folded += more
                seen = await stack.enter_async_context(tables.as_now())
            differences = await tables.differences(seen)
    if check:
        await tables.drop()
        return Outcome(folded, differences)
    folded += await _put_in_place(tables, fold, checkpoint, tables.swap, rebuilding=True)
    return Outcome(folded, differences)


async def roll_back(tables: Following, swap: Callable[[], Awaitable[None]]) -> int:
    """Bring the tables of before the last rebuild as far as the live ones and put them back; the facts folded."""
    fold = CallsFold()
    checkpoint = await tables.checkpoint()
    await load(fold, tables, checkpoint)
    return await _put_in_place(tables, fold, checkpoint, swap, rebuilding=False)


async def _put_in_place(
    tables: Following,
    fold: CallsFold,
    checkpoint: Checkpoint,
    swap: Callable[[], Awaitable[None]],
    *,
    rebuilding: bool,
) -> int:
    """Follow the live tables and swap when both have come equally far; the facts folded meanwhile.

    Raises Busy where somebody has read the tables all the time.
    """
    folded = 0
    for patience in range(SWAP_TRIES, -1, -1):
        live = await tables.live_checkpoint()
        checkpoint, more = await catch_up(tables, fold, checkpoint, live, rebuilding=rebuilding)
        folded += more
        try:
            async with tables.live_held() as live:
                checkpoint, more = await catch_up(tables, fold, checkpoint, live, rebuilding=rebuilding)
                folded += more
                await swap()
        except Busy:
            if not patience:
                raise
            await asyncio.sleep(SWAP_AGAIN)  # the live runner goes on meanwhile
        else:
            break
    return folded
