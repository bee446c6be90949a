"""Bytes that a million events take: facts by heap and index, and the tables of calls, after a real load.

``python -m tests.bench.size DSN`` loads and measures in a process of its own.
"""

import argparse
import asyncio
import itertools
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg

from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from calls.facts import NewFact
from tests.bench.material import ENTERPRISES, SLOTS, Slot, calls, number_of
from tests.bench.processes import run_json, scratch
from tests.bench.results import Row
from tests.storing import projected, put

EVENTS = 51_200
SIDE_BY_SIDE = ENTERPRISES * SLOTS
PARTS = """
SELECT CASE WHEN c.relname ~ '^facts_' THEN 'facts' ELSE coalesce(t.relname, c.relname) END AS whole,
       CASE WHEN c.relkind IN ('r', 't') THEN 'heap'
            WHEN c.relname ~ 'incarnation' THEN 'facts_order' WHEN c.relname ~ 'stream' THEN 'facts_stream_version'
            WHEN c.relname ~ '^facts.*position' THEN 'facts_position' ELSE c.relname END AS part,
       sum(pg_relation_size(c.oid))::bigint AS bytes
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i')
  AND (c.relname ~ '^facts_' OR coalesce(t.relname, c.relname) IN ('calls', 'call_legs', 'customers'))
GROUP BY 1, 2 HAVING sum(pg_relation_size(c.oid)) > 0 ORDER BY 1, 2 DESC
"""


async def load(dsn: str) -> dict[str, Any]:
    """Store and project so many events, 64 calls side by side; then the bytes of each table and index."""
    connection = await asyncpg.connect(dsn)
    await migrate(connection)
    now = datetime.now(UTC)
    month = now.date().replace(day=1)
    await connection.execute("SELECT make_facts_partition($1::date, 0)", month)
    slots = [Slot(number % ENTERPRISES, number // ENTERPRISES) for number in range(SIDE_BY_SIDE)]
    streams = [(place, itertools.chain.from_iterable(calls(place))) for place in slots]
    async with projected(dsn) as here:
        for _ in range(EVENTS // SIDE_BY_SIDE):
            events = [(place, next(told)) for place, told in streams]
            await put(
                here.connection,
                [
                    NewFact(
                        enterprise=number_of(place.enterprise),
                        stream=event.stream,
                        kind=event.kind,
                        source="live",
                        occurred_at=now,
                        body=event.body,
                        meta=b'{"request_id":"bench-1"}',
                    )
                    for place, event in events
                ],
            )
            await here.project()
    await connection.execute("VACUUM ANALYZE")
    rows = await connection.fetch(PARTS)
    events = await connection.fetchval("SELECT count(*) FROM facts")
    await connection.close()
    return {"events": events, "parts": [[row["whole"], row["part"], row["bytes"]] for row in rows]}


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Once: bytes do not depend on the neighbours."""
    del seconds, rounds
    async with scratch() as place, EmbeddedPostgres(place / "data") as server:
        told = await run_json("tests.bench.size", server.dsn, within=600)
    each = 1_000_000 / told["events"] / 1e6
    sums: dict[str, float] = {}
    for whole, _, size in told["parts"]:
        sums[whole] = sums.get(whole, 0.0) + size * each
    parts = {
        name: ", ".join(f"{part} {size * each:,.0f}" for whole, part, size in told["parts"] if whole == name)
        for name in sums
    }
    return [
        Row(
            name=f"size: {name}",
            what="MB a million events",
            unit="MB",
            ours=size,
            limit=parts[name],
            rounds=[told] if name == "facts" else [],
        )
        for name, size in sums.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn")
    print(json.dumps(asyncio.run(load(parser.parse_args().dsn))))


if __name__ == "__main__":
    main()
