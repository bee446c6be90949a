"""How far rows are behind the facts at a steady 500 events a second, the whole service on."""

import asyncio
import sys

import asyncpg

from adapters.postgres.place import settle
from tests.bench.material import directory_toml
from tests.bench.processes import BenchError, child, free_port, run_json, scratch, service, until_listening
from tests.bench.results import Row

RATE = 500.0
ENTERPRISES = 50
WARM = 3.0
EACH = 0.05
"""Seconds between two looks."""
OLDEST = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - recorded_at), 0)::float8 FROM facts
WHERE position > (SELECT position FROM checkpoints WHERE projection = 'calls') ORDER BY position LIMIT 1
"""


async def measure(seconds: float, rounds: int) -> list[Row]:
    """One run, as long as all turns together."""
    telegram, length = free_port(), WARM + seconds * rounds
    async with (
        scratch() as place,
        child(sys.executable, "-m", "tests.bench.telegram", str(telegram)) as stand,
    ):
        await until_listening(stand, telegram)
        directory = directory_toml(ENTERPRISES, "{number}:bench", slots=1)
        async with service(place, directory=directory, telegram=telegram) as ours:
            connection = await asyncpg.connect(settle(place / "data").dsn("callfold"))
            looking = asyncio.create_task(_look(connection))
            options = ("--rate", str(RATE), "--seconds", str(length), "--enterprises", str(ENTERPRISES))
            told = await run_json("tests.bench.pace", str(ours.port), *options, within=length + 60)
            looking.cancel()
            seen = sorted((await looking)[round(WARM / EACH) :])
            await connection.close()
    if told["refused"] or not seen:
        raise BenchError(f"{told['refused']} events were refused, {len(seen)} looks")
    p50, p99 = seen[len(seen) // 2], seen[len(seen) * 99 // 100]
    return [
        Row(
            name="lag p99",
            what=f"age of the oldest fact that no row tells, {RATE:.0f} events/s; half of the looks: {p50:.2f} s",
            unit="s",
            ours=p99,
            goal="1",
            met=p99 < 1,
            limit="the pace of the projection, 0.2 s, and one core for the whole service",
            rounds=[{"lag_s": [round(one, 3) for one in seen]}],
        )
    ]


async def _look(connection: asyncpg.Connection) -> list[float]:
    """The lag at each look, until cancelled."""
    seen: list[float] = []
    try:
        while True:
            seen.append(await connection.fetchval(OLDEST) or 0.0)
            await asyncio.sleep(EACH)  # between two looks
    except asyncio.CancelledError:
        return seen
