"""The tables of the calls projection: rows and checkpoint together, one runner, calls that merge, customers counted."""

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from adapters.store.tables import CallTables
from calls.directory import changes
from calls.entries import DirectoryChange
from calls.facts import Fact, NewFact
from calls.scenarios import catalogue
from otel.metrics import Metrics
from projections import live
from projections.live import BATCH, LiveCalls
from projections.ports import Checkpoint, Fenced, Rows
from tests.folding import DIRECTORY, EPOCH, played_facts
from tests.storing import AT, Projected, again, arrival, change_facts, connected, projected, put

KNOWN = change_facts(changes(None, DIRECTORY))
CUSTOMER = "+375290000101"


def told(name: str, seed: int, begun: timedelta = timedelta()) -> list[NewFact]:
    """A whole call of a scenario."""
    at = EPOCH + begun
    return again(played_facts(catalogue()[name].events(at.timestamp(), seed), at))


def event(kind: str, unique_id: str, seconds: float, **fields: Any) -> NewFact:
    body = {"UniqueId": unique_id, **fields}
    return arrival(unique_id, json.dumps(body).encode(), kind=kind, at=EPOCH + timedelta(seconds=seconds))


async def customer(here: Projected) -> dict[str, Any] | None:
    rows = await here.rows("customers")
    assert len(rows) <= 1
    return rows[0] if rows else None


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """in: total, answered, missed; out: the same."""
    kinds = ("in_total", "in_answered", "in_missed", "out_total", "out_answered", "out_missed")
    return tuple(row[kind] for kind in kinds)


# rows and checkpoint


async def test_rows_and_checkpoint_are_one_transaction(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *told("2-1", 7))
        before = here.live.checkpoint, await here.rows("calls"), await here.rows("customers")
        legs = await here.connection.fetch("SELECT * FROM call_legs ORDER BY unique_id")
        await here.connection.execute("""
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'the last thing that is written fails'; END $$;
            CREATE TRIGGER fails BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION fail();
        """)
        with pytest.raises(asyncpg.RaiseError):
            await here.tell(*told("2-1", 8, timedelta(minutes=5)))
        after = (
            await CallTables(here.pool).checkpoint(),
            await here.rows("calls"),
            await here.rows("customers"),
        )
        assert after == before
        assert await here.connection.fetch("SELECT * FROM call_legs ORDER BY unique_id") == legs
        await here.connection.execute("DROP TRIGGER fails ON customers")
        await here.restart()
        await here.project()
        assert len(await here.rows("calls")) == 2
        assert counts((await here.rows("customers"))[0])[0] == 2


async def test_a_second_runner_is_fenced_and_writes_nothing(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *told("2-1", 7)[:3])
        second = here.runner()
        await second.load()
        await here.tell(*told("2-1", 7)[3:])
        rows = await here.rows("calls")
        with pytest.raises(Fenced) as fenced:
            await second.step()
        assert fenced.value.expected == second.checkpoint
        assert await here.rows("calls") == rows
        await second.load()
        assert await second.step() == 0, "what the other did is taken up"


