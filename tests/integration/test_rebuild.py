"""A rebuild equals what was projected live, byte for byte; it checks, swaps and disturbs nobody."""

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from adapters import rebuilding
from adapters.asterisk.recorded import read_recorded
from adapters.store import beside as beside_module
from adapters.store.beside import Beside
from adapters.store.lock import REBUILD_LOCK, lock_rebuild
from calls.call import Call
from calls.directory import Directory, changes
from calls.entries import DirectoryChange
from calls.exchange import FORGET_AFTER, FORGET_LOST_AFTER
from calls.facts import NewFact
from calls.scenarios import Scenario, catalogue
from calls.times import seconds
from projections import rebuild as rebuild_module
from projections.calls import FOLD_VERSION
from projections.names import NAMES, TABLES
from projections.ports import ProjectionError
from projections.rebuild import Difference, Plan
from tests.exporting import history, stored
from tests.folding import DIRECTORY, EPOCH, facts, played_facts, settled, silences, truth
from tests.running import Done, command
from tests.storing import Projected, again, arrival, change_facts, connected, projected, put

EVERYTHING = Plan(NAMES, FOLD_VERSION)
LATER = arrival("1777886400.9", b'{"UniqueId":"1777886400.9","CallType":0,"Phone":"375291234567"}')
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
KNOWN = change_facts(changes(None, DIRECTORY))


def told(scenario: Scenario, seed: int = 7, begun: datetime = EPOCH, *, least: bool = False) -> list[NewFact]:
    """The facts of one run of a scenario."""
    return again(played_facts(scenario.events(begun.timestamp(), seed, least=least), begun))


def shuffled_together(runs: Sequence[Sequence[NewFact]], seed: int) -> Iterator[NewFact]:
    """Facts of several calls as they mix on the wire, each call's own in their order; times never fall."""
    chance = random.Random(seed)
    waiting = [list(run) for run in runs]
    at = EPOCH
    while waiting:
        run = chance.choice(waiting)
        at += timedelta(seconds=chance.choice([0, 0.2, 1]))
        yield msgspec.structs.replace(run.pop(0), occurred_at=at)
        waiting = [left for left in waiting if left]


def batches(stream: Iterator[NewFact], seed: int) -> Iterator[list[NewFact]]:
    chance = random.Random(seed)
    while batch := list(itertools.islice(stream, chance.randint(1, 9))):
        yield batch


def recorded() -> list[list[NewFact]]:
    """The corpus, each file as if it were another enterprise: some have the same UniqueIds."""
    runs = []
    for number, path in enumerate(sorted(CORPUS.rglob("*.jsonl"))):
        events = [(one.event, one.raw, one.t) for one in read_recorded(path)]
        at = EPOCH
        dated = []
        for kind, body, said in events:
            at = max(at + timedelta(milliseconds=100), said.astimezone(UTC) if said else at)
            dated.append((kind, body, at))
        runs.append(again(facts(dated, f"{number:04}")))
    return runs


def directory_of(enterprise: str) -> Directory:
    profile = msgspec.structs.replace(DIRECTORY.profile, number=enterprise)
    return DIRECTORY.of(profile)


async def no_difference(here: Projected) -> None:
    assert [apart(difference) for difference in (await here.rebuild()).differences] == []


def apart(difference: Difference) -> tuple[Any, ...]:
    """Where the two rows differ, live first."""
    live, rebuilt = difference.live or {}, difference.rebuilt or {}
    columns = [column for column in live | rebuilt if live.get(column) != rebuilt.get(column)]
    return (*difference.key, *((column, live.get(column), rebuilt.get(column)) for column in columns))


def row(call: Call) -> dict[str, Any]:
    columns = ("direction", "origin", "outcome", "customer", "line", "caller", "dialled", "answered_by")
    return {
        **{column: getattr(call, column) for column in columns},
        **{column: list(getattr(call, column)) for column in ("rung", "talked", "consulted", "legs")},
        "wait_s": seconds(call.wait),
        "talk_s": seconds(call.talk),
        "total_s": seconds(call.total),
        "started_at": call.started_at,
        "ended_at": call.ended_at,
    }


