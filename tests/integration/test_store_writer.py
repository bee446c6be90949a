"""The one writer: facts are stored once, in order, in time or not at all; its lock, its batches, its callers."""

import asyncio
import os
import secrets
import signal
from datetime import UTC, datetime
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import asyncpg
import pytest

from actors.ports import Appended, StoreUnavailable, VersionConflict
from adapters.postgres.database import Database
from adapters.postgres.errors import DatabaseUnreachable, StartFailed
from adapters.store import writer
from adapters.store.batch import MAX_BATCH, Written, take, write
from adapters.store.errors import FactRefused, OutOfTime
from adapters.store.lock import settle_incarnation
from adapters.store.pending import Pending
from calls.facts import NewFact, leg_stream
from tests.storing import arrival, connected, gate, put, writing

ALL = "SELECT position, enterprise, stream, version, kind, body FROM facts ORDER BY position"


async def rows(dsn: str) -> list[asyncpg.Record]:
    async with connected(dsn) as connection:
        return list(await connection.fetch(ALL))


async def versions(dsn: str, unique_id: str) -> list[int]:
    return sorted(row["version"] for row in await rows(dsn) if row["stream"] == leg_stream(unique_id))


def places(written: Written) -> list[tuple[bytes, Appended]]:
    return [(entry.fact.body, place) for entry, place in written.stored]


# one stream, two connections, no lock between them


async def test_twenty_appends_at_once_over_two_connections_are_twenty_facts(database):
    async with (
        connected(database.dsn) as one,
        connected(database.dsn) as other,
        gate(database.dsn) as door,
    ):
        await settle_incarnation(one)
        mine = [arrival("1.1", b"one %d" % number) for number in range(10)]
        theirs = [arrival("1.1", b"other %d" % number) for number in range(10)]
        at_once = asyncio.gather(put(one, mine), put(other, theirs))
        await door.held(2)  # both have drawn versions 1 to 10 by now
        await door.open()
        written = await at_once
    assert [result.failed for result in written] == [[], []]
    told = [place for result in written for place in places(result)]
    assert len(told) == 20
    assert sorted(place.version for _, place in told) == list(range(1, 21))
    stored = {(row["body"], row["position"], row["version"]) for row in await rows(database.dsn)}
    assert stored == {(body, place.position, place.version) for body, place in told}
    assert len(stored) == 20


async def test_twenty_single_appends_in_a_race_lose_nothing_and_repeat_no_version(database):
    async with connected(database.dsn) as one, connected(database.dsn) as other:
        await settle_incarnation(one)

        async def alternate(connection: asyncpg.Connection, name: bytes) -> list[int]:
            told = []
            for number in range(10):
                written = await put(connection, [arrival("1.1", b"%s %d" % (name, number))])
                told += [place.version for _, place in written.stored]
            return told

        mine, theirs = await asyncio.gather(alternate(one, b"one"), alternate(other, b"other"))
    assert mine == sorted(mine)
    assert theirs == sorted(theirs)
    assert sorted(mine + theirs) == list(range(1, 21))
    assert await versions(database.dsn, "1.1") == list(range(1, 21))
    assert len({row["body"] for row in await rows(database.dsn)}) == 20


async def test_twenty_intents_on_the_same_version_are_one_fact_and_nineteen_conflicts(database):
    async with (
        connected(database.dsn) as one,
        connected(database.dsn) as other,
        gate(database.dsn) as door,
    ):
        await settle_incarnation(one)
        intents = [[arrival("1.1", b"%d" % number, expected=0)] for number in range(20)]

        async def all_of(connection: asyncpg.Connection, own: list[list[NewFact]]) -> list[Written]:
            return [await put(connection, intent) for intent in own]

        at_once = asyncio.gather(all_of(one, intents[:10]), all_of(other, intents[10:]))
        await door.held(2)
        await door.open()
        results = [written for half in await at_once for written in half]
    assert sum(len(written.stored) for written in results) == 1
    conflicts = [error for written in results for _, error in written.failed]
    assert [type(error) for error in conflicts] == [VersionConflict] * 19
    assert await versions(database.dsn, "1.1") == [1]


async def test_one_idempotency_key_over_two_connections_at_once_is_one_fact(database):
    async with (
        connected(database.dsn) as one,
        connected(database.dsn) as other,
        gate(database.dsn) as door,
    ):
        await settle_incarnation(one)
        at_once = asyncio.gather(
            put(one, [arrival("1.1", key="k")]), put(other, [arrival("1.1", key="k"), arrival("1.2")])
        )
        await door.held(2)
        await door.open()
        mine, theirs = await at_once
    known = [place for result in (mine, theirs) for _, place in result.known]
    stored = [
        place for result in (mine, theirs) for entry, place in result.stored if entry.fact.idempotency_key
    ]
    assert [place.position for place in known] == [place.position for place in stored]
    assert known[0].known
    assert len(await rows(database.dsn)) == 2


