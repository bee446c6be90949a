"""Rebuild of calls + customers, a million facts of 50 enterprises; and reading and decoding the same rows, no fold.

python -m tests.bench.rebuild DSN read
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import asyncpg
import psutil

from adapters.postgres.embedded import EmbeddedPostgres
from calls.events import reread_event
from calls.facts import EVENT_KINDS, Fact
from tests.bench.history import prepare
from tests.bench.processes import BenchError, child, run_json, scratch
from tests.bench.results import Row

EVENTS = 1_000_000
QUICK = 60_000
ENOUGH = 400_000_000
"""Bytes that a rebuild may take."""
PAGE = 20_000
PACE = 0.1
READ = """
SELECT position, enterprise, stream, version, kind, source, occurred_at, body FROM facts
WHERE position > $1 ORDER BY position LIMIT $2
"""


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Fill two stores once; each round rebuilds and reads in alternation."""
    del seconds
    events = EVENTS if rounds > 1 else QUICK
    async with scratch() as place, EmbeddedPostgres(place / "data") as server:
        small = await _filled(server, "small", max(events // 5, QUICK))
        dsn = await _filled(server, "large", events)
        await _rebuilt(dsn)  # the first has nothing to be compared with
        turns = []
        for _ in range(min(rounds, 3)):
            read = await run_json("tests.bench.rebuild", dsn, "read", within=300)
            turns.append({**await _rebuilt(dsn), "read_per_s": read["per_s"]})
        beside = await _rebuilt(small)
    ours = max(turn["per_s"] for turn in turns)
    read_per_s = max(turn["read_per_s"] for turn in turns)
    ratio = max(turn["per_s"] / turn["read_per_s"] for turn in turns)
    peak = max(turn["peak"] for turn in turns)
    return [
        Row(
            name="rebuild",
            what=f"calls + customers from {events:,} facts, compared, swapped; reading and decoding them on one core",
            unit="facts/s",
            ours=ours,
            rival=read_per_s,
            ratio=ratio,
            goal="ratio 0.2, 60,000/s" if events == EVENTS else "",
            met=ratio >= 0.2 if events == EVENTS else None,
            limit="folding in Python, one process a core beside PostgreSQL",
            rounds=turns,
        ),
        Row(
            name="rebuild memory",
            what=f"most that all its processes held; with a fifth of the facts {beside['peak'] / 1e6:,.0f} MB",
            unit="MB",
            ours=peak / 1e6,
            goal="400",
            met=peak <= ENOUGH,
            limit="unique set size, read every 0.1 s",
        ),
    ]


async def _filled(server: EmbeddedPostgres, name: str, events: int) -> str:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    dsn = server.dsn_of(name)
    await prepare(dsn, events)
    return dsn


async def _rebuilt(dsn: str) -> dict[str, float]:
    """``callfold rebuild calls customers`` once: facts a second, and the most memory of all its processes."""
    command = str(Path(sys.executable).with_name("callfold"))
    env = {"CALLFOLD_DATABASE_URL": dsn}
    begun = time.monotonic()
    async with child(command, "rebuild", "calls", "customers", "--json", env=env) as process:
        watching = asyncio.create_task(_peak(process.pid))
        output, errors = await process.communicate()
        spent = time.monotonic() - begun
        watching.cancel()
        peak = await watching
    if process.returncode != 0:
        raise BenchError(f"rebuild ended with {process.returncode}: {(errors or b'').decode()}")
    told = json.loads(output.splitlines()[-1])
    if told["differences"]:
        raise BenchError(f"{len(told['differences'])} rows differ between two rebuilds")
    return {"per_s": told["facts"] / told["seconds"], "whole_s": spent, "peak": float(peak)}


async def _peak(pid: int) -> int:
    """The most that a process and those below it hold for themselves, until cancelled."""
    most = 0
    try:
        while True:
            most = max(most, _held(pid))
            await asyncio.sleep(PACE)  # between two looks
    except asyncio.CancelledError:
        return most


def _held(pid: int) -> int:
    held = 0
    try:
        own = psutil.Process(pid)
        family = [own, *own.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in family:
        try:
            held += one.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue  # it has just ended
    return held


async def _read(dsn: str) -> dict[str, float]:
    """Read and decode all facts on one core, as a fold would have to."""
    connection = await asyncpg.connect(dsn)
    kinds = frozenset(EVENT_KINDS)
    after = read = 0
    begun = time.perf_counter()
    while rows := await connection.fetch(READ, after, PAGE):
        for row in rows:
            fact = Fact(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[6], row[7])
            if fact.kind in kinds:
                reread_event(fact.body)
        read += len(rows)
        after = rows[-1][0]
    spent = time.perf_counter() - begun
    await connection.close()
    return {"per_s": read / spent}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_read(sys.argv[1]))))
