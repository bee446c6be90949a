"""Months in files: readers find each fact once, rebuilt is as live, and nothing that is damaged is believed."""

import asyncio
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial

import msgspec
import pytest

from actors.ports import VersionConflict
from adapters.analysts.absent import archived_said
from adapters.analysts.folder import read_manifest as read_export
from adapters.archive.back import check, restore
from adapters.archive.files import sha256_of
from adapters.archive.folder import MANIFEST, Archive, ArchiveError, rewrite
from adapters.archive.index import stream_key
from adapters.archive.moving import Mover, alone, alone_with_files
from adapters.cli import doctor
from adapters.postgres.database import Database
from adapters.rebuilding import fold_beside
from adapters.recordings.register import Register
from adapters.store.beside import Beside
from adapters.store.partitions import later, month_of
from adapters.store.reader import unsettled_calls
from calls.recordings import Recording, write_recording
from calls.scenarios import catalogue
from projections.calls import FOLD_VERSION
from projections.names import NAMES
from projections.rebuild import Plan, rebuild_as_of
from tests.archiving import ENTERPRISES, FIRST, NOW, archive, calls, filled, last_calls, store
from tests.running import command, enterprise, running
from tests.storing import arrival, connected, projected, put, writing

WHOLE = Plan(NAMES, FOLD_VERSION)
FACTS = "SELECT count(*) FROM facts"
EVERYTHING = """
SELECT position, xid::text, occurred_at, recorded_at, incarnation, version, month, enterprise, stream, kind, source,
       idempotency_key, body, meta
FROM facts ORDER BY position
"""


async def test_a_history_of_which_half_is_archived_is_rebuilt_as_it_was_projected(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here)
        assert await here.connection.fetchval("SELECT count(*) FROM parked") == 0
        whole = await here.connection.fetchval(FACTS)
        before = await here.rebuild()
        assert before.differences == []
        moved = await archive(here.connection, tmp_path)
        assert {(one.month, one.enterprise) for one in moved.files} == {
            (later(FIRST, place), enterprise) for place in range(2) for enterprise in ENTERPRISES
        }
        assert moved.left == []
        left = await here.connection.fetchval(FACTS)
        assert left + sum(one.facts for one in moved.files) == whole
        assert sum(one.recovered for one in moved.files) > 0
        assert left < 0.7 * whole
        after = await here.rebuild(archive=tmp_path)
        assert after.differences == []
        assert after.facts == before.facts
        tables = [await here.rows(table) for table in ("calls", "customers", "legs")]
        await here.rebuild(check=False, archive=tmp_path)
        assert [await here.rows(table) for table in ("calls", "customers", "legs")] == tables
        assert await check(here.connection, tmp_path, lambda _: None) == []


async def differences(here, folder):
    return [(one.table, one.key) for one in (await here.rebuild(archive=folder)).differences]


async def an_archived_leg(connection, enterprise="0367"):
    """A leg of the first month, and its newest version."""
    return await connection.fetchrow(
        "SELECT stream, max(version) FROM facts WHERE enterprise = $1 AND month = $2 AND starts_with(stream, 'leg/')"
        " AND kind <> 'silence_observed' GROUP BY stream ORDER BY count(*) DESC LIMIT 1",
        enterprise,
        FIRST,
    )


