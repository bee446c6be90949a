"""Rebuilding the calls projection beside the live tables, from the first fact on."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from projections.calls import CallsFold
from projections.live import project
from projections.ports import Checkpoint, FactReader, NameOf, Rows

BATCH = 5_000


class Difference(msgspec.Struct, frozen=True):
    """A row that is not the same live and rebuilt; None where one side has none."""

    table: str
    key: tuple[str, ...]
    live: dict[str, object] | None
    rebuilt: dict[str, object] | None


class BesideTables(FactReader, Protocol):
    """Tables of the same shape beside the live ones."""

    async def begin(self) -> None:
        """Make them, empty."""
        ...

    async def write(self, rows: Rows, old: Checkpoint, new: Checkpoint, name_of: NameOf) -> None:
        """Write rows and checkpoint in one transaction."""
        ...

    async def live_checkpoint(self) -> Checkpoint:
        """How far the live tables have come."""
        ...

    async def count_all_customers(self, name_of: NameOf) -> None:
        """Count every customer once, when all calls are written."""
        ...

    async def hold_live(self) -> Checkpoint:
        """Keep the live runner from writing until ``release``; how far its rows have come."""
        ...

    async def release(self) -> None:
        """Let the live runner go on."""
        ...

    async def differences(self) -> list[Difference]:
        """Every row that differs from the live one; only while the live runner is held."""
        ...

    async def swap(self) -> None:
        """Put these tables in the place of the live ones; only while the live runner is held."""
        ...

    async def drop(self) -> None:
        """Throw these tables away."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What a rebuild came to: facts folded, rows that differed from the live ones."""

    facts: int
    differences: list[Difference]


async def rebuild(tables: BesideTables, *, check: bool, progress: Callable[[int, int], None]) -> Outcome:
    """Fold every fact into tables beside the live ones, compare, and swap unless it is only a check.

    Live reading and writing go on; the live runner waits only while the last facts are folded and the tables
    compared and swapped. ``progress`` is told how many facts are folded and the position that was reached.
    """
    await tables.begin()
    try:
        fold = CallsFold()
        checkpoint = Checkpoint()
        folded = 0

        async def follow(upto: Checkpoint) -> None:
            nonlocal checkpoint, folded
            while True:
                facts, reached = await tables.next(checkpoint, BATCH, upto)
                if not facts:
                    return
                for fact in facts:
                    await project(fold, fact, tables)
                await tables.write(fold.take(), checkpoint, reached, fold.name)
                checkpoint = reached
                folded += len(facts)
                progress(folded, reached.position)

        await follow(await tables.live_checkpoint())
        await tables.count_all_customers(fold.name)
        live = await tables.hold_live()
        try:
            await follow(live)
            await tables.count_all_customers(fold.name)
            differences = await tables.differences()
            if not check:
                await tables.swap()
        finally:
            await tables.release()
    finally:
        await tables.drop()
    return Outcome(folded, differences)