@pytest.mark.parametrize("least", [False, True], ids=["all-events", "least"])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted-at-every-step"])
async def test_all_scenarios_at_once_are_rebuilt_as_they_were_projected(database, least, restarts):
    runs = [told(scenario, seed, least=least) for seed, scenario in enumerate(catalogue().values(), start=1)]
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for batch in batches(shuffled_together(runs, seed=11), seed=12):
            if restarts:
                await here.restart()
            await here.tell(*batch)
        assert len(await here.rows("calls")) >= len(runs)
        assert await here.connection.fetchval("SELECT count(*) FROM parked") == 0
        await no_difference(here)


@pytest.mark.parametrize("name", list(catalogue()))
async def test_rows_and_rebuilt_rows_are_the_scenarios_golden_rows(database, name):
    scenario = catalogue()[name]
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        played = played_facts(scenario.events(EPOCH.timestamp(), 7))
        played += silences(played, [call for call in settled(played) if not call.settled])
        for fact in again(played):
            await here.tell(fact)
        expected = settled(played)
        live = await here.rows("calls")
        assert [{**one, **row(call)} for one, call in zip(live, expected, strict=True)] == live
        truths = [msgspec.structs.replace(one, phases=()) for one in (scenario.expected, *scenario.beside)]
        assert sorted(map(truth, expected), key=repr) == sorted(truths, key=repr)
        customers = await here.rows("customers")
        assert len(customers) == (scenario.expected.customer is not None)
        assert sum(one["in_total"] + one["out_total"] for one in customers) == len(customers)
        await no_difference(here)
        await here.rebuild(check=False)
        assert await here.rows("calls") == live
        assert await here.rows("customers") == customers


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted-at-every-step"])
async def test_the_recorded_corpus_is_rebuilt_as_it_was_projected(database, restarts):
    if not CORPUS.is_dir():
        pytest.skip(f"the recorded corpus is not here: {CORPUS}")
    runs = recorded()
    assert len(runs) > 20
    async with projected(database.dsn) as here:
        for number in range(len(runs)):
            await here.tell(*change_facts(changes(None, directory_of(f"{number:04}")), f"{number:04}"))
        ordered = sorted(
            (
                (fact.occurred_at, number, place, fact)
                for number, run in enumerate(runs)
                for place, fact in enumerate(run)
            ),
            key=lambda one: one[:3],
        )
        for batch in batches((fact for *_, fact in ordered), seed=13):
            if restarts:
                await here.restart()
            await here.tell(*batch)
        assert await here.connection.fetchval("SELECT count(*) FROM parked") == 0
        await no_difference(here)


WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1)"


async def test_a_directory_that_changes_in_the_middle_of_a_call_is_folded_in_its_place(database):
    events = len(told(catalogue()["2-1"]))
    other = change_facts(changes(DIRECTORY, Directory.empty("0367")))
    async with projected(database.dsn) as here:
        for place in range(1, events):
            whole = told(catalogue()["2-1"], seed=100 + place, begun=EPOCH + timedelta(minutes=place))
            await here.tell(*KNOWN, *whole[:place])
            await here.tell(*other)
            if place % 2:
                await here.restart()
            await here.tell(*whole[place:])
        await no_difference(here)


@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("after", [FORGET_AFTER * 2, FORGET_LOST_AFTER * 2], ids=["soon", "hours-later"])
async def test_a_late_event_of_a_forgotten_call_finds_it_again(database, after, restarted):
    first = told(catalogue()["2-1"])
    late = first[-1]
    later = told(catalogue()["2-2"], seed=8, begun=EPOCH + after)
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *first)  # settled
        before = await here.rows("calls")
        await here.tell(*later)
        assert here.live.fold.misses(await stored_again(here, late)), "it has been forgotten"
        if restarted:
            await here.restart()
        moved = EPOCH + after + timedelta(minutes=2)
        await here.tell(msgspec.structs.replace(late, occurred_at=moved))
        again_row = next(one for one in await here.rows("calls") if one["call_id"] == before[0]["call_id"])
        assert again_row["last_position"] > before[0]["last_position"]
        assert {**again_row, "last_position": 0} == {**before[0], "last_position": 0}
        assert [one["in_total"] for one in await here.rows("customers")] == [2]
        await no_difference(here)


