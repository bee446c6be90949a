"""A rebuild killed again and again while hosts send: nothing is wrong meanwhile, and it ends in the same rows."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from adapters.asterisk.sender import Sender, host_json
from calls.scenarios import catalogue
from tests.bench.history import fill
from tests.running import Running, enterprise, running
from tests.storing import connected

pytestmark = pytest.mark.crash

HISTORY = 60_000
"""More than a rebuild folds in its own process."""
A_SECOND = 200
HOSTS = 4
KILLS = 10
SETTLED = """
SELECT md5(string_agg(md5(calls::text), '' ORDER BY enterprise, call_id)) FROM calls WHERE last_position <= $1
"""
CUSTOMERS = """
SELECT md5(string_agg(md5(customers::text), '' ORDER BY enterprise, phone)) FROM customers
WHERE enterprise <> '0367'
"""


@asynccontextmanager
async def hosts_send(service: Running) -> AsyncIterator[list[int]]:
    """Events of calls at a steady rate; gives the statuses of their answers."""
    answers: list[int] = []
    stopped = asyncio.Event()

    async def host(number: int) -> None:
        chance = random.Random(number)
        names = sorted(catalogue())
        due = time.monotonic()
        async with Sender(service.url) as sender:
            for run in range(1_000_000):
                begun = time.time() - 1_000 + run * 5
                events = catalogue()[chance.choice(names)].events(begun, seed=number * 10_000 + run)
                for event in events:
                    due += HOSTS / A_SECOND
                    if (early := due - time.monotonic()) > 0:
                        await asyncio.sleep(early)
                    answers.append((await sender.send(event.kind, host_json(event.body))).status or 0)
                    if stopped.is_set():
                        return

    async with asyncio.TaskGroup() as group:
        for number in range(HOSTS):
            group.create_task(host(number))
        try:
            yield answers
        finally:
            stopped.set()


async def rebuild(env: dict[str, str], *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("callfold"),
        *("rebuild", "all", "--jobs", "2", "--json", *options),
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def kill_one(chance: random.Random, pid: int) -> None:
    """kill -9 of the command, or of one of the processes that fold for it."""
    family = [psutil.Process(pid)]
    family += family[0].children(recursive=True)
    os.kill(chance.choice(family).pid, signal.SIGKILL)


@pytest.mark.timeout(300)
async def test_killed_ten_times_under_load_it_goes_on_and_ends_in_the_same_rows(database, tmp_path):
    chance = random.Random(11)
    async with connected(database.dsn) as connection:
        await fill(connection, HISTORY)
        head = await connection.fetchval("SELECT max(position) FROM facts")
    process = await rebuild({"CALLFOLD_DATABASE_URL": database.dsn})
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    async with running(database.dsn, tmp_path, enterprise("0367", chats=())) as service:
        await service.quiet(within=60)
        wanted = await told(service.pool, head)
        async with hosts_send(service) as answers:
            killed, went_on = 0, 0
            while killed < KILLS:
                process = await rebuild(service.env)
                with contextlib.suppress(TimeoutError):  # it is killed then
                    if chance.random() < 0.5:
                        went_on += await progress(service.pool, process)
                    async with asyncio.timeout(chance.uniform(0.0, 1.2)):
                        await process.wait()
                if process.returncode is None:
                    kill_one(chance, process.pid)
                    killed += 1
                output, errors = await process.communicate()
                assert process.returncode != 0 or json.loads(output)["differences"] == [], errors.decode()
                assert await told(service.pool, head) == wanted, "live rows are never wrong meanwhile"
            assert went_on, "some were killed in the middle"
            process = await rebuild(service.env)
            output, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            outcome = json.loads(output.splitlines()[-1])
            assert outcome["differences"] == []
            assert outcome["facts"] > HISTORY
            assert await told(service.pool, head) == wanted
        assert set(answers) == {200}
        await service.quiet(within=60)
        process = await rebuild(service.env, "--check")
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode() + output.decode()[-2000:]
        left = "SELECT count(*) FROM pg_class WHERE relname ~ '_v[0-9]+$'"
        assert await service.pool.fetchval(left) == 0


async def progress(pool: asyncpg.Pool, process: asyncio.subprocess.Process) -> int:
    """Wait until it has folded more than those before it; 1 if it has."""
    folded = "SELECT coalesce(sum(facts), 0) FROM rebuild_shards"
    before = await pool.fetchval(folded)
    while process.returncode is None:
        if await pool.fetchval(folded) > before:
            return 1
        await asyncio.sleep(0.02)  # between two looks
    return 0


async def told(pool: asyncpg.Pool, head: int) -> tuple[str, str]:
    """The rows that nothing sent meanwhile may change."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        return await connection.fetchval(SETTLED, head), await connection.fetchval(CUSTOMERS)
