"""One suite that the event store in PostgreSQL and the one in memory both pass (actors.ports.FactLog).

The tables that say which legs make a call are written by the same projection in both.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import msgspec
import pytest

from actors.ports import Appended, FactLog, StoreUnavailable, VersionConflict
from adapters.store.log import EventStore
from adapters.store.tables import CallTables
from calls.deliveries import DeliveryIntended, DeliverySent, DeliveryWithdrawn, write_delivery
from calls.entries import DirectoryChange
from calls.exchange import Belonging
from calls.facts import (
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    NEWEST,
    SILENCE_OBSERVED,
    Fact,
    NewFact,
    bridge_stream,
    delivery_stream,
    leg_stream,
)
from calls.observations import Silence, write_silence
from calls.scenarios import catalogue
from otel.metrics import Metrics
from projections.live import LiveCalls
from projections.ports import Checkpoint, FactReader, Fenced, Rows, Tables
from tests.folding import ENTERPRISE, EPOCH, played_facts
from tests.memory_log import MemoryLog
from tests.storing import again, writing

ALL = 1 << 40
A, B, C = "1777885200.1", "1777885201.2", "1777885202.3"
CHATS = [(ENTERPRISE, 1001)]


@dataclass
class Store:
    """A log, what reads it for projections, the tables that it is projected into, and who was told of commits."""

    log: FactLog
    reader: FactReader
    tables: Tables
    committed: list[Fact]
    stop: Callable[[], Awaitable[None]]
    parked: Callable[[], Awaitable[list[tuple[str, int, str]]]]

    async def put(self, facts: Iterable[NewFact]) -> list[Appended]:
        return [await self.log.append(fact, within=5) for fact in facts]

    async def project(self) -> None:
        """Bring the tables up to the newest fact."""
        allowed = asyncio.Event()
        allowed.set()

        async def give_way(_: float) -> None:
            await asyncio.sleep(0)

        live = LiveCalls(
            self.reader,
            self.tables,
            metrics=Metrics(),
            now=lambda: EPOCH,
            moved=lambda _: None,
            allowed=allowed,
            give_way=give_way,
        )
        await live.load()
        while await live.step():
            pass


def in_memory() -> Store:
    log = MemoryLog()
    committed: list[Fact] = []
    log.committed = committed.extend

    async def stop() -> None:
        log.down = True

    async def parked() -> list[tuple[str, int, str]]:
        return [(place, position, reason) for (place, position), reason in log.parked.items()]

    return Store(log, log, log.tables, committed, stop, parked)


async def in_postgres(dsn: str, stack: AsyncExitStack) -> Store:
    followed = await stack.enter_async_context(writing(dsn))
    pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=2))
    tables = CallTables(pool)

    async def stop() -> None:
        followed.writer.stop()
        await asyncio.wait([followed.task], timeout=10)
        await pool.close()

    async def parked() -> list[tuple[str, int, str]]:
        rows = await pool.fetch("SELECT place, position, reason FROM parked ORDER BY position")
        return [(row[0], row[1], row[2]) for row in rows]

    return Store(EventStore(pool, followed.writer), tables, tables, followed.told, stop, parked)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield in_memory()
        else:
            yield await in_postgres(request.getfixturevalue("database").dsn, stack)


def arrival(
    kind: str, unique_id: str, bridge: str = "", enterprise: str = ENTERPRISE, **fields: object
) -> NewFact:
    body = json.dumps({"UniqueId": unique_id, "BridgeUniqueid": bridge, **fields}).encode()
    return NewFact(
        enterprise=enterprise,
        stream=leg_stream(unique_id) if unique_id else bridge_stream(bridge),
        kind=kind,
        source="live",
        occurred_at=EPOCH,
        body=body,
        meta=b'{"request_id":"r-1"}',
    )


def start(unique_id: str, **fields: object) -> NewFact:
    return arrival("start", unique_id, Phone="375290000101", Trunk="0007001", **fields)


def hangup(unique_id: str) -> NewFact:
    return arrival("hangup", unique_id, CallType=0, CallStatus="0")


def silent(unique_id: str) -> NewFact:
    body = write_silence(Silence("silence", 7200.0, 1))
    return msgspec.structs.replace(arrival(SILENCE_OBSERVED, unique_id), source="service", body=body)


def sent(call_id: str, chat_id: int = 1001, enterprise: str = ENTERPRISE) -> NewFact:
    kind, body = write_delivery(DeliverySent(call_id, chat_id, 7, "h", "ended"))
    return NewFact(
        enterprise=enterprise,
        stream=delivery_stream(call_id, chat_id),
        kind=kind,
        source="service",
        occurred_at=EPOCH,
        body=body,
    )


def withdrawn(call_id: str, chat_id: int = 1001) -> NewFact:
    kind, body = write_delivery(DeliveryWithdrawn(call_id, chat_id, 7))
    return msgspec.structs.replace(sent(call_id, chat_id), kind=kind, body=body)


def intended(call_id: str, chat_id: int = 1001) -> NewFact:
    kind, body = write_delivery(DeliveryIntended(call_id, chat_id, "h", "try-1"))
    return msgspec.structs.replace(sent(call_id, chat_id), kind=kind, body=body)


def deciding(fact: NewFact, version: int) -> NewFact:
    return msgspec.structs.replace(fact, expected_version=version)


def keyed(fact: NewFact, key: str) -> NewFact:
    return msgspec.structs.replace(fact, idempotency_key=key)


def positions(facts: Iterable[Fact]) -> list[int]:
    return [fact.position for fact in facts]


# appending


async def test_a_fact_is_read_as_it_was_appended(store):
    told = keyed(arrival("start", A, Phone="<unknown>\u0000"), "key")
    assert await store.log.append(told, within=5) == Appended(1, 1)
    (fact,) = await store.log.read_after(0, ALL, 10)
    for name in ("enterprise", "stream", "kind", "source", "occurred_at", "body", "meta"):
        assert getattr(fact, name) == getattr(told, name)
    assert (fact.position, fact.version) == (1, 1)
    assert store.committed == [fact]


async def test_positions_grow_and_versions_count_within_a_stream(store):
    places = await store.put([start(A), start(B), hangup(A), start(A, enterprise="0999")])
    assert [place.version for place in places] == [1, 1, 2, 1]
    assert [place.position for place in places] == sorted(place.position for place in places)
    assert positions(store.committed) == [place.position for place in places]


async def test_a_fact_decided_on_another_version_is_refused_and_says_so(store):
    await store.put([start(A)])
    with pytest.raises(VersionConflict) as conflict:
        await store.log.append(deciding(hangup(A), 0), within=5)
    assert (conflict.value.stream, conflict.value.expected) == (leg_stream(A), 0)
    with pytest.raises(VersionConflict):
        await store.log.append(deciding(hangup(A), 2), within=5)
    assert (await store.log.append(deciding(hangup(A), 1), within=5)).version == 2
    assert (await store.log.append(deciding(start(B), 0), within=5)).version == 1
    assert [fact.version for fact in await store.log.read_after(0, ALL, 10)] == [1, 2, 1]


async def test_of_several_decided_on_one_version_at_once_one_is_stored(store):
    await store.put([start(A)])
    ends = await asyncio.gather(
        *(store.log.append(deciding(hangup(A), 1), within=5) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(end, Appended) for end in ends) == 1
    assert sum(isinstance(end, VersionConflict) for end in ends) == 7


async def test_arrivals_at_once_are_never_refused(store):
    places = await asyncio.gather(*(store.log.append(hangup(A), within=5) for _ in range(20)))
    assert sorted(place.version for place in places) == list(range(1, 21))


async def test_a_key_stores_once_for_each_enterprise(store):
    (first,) = await store.put([keyed(start(A), "key")])
    assert await store.log.append(keyed(hangup(B), "key"), within=5) == Appended(
        first.position, first.version, known=True
    )
    (other,) = await store.put([keyed(start(A, enterprise="0999"), "key")])
    assert not other.known
    assert len(await store.log.read_after(0, ALL, 10)) == len(store.committed) == 2


async def test_whoever_has_a_deadline_is_told_that_the_store_is_gone(store):
    await store.stop()
    with pytest.raises(StoreUnavailable):
        await store.log.append(start(A), within=0.5)
    with pytest.raises(StoreUnavailable):
        await store.log.read_after(0, ALL, 10)
    with pytest.raises(StoreUnavailable):
        await store.log.read_calls([(ENTERPRISE, A)], CHATS, ALL)


# reading


async def test_reading_after_a_position_and_up_to_another_in_pages(store):
    told = [place.position for place in await store.put(start(f"1777885200.{n}") for n in range(5))]
    assert positions(await store.log.read_after(0, ALL, 3)) == told[:3]
    assert positions(await store.log.read_after(told[1], told[3], 10)) == told[2:4]
    assert await store.log.read_after(told[-1], ALL, 10) == []


async def test_a_call_is_read_with_all_its_legs_bridges_and_deliveries(store):
    await store.put(
        [
            arrival("bridge_create", "", "X"),
            start(A),
            start(C, enterprise="0999"),
            arrival("bridge", A, "X"),
            start(C),
            arrival("bridge", B, "X"),
            intended(A),
            sent(A),
            sent(A, chat_id=2002),
            sent(B),
            sent(C),
            arrival("bridge_leave", B, "Y"),
            arrival("bridge_destroy", "", "Y"),
            arrival("bridge_destroy", "", "X"),
            arrival("bridge_destroy", "", "Z"),
            hangup(A),
        ]
    )
    await store.project()
    whole = [1, 2, 4, 6, 7, 8, 10, 12, 13, 14, 16]
    assert positions(await store.log.read_calls([(ENTERPRISE, A)], CHATS, ALL)) == whole
    assert positions(await store.log.read_calls([(ENTERPRISE, B)], CHATS, ALL)) == whole
    assert positions(await store.log.read_calls([(ENTERPRISE, B)], CHATS, 9)) == [1, 2, 4, 6, 7, 8]
    assert positions(await store.log.read_calls([(ENTERPRISE, B)], (), ALL)) == [1, 2, 4, 6, 12, 13, 14, 16]
    assert positions(await store.reader.calls_of([(ENTERPRISE, B)], ALL)) == [1, 2, 4, 6, 12, 13, 14, 16]
    both = await store.log.read_calls([(ENTERPRISE, B), ("0999", C)], CHATS, ALL)
    assert positions(both) == sorted([*whole, 3])
    assert await store.log.read_calls([("0999", A)], CHATS, ALL) == []


async def test_a_leg_that_no_table_knows_comes_alone(store):
    await store.put(
        [start(A), arrival("bridge", A, "X"), arrival("bridge", B, "X"), arrival("bridge_destroy", "", "X")]
    )
    assert positions(await store.log.read_calls([(ENTERPRISE, B)], CHATS, ALL)) == [3, 4]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"UniqueId":"1777885200.1","BridgeUniqueid":1757840723.10}',
        b'{"UniqueId":"1777885200.1","BridgeUniqueid":" 1757840723.10 ","CallType":1.5}',
    ],
)
async def test_the_bridges_of_a_call_are_found_however_its_events_were_written(store, odd):
    enter = msgspec.structs.replace(arrival("bridge", A, "1757840723.10"), body=odd)
    await store.put([start(A), enter, arrival("bridge_destroy", "", "1757840723.10")])
    assert positions(await store.log.read_calls([(ENTERPRISE, A)], CHATS, ALL)) == [1, 2, 3]


async def test_a_stored_body_that_no_longer_can_be_read_does_not_hide_its_call(store):
    broken = msgspec.structs.replace(arrival("bridge", A, "X"), body=b"no JSON")
    await store.put([start(A), broken, hangup(A)])
    assert positions(await store.log.read_calls([(ENTERPRISE, A)], CHATS, ALL)) == [1, 2, 3]


async def test_directories_of_all_enterprises_in_order(store):
    def change(enterprise: str, extension: str) -> NewFact:
        told = DirectoryChange("manager", extension, {"extension": extension})
        return NewFact(
            enterprise=enterprise,
            stream=DIRECTORY_STREAM,
            kind=DIRECTORY_CHANGED,
            source="service",
            occurred_at=EPOCH,
            body=msgspec.json.encode(told),
        )

    await store.put([change("0367", "150"), start(A), change("0999", "150"), change("0367", "151")])
    assert positions(await store.log.read_directories(ALL)) == [1, 3, 4]
    assert positions(await store.log.read_directories(3)) == [1, 3]
    assert positions(await store.reader.directories(3)) == [1, 3]


# what is left to do


async def unsettled(store: Store) -> list[str]:
    return sorted(
        call_id for _, call_id in await store.log.unsettled_calls([(*chat, 0) for chat in CHATS], 0, NEWEST)
    )


async def test_open_calls_and_legs_that_make_no_call_yet_are_unsettled(store):
    await store.put([start(A), arrival("new_callerid", B), start(C), hangup(C), sent(C), sent(A)])
    await store.project()
    assert await unsettled(store) == [A, B]
    assert await store.log.projected() == 6


async def test_a_settled_call_is_unsettled_until_its_last_state_was_shown(store):
    await store.put([start(A), sent(A), hangup(A)])
    await store.project()
    assert await unsettled(store) == [A], "the end was not shown yet"
    assert await store.log.unsettled_calls([], 0, NEWEST) == [], "nobody is to be shown it"
    await store.put([intended(A)])
    assert await unsettled(store) == [A], "an intent alone shows nothing"
    await store.put([sent(A, chat_id=2002)])
    assert await unsettled(store) == [A], "another chat was shown it"
    await store.put([sent(A)])
    assert await unsettled(store) == []


async def test_a_settled_call_is_unsettled_while_the_message_of_a_leg_that_joined_it_stands(store):
    await store.put([start(A), arrival("bridge", B, "X"), sent(B), arrival("bridge", A, "X")])
    await store.put([arrival("bridge_leave", A, "X"), arrival("bridge_leave", B, "X"), hangup(A), sent(A)])
    await store.project()
    assert await unsettled(store) == [A]
    await store.put([withdrawn(B)])
    assert await unsettled(store) == []


async def test_a_call_that_is_the_first_fact_for_hours_is_unsettled_as_well(store):
    await store.put([hangup(A)])
    await store.project()
    assert await unsettled(store) == [A]
    assert await store.reader.unforgotten(ALL) == [(ENTERPRISE, A)]


async def test_a_call_that_silence_ended_is_taken_up_for_a_while_though_its_end_was_shown(store):
    await store.put([start(A), silent(A), hangup(B), sent(A), sent(B)])
    await store.project()
    assert await unsettled(store) == [A]
    assert (ENTERPRISE, A) in await store.reader.unforgotten(ALL)


async def test_whose_leg_is_whose_is_told_as_the_tables_have_it(store):
    await store.put([start(A), arrival("bridge", B, "X"), arrival("bridge", A, "X"), start(C)])
    assert await store.reader.whose([(ENTERPRISE, A)]) == {}
    await store.project()
    told, alone = Belonging(A, lost=False), Belonging(C, lost=False)
    assert await store.reader.whose([(ENTERPRISE, B)]) == {(ENTERPRISE, A): told, (ENTERPRISE, B): told}
    assert await store.log.whose([(ENTERPRISE, C)]) == {(ENTERPRISE, C): alone}


async def test_nothing_is_unsettled_in_an_empty_store(store):
    assert await store.log.unsettled_calls([(*chat, 0) for chat in CHATS], 0, NEWEST) == []
    assert await store.log.projected() == 0
    assert await store.reader.unforgotten(ALL) == []
    assert await store.reader.next(Checkpoint(), 10) == ([], Checkpoint())


async def test_a_parked_fact_is_noted_once_with_its_last_reason(store):
    await store.put([start(A), hangup(A)])
    first, second = await store.log.read_after(0, ALL, 10)
    await store.log.park("actors", first, "because\0")
    await store.log.park("actors", second, "of that")
    await store.log.park("actors", first, "again")
    await store.log.park("calls", first, "elsewhere")
    assert sorted(await store.parked()) == [
        ("actors", 1, "again"),
        ("actors", 2, "of that"),
        ("calls", 1, "elsewhere"),
    ]


# the projection's side


async def test_tables_are_written_by_whoever_moves_their_checkpoint(store):
    await store.put([start(A)])
    facts, reached = await store.reader.next(Checkpoint(), 10)
    assert positions(facts) == [1]
    await store.project()
    at = await store.tables.checkpoint()
    assert at == reached
    with pytest.raises(Fenced):
        await store.tables.write(Rows(), Checkpoint(), reached, lambda *_: None)
    assert await store.reader.next(at, 10) == ([], at)


@pytest.mark.parametrize("scenario", catalogue().values(), ids=lambda scenario: scenario.id)
async def test_the_same_scenario_leaves_the_same_to_be_done(scenario, database):
    """Step by step the two logs answer alike, whatever has been stored and projected so far."""
    async with AsyncExitStack() as stack:
        one, other = in_memory(), await in_postgres(database.dsn, stack)
        for fact in again(played_facts(scenario.events(EPOCH.timestamp(), 1))):
            answers = []
            for each in (one, other):
                await each.put([fact])
                await each.project()
                legs = await each.reader.unforgotten(ALL)
                answers.append(
                    (
                        sorted(await each.log.unsettled_calls([(*chat, 0) for chat in CHATS], 0, NEWEST)),
                        sorted(legs),
                        positions(await each.log.read_calls(legs, CHATS, ALL)),
                        await each.log.projected(),
                    )
                )
            assert answers[0] == answers[1]