# through the writer


async def test_what_is_appended_at_once_is_committed_in_order_and_told_once(database):
    async with writing(database.dsn) as followed:
        appended = await asyncio.gather(
            *(followed.writer.append(arrival("1.1", b"%d" % number), within=5) for number in range(700))
        )
        assert [place.version for place in appended] == list(range(1, 701))
        assert [fact.version for fact in followed.told] == list(range(1, 701))
        assert [fact.position for fact in followed.told] == [place.position for place in appended]
    stored = await rows(database.dsn)
    assert [(row["position"], row["body"]) for row in stored] == [
        (fact.position, fact.body) for fact in followed.told
    ]


async def test_a_body_is_stored_byte_for_byte(database):
    odd = b'{"b":1,\r\n "a":"\\u0000", "b": 2.50, "\xff\x00": "\xd0\x81"}'
    async with writing(database.dsn) as followed:
        await followed.writer.append(arrival("1.1", odd), within=5)
    assert [row["body"] for row in await rows(database.dsn)] == [odd]


async def test_an_intent_decided_on_an_old_version_is_a_conflict_that_names_stream_and_version(database):
    async with writing(database.dsn) as followed:
        append = followed.writer.append
        assert (await append(arrival("1.1", expected=0), within=5)).version == 1
        with pytest.raises(VersionConflict) as conflict:
            await append(arrival("1.1", expected=0), within=5)
        assert (conflict.value.stream, conflict.value.expected) == (leg_stream("1.1"), 0)
        assert (await append(arrival("1.1", expected=1), within=5)).version == 2
        with pytest.raises(VersionConflict):
            await append(arrival("1.1", expected=7), within=5)
        # of several at once, with arrivals between them, one can be right
        results = await asyncio.gather(
            *(append(arrival("1.1", expected=2), within=5) for _ in range(5)),
            append(arrival("1.1"), within=5),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [Appended, *[VersionConflict] * 4, Appended]
    assert await versions(database.dsn, "1.1") == [1, 2, 3, 4]


async def test_who_was_decided_on_a_fact_that_fails_is_in_conflict_though_the_number_fits(
    database, monkeypatch
):
    """Somebody else's fact has the version by then. Not so in one statement: one fact a batch, then each by itself."""
    async with writing(database.dsn) as followed:
        append = followed.writer.append

        async def several(*facts: NewFact) -> list[type]:
            results = await asyncio.gather(
                *(append(fact, within=5) for fact in facts), return_exceptions=True
            )
            return [type(result) for result in results]

        for once in (1, MAX_BATCH):
            monkeypatch.setattr(writer, "take", partial(take, most=once))
            leg = f"1.{once}"
            await append(arrival(leg, b"somebody else's"), within=5)
            bad, first, second = arrival("1\0"), arrival(leg, expected=0), arrival(leg, expected=1)
            assert await several(bad, first, second, arrival(leg, b"an arrival")) == [
                *[FactRefused, VersionConflict, VersionConflict],
                Appended,
            ]
            assert await several(arrival(leg, expected=2)) == [Appended], "decided since"
            refused = arrival(leg, expected=3, key="0\0")
            assert await several(refused, arrival(leg, expected=4), arrival(leg)) == [
                *[FactRefused, VersionConflict],
                Appended,
            ]
            assert await versions(database.dsn, leg) == [1, 2, 3, 4]


async def test_who_was_decided_on_the_same_version_as_one_that_fails_is_nobodys_follower(database):
    """A press of a button is asked for once; that another's fact was refused says nothing about this one."""
    async with writing(database.dsn) as followed:
        append = followed.writer.append
        bad, mine = arrival("1.1", expected=0, key="\0"), arrival("1.1", expected=0)
        results = await asyncio.gather(append(bad, within=5), append(mine, within=5), return_exceptions=True)
    assert [type(result) for result in results] == [FactRefused, Appended]


@pytest.mark.parametrize(
    "unique_id",
    ["1.1\0", "1.1\ud800", secrets.token_hex(8_000)],
    ids=["NUL", "half-a-surrogate-pair", "longer-than-an-index-entry"],
)
async def test_a_bad_row_fails_its_own_caller_alone(database, unique_id):
    bad = arrival(unique_id)
    async with writing(database.dsn) as followed:
        good = [arrival("1.2", b"%d" % number) for number in range(4)]
        results = await asyncio.gather(
            *(followed.writer.append(fact, within=5) for fact in (*good[:2], bad, *good[2:])),
            return_exceptions=True,
        )
        assert isinstance(results[2], FactRefused)
        assert [result.version for result in results[:2] + results[3:]] == [1, 2, 3, 4]
        assert (await followed.writer.append(arrival("1.2"), within=5)).version == 5
        assert followed.roles == [True], "the writer kept its lock"
    assert [row["body"] for row in await rows(database.dsn)] == [b"0", b"1", b"2", b"3", b"{}"]


async def test_an_idempotency_key_stores_once_within_a_batch_and_across_batches(database):
    async with writing(database.dsn) as followed:
        append = followed.writer.append
        first, *repeated = await asyncio.gather(
            *(append(arrival("1.1", b"%d" % number, key="k"), within=5) for number in range(5))
        )
        assert not first.known
        later = await append(arrival("9.9", key="k"), within=5)
        for place in (*repeated, later):
            assert (place.position, place.version, place.known) == (first.position, first.version, True)
        elsewhere = await append(arrival("1.1", key="k", enterprise="0368"), within=5)
        assert not elsewhere.known
        assert [fact.body for fact in followed.told] == [b"0", b"{}"], "a known fact is not told again"
    assert len(await rows(database.dsn)) == 2


async def test_stop_commits_what_waits_and_takes_nothing_more(database):
    async with gate(database.dsn) as door, writing(database.dsn) as followed:
        waiting = [
            asyncio.ensure_future(followed.writer.append(arrival("1.1"), within=5)) for _ in range(600)
        ]
        await door.held(1)
        followed.writer.stop()
        with pytest.raises(StoreUnavailable):
            await followed.writer.append(arrival("1.1"), within=5)
        await door.open()
        assert len(await asyncio.gather(*waiting)) == 600
        await asyncio.wait_for(followed.task, 10)
    assert await versions(database.dsn, "1.1") == list(range(1, 601))


# in time or not at all


async def test_a_transaction_that_is_late_is_rolled_back_by_the_server(database):
    async with gate(database.dsn) as door, connected(database.dsn) as connection:
        late = asyncio.ensure_future(put(connection, [arrival("1.1")], allowed=0.05))
        await door.held(1)
        await asyncio.sleep(0.1)
        await door.open()
        with pytest.raises(OutOfTime):
            await late
        assert await connection.fetchval("SELECT count(*) FROM facts") == 0
        assert len((await put(connection, [arrival("1.1")])).stored) == 1


async def test_what_was_committed_alone_is_stored_though_no_time_was_left_for_the_rest(database):
    bad, good, late = arrival("1\0"), arrival("1.1", kind="dial"), arrival("1.2")
    async with gate(database.dsn) as door, connected(database.dsn) as connection:
        writing = asyncio.ensure_future(put(connection, [bad, good, late], allowed=0.05))
        await door.held(1)
        await asyncio.sleep(0.1)
        await door.open()
        written = await writing
        assert [entry.fact for entry, _ in written.stored] == [good]
        assert [entry.fact for entry, _ in written.failed] == [bad]
        assert [entry.fact for entry in written.left] == [late]
        assert await connection.fetchval("SELECT count(*) FROM facts") == 1


class FrozenAtCommit:
    """A connection whose server process is stopped when COMMIT is on its way to it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.pid = connection.get_server_pid()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, sql: str) -> Any:
        if "COMMIT" in sql:
            os.kill(self.pid, signal.SIGSTOP)
        return await self._connection.execute(sql)


@pytest.mark.parametrize(("allowed", "stored"), [(0.2, 0), (60.0, 1)], ids=["late", "in-time"])
async def test_a_commit_that_reaches_a_frozen_server_late_does_not_count_after_the_thaw(
    database, postgres_server, allowed, stored
):
    if postgres_server.embedded is None:
        pytest.skip("an external server's processes cannot be stopped")
    async with connected(database.dsn) as watching, connected(database.dsn) as connection:
        incarnation = await settle_incarnation(connection)
        frozen = FrozenAtCommit(connection)
        entry = Pending(arrival("1.1"), asyncio.get_running_loop().create_future(), None)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await write(frozen, incarnation, [entry], datetime.now(UTC), allowed)
            connection.terminate()
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        await backend_gone(watching, frozen.pid)
        assert await watching.fetchval("SELECT count(*) FROM facts") == stored


async def backend_gone(connection: asyncpg.Connection, pid: int) -> None:
    async with asyncio.timeout(10):
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            await asyncio.sleep(0.01)


async def test_a_frozen_server_stores_nothing_and_after_the_thaw_appends_work_again(
    database, postgres_server
):
    if postgres_server.embedded is None:
        pytest.skip("an external server's processes cannot be stopped")
    async with connected(database.dsn) as watching, writing(database.dsn) as followed:
        await followed.writer.append(arrival("1.1", b"before"), within=5)
        pid = followed.writer._connection.get_server_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            begun = asyncio.get_running_loop().time()
            results = await asyncio.gather(
                *(followed.writer.append(arrival("1.1", b"frozen"), within=0.6) for _ in range(3)),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [StoreUnavailable] * 3
            assert asyncio.get_running_loop().time() - begun < 0.9
            with pytest.raises(StoreUnavailable):  # the frozen server process still has the lock
                await followed.writer.append(arrival("1.1", b"frozen"), within=0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        await backend_gone(watching, pid)
        async with asyncio.timeout(10):
            await followed.writer.leading.wait()
        after = await followed.writer.append(arrival("1.1", b"after"), within=5)
        assert after.version == 2
    assert [row["body"] for row in await rows(database.dsn)] == [b"before", b"after"]


async def test_facts_of_our_own_wait_for_the_store_and_are_stored_once(database):
    async with gate(database.dsn) as door, writing(database.dsn) as followed:
        own = asyncio.ensure_future(followed.writer.append(arrival("1.1", b"own")))
        await door.held(1)
        async with connected(database.dsn) as other:
            pid = followed.writer._connection.get_server_pid()
            await other.execute("SELECT pg_terminate_backend($1)", pid)
        await door.open()
        assert (await asyncio.wait_for(own, 10)).version == 1
        assert followed.roles == [True, False, True]
    assert [row["body"] for row in await rows(database.dsn)] == [b"own"]


@pytest.mark.parametrize(
    "trouble",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection due to unexpected postmaster exit"),
        ConnectionResetError(),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
async def test_a_connection_that_dies_in_whatever_way_is_replaced(database, monkeypatch, trouble):
    async with writing(database.dsn) as followed:
        dying = AsyncMock(side_effect=[trouble])
        monkeypatch.setattr(writer, "write", dying)
        with pytest.raises(StoreUnavailable):
            await followed.writer.append(arrival("1.1", b"lost"), within=2)
        monkeypatch.setattr(writer, "write", write)
        assert (await followed.writer.append(arrival("1.1"), within=5)).version == 1
        assert followed.roles == [True, False, True]


async def test_a_server_that_stays_away_for_long_is_waited_for(database, monkeypatch):
    connect = Database.connect
    away = [DatabaseUnreachable("the server", "no answer"), StartFailed("ended at its start", "")]

    async def soon(self: Database, **options: Any) -> asyncpg.Connection:
        if away:
            raise away.pop()
        return await connect(self, **options)

    monkeypatch.setattr(Database, "connect", soon)
    async with writing(database.dsn) as followed:
        assert (await followed.writer.append(arrival("1.1"), within=5)).version == 1
        assert not away


# one writer, one that stands by


async def test_a_second_writer_stands_by_and_takes_over_when_the_first_is_gone(database):
    async with writing(database.dsn, "one") as one, writing(database.dsn, "other") as other:
        assert (one.writer.leading.is_set(), other.writer.leading.is_set()) == (True, False)
        await one.writer.append(arrival("1.1"), within=5)
        with pytest.raises(StoreUnavailable, match="stands by"):
            await other.writer.append(arrival("1.1"), within=5)
        await one.vanish()
        async with asyncio.timeout(10):
            await other.writer.leading.wait()
        assert other.writer.head == 1, "it knows from where to read on"
        assert (await other.writer.append(arrival("1.1"), within=5)).version == 2
        async with connected(database.dsn) as connection:
            assert await connection.fetchval("SELECT url FROM leader") == "http://other"


async def test_never_two_writers_lead_however_often_connections_die(database):
    async with (
        connected(database.dsn) as connection,
        writing(database.dsn, "one") as one,
        writing(database.dsn, "other") as other,
    ):
        both = (one, other)
        for number in range(1, 6):
            async with asyncio.timeout(10):
                while not any(followed.writer.leading.is_set() for followed in both):
                    await asyncio.sleep(0.01)
            leader = next(followed for followed in both if followed.writer.leading.is_set())
            results = await asyncio.gather(
                *(followed.writer.append(arrival("1.1"), within=2) for followed in both),
                return_exceptions=True,
            )
            assert [type(result) for result in results].count(Appended) == 1, results
            holders = await connection.fetch(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            assert [row["pid"] for row in holders] == [leader.writer._connection.get_server_pid()]
            await connection.execute("SELECT pg_terminate_backend($1)", holders[0]["pid"])
            await backend_gone(connection, holders[0]["pid"])
            assert await versions(database.dsn, "1.1") == list(range(1, number + 1))
