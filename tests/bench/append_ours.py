"""Our writer alone, 64 callers at once: ``python -m tests.bench.append_ours DSN --seconds 5``."""

import argparse
import asyncio
import itertools
import json
import time
from pathlib import Path

import uvloop

from adapters.clock import SystemClock
from adapters.postgres.database import open_database
from adapters.postgres.migrate import migrate
from adapters.store.writer import Writer
from calls.facts import Fact, NewFact
from otel.metrics import Metrics
from tests.bench.material import ENTERPRISES, SLOTS, Slot, calls, number_of

FASTEST = 50_000
"""Facts a second that are made beforehand."""


async def run(dsn: str, seconds: float) -> dict[str, float]:
    batches: list[int] = []

    def committed(facts: list[Fact]) -> None:
        batches.append(len(facts))

    async with open_database(dsn, Path()) as database:
        connection = await database.connect()
        await migrate(connection)
        await connection.close()
        clock = SystemClock()
        writer = Writer(
            database,
            clock,
            Metrics(),
            committed=committed,
            role_changed=lambda _: None,
            instance="bench",
            url="http://127.0.0.1",
        )
        each = int(seconds * FASTEST / (ENTERPRISES * SLOTS))
        callers = [_facts(number, each, clock) for number in range(ENTERPRISES * SLOTS)]
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run())
            await writer.leading.wait()
            begun = time.perf_counter()
            done = await asyncio.gather(*(_append(writer, facts, begun + seconds) for facts in callers))
            took = time.perf_counter() - begun
            writer.stop()
    return {"per_second": sum(done) / took, "batch": sum(batches) / len(batches)}


async def _append(writer: Writer, facts: list[NewFact], until: float) -> int:
    for count, fact in enumerate(facts):
        if time.perf_counter() >= until:
            return count
        await writer.append(fact, within=2.5)
    return len(facts)


def _facts(number: int, count: int, clock: SystemClock) -> list[NewFact]:
    place = Slot(number % ENTERPRISES, number // ENTERPRISES)
    events = itertools.chain.from_iterable(calls(place))
    return [
        NewFact(
            enterprise=number_of(place.enterprise),
            stream=event.stream,
            kind=event.kind,
            source="live",
            occurred_at=clock.now(),
            body=event.body,
            meta=b'{"request_id":"bench-1"}',
        )
        for event in itertools.islice(events, count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(run(given.dsn, given.seconds))))


if __name__ == "__main__":
    main()
