"""What kill -9 does to the embedded PostgreSQL: owner, guard, postmaster, a half-made cluster; and Ctrl-C."""

import asyncio
import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from adapters.postgres.child import GuardedChild
from adapters.postgres.cluster import log_tail
from adapters.postgres.database import Database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.errors import StartFailed

pytestmark = pytest.mark.crash

OWNER = """
import asyncio, signal, sys
from pathlib import Path
import asyncpg
from adapters.postgres.embedded import EmbeddedPostgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as server:
        child = server._child
        print(server.owner, server.pid, child.guard_pid if child else 0, flush=True)
        try:
            await asyncio.sleep(600)
        finally:
            connection = await asyncpg.connect(server.dsn)
            print("still", await connection.fetchval("SELECT 'there'"), flush=True)
            await connection.close()
asyncio.run(main())
"""


class Owner:
    """A process that holds an embedded server, in a group of its own as a shell would start it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        owner, pid, guard = self.line().split()
        self.owner, self.pid, self.guard = owner == "True", int(pid), int(guard)

    def line(self) -> str:
        assert select.select([self.process.stdout], [], [], 60)[0], "the owner says nothing"
        return self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def owner_of(data_dir: Path) -> Iterator[Owner]:
    argv = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield Owner(process)
        finally:
            process.kill()


def gone(pid: int, within: float = 20) -> bool:
    deadline = time.monotonic() + within
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def guards(owner: int) -> list[int]:
    """The living guards among the children of a process."""
    found = []
    for child in psutil.Process(owner).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            if child.name() == "sh" and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child.pid)
    return found


def child_named(name: str, parent: int) -> psutil.Process:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended between the list and the look
            for child in psutil.Process(parent).children(recursive=True):
                if child.name() == name:
                    return child
        time.sleep(0.002)
    raise AssertionError(f"{parent} has no child {name}")


async def ask(dsn: str, sql: str):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_kill_9_of_the_owner_ends_the_server_cleanly_and_loses_nothing(data_dir):
    with owner_of(data_dir) as owner:
        async with EmbeddedPostgres(data_dir) as joined:
            await ask(joined.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
            owner.kill()
            assert gone(owner.pid)
            assert gone(owner.guard)
            assert "database system is shut down" in log_tail(joined.place)
    async with EmbeddedPostgres(data_dir) as server:
        assert server.owner
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42
        assert "interrupted" not in server.place.log.read_text()


async def test_kill_9_of_the_owners_whole_group_does_not_leave_the_server_behind(data_dir):
    with owner_of(data_dir) as owner:
        os.killpg(owner.process.pid, signal.SIGKILL)
        assert gone(owner.pid)


async def test_a_joined_process_takes_over_from_a_killed_owner(data_dir):
    with owner_of(data_dir) as owner:
        async with EmbeddedPostgres(data_dir) as joined:
            assert (owner.owner, joined.owner) == (True, False)
            await ask(joined.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
            owner.kill()
            database = Database(joined.dsn, joined)
            connection = await database.connect(within=30)
            assert await connection.fetchval("SELECT answer FROM kept") == 42
            await connection.close()
            assert joined.owner
            assert joined.pid != owner.pid


async def test_a_server_whose_guard_was_killed_too_is_ended_by_the_next_owner(data_dir):
    with owner_of(data_dir) as owner:
        owner.process.send_signal(signal.SIGSTOP)  # or it would put up a new guard
        os.kill(owner.guard, signal.SIGKILL)
        owner.kill()
        assert not gone(owner.pid, within=0.5)
        async with EmbeddedPostgres(data_dir) as server:
            assert server.owner
            assert gone(owner.pid)
            assert await ask(server.dsn, "SELECT 1") == 1
        assert "interrupted" not in server.place.log.read_text()


async def test_a_killed_guard_is_replaced(data_dir):
    with owner_of(data_dir) as owner:
        os.kill(owner.guard, signal.SIGKILL)
        assert gone(owner.guard)
        async with asyncio.timeout(10):
            while not guards(owner.process.pid):
                await asyncio.sleep(0.05)
        owner.kill()
        assert gone(owner.pid)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with-a-busy-backend"])
async def test_kill_9_of_the_postmaster_is_mended(data_dir, busy):
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        running = None
        if busy:  # a backend that looks at nothing but its own loop for a while
            connection = await asyncpg.connect(server.dsn)
            backend = connection.get_server_pid()
            running = asyncio.create_task(
                connection.execute("SELECT count(*) FROM generate_series(1, 1e10::bigint)")
            )
            while psutil.Process(backend).cpu_times().user < 0.2:
                await asyncio.sleep(0.02)
        before = server.pid
        os.kill(before, signal.SIGKILL)
        assert gone(before)
        await asyncio.wait_for(server.ensure_running(), 30)
        assert server.pid != before
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42
        if running is not None:
            with pytest.raises((asyncpg.PostgresError, OSError)):
                await running
            assert gone(backend, within=0)


async def test_the_owner_mends_a_killed_postmaster_for_those_who_joined(data_dir):
    with owner_of(data_dir) as owner:
        async with EmbeddedPostgres(data_dir) as joined:
            await ask(joined.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
            os.kill(owner.pid, signal.SIGKILL)
            assert gone(owner.pid)
            await asyncio.wait_for(joined.ensure_running(), 30)
            assert not joined.owner
            assert await ask(joined.dsn, "SELECT answer FROM kept") == 42


async def test_commits_survive_when_postmaster_and_owner_are_killed_together(data_dir):
    with owner_of(data_dir) as owner:
        async with EmbeddedPostgres(data_dir) as joined:
            connection = await asyncpg.connect(joined.dsn)
            await connection.execute("CREATE TABLE kept (n int)")
            for number in range(100):
                await connection.execute("INSERT INTO kept VALUES ($1)", number)
            os.kill(owner.pid, signal.SIGKILL)
            owner.kill()
            await asyncio.wait_for(joined.ensure_running(), 30)
            assert joined.owner
            assert await ask(joined.dsn, "SELECT count(*) FROM kept") == 100
            with contextlib.suppress(OSError, asyncpg.PostgresError):  # its server is dead, as it should be
                await connection.close(timeout=5)


async def test_a_cluster_that_was_being_made_when_its_maker_died_is_made_anew(data_dir):
    chance = random.Random(7)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.DEVNULL
        ) as process:
            home = data_dir / "postgres"
            deadline = time.monotonic() + 20
            while not list(home.glob("cluster*")) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
    async with EmbeddedPostgres(data_dir) as server:
        assert await ask(server.dsn, "SELECT lower('Ё')") == "ё"
        assert not list(server.place.home.glob("cluster.new-*"))


async def test_nobody_makes_a_cluster_while_a_killed_makers_initdb_still_writes(data_dir):
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.DEVNULL) as maker:
        initdb = await asyncio.to_thread(child_named, "initdb", maker.pid)
        initdb.suspend()
        maker.kill()
    try:
        with pytest.raises(StartFailed, match="was not ready within 1 s"):
            async with EmbeddedPostgres(data_dir, start_seconds=1):
                pass
        torn = list((data_dir / "postgres").glob("cluster*"))
        assert [directory.name[:12] for directory in torn] == ["cluster.new-"]
    finally:
        initdb.resume()
    async with EmbeddedPostgres(data_dir) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
        assert [directory.name for directory in server.place.home.glob("cluster*")] == ["cluster"]


def test_ctrl_c_reaches_the_owner_and_not_its_server(data_dir):
    with owner_of(data_dir) as owner:
        os.killpg(owner.process.pid, signal.SIGINT)
        assert owner.line() == "still there\n"
        owner.process.wait(30)
        assert gone(owner.pid, within=0)
        assert gone(owner.guard, within=0)


async def test_a_cancelled_start_leaves_nothing_behind(data_dir):
    for patience in (0.05, 0.3, 0.6, 0.8, 1.0):
        server = EmbeddedPostgres(data_dir)
        entered = False
        with contextlib.suppress(TimeoutError):  # the last ones may well get through
            async with asyncio.timeout(patience):
                await server.__aenter__()
                entered = True
        if entered:
            await server.__aexit__(None, None, None)
        assert not server.owner
    async with EmbeddedPostgres(data_dir) as server:
        assert server.owner
        assert await ask(server.dsn, "SELECT 1") == 1
        children = [
            child.name()
            for child in psutil.Process().children()
            if str(data_dir) in " ".join(child.cmdline())
        ]
        assert children == ["postgres"]


def test_a_child_that_ignores_sigint_is_ended_all_the_same(tmp_path):
    from adapters.postgres.account import account_of

    with (tmp_path / "said").open("wb") as output:
        child = GuardedChild.spawn(
            ["/bin/sh", "-c", "trap '' INT QUIT; echo up; while :; do sleep 0.1; done"],
            account_of(os.geteuid()),
            stdin=subprocess.DEVNULL,
            output=output,
        )
    deadline = time.monotonic() + 10
    while (tmp_path / "said").read_text() != "up\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    child.stop(fast=0.1, immediate=0.1)
    assert child.returncode == -signal.SIGKILL