async def test_two_runners_at_once_project_every_fact_once(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        runners = [here.runner(), here.runner()]
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        for number in range(6):
            await put(here.connection, told("2-1", number + 1, timedelta(minutes=number)))
            for runner in runners:
                runner.nudge()
            await asyncio.sleep(0.02)
        for runner in runners:
            runner.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        row = await customer(here)
        assert row is not None
        assert counts(row) == (6, 6, 0, 0, 0, 0)
        await here.restart()
        assert (await here.rebuild()).differences == []


async def test_a_first_write_over_another_runners_first_write_is_fenced(database):
    async with projected(database.dsn) as here:
        tables = CallTables(here.pool)
        await tables.write(Rows(), Checkpoint(), Checkpoint(1, 5, 5), lambda *_: None)
        with pytest.raises(Fenced):
            await tables.write(Rows(), Checkpoint(), Checkpoint(1, 6, 6), lambda *_: None)
        assert await tables.checkpoint() == Checkpoint(1, 5, 5)


async def test_a_checkpoint_may_be_at_any_position_of_a_bigint(database):
    async with projected(database.dsn) as here:
        tables = CallTables(here.pool)
        places = [Checkpoint(), *(Checkpoint(1, far, far) for far in (5, 2**31, 2**62))]
        for old, new in itertools.pairwise(places):
            await tables.write(Rows(), old, new, lambda *_: None)
        assert await tables.checkpoint() == places[-1]


async def test_a_runner_whose_first_rows_the_server_lost_in_a_crash_is_fenced(database):
    async with projected(database.dsn) as here:
        tables = CallTables(here.pool)
        await tables.write(Rows(), Checkpoint(), Checkpoint(1, 5, 5), lambda *_: None)
        await here.connection.execute("DELETE FROM checkpoints")  # as if that had never reached the disk
        with pytest.raises(Fenced):
            await tables.write(Rows(), Checkpoint(1, 5, 5), Checkpoint(1, 6, 6), lambda *_: None)
        assert await tables.checkpoint() == Checkpoint()


async def test_what_is_committed_while_the_last_batch_is_written_is_projected_before_the_end():
    steps = Steps()
    runner = steps.runner()
    steps.on_write = runner.stop
    await asyncio.wait_for(runner.run(), 10)
    assert steps.written == [Checkpoint(1, 1, 1), Checkpoint(1, 2, 2)]


@pytest.mark.parametrize("rests", [False, True])
async def test_what_it_is_told_of_while_it_writes_or_rests_is_projected_without_another_word(
    monkeypatch, rests
):
    monkeypatch.setattr(live, "POLL", 600.0)
    steps = Steps()
    runner = steps.runner()

    def wrote() -> None:
        if len(steps.written) == 2:
            runner.stop()
        elif rests:
            asyncio.get_running_loop().call_later(live.PACE / 2, runner.nudge)
        else:
            runner.nudge()

    steps.on_write = wrote
    await asyncio.wait_for(runner.run(), 10)
    assert steps.written == [Checkpoint(1, 1, 1), Checkpoint(1, 2, 2)]


class Steps:
    """Facts and tables of a runner: of two facts, each is there once the one before it was written."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.written: list[Checkpoint] = []
        self.on_write = lambda: None

    def runner(self) -> LiveCalls:
        return LiveCalls(
            self,
            self,
            metrics=Metrics(),
            now=lambda: AT,
            moved=lambda _: None,
            allowed=self.allowed,
            give_way=lambda _: asyncio.sleep(0),
        )

    async def checkpoint(self) -> Checkpoint:
        return Checkpoint()

    async def next(self, after: Checkpoint, limit: int, upto: object = None) -> tuple[list[Fact], Checkpoint]:
        assert limit == BATCH
        if after.position == 2:
            return [], after
        number = after.position + 1
        fact = Fact(number, "0367", f"leg/{number}", 1, "unknown", "live", AT, AT, b"")
        return [fact], Checkpoint(1, number, number)

    async def write(self, rows: Rows, old: Checkpoint, new: Checkpoint, name_of: object, due: object) -> None:
        self.written.append(new)
        self.on_write()

    async def directories(self, upto: int) -> list[Fact]:
        return []

    async def hosts(self):
        return []

    async def due(self):
        return {}

    async def unforgotten(self, upto) -> list[tuple[str, str]]:
        return []

    async def calls_of(self, legs: object, upto: int) -> list[Fact]:
        return []


# calls that merge


async def test_when_two_calls_prove_to_be_one_a_row_is_taken_back(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        await here.tell(
            event("start", "100.1", 0, CallType=0, Phone="375290000101", Trunk="0007001"),
            event("dial", "100.2", 1, CallType=1, Phone="375290000101", Extensions=["151"], Trunk="0007001"),
        )
        assert [row["call_id"] for row in await here.rows("calls")] == ["100.1", "100.2"]
        checkpoint = here.live.checkpoint
        await here.tell(
            event("bridge", "100.1", 2, BridgeUniqueid="B", CallerIDNum="375290000101"),
            event("bridge", "100.2", 2, BridgeUniqueid="B", CallerIDNum="151"),
        )
        assert here.live.checkpoint > checkpoint
        (row,) = await here.rows("calls")
        assert (row["call_id"], row["legs"]) == ("100.1", ["100.1", "100.2"])
        places = await here.connection.fetch("SELECT unique_id, call_id FROM call_legs ORDER BY unique_id")
        assert [tuple(place) for place in places] == [("100.1", "100.1"), ("100.2", "100.1")]
        assert (await here.rebuild()).differences == []


async def test_a_settled_call_that_merges_into_another_is_counted_once(database):
    ended = {"CallType": 0, "CallStatus": "0", "Phone": "375290000101", "Extensions": ["151"]}
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for unique_id in ("100.1", "100.2"):
            await here.tell(
                event("start", unique_id, 0, CallType=0, Phone="375290000101", Trunk="0007001"),
                event("hangup", unique_id, 9, Trunk="0007001", **ended),
            )
        row = await customer(here)
        assert row is not None
        assert counts(row) == (2, 0, 2, 0, 0, 0)
        await here.tell(event("new_callerid", "100.2", 10, Linkedid="100.1"))
        await here.tell(event("new_callerid", "100.1", 10, Linkedid="100.1"))
        assert [one["call_id"] for one in await here.rows("calls")] == ["100.1"]
        row = await customer(here)
        assert row is not None
        assert counts(row) == (1, 0, 1, 0, 0, 0)
        assert (await here.rebuild()).differences == []


# customers


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("2-1", (1, 1, 0, 0, 0, 0)),
        ("2-2", (1, 0, 1, 0, 0, 0)),
        ("1-1", (0, 0, 0, 1, 1, 0)),
        ("1-8", (0, 0, 0, 1, 0, 1)),
        ("3-1", None),
    ],
)
async def test_a_call_counts_once_and_by_its_outcome(database, name, counted):
    async with projected(database.dsn) as here:
        for fact in (*KNOWN, *told(name, 7)):
            await here.tell(fact)
        row = await customer(here)
        if counted is None:
            assert row is None, "an internal call has no customer"
            return
        assert row is not None
        (call,) = await here.rows("calls")
        assert counts(row) == counted, call["outcome"]
        assert {column: row[f"last_{column}"] for column in ("direction", "outcome", "talked", "line")} == {
            column: call[column] for column in ("direction", "outcome", "talked", "line")
        }
        assert (row["phone"], row["first_seen_at"], row["last_call_at"]) == (
            CUSTOMER,
            call["started_at"],
            call["started_at"],
        )
        assert row["last_seen_at"] == call["ended_at"]


async def test_calls_of_one_customer_add_up_and_the_newest_is_the_last(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for number, name in enumerate(["2-1", "2-2", "1-1", "1-8", "2-1"]):
            await here.tell(*told(name, number + 1, timedelta(hours=number)))
        row = await customer(here)
        assert row is not None
        assert counts(row) == (3, 2, 1, 2, 1, 1)
        calls = sorted(await here.rows("calls"), key=lambda call: call["started_at"])
        assert (row["first_seen_at"], row["last_call_at"]) == (
            calls[0]["started_at"],
            calls[-1]["started_at"],
        )
        assert (row["last_direction"], row["last_outcome"]) == ("in", "answered")


async def test_an_open_call_is_not_counted_yet_and_one_that_opens_again_not_any_more(database):
    whole = told("2-1", 7)
    hangup = next(fact for fact in whole if fact.kind == "hangup")
    before = whole[: whole.index(hangup)]
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *before)
        assert await customer(here) is None
        await here.tell(*whole[len(before) :])
        row = await customer(here)
        assert row is not None
        assert counts(row) == (1, 1, 0, 0, 0, 0)
        at = whole[-1].occurred_at + timedelta(seconds=1)
        body = msgspec.json.encode(
            {"UniqueId": hangup.stream[4:], "BridgeUniqueid": "C", "CallerIDNum": CUSTOMER}
        )
        await here.tell(arrival(hangup.stream[4:], body, kind="bridge", at=at))
        (call,) = await here.rows("calls")
        expected = None if call["outcome"] == "open" else counts(row)
        now = await customer(here)
        assert (counts(now) if now else None) == expected
        assert (await here.rebuild()).differences == []


async def test_a_customer_is_named_by_the_directory_company_before_person_and_renamed_by_it(database):
    def named(**entry: str) -> list[NewFact]:
        return change_facts([DirectoryChange("customer", CUSTOMER, {"phone": CUSTOMER, **entry})])

    async def name(here: Projected) -> str | None:
        row = await customer(here)
        assert row is not None
        return str(row["name"]) if row["name"] is not None else None

    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *named(name="Иван"), *told("2-1", 7))
        assert await name(here) == "Иван"
        await here.tell(*named(name="Иван", company="ООО «Июнь»"))
        assert await name(here) == "ООО «Июнь»"
        await here.restart()
        await here.tell(*told("2-1", 8, timedelta(minutes=5)))
        assert await name(here) == "ООО «Июнь»", "a new start knows the directory too"
        # the name and a call in one batch, and a stranger's name changes nobody
        other = change_facts([DirectoryChange("customer", "+375299", {"phone": "+375299", "name": "Кто"})])
        await here.tell(
            *named(name="Пётр"), *told("2-1", 9, timedelta(minutes=9)), *named(name="Павел"), *other
        )
        assert await name(here) == "Павел"
        await here.tell(*change_facts([DirectoryChange("customer", CUSTOMER)]))
        assert await name(here) is None
        assert (await here.rebuild()).differences == []


async def test_equal_ids_and_numbers_of_two_enterprises_stay_apart(database):
    call = told("2-1", 7)
    elsewhere = [msgspec.structs.replace(fact, enterprise="0368") for fact in call]
    profile = msgspec.structs.replace(DIRECTORY.profile, number="0368")
    other = changes(None, DIRECTORY.of(profile))
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *change_facts(other, "0368"))
        for mine, theirs in zip(call, elsewhere, strict=True):
            await here.tell(mine, theirs)
        rows = await here.rows("calls")
        assert [row["enterprise"] for row in rows] == ["0367", "0368"]
        assert rows[0]["call_id"] == rows[1]["call_id"]
        customers = await here.rows("customers")
        assert [(row["enterprise"], *counts(row)[:2]) for row in customers] == [
            ("0367", 1, 1),
            ("0368", 1, 1),
        ]
        assert (await here.rebuild()).differences == []


@pytest.mark.parametrize(
    "text", ["0007001\\u0000", "\\ud800", "x" * 40_000], ids=["NUL", "half-a-pair", "long"]
)
async def test_no_text_of_a_host_can_stop_the_projection(database, text):
    fields = ("Trunk", "Phone", "CallerIDNum", "ConnectedLineNum", "Exten", "EndTime", "CallStatus")
    told_so = ", ".join(f'"{field}": "{text}"' for field in fields)
    body = f'{{"UniqueId": "100.1", "CallType": 0, "Extensions": ["{text}", "151"], {told_so}}}'
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN)
        for kind in ("start", "new_callerid", "dial", "bridge", "hangup"):
            await here.tell(arrival("100.1", body.encode(), kind=kind))
            await here.tell(arrival("100.1", body.replace('0, "Ext', '1, "Ext').encode(), kind=kind))
        await here.tell(*told("2-1", 7))
        assert "answered" in {row["outcome"] for row in await here.rows("calls")}
        assert (await here.rebuild()).differences == []


@pytest.mark.parametrize("ended", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
async def test_no_time_of_a_host_can_stop_the_projection(database, ended):
    epochs = ["0", "253402300799", "253402300800", "9" * 30, "-1", "nan", "²³"]
    unique_ids = [*(f"{epoch}.1" for epoch in epochs), "1777885200." + "9" * 150]
    fields = {"CallType": 0, "CallStatus": "2", "Phone": "375290000101", "Extensions": ["151"]}
    times = {"StartTime": "0001-01-01 00:00:00", "EndTime": ended}
    async with projected(database.dsn) as here:
        for unique_id in unique_ids:
            for kind in ("start", "hangup"):
                await here.tell(event(kind, unique_id, 0, **fields, **times))
        assert [call["outcome"] for call in await here.rows("calls")] == ["answered"] * len(unique_ids)
        assert (await here.rebuild()).differences == []


async def test_a_store_that_goes_away_for_a_moment_delays_rows_and_loses_none(database):
    async with projected(database.dsn) as here:
        following = asyncio.create_task(here.live.run())
        await put(here.connection, [*KNOWN, *told("2-1", 7)[:4]])
        here.live.nudge()
        async with connected(database.dsn) as killer:
            for part in (told("2-1", 7)[4:8], told("2-1", 7)[8:]):
                await killer.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), $1::integer)",
                    here.connection.get_server_pid(),
                )
                await put(here.connection, part)
                here.live.nudge()
        async with asyncio.timeout(15):
            while [row["outcome"] for row in await here.rows("calls")] != ["answered"]:
                await asyncio.sleep(0.02)
        here.live.stop()
        await asyncio.wait_for(following, 10)
        assert (await here.rebuild()).differences == []


async def test_a_call_that_tells_a_sum_nothing_new_leaves_it_alone(database):
    async with projected(database.dsn) as here:
        await here.tell(*KNOWN, *told("2-1", 7))

        async def stands() -> list[tuple[str, int]]:
            """Every row of the sums as PostgreSQL's own place of it: another where it was written again."""
            tables = ("customers", "agents", "traffic")
            found = [
                await here.connection.fetch(f"SELECT ctid::text, xmin::text FROM {one}") for one in tables
            ]
            assert all(found)
            return [tuple(row) for rows in found for row in rows]

        before, position = await stands(), (await here.rows("calls"))[0]["last_position"]
        late = told("2-1", 7)[-1]
        await here.tell(msgspec.structs.replace(late, body=late.body.replace(b"}", b', "Twice": 1}', 1)))
        assert (await here.rows("calls"))[0]["last_position"] > position
        assert await stands() == before
        assert await here.connection.fetchval("SELECT sum(begun) FROM traffic") == 1