async def test_an_interrupted_rebuild_goes_on_in_the_middle_of_a_file(database, tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.store.shards.BATCH", 37)
    monkeypatch.setattr("adapters.archive.files.GROUP", 16)
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        await archive(here.connection, tmp_path)
        interrupted = 0
        for after in (1, 3, 6):
            async with connected(database.dsn) as own:
                beside = await Beside.open(here.pool, own, WHOLE, 1, archive=tmp_path)
                with pytest.raises(Interrupted):
                    await fold_beside(beside, database.dsn, 1, interrupting(after))
                interrupted += 1
        assert await differences(here, tmp_path) == []
        assert interrupted == 3


@pytest.mark.parametrize("archived", [False, True])
async def test_wherever_a_rebuild_with_recovered_facts_was_interrupted_it_comes_to_the_same_rows(
    database, tmp_path, monkeypatch, archived
):
    monkeypatch.setattr("adapters.store.shards.BATCH", 37)
    monkeypatch.setattr("adapters.archive.files.GROUP", 16)
    folder = tmp_path if archived else None
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        if archived:
            await archive(here.connection, tmp_path)
        for after in range(2, 13, 1 + archived):
            async with connected(database.dsn) as own:
                beside = await Beside.open(here.pool, own, WHOLE, 1, archive=folder)
                with pytest.raises(Interrupted):
                    await fold_beside(beside, database.dsn, 1, interrupting(after))
            assert await differences(here, folder) == [], after


async def newest(connection, stream):
    """Kind and body of the newest event of a leg."""
    return await connection.fetchrow(
        "SELECT kind, body FROM facts WHERE stream = $1 AND source <> 'service' ORDER BY version DESC LIMIT 1",
        stream,
    )


class Interrupted(Exception):
    pass


def interrupting(after):
    left = itertools.count(after, -1)

    def told(_):
        if next(left) <= 1:
            raise Interrupted

    return told


async def test_the_state_of_a_time_in_an_archived_month_is_made(database, tmp_path):
    at = datetime(2024, 1, 20, tzinfo=UTC)
    plan = msgspec.structs.replace(WHOLE, as_of=at)
    made = []
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        for folder in (None, tmp_path):
            if folder:
                await archive(here.connection, folder)
            async with connected(database.dsn) as own:
                beside = await Beside.open(here.pool, own, plan, 1, archive=folder)
                await rebuild_as_of(
                    beside, beside.upto, partial(fold_beside, beside, database.dsn, 1, lambda _: None)
                )
                rows = await own.fetch(f"SELECT * FROM calls{beside.suffix} ORDER BY enterprise, call_id")
                made.append([tuple(row) for row in rows])
                await beside.drop()
    assert 0 < len(made[0]) < 20
    assert made[0] == made[1]


async def test_a_late_event_goes_on_with_the_version_and_is_told_after_the_next_rebuild(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        stream, version = await an_archived_leg(here.connection)
        bridge = await here.connection.fetchrow(
            "SELECT stream, max(version) FROM facts WHERE starts_with(stream, 'bridge/') AND enterprise = '0367'"
            " AND recorded_at < '2024-02-01' GROUP BY stream LIMIT 1"
        )
        last = await newest(here.connection, stream)
        late = arrival(stream[4:], last["body"], kind=last["kind"], at=NOW)
        destroyed = await newest(here.connection, bridge[0])
        await archive(here.connection, tmp_path)
        calls = await here.rows("calls")
        on_bridge = msgspec.structs.replace(
            late, stream=bridge[0], kind="bridge_destroy", body=destroyed["body"]
        )
        written = await put(
            here.connection, [arrival("1719792000.1", at=NOW), late, on_bridge, late], recorded_at=NOW
        )
        assert [place.version for _, place in written.stored] == [1, version + 1, bridge[1] + 1, version + 2]
        written = await put(here.connection, [late], recorded_at=NOW)
        assert [place.version for _, place in written.stored] == [version + 3]
        await here.restart()
        await here.project()
        parked = await here.connection.fetch("SELECT position, place, reason FROM parked ORDER BY position")
        assert len(parked) == 3
        assert {(row[1], row[2].partition(":")[0]) for row in parked} == {("calls", "CallArchived")}
        assert [row for row in await here.rows("calls") if row["call_id"] != "1719792000.1"] == calls
        touched = await differences(here, tmp_path)
        assert touched
        assert {table for table, _ in touched} <= {
            "calls",
            "legs",
            "customers",
            "call_agents",
            "agents",
            "traffic",
        }
        await here.rebuild(check=False, archive=tmp_path)
        assert await differences(here, tmp_path) == []
        await (
            here.restart()
        )  # the call is a recent one now, and none of its facts can be read without the files
        assert await differences(here, tmp_path) == []


async def test_a_writer_that_knows_nothing_of_the_archive_goes_on_with_the_versions(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        stream, version = await an_archived_leg(here.connection)
        async with writing(database.dsn) as one:
            assert (await one.writer.append(arrival("1719792000.1"))).version == 1
            moved = await archive(here.connection, tmp_path)
            assert moved.dropped == ["2024-01", "2024-02"]
            places = await asyncio.gather(
                *(one.writer.append(arrival(stream[4:]), within=5) for _ in range(4))
            )
            assert [place.version for place in places] == [version + 1, version + 2, version + 3, version + 4]
            decided = msgspec.structs.replace(arrival(stream[4:]), expected_version=version)
            with pytest.raises(VersionConflict):
                await one.writer.append(decided)
            another = arrival(stream[4:], enterprise="0999")
            assert (await one.writer.append(another)).version == 1


async def test_what_came_late_is_archived_into_the_same_file(database, tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.archive.files.GROUP", 16)
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        before = [tuple(row) for row in await here.connection.fetch(EVERYTHING)]
        stream, _ = await an_archived_leg(here.connection)
        last = await newest(here.connection, stream)
        first = await archive(here.connection, tmp_path)
        late = arrival(stream[4:], last["body"], kind=last["kind"], at=NOW - timedelta(days=9))
        await put(here.connection, [late], recorded_at=NOW - timedelta(days=9))
        await put(here.connection, [arrival("1718928000.1")], recorded_at=NOW - timedelta(days=8))
        await here.project()
        await here.rebuild(check=False, archive=tmp_path)
        async with writing(database.dsn):
            await here.connection.execute("SELECT make_facts_partition('2024-01-01', 1000)")
        [again] = (await archive(here.connection, tmp_path)).files
        [old] = [one for one in first.files if (one.month, one.enterprise) == (again.month, again.enterprise)]
        assert (again.facts, again.last_position > old.last_position) == (old.facts + 1, True)
        assert [path.name for path in tmp_path.glob("2024-01/0367.*")] == [again.file.partition("/")[2]]
        assert await differences(here, tmp_path) == []
        for place in range(2):
            async with alone(here.connection):
                await restore(here.connection, tmp_path, later(FIRST, place), None, lambda _: None)
        after = [tuple(row) for row in await here.connection.fetch(EVERYTHING)]
        assert after[:-2] == before
        assert after[-2][8] == stream


async def test_a_month_that_is_brought_back_is_as_it_was(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        before = [tuple(row) for row in await here.connection.fetch(EVERYTHING)]
        await archive(here.connection, tmp_path)
        for enterprise in ENTERPRISES:
            async with alone(here.connection):
                await restore(here.connection, tmp_path, FIRST, enterprise, lambda _: None)
        async with alone(here.connection):
            await restore(here.connection, tmp_path, later(FIRST, 1), None, lambda _: None)
        assert [tuple(row) for row in await here.connection.fetch(EVERYTHING)] == before
        assert await here.connection.fetchval("SELECT count(*) FROM archived_streams") == 0
        assert list(tmp_path.rglob("*.*")) == []
        assert await differences(here, None) == []


@pytest.mark.parametrize("after", [1, 5])
async def test_a_month_is_brought_back_in_the_middle_of_a_check_that_then_goes_on(
    database, tmp_path, monkeypatch, after
):
    monkeypatch.setattr("adapters.store.shards.BATCH", 37)
    monkeypatch.setattr("adapters.archive.files.GROUP", 16)
    env, folder = environment(database, tmp_path), tmp_path / "data" / "archive"
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        await archive(here.connection, folder)
        facts = (await here.rebuild(archive=folder)).facts
        async with connected(database.dsn) as own:
            beside = await Beside.open(here.pool, own, WHOLE, 1, archive=folder)
            with pytest.raises(Interrupted):
                await fold_beside(beside, database.dsn, 1, interrupting(after))
        done = await command(
            "archive", "--restore", "2024-01", "--enterprise", "0367", env=env, folder=tmp_path
        )
        assert (done.code, "of 1 enterprises" in done.output) == (0, True), done
        async with connected(database.dsn) as other, alone_with_files(other):
            done = await command("archive", "--restore", "2024-01", env=env, folder=tmp_path)
            assert (done.code, "is at work on this database" in done.errors) == (1, True)
        assert await here.connection.fetchval("SELECT count(*) FROM rebuilds") == 1
        outcome = await here.rebuild(archive=folder)
        assert (outcome.facts, outcome.differences) == (facts, [])


async def test_a_month_that_is_not_over_is_not_said_to_have_ended(database, tmp_path):
    env, now = environment(database, tmp_path), datetime.now(UTC)
    async with projected(database.dsn) as here:
        await filled(here, each=1)
        await here.connection.execute(
            "SELECT make_facts_partition($1, 0)", month_of(f"leg/{now.timestamp():.0f}.1")
        )
        done = await command("archive", "--before", f"{now.year + 3}-01", env=env, folder=tmp_path)
        told = [line for line in done.output.splitlines() if line.startswith(f"{now:%Y-%m}")]
        assert told == [f"{now:%Y-%m} stays: it is not over"]


async def test_doctor_names_what_is_missing_or_damaged_in_the_archive_and_says_what_to_do(
    database, tmp_path, monkeypatch
):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        first, second, *_ = (await archive(here.connection, tmp_path)).files

        async def told():
            return [
                (one.state, one.says, one.do)
                async for one in doctor._archive(Database(database.dsn, None), tmp_path)
            ]

        [(state, says, _)] = await told()
        assert (state, says.endswith("each is as it was written")) == ("ok", True)
        path = tmp_path / first.file
        whole = path.read_bytes()
        do = "put it back from a copy: rebuild and forget need it"
        path.write_bytes(whole[:-1])
        (tmp_path / second.file).unlink()
        assert await told() == [
            (
                "wrong",
                f"{path} of the archive is damaged: it should have {first.bytes} bytes and has {first.bytes - 1}",
                do,
            ),
            (
                "wrong",
                f"{tmp_path / second.file} of the archive cannot be read: No such file or directory",
                do,
            ),
        ]
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        damaged, _ = await told()
        assert damaged[1].startswith(f"{path} of the archive is damaged: its SHA-256")
        monkeypatch.setattr("adapters.archive.back.READ_AT_A_GLANCE", 0)
        [missing] = await told()  # of much, sizes are looked at
        assert second.file in missing[1]
        monkeypatch.setattr("adapters.cli.doctor.NAMED", 0)
        [(_, says, do)] = await told()
        assert (says, do) == ("1 more files are missing or damaged", "callfold archive --check names all")


async def test_a_damaged_file_is_named_with_both_checksums_and_nothing_is_rebuilt(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        moved = await archive(here.connection, tmp_path)
        path = tmp_path / moved.files[1].file
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        found = sha256_of(path)
        with pytest.raises(ArchiveError) as caught:
            await here.rebuild(archive=tmp_path)
        assert all(told in str(caught.value) for told in (str(path), found, moved.files[1].sha256))
        assert await check(here.connection, tmp_path, lambda _: None) == [str(caught.value)]
        path.unlink()
        with pytest.raises(ArchiveError, match="cannot be read"):
            await here.rebuild(archive=tmp_path)
        path.write_bytes(whole)
        assert await differences(here, tmp_path) == []


async def test_without_the_folder_nothing_is_rebuilt(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        await archive(here.connection, tmp_path)
        with pytest.raises(ArchiveError, match="DATA_DIR/archive is needed"):
            await here.rebuild()


async def test_manifests_say_what_the_table_says(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        moved = await archive(here.connection, tmp_path)
        told = msgspec.json.decode((tmp_path / "2024-01" / MANIFEST).read_bytes())
        assert (told["format"], told["month"], len(told["columns"])) == (2, "2024-01-01", 15)
        assert told["files"] == [msgspec.to_builtins(one) for one in moved.files if one.month == FIRST]
        (tmp_path / "2024-01" / MANIFEST).unlink()
        assert "manifest of 2024-01" in (await check(here.connection, tmp_path, lambda _: None))[0]
        await archive(here.connection, tmp_path)
        assert await check(here.connection, tmp_path, lambda _: None) == []


async def test_what_is_under_way_keeps_a_month_and_those_after_it(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        connection = here.connection
        stream, _ = await an_archived_leg(connection)
        position = await connection.fetchval("SELECT max(position) FROM facts WHERE stream = $1", stream)

        async def stays(enterprise="0367", **asked):
            moved = await archive(connection, tmp_path, enterprise=enterprise, **asked)
            return [(one.month, one.reason.lstrip("0123456789 ")) for one in moved.left], len(moved.files)

        await connection.execute("INSERT INTO parked VALUES ('calls', $1, '0367', 'x')", position)
        found, _ = await stays()
        assert found == [
            ("2024-01", "of its facts are parked: see `callfold parked`"),
            ("2024-02", "an earlier month of it stays"),
        ]
        await connection.execute("DELETE FROM parked")
        await connection.execute(
            "UPDATE calls SET outcome = 'open' WHERE call_id = (SELECT min(call_id) FROM calls"
            " WHERE enterprise = '0367' AND started_at > '2024-02-01')"
        )
        found, files = await stays()
        assert (found, files) == ([("2024-02", "calls that began before its end are open")], 1)
        assert await stays(now=datetime(2024, 3, 10, tzinfo=UTC), enterprise="0368") == (
            [("2024-02", "it ended less than 31 days ago")],
            1,
        )
        await put(
            connection,
            [arrival(f"{int(datetime(2024, 2, 8, tzinfo=UTC).timestamp())}.77", enterprise="0368")],
        )
        found, files = await stays("0368")
        assert (found, files) == ([("2024-02", "it is not projected yet")], 0)
        await connection.execute("INSERT INTO rebuilds VALUES (true, '_v1', '', 0, '0', 0)")
        with pytest.raises(ArchiveError, match="a rebuild was interrupted"):
            await stays()


async def test_two_commands_do_not_move_at_once(database, tmp_path):
    async with projected(database.dsn) as here, connected(database.dsn) as other:
        async with alone(other):
            with pytest.raises(ArchiveError, match="at work"):
                await archive(here.connection, tmp_path)
        assert (await archive(here.connection, tmp_path)).files == []


async def test_facts_that_come_while_a_month_is_read_are_not_lost(database, tmp_path, monkeypatch):
    async with projected(database.dsn) as here, connected(database.dsn) as other:
        await filled(here, each=2)
        stream, version = await an_archived_leg(here.connection)
        commit = Mover._commit
        came = []

        async def late(self, one, draft, read):
            if not came:
                came.append(await put(other, [arrival(stream[4:], at=NOW)], recorded_at=NOW))
                position = await other.fetchval("SELECT min(position) FROM facts WHERE stream = $1", stream)
                await other.execute("UPDATE facts SET enterprise = '0999' WHERE position = $1", position)
            return await commit(self, one, draft, read)

        monkeypatch.setattr(Mover, "_commit", late)
        whole = await other.fetchval(FACTS)
        moved = await archive(here.connection, tmp_path)
        assert whole + 1 == await other.fetchval(FACTS) + sum(one.facts for one in moved.files)
        assert came[0].stored[0][1].version == version + 1
        assert await other.fetchval("SELECT count(*) FROM facts WHERE stream = $1", stream) == 2
        assert len(list(tmp_path.glob("2024-01/*.parquet"))) == len(
            [one for one in moved.files if one.month == FIRST]
        )


@pytest.mark.parametrize("place", ["finish", "keep", "manifest"])
async def test_whatever_fails_on_the_way_each_fact_is_read_once(database, tmp_path, monkeypatch, place):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        whole = await here.connection.fetchval(FACTS)

        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            if place == "finish":
                patched.setattr("adapters.archive.folder.sync_folder", fail)
            elif place == "keep":
                patched.setattr("adapters.archive.moving.keep", fail)
            else:
                patched.setattr("adapters.archive.folder.write_manifest", fail)
            with pytest.raises(OSError, match="No space left"):
                await archive(here.connection, tmp_path)
        archived = await here.connection.fetchval("SELECT coalesce(sum(facts), 0) FROM archived")
        assert archived + await here.connection.fetchval(FACTS) == whole
        assert await differences(here, tmp_path) == []
        await archive(here.connection, tmp_path)
        known = {row[0] for row in await here.connection.fetch("SELECT file FROM archived")}
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.p*")} == known
        assert await differences(here, tmp_path) == []


async def test_the_facts_of_a_file_are_rewritten_at_once_or_not_at_all(database, tmp_path):
    def change(row):
        return (
            row._replace(body=row.body.replace(b"375290000101", b"375290999999"))
            if b"375290000101" in row.body
            else None
        )

    async with projected(database.dsn) as here:
        await filled(here, each=2)
        moved = await archive(here.connection, tmp_path)
        one = moved.files[0]
        changed = await rewrite(here.connection, tmp_path, one.month, one.enterprise, change)
        assert changed.facts > 0
        assert all(stream.startswith(("leg/", "bridge/")) for stream in changed.streams)
        files = Archive(tmp_path)
        await files.load(here.connection)
        rows = list(files.open(files.files[one.month, one.enterprise]).all())
        assert len(rows) == one.facts
        assert not any(b"375290000101" in row.body for row in rows)
        assert not (tmp_path / one.file).exists()
        assert await check(here.connection, tmp_path, lambda _: None) == []
        assert (await rewrite(here.connection, tmp_path, one.month, one.enterprise, change)).facts == 0
        assert await check(here.connection, tmp_path, lambda _: None) == []


async def test_a_change_of_nothing_or_one_that_fails_leaves_no_second_copy_of_the_facts(database, tmp_path):
    def fail(row):
        raise ZeroDivisionError

    async with projected(database.dsn) as here:
        await filled(here, each=2)
        one = (await archive(here.connection, tmp_path)).files[0]
        before = sorted(tmp_path.rglob("*"))
        await rewrite(here.connection, tmp_path, one.month, one.enterprise, lambda _: None)
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(ZeroDivisionError):
            await rewrite(here.connection, tmp_path, one.month, one.enterprise, fail)
        assert sorted(tmp_path.rglob("*")) == before


async def test_a_recording_is_served_whose_fact_is_archived(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        stream, _ = await an_archived_leg(here.connection)
        told = write_recording(Recording("00ff", url="https://pbx.example/1.mp3"))
        await here.connection.execute("INSERT INTO recordings VALUES ('00ff', '0367', $1)", stream[4:])
        added = arrival(stream[4:], told, kind="recording_added", at=datetime(2024, 2, 3, tzinfo=UTC))
        await put(here.connection, [added], recorded_at=added.occurred_at)
        await here.project()
        register = Register(here.pool, None, None, None)
        before = await register.find("00ff")
        await archive(here.connection, tmp_path)
        assert before is not None
        assert await register.find("00ff") == before
        assert await differences(here, tmp_path) == []


async def test_a_call_over_the_edge_stays_as_it_is_until_a_rebuild(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        edge = datetime(2024, 3, 1, tzinfo=UTC)
        run = calls(edge - timedelta(seconds=4), 3, "0367")
        legs = {month_of(fact.stream) for fact in run if fact.stream.startswith("leg/")}
        assert legs == {later(FIRST, 1), later(FIRST, 2)}
        await store(here, run)
        await last_calls(here)
        assert await differences(here, tmp_path) == []
        rows = await here.rows("calls")
        await archive(here.connection, tmp_path, enterprise="0367")
        late = next(fact for fact in reversed(run) if month_of(fact.stream) == later(FIRST, 2))
        recovered = msgspec.structs.replace(late, source="recovery")
        await put(here.connection, [recovered, late], recorded_at=NOW)
        await here.project()
        assert await here.rows("calls") == rows
        parked = await here.connection.fetch("SELECT place, reason FROM parked")
        assert [(row[0], row[1].partition(":")[0]) for row in parked] == [("calls", "CallArchived")] * len(
            parked
        )
        assert len(parked) == 2
        await here.rebuild(check=False, archive=tmp_path)
        assert await differences(here, tmp_path) == []


def environment(database, folder):
    return {
        "CALLFOLD_DATABASE_URL": database.dsn,
        "CALLFOLD_DATA_DIR": str(folder / "data"),
    }


async def test_what_is_recovered_into_archived_months_is_refused_line_by_line(database, tmp_path):
    env = environment(database, tmp_path)
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        stream, _ = await an_archived_leg(here.connection)
        known = await here.connection.fetchrow(
            "SELECT kind, body, occurred_at FROM facts WHERE stream = $1 ORDER BY version LIMIT 1", stream
        )
        await archive(here.connection, tmp_path / "data" / "archive")
        await here.connection.execute("INSERT INTO secrets VALUES ('0367', '375290000000', 'preview', '')")
        whole = await here.connection.fetchval(FACTS)
        unheard = calls(datetime(2024, 2, 27, 9, tzinfo=UTC), 5, "0367")
        later_on = calls(datetime(2024, 4, 28, 9, tzinfo=UTC), 5, "0367")
        told = [
            (known["kind"], known["body"], known["occurred_at"]),
            (known["kind"], known["body"].replace(b'"Phone"', b'"Fon"'), datetime(2024, 5, 2, tzinfo=UTC)),
            (unheard[0].kind, unheard[0].body, unheard[0].occurred_at),
            (later_on[0].kind, later_on[0].body, later_on[0].occurred_at),
        ]
        (tmp_path / "log.jsonl").write_bytes(
            b"\n".join(
                msgspec.json.encode({"t": at, "event": kind, "body": msgspec.Raw(body)})
                for kind, body, at in told
            )
        )
        done = await command("recover", "log.jsonl", "--enterprise", "0367", env=env, folder=tmp_path)
        assert "stored 1, known 0, refused 3" in done.output, done
        assert "earlier events of it are archived with 2024-01" in done.output + done.errors
        assert "everything of 0367 before 2024-03-01 is archived" in done.output + done.errors
        assert await here.connection.fetchval(FACTS) == whole + 1
        for month in ("2024-02", "2024-01"):
            restored = await command("archive", "--restore", month, env=env, folder=tmp_path)
            assert restored.code == 0, restored
        done = await command("recover", "log.jsonl", "--enterprise", "0367", env=env, folder=tmp_path)
        assert "stored 2, known 2, refused 0" in done.output, done


async def test_the_command_says_what_it_moved_and_what_stays(database, tmp_path):
    env = environment(database, tmp_path)
    async with projected(database.dsn) as here:
        await filled(here, each=2)
        await here.connection.execute("UPDATE calls SET outcome = 'open' WHERE enterprise = '0368'")

        async def run(*arguments):
            return await command("archive", *arguments, env=env, folder=tmp_path)

        done = await run("--before", "2024-01")
        assert (done.code, done.output) == (0, "nothing is due\n")
        done = await run("--before", "2024-02", "--enterprise", "0368")
        assert (done.code, "calls that began before its end are open" in done.output) == (1, True)
        assert "nothing was moved" in done.errors
        done = await run("--before", "2024-03-31")
        assert (done.code, "facts in 2 files" in done.output) == (0, True), done
        assert "2024-02 0368 stays: an earlier month of it stays" in done.output
        assert "every file is as it was written" in (await run("--check")).output
        [path] = (tmp_path / "data" / "archive").glob("2024-01/*.parquet")
        path.write_bytes(b"PAR1")
        done = await run("--check")
        assert (done.code, str(path) in done.output) == (1, True)
        found = json.loads((await command("doctor", "--json", env=env, folder=tmp_path)).output)
        assert [str(path) in one["says"] for one in found if one["subject"] == "archive"] == [True]
        assert (await run()).code == 2
        assert (await run("--before", "May")).code == 2
        rebuilt = await command("rebuild", "all", "--check", env=env, folder=tmp_path)
        assert (rebuilt.code, "is damaged" in rebuilt.errors, rebuilt.errors.count("\n")) == (1, True, 1)


async def test_exports_and_answers_say_which_months_are_archived_and_not_in_them(database, tmp_path):
    env = environment(database, tmp_path)
    async with projected(database.dsn) as here:
        await filled(here, each=2)

        async def said(*arguments):
            done = await command(*arguments, env=env, folder=tmp_path)
            assert done.code == 0, done
            return done.errors

        assert (await said("export"), await said("sql", "SELECT count(*) FROM events")) == ("", "")
        folder = tmp_path / "data" / "archive"
        await archive(here.connection, folder, enterprise="0367")
        await archive(here.connection, folder, date(2024, 2, 1), enterprise="0368")
        told = [
            await said("export"),
            await said("export", "--from", "2024-02-29", "--out", "later"),
            await said("export", "--from", "2024-03-01", "--out", "latest", "--json"),
            await said("export", "--enterprise", "0368"),
            await said("sql", "SELECT count(*) FROM Events"),
            await said("sql", "--live", "SELECT count(*) FROM events"),
            await said("sql", "SELECT count(*) FROM calls"),
            await said("sql", "--live", "SELECT count(*) FROM calls"),
            await said("events", "--enterprise", "0368"),
        ]
        line = "events of {} are archived and not in it: callfold archive --restore brings a month back\n"
        both, february, january = (line.format(told) for told in ("2024-01 to 2024-02", "2024-02", "2024-01"))
        assert told == [both, february, "", january, both, both, "", "", january]
        manifest = read_export(tmp_path / "data" / "exports")
        assert manifest.exports["parquet"].archived == ["2024-01", "2024-02"]


def test_archived_months_are_told_in_spans():
    told = archived_said(["2023-11", "2023-12", "2024-01", "2024-03"])
    assert told.startswith("events of 2023-11 to 2024-01, 2024-03 are archived")


async def test_a_call_says_with_which_months_it_was_archived(database, tmp_path):
    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        await service.play(catalogue()["2-18"])
        await service.quiet()
        [call] = (await service.get("/api/calls"))["items"]
        place = f"0367/{call['call_id']}"
        assert "archived" not in await service.get(f"/api/calls/{place}")
        assert "в архиве" not in (await service.client.get(f"/calls/{place}")).text
        await service.pool.execute(
            "INSERT INTO archived_streams VALUES ($1, '2024-01-01', 1, 0, 0), ($1, '2024-02-01', 2, 0, 0)",
            stream_key("0367", f"leg/{call['legs'][-1]}"),
        )
        assert (await service.get(f"/api/calls/{place}"))["archived"] == ["2024-01", "2024-02"]
        page = (await service.client.get(f"/calls/{place}")).text
        assert "События этого звонка — в архиве за 2024-01, 2024-02." in page


async def test_without_pyarrow_one_line_says_what_to_install(database, tmp_path):
    env = environment(database, tmp_path)
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')\n")
    async with projected(database.dsn) as here:
        await filled(here, each=1)
        await archive(here.connection, tmp_path / "data" / "archive")
    without = {**env, "PYTHONPATH": str(tmp_path)}
    for verb in (["archive", "--before", "2024-03"], ["archive", "--check"], ["rebuild", "all", "--check"]):
        done = await command(*verb, env=without, folder=tmp_path)
        assert (done.code, done.errors) == (
            1,
            "callfold: pyarrow is not installed: pip install 'callfold[analyst]'\n",
        )


async def test_a_start_after_months_of_silence_looks_at_nothing_that_is_archived(database, tmp_path):
    async with projected(database.dsn) as here:
        await filled(here, each=3)
        window = timedelta(hours=6)
        await here.connection.execute("DELETE FROM facts WHERE recorded_at > '2024-03-01'")
        await here.connection.execute(
            "DELETE FROM calls WHERE last_position > (SELECT max(position) FROM facts)"
        )
        await put(here.connection, [arrival("1719792000.1", at=NOW)], recorded_at=NOW)
        await here.project()
        before = (
            await here.live._facts.unforgotten(1 << 62),
            await unsettled_calls(here.connection, [("0367", 1001, 0)], window, window),
        )
        await archive(here.connection, tmp_path)
        left = await here.connection.fetchval("SELECT count(*) FROM facts WHERE kind <> 'directory_changed'")
        assert left < 40
        assert before == (
            await here.live._facts.unforgotten(1 << 62),
            await unsettled_calls(here.connection, [("0367", 1001, 0)], window, window),
        )
        assert len(before[0]) < 4