async def stored_again(here: Projected, late: NewFact) -> Any:
    """The fact that would follow, as a reader would give it."""
    unique_id = late.stream.partition("/")[2]
    found = await here.live._facts.calls_of([(late.enterprise, unique_id)], (1 << 63) - 1)
    last = next(fact for fact in reversed(found) if fact.stream == late.stream)
    return msgspec.structs.replace(last, position=last.position + 1, version=last.version + 1)


async def test_legs_without_a_call_are_taken_up_again_after_a_restart(database):
    # the customer's own leg is known by new_callerid alone until the bridge tells whose it is
    events = told(catalogue()["1-1"])
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for fact in events:
            await here.restart()
            await here.tell(fact)
        assert len(await here.rows("calls")) == 1
        assert len((await here.rows("calls"))[0]["legs"]) == 2
        await no_difference(here)


# what --check finds


async def settled_call(here: Projected, name: str = "2-1", seed: int = 7) -> None:
    await here.tell(*KNOWN, *told(catalogue()[name], seed))


async def test_check_reports_a_row_changed_by_hand_with_both_values_and_changes_nothing(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        await here.connection.execute("UPDATE calls SET answered_by = '999'")
        await here.connection.execute("UPDATE customers SET in_total = 5")
        spoiled = await here.rows("calls"), await here.rows("customers")
        calls, customers = (await here.rebuild()).differences
        assert (calls.table, customers.table) == ("calls", "customers")
        assert calls.key == ("0367", spoiled[0][0]["call_id"])
        assert (calls.live["answered_by"], calls.rebuilt["answered_by"]) == ("999", "151")
        assert (customers.live["in_total"], customers.rebuilt["in_total"]) == (5, 1)
        assert (await here.rows("calls"), await here.rows("customers")) == spoiled
        await here.rebuild(check=False)
        assert (await here.rows("calls"))[0]["answered_by"] == "151"
        await no_difference(here)


async def test_check_reports_missing_and_surplus_rows(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        await settled_call(here, "1-8", seed=8)
        await here.connection.execute("DELETE FROM calls WHERE direction = 'in'")
        await here.connection.execute("UPDATE calls SET call_id = 'nobody''s'")
        found = [
            difference for difference in (await here.rebuild()).differences if difference.table == "calls"
        ]
        assert sorted(map(sides, found)) == [(False, True), (False, True), (True, False)]
        assert [difference.key[1] for difference in found if difference.live] == ["nobody's"]


def sides(difference: Difference) -> tuple[bool, bool]:
    return difference.live is not None, difference.rebuilt is not None


async def test_a_check_leaves_no_trace(database):
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    async with projected(database.dsn) as here:
        await settled_call(here)
        before = await here.connection.fetch(tables), await here.connection.fetch("SELECT * FROM checkpoints")
        await here.rebuild()
        after = await here.connection.fetch(tables), await here.connection.fetch("SELECT * FROM checkpoints")
        assert after == before


# the swap

MADE = ", ".join(f"'{table}'" for tables in TABLES.values() for table in tables)
INDEXES = f"""
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename IN ({MADE}) ORDER BY 1, 2
"""
CONSTRAINTS = f"""
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid::regclass::text IN ({MADE}) ORDER BY 1, 2
"""


class Interrupted(Exception):
    pass


async def interrupted(*_: object) -> None:
    raise Interrupted


async def test_an_interrupted_check_says_how_many_facts_there_are_and_not_how_many_were_left(
    database, monkeypatch
):
    monkeypatch.setattr("adapters.store.shards.BATCH", 37)
    async with stored(database.dsn, history(30)) as here:
        monkeypatch.setattr("projections.rebuild.load", interrupted)  # when all shards are folded
        with pytest.raises(Interrupted):
            await here.rebuild()
        monkeypatch.undo()
        await here.tell(LATER)
        monkeypatch.setattr(Beside, "differences", interrupted)  # when it has caught up
        with pytest.raises(Interrupted):
            await here.rebuild()
        monkeypatch.undo()
        facts = await here.connection.fetchval("SELECT count(*) FROM facts")
        for _ in range(2):
            outcome = await here.rebuild()
            assert (outcome.facts, outcome.differences) == (facts, [])


async def test_indexes_and_constraints_keep_their_names_however_often_it_is_rebuilt(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        before = await here.connection.fetch(INDEXES), await here.connection.fetch(CONSTRAINTS)
        for _ in range(3):
            await here.rebuild(check=False)
            after = await here.connection.fetch(INDEXES), await here.connection.fetch(CONSTRAINTS)
            assert after == before


async def test_readers_and_the_live_runner_go_on_through_swaps(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        reading = asyncio.create_task(read_on(here.pool))
        await here.restart()
        following = asyncio.create_task(here.live.run())
        for number in range(5):
            facts_now = told(catalogue()["2-1"], seed=50 + number, begun=EPOCH + timedelta(hours=number))
            await put(here.connection, facts_now[:4])
            here.live.nudge()
            await here.rebuild(check=False)
            await put(here.connection, facts_now[4:])
            here.live.nudge()
        here.live.stop()
        await asyncio.wait_for(following, 20)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert [one["outcome"] for one in await here.rows("calls")] == ["answered"] * 6
        assert [one["in_total"] for one in await here.rows("customers")] == [6]
        await no_difference(here)


async def read_on(pool: asyncpg.Pool) -> None:
    """As the API and analysts read: the same statement on the same connections, and in transactions."""
    while True:
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM calls") >= 1
            async with connection.transaction():
                assert await connection.fetchval("SELECT sum(in_total) FROM customers") >= 1
        await asyncio.sleep(0)


async def test_while_tables_are_swapped_the_live_runner_waits_and_then_goes_on(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        own = await asyncpg.connect(here.dsn)
        tables = await Beside.open(here.pool, own, EVERYTHING, 1)
        await put(here.connection, told(catalogue()["2-2"], seed=9))
        async with tables.live_held():
            before = await here.rows("calls")
            writing = asyncio.create_task(here.project())
            done, _ = await asyncio.wait([writing], timeout=0.2)
            assert not done
            assert await here.rows("calls") == before, "rows can be read meanwhile"
        await asyncio.wait_for(writing, 5)
        assert len(await here.rows("calls")) == 2
        await tables.drop()
        await own.close()


async def test_a_second_rebuild_at_the_same_time_is_refused_and_the_first_goes_on(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        own = await asyncpg.connect(here.dsn)
        first = await Beside.open(here.pool, own, EVERYTHING, 1)
        with pytest.raises(ProjectionError, match="another rebuild"):
            await here.rebuild()
        assert await here.connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"calls{first.suffix}")
        await own.close()
        await no_difference(here)  # what a killed one has left is in nobody's way


async def test_a_rebuild_waits_for_one_that_the_server_has_not_yet_noticed_to_have_ended(database):
    async with projected(database.dsn) as here:
        await settled_call(here)
        async with connected(here.dsn) as ended:
            assert await lock_rebuild(ended)
            waiting = asyncio.create_task(here.rebuild())
            async with asyncio.timeout(10):
                while not await here.connection.fetchval(WAITED_FOR, REBUILD_LOCK & 0xFFFFFFFF):
                    await asyncio.sleep(0.01)
        assert (await waiting).differences == []


async def test_an_event_that_nobody_can_read_is_parked_live_and_rebuilt_alike(database):
    async with projected(database.dsn) as here:
        events = told(catalogue()["2-1"])
        broken = [arrival("7.7", b"no json"), arrival("7.7", b'{"UniqueId": ["7.7"]}', kind="dial")]
        await here.tell(*KNOWN, *events[:3], *broken, *events[3:])
        assert [one["outcome"] for one in await here.rows("calls")] == ["answered"]
        parked = await here.connection.fetch("SELECT place, position, reason FROM parked ORDER BY position")
        assert [(one["place"], "EventError" in one["reason"]) for one in parked] == [("calls", True)] * 2
        await no_difference(here)


async def test_a_kind_that_nobody_knows_is_skipped_live_and_an_error_of_a_rebuild_that_says_where(database):
    async with projected(database.dsn) as here:
        events = told(catalogue()["2-1"])
        odd = arrival("7.8", json.dumps({"UniqueId": "7.8"}).encode(), kind="of_the_future")
        await here.tell(*KNOWN, *events[:3], odd, *events[3:])
        assert [one["outcome"] for one in await here.rows("calls")] == ["answered"]
        assert await here.connection.fetchval("SELECT count(*) FROM parked") == 0
        position = await here.connection.fetchval("SELECT position FROM facts WHERE kind = 'of_the_future'")
        with pytest.raises(ProjectionError, match=f"position {position} .* the kind 'of_the_future'"):
            await here.rebuild()


# processes, ways back, other times


async def command_in(here: Projected, folder: Path, *arguments: str) -> Done:
    return await command("rebuild", *arguments, env={"CALLFOLD_DATABASE_URL": here.dsn}, folder=folder)


async def test_what_shards_of_several_processes_make_is_what_was_projected(database, monkeypatch):
    monkeypatch.setattr(rebuilding, "BY_ITSELF", 0)
    async with projected(database.dsn) as here:
        for number in range(5):
            mine = [
                msgspec.structs.replace(fact, enterprise=f"{number:04}")
                for hours, name in enumerate(("2-1", "2-20", "1-8", "3-1"))
                for fact in told(catalogue()[name], number, EPOCH + timedelta(hours=hours))
            ]
            await here.tell(*mine)
        assert (await here.rebuild(jobs=3)).differences == []
        assert {row["enterprise"] for row in await here.rows("calls")} == {f"{one:04}" for one in range(5)}


async def test_a_process_that_ends_before_its_work_fails_the_rebuild_and_the_next_goes_on(
    database, monkeypatch
):
    monkeypatch.setattr(rebuilding, "BY_ITSELF", 0)
    async with projected(database.dsn) as here:
        for number in (1, 2):
            facts_of = told(catalogue()["2-1"], seed=number)
            await here.tell(*[msgspec.structs.replace(fact, enterprise=f"{number:04}") for fact in facts_of])
        monkeypatch.setattr(rebuilding.sys, "executable", "/bin/false")
        with pytest.raises(ProjectionError, match="run the command again"):
            await here.rebuild()
        monkeypatch.undo()
        suffix = await here.connection.fetchval("SELECT suffix FROM rebuilds")
        assert (await here.rebuild(check=False)).differences == []
        number = await here.connection.fetchval("SELECT last_value FROM rebuild_numbers")
        assert suffix == f"_v{number}", "it was not begun anew"


async def test_the_way_back_brings_the_former_rows_as_far_as_the_facts_are(database, tmp_path):
    async with projected(database.dsn) as here:
        await settled_call(here)
        await here.connection.execute("UPDATE calls SET answered_by = '999'")
        assert (await command_in(here, tmp_path, "all")).code == 0
        assert [row["answered_by"] for row in await here.rows("calls")] == ["151"]
        await here.restart()
        await settled_call(here, "1-8", seed=8)
        back = await command_in(here, tmp_path, "--rollback")
        assert back.code == 0, back.errors
        assert [row["answered_by"] for row in await here.rows("calls")] == [None, "999"]
        again_back = await command_in(here, tmp_path, "--rollback")
        assert again_back.code == 0
        assert [row["answered_by"] for row in await here.rows("calls")] == [None, "151"]
        await here.restart()
        await settled_call(here, "2-2", seed=9)
        await no_difference(here)


async def test_without_a_rebuild_there_is_no_way_back(database, tmp_path):
    async with projected(database.dsn) as here:
        done = await command_in(here, tmp_path, "--rollback")
        assert (done.code, done.errors) == (
            1,
            "callfold: there is no way back: no rebuild has put tables aside\n",
        )


async def test_the_state_of_an_earlier_time_is_made_in_tables_of_its_own(database, tmp_path):
    async with projected(database.dsn) as here:
        await put(here.connection, [*KNOWN, *told(catalogue()["2-1"])], recorded_at=EPOCH)
        await put(here.connection, told(catalogue()["1-8"], seed=8), recorded_at=EPOCH + timedelta(days=2))
        await here.project()
        now = await here.rows("calls")
        done = await command_in(here, tmp_path, "calls", "customers", "--as-of", "2026-05-05")
        assert done.code == 0, done.errors
        assert "made: calls_as_of_20260505t000000z" in done.output
        earlier = await here.connection.fetch("SELECT direction FROM calls_as_of_20260505t000000z")
        assert [row[0] for row in earlier] == ["in"]
        named = await here.connection.fetchval("SELECT count(*) FROM customers_as_of_20260505t000000z")
        assert named == 1
        assert await here.rows("calls") == now
        assert len(now) == 2
        once_more = await command_in(here, tmp_path, "calls", "customers", "--as-of", "2026-05-05")
        assert once_more.code == 0


async def test_calls_can_be_told_by_the_directory_as_it_is_now(database, tmp_path):
    latest = change_facts(
        [DirectoryChange("customer", "+375290000101", {"phone": "+375290000101", "name": "Later"})]
    )
    department = change_facts([DirectoryChange("department", "150", {"number": "150", "members": ["151"]})])
    async with projected(database.dsn) as here:
        await settled_call(here, "2-2")
        rung = (await here.rows("calls"))[0]["rung"]
        await here.tell(*latest, *department)
        assert (await here.rows("calls"))[0]["rung"] == rung
        assert (await command_in(here, tmp_path, "all", "--directory", "latest")).code == 0
        told_by_now = (await here.rows("calls"))[0]["rung"]
        assert "150" in rung
        assert "150" not in told_by_now
        assert (await here.rows("customers"))[0]["name"] == "Later"


async def test_a_store_that_was_never_projected_is_rebuilt_up_to_its_newest_fact(database, tmp_path):
    async with projected(database.dsn) as here:
        await put(here.connection, [*KNOWN, *told(catalogue()["2-1"])])
        done = await command_in(here, tmp_path, "all")
        assert done.code == 0, done.errors
        assert "difference" not in done.output
        assert [row["outcome"] for row in await here.rows("calls")] == ["answered"]
        await here.restart()
        await settled_call(here, "2-2", seed=9)
        await no_difference(here)


async def test_only_the_projections_that_are_named_are_replaced(database, tmp_path):
    async with projected(database.dsn) as here:
        await settled_call(here)
        await here.connection.execute("UPDATE traffic SET begun = 77")
        await here.connection.execute("UPDATE customers SET in_total = 77")
        assert (await command_in(here, tmp_path, "customers")).code == 0
        assert [row["begun"] for row in await here.rows("traffic")] == [77]
        assert [row["in_total"] for row in await here.rows("customers")] == [1]


async def test_a_swap_waits_for_a_long_reader_without_making_others_wait_behind_it(database, monkeypatch):
    monkeypatch.setattr(rebuild_module, "SWAP_AGAIN", 0.05)
    monkeypatch.setattr(beside_module, "SWAP_MS", 50)
    async with projected(database.dsn) as here:
        await settled_call(here)
        async with here.pool.acquire() as reader:
            reading = reader.transaction()
            await reading.start()
            await reader.fetch("SELECT * FROM calls")
            rebuilding = asyncio.create_task(here.rebuild(check=False))
            for _ in range(20):
                begun = asyncio.get_running_loop().time()
                assert await here.rows("calls")
                assert asyncio.get_running_loop().time() - begun < 1
                await asyncio.sleep(0.02)
            assert not rebuilding.done()
            await reading.rollback()
        await asyncio.wait_for(rebuilding, 20)
        await no_difference(here)
