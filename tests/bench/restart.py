"""Restart with many open calls: from the start of the process until ``/readyz`` says so, after kill -9."""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from tests.bench.load import Answers, request
from tests.bench.material import ENTERPRISES, Slot, directory_toml, templates, token_of
from tests.bench.processes import BenchError, child, free_port, run_json, scratch, service, until_listening
from tests.bench.results import Row

CALLS = 10_000
QUICK = 500
CONNECTIONS = 32
RINGING = 3
"""Events of the scenario after which its call rings: start, new_callerid, dial."""


async def measure(seconds: float, rounds: int) -> list[Row]:
    """Open the calls, let the rows follow, kill, start again."""
    del seconds
    calls = CALLS if rounds > 1 else QUICK
    telegram = free_port()
    async with (
        scratch() as place,
        child(sys.executable, "-m", "tests.bench.telegram", str(telegram)) as stand,
    ):
        await until_listening(stand, telegram)
        directory = directory_toml(ENTERPRISES, "{number}:bench")
        async with service(place, directory=directory, telegram=telegram) as ours:
            told = await run_json("tests.bench.restart", str(ours.port), str(calls), within=300)
            await ours.caught_up(told["position"], 120)
            ours.kill()
            await ours.process.wait()
        took, opened = await _again(place, telegram)
    if opened != calls:
        raise BenchError(f"{opened} calls are open after the restart, {calls} were before")
    return [
        Row(
            name="restart",
            what=f"from start to ready with {calls:,} open calls, after kill -9 of the service",
            unit="s",
            ours=took,
            goal="5" if calls == CALLS else "",
            met=took <= 5 if calls == CALLS else None,
            limit="reading and folding their facts on one core; PostgreSQL starts anew, too",
        )
    ]


async def _again(place: Path, telegram: int) -> tuple[float, int]:
    begun = time.monotonic()
    async with service(place, directory=None, telegram=telegram) as again:
        took = time.monotonic() - begun
        return took, int((await again.stats())["open_calls"])


async def _open(port: int, count: int) -> int:
    """Let so many calls ring; the position of the last fact."""
    template = templates("2-1")[0]
    serials = iter(range(count))
    loop = asyncio.get_running_loop()

    async def host() -> int:
        _, connection = await loop.create_connection(Answers, "127.0.0.1", port)
        position = 0
        for serial in serials:
            place = Slot(serial % ENTERPRISES, 0)
            for event in template.call(serial, place)[:RINGING]:
                answer = await connection.ask(request(event, token_of(place.enterprise)))
                if answer[9:12] != b"200":
                    raise BenchError(f"the service answered {answer[9:12].decode()}")
                position = int(answer.rpartition(b":")[2].rstrip(b"}"))
        connection.close()
        return position

    async with asyncio.TaskGroup() as group:
        hosts = [group.create_task(host()) for _ in range(CONNECTIONS)]
    return max(host.result() for host in hosts)


if __name__ == "__main__":
    print(json.dumps({"position": uvloop.run(_open(int(sys.argv[1]), int(sys.argv[2])))}))
