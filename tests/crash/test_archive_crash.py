"""What kill -9 does to ``callfold archive``, and what ``callfold archive`` does to the service that goes on."""

import asyncio
import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from adapters.archive.back import check
from adapters.archive.folder import FOLDER, Archive
from adapters.asterisk.sender import Sender, host_json
from adapters.store.lock import REBUILD_LOCK
from calls.scenarios import catalogue
from tests.archiving import filled
from tests.running import command
from tests.serving import COMMAND, service_process, write_directory
from tests.storing import Projected, connected, projected

pytestmark = pytest.mark.crash

BEFORE = "2024-03"
KILLS = 10
LIVE = "SELECT position, enterprise, stream, version, kind, body FROM facts"
AT_WORK = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1 AND database ="
MINE = " (SELECT oid FROM pg_database WHERE datname = current_database()))"


async def everything(connection: asyncpg.Connection, folder: Path) -> list[tuple[Any, ...]]:
    """Every fact that a reader finds at one moment, in table and files."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = [tuple(row) for row in await connection.fetch(LIVE)]
        archive = Archive(folder)
        await archive.load(connection)
        for one in archive.files.values():
            file = archive.open(one)
            found += [
                (row.position, row.enterprise, row.stream, row.version, row.kind, row.body)
                for row in file.all()
            ]
            file.close()
    return sorted(found)


async def killed(dsn: str, folder: Path, env: dict[str, str], within: float, *arguments: str) -> bool:
    """Begin ``callfold archive`` and kill it so long after it has begun its work; False where it was done before."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "archive",
        *arguments,
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with connected(dsn) as connection, asyncio.timeout(60):
        while process.returncode is None:
            if await connection.fetchval(AT_WORK + MINE, REBUILD_LOCK & 0xFFFFFFFF):
                break
            await asyncio.sleep(0.005)
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return True
    return False


async def no_difference(here: Projected, folder: Path) -> None:
    async with asyncio.timeout(60):
        outcome = await here.rebuild(archive=folder)
    assert outcome.differences == []


async def test_whenever_archiving_is_killed_each_fact_is_found_once(database, tmp_path):
    chance = random.Random(8)
    env = {
        "PATH": "/usr/bin",
        "CALLFOLD_DATABASE_URL": database.dsn,
        "CALLFOLD_DATA_DIR": str(tmp_path / "data"),
    }
    folder = tmp_path / "data" / FOLDER
    async with projected(database.dsn) as here:
        await filled(here, each=15)
        whole = await everything(here.connection, folder)
        await no_difference(here, folder)
        kills, states = 0, set()
        for turn in itertools.count():
            done = await here.connection.fetchval("SELECT count(*) FROM archived")
            states.add(done)
            arguments = ["--before", BEFORE]
            if done == 4:
                arguments = ["--restore", "2024-01" if turn % 2 else "2024-02"]
            kills += await killed(database.dsn, tmp_path, env, chance.uniform(0.0, 0.35), *arguments)
            assert await everything(here.connection, folder) == whole
            if turn % 3 == 0:
                await no_difference(here, folder)
            if kills >= KILLS:
                break
        assert len(states) > 1
        for _ in range(2):
            told = await command("archive", "--before", BEFORE, "--json", env=env, folder=tmp_path)
            assert told.code == 0, told.errors
        assert await everything(here.connection, folder) == whole
        assert await here.connection.fetchval("SELECT count(*) FROM archived") == 4
        known = {folder / row[0] for row in await here.connection.fetch("SELECT file FROM archived")}
        assert {path for path in folder.rglob("*") if path.suffix in {".parquet", ".part"}} == known
        assert await check(here.connection, folder, lambda _: None) == []
        await no_difference(here, folder)


async def test_the_service_takes_every_event_while_months_are_archived(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=15)
    directory = write_directory(tmp_path, bot_token="preview")
    async with service_process(tmp_path, database_url=database.dsn, directory=directory) as service:
        stopping = asyncio.Event()
        answers: list[tuple[int | None, float]] = []
        hosts = [asyncio.create_task(host(service.url, number, stopping, answers)) for number in range(10)]
        moved = []
        for _ in range(3):
            told = await service.command("archive", "--before", BEFORE, "--json")
            assert told.returncode == 0, told.stderr
            moved.append(json.loads(told.stdout))
            for month in ("2024-02", "2024-01"):
                restored = await service.command("archive", "--restore", month)
                assert restored.returncode == 0, restored.stderr
        stopping.set()
        await asyncio.gather(*hosts)
        assert all(len(one["files"]) == 4 for one in moved)
        assert moved[0]["dropped"] == ["2024-01", "2024-02"]
        assert len(answers) > 500
        assert {status for status, _ in answers} == {200}
        assert max(seconds for _, seconds in answers) < 3.0


async def host(
    url: str, number: int, stopping: asyncio.Event, answers: list[tuple[int | None, float]]
) -> None:
    """Ten events a second."""
    async with Sender(url, timeout=4.0) as sender:
        for run in itertools.count():
            for event in catalogue()["2-1"].events(time.time() - 1_000 + run, seed=1_000 * number + run):
                if stopping.is_set():
                    return
                sent = await sender.send(event.kind, host_json(event.body))
                answers.append((sent.status, sent.seconds))
                await asyncio.sleep(0.1)  # its pace
