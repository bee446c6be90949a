"""A dump restored into another cluster is read on without a gap: the incarnation grows, positions go on."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from adapters.postgres.database import complaints
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from adapters.store.lock import settle_incarnation
from adapters.store.reader import read_below_horizon
from calls.directory import changes
from calls.scenarios import catalogue
from projections.ports import Checkpoint
from tests.folding import DIRECTORY, EPOCH, played_facts
from tests.storing import Projected, again, arrival, change_facts, connected, projected, put, writing

EVENTS = again(played_facts(catalogue()["2-1"].events(EPOCH.timestamp(), 7)))
KNOWN = change_facts(changes(None, DIRECTORY))
# so that ids of the old cluster are above those of the new one, as after years of service
USE_UP_TRANSACTIONS = (
    "DO $$ BEGIN FOR one IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
)


@pytest.fixture
async def another(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Another cluster, empty."""
    async with EmbeddedPostgres(data_dir) as server:
        yield server


def move(programs: Path, source: str, target: str) -> None:
    """pg_dump | psql, as an operator would."""
    dump = subprocess.run([programs / "pg_dump", source], capture_output=True, timeout=60, check=True)
    quiet = ["-X", "-q", "-v", "ON_ERROR_STOP=1"]
    subprocess.run(
        [programs / "psql", *quiet, target], input=dump.stdout, capture_output=True, timeout=60, check=True
    )


async def read_all(connection: asyncpg.Connection, after: Checkpoint, limit: int = 3) -> list[int]:
    """Positions in the readers' order."""
    positions: list[int] = []
    while (read := await read_below_horizon(connection, after, limit)).facts:
        positions += [fact.position for fact in read.facts]
        after = read.checkpoint
    return positions


async def test_a_restored_dump_is_read_on_and_projected_on_from_where_it_was(database, another):
    async with projected(database.dsn) as before:
        await before.connection.execute(USE_UP_TRANSACTIONS)
        await before.tell(*KNOWN, *EVENTS[:3])
        checkpoint = before.live.checkpoint
        await put(before.connection, EVENTS[3:5])  # stored, and not yet projected when the dump was taken
        await before.connection.execute("SELECT pg_current_xact_id()")
    move(another.programs, database.dsn, another.dsn)

    async with projected(another.dsn) as here:
        await migrate(another.dsn)
        newest = await here.connection.fetchval("SELECT max(xid::text::bigint) FROM facts")
        assert await here.connection.fetchval("SELECT pg_current_xact_id()::text::bigint") < newest
        assert await read_all(here.connection, checkpoint) == [], "before anybody has taken it over"

        async with writing(another.dsn) as followed:
            placed = [await followed.writer.append(fact, within=5) for fact in EVENTS[5:]]
        old, new = await here.connection.fetch("SELECT * FROM incarnations ORDER BY incarnation")
        assert (new["incarnation"], new["system_identifier"]) > (old["incarnation"], "")
        assert new["system_identifier"] != old["system_identifier"]
        assert await settle_incarnation(here.connection) == new["incarnation"], "it grows once a cluster"

        whole = list(range(1, len(KNOWN) + len(EVENTS) + 1))
        assert [place.position for place in placed] == whole[-len(placed) :], "positions go on"
        assert await read_all(here.connection, Checkpoint()) == whole
        assert await read_all(here.connection, checkpoint) == whole[len(KNOWN) + 3 :]
        versions = "SELECT version FROM facts WHERE stream = $1 ORDER BY position"
        told = await here.connection.fetch(versions, EVENTS[0].stream)
        assert [row["version"] for row in told] == list(range(1, len(told) + 1)), "versions go on"

        await finished(here, checkpoint)


async def finished(here: Projected, checkpoint: Checkpoint) -> None:
    """The projection goes on from its checkpoint and comes to the whole call."""
    await here.restart()
    assert here.live.checkpoint == checkpoint
    await here.project()
    (call,) = await here.rows("calls")
    assert (call["outcome"], call["answered_by"]) == ("answered", "151")
    assert [row["in_total"] for row in await here.rows("customers")] == [1]
    assert (await here.rebuild()).differences == []
    await put(here.connection, [arrival("9.9")])
    await here.project()
    assert here.live.checkpoint.incarnation == 2


async def test_a_server_that_may_lose_what_it_has_answered_is_complained_about(another):
    async with connected(another.dsn) as connection:
        assert await complaints(connection) == []
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off")
        await connection.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while await complaints_of(another.dsn) != ["fsync", "full_page_writes", "synchronous_commit"]:
            await asyncio.sleep(0.02)  # the server reads its settings anew when it gets to it


async def complaints_of(dsn: str) -> list[str]:
    async with connected(dsn) as connection:
        return [complaint.setting for complaint in await complaints(connection)]
