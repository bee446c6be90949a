"""A stored history of any size: calls of all scenarios at many enterprises over some weeks, always the same ones.

python -m tests.bench.history DSN EVENTS
"""

import asyncio
import heapq
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import asyncpg

from adapters.cli.writing import writing
from adapters.directory.apply import apply_files
from adapters.directory.file import read_directory_text
from adapters.postgres.database import open_database
from adapters.postgres.migrate import migrate
from adapters.store.lock import settle_incarnation
from adapters.store.log import EventStore
from adapters.store.partitions import month_of
from calls.facts import SILENCE_OBSERVED
from calls.observations import Silence, write_silence
from tests.bench.material import SLOTS, Slot, Template, directory_toml, number_of, templates

ENTERPRISES = 50
BEGUN = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
DAYS = 60
"""The history of a million events; a smaller one is its beginning."""
APART = 15_000
"""Seconds between the beginnings of two calls of one slot, on average; the longest takes some minutes."""
SILENT = 15.0
CHUNK = 5_000
"""Facts committed at once."""


class Told(NamedTuple):
    """One fact to be: seconds after BEGUN, a number that keeps ties apart, whose it is, and what it says."""

    at: float
    tie: int
    enterprise: str
    stream: str
    kind: str
    body: bytes


def history(events: int, seed: int = 20_261) -> Iterator[Told]:
    """The first so many facts, in the order of their times."""
    known = templates(second=int(BEGUN.timestamp()))
    ties = count()
    slots = [
        _slot(known, Slot(enterprise, slot), random.Random(seed * 1_000 + enterprise * SLOTS + slot), ties)
        for enterprise in range(ENTERPRISES)
        for slot in range(SLOTS)
    ]
    return islice(heapq.merge(*slots), events)


def _slot(known: list[Template], place: Slot, chance: random.Random, ties: Iterator[int]) -> Iterator[Told]:
    """Calls of one slot, one after the other; busier by day than by night."""
    at = chance.uniform(0, APART)
    for serial in count(place.slot, SLOTS):
        template = chance.choice(known)
        begun = int(at)
        told = list(zip(template.offsets, template.call(serial, place, begun), strict=True))
        number = number_of(place.enterprise)
        for offset, event in told:
            lag = chance.uniform(0.02, 0.4)
            yield Told(begun + offset + lag, next(ties), number, event.stream, event.kind, event.body)
        last = begun + max(offset for offset, _ in told)
        leader = next((event.stream for _, event in told if event.kind in {"start", "dial"}), None)
        if leader and not any(event.stream == leader and event.kind == "hangup" for _, event in told):
            silence = write_silence(Silence("settle", SILENT, 1 << 40))
            yield Told(last + SILENT + 1, next(ties), number, leader, SILENCE_OBSERVED, silence)
        night = (BEGUN + timedelta(seconds=at)).hour in {0, 1, 2, 3, 18, 19, 20, 21, 22, 23}
        at = last + SILENT + 5 + chance.expovariate(1 / (APART * (6 if night else 0.6)))


async def fill(connection: asyncpg.Connection, events: int) -> None:
    """Append that many facts as the writer would have, some thousands a transaction."""
    incarnation = await settle_incarnation(connection)
    versions: dict[tuple[str, str], int] = {}
    told = history(events)
    while chunk := list(islice(told, CHUNK)):
        records = []
        for fact in chunk:
            key = (fact.enterprise, fact.stream)
            version = versions[key] = versions.get(key, 0) + 1
            at = BEGUN + timedelta(seconds=fact.at)
            source = "service" if fact.kind == SILENCE_OBSERVED else "live"
            month = month_of(fact.stream)
            records.append((at, at, incarnation, version, month, *key, fact.kind, source, fact.body, b""))
        await connection.copy_records_to_table("facts", records=records, columns=COLUMNS)
    await connection.execute("ANALYZE facts")


COLUMNS = (
    "occurred_at",
    "recorded_at",
    "incarnation",
    "version",
    "month",
    "enterprise",
    "stream",
    "kind",
    "source",
    "body",
    "meta",
)


class Begin:
    """The clock of the first directory: an hour before the first call."""

    def now(self) -> datetime:
        return BEGUN - timedelta(hours=1)

    def monotonic(self) -> float:
        return 0.0


async def prepare(dsn: str, events: int) -> None:
    """A migrated database with the directories of all enterprises and the history."""
    files = read_directory_text(directory_toml(ENTERPRISES, "preview"), "history.toml", Path())
    async with open_database(dsn, Path()) as database, database.pool(min_size=1, max_size=2) as pool:
        connection = await database.connect()
        try:
            await migrate(connection)
            async with writing(database, "history") as writer:
                assert writer is not None, "another process writes to this database"
                await apply_files(EventStore(pool, writer), pool, Begin(), files)
            await connection.execute("UPDATE facts SET recorded_at = occurred_at")
            await fill(connection, events)
        finally:
            await connection.close()


if __name__ == "__main__":
    asyncio.run(prepare(sys.argv[1], int(sys.argv[2])))
