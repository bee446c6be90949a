"""Row 3: facts a second through our writer, against PyPI ``eventsourcing`` on the same PostgreSQL."""

import asyncio
from statistics import median
from typing import Any

import asyncpg

from adapters.postgres.embedded import EmbeddedPostgres
from tests.bench.processes import run_json, scratch
from tests.bench.results import Row


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Writer and library in turns, each in a process and a database of its own, one server."""
    turns: list[dict[str, Any]] = []
    async with scratch() as place, EmbeddedPostgres(place / "data") as server:
        connection = await asyncpg.connect(server.dsn)
        try:
            await connection.execute("CREATE DATABASE rival")
        finally:
            await connection.close()
        for _ in range(rounds):
            rival = await _best_rival(server.dsn_of("rival"), seconds)
            ours = await run_json(
                "tests.bench.append_ours", server.dsn, "--seconds", str(seconds), within=seconds + 60
            )
            turns.append({"ours": ours, "rival": rival})
            await asyncio.sleep(0)
    ratio = median(turn["ours"]["per_second"] / turn["rival"]["per_second"] for turn in turns)
    threads = turns[-1]["rival"]["threads"]
    batch = median(turn["ours"]["batch"] for turn in turns)
    return [
        Row(
            name="append",
            what="facts/s, 64 callers, group commit; eventsourcing, one event an append, recorder alone",
            unit="1/s",
            ours=median(turn["ours"]["per_second"] for turn in turns),
            rival=median(turn["rival"]["per_second"] for turn in turns),
            ratio=ratio,
            goal="at least 10",
            met=ratio >= 10,
            limit=f"{batch:.0f} facts a commit; the rival's best is with {threads} thread(s)",
            rounds=turns,
        )
    ]


async def _best_rival(dsn: str, seconds: float) -> dict[str, Any]:
    """The library is synchronous; its users may run it in one thread or in several, the better one counts."""
    tries = [
        await run_json(
            "tests.bench.append_rival",
            dsn,
            "--seconds",
            str(seconds / 2),
            "--threads",
            str(threads),
            within=seconds + 60,
        )
        for threads in (1, 4)
    ]
    return max(tries, key=lambda told: float(told["per_second"]))
