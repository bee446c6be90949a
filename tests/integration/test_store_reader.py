"""Readers never skip: order, horizon, incarnations, pages; and reading by call."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from adapters.store.lock import settle_incarnation
from adapters.store.puts import Puts
from adapters.store.reader import (
    read_after,
    read_below_horizon,
    read_calls,
    read_directories,
    recent_requests,
    unsettled_calls,
    whose,
)
from calls.chats import ChatAsked, ChatPaused, write_asked, write_paused
from calls.deliveries import (
    DeliveryEdited,
    DeliveryIntended,
    DeliveryRefused,
    DeliverySent,
    write_delivery,
)
from calls.exchange import Belonging
from calls.facts import (
    CHAT_ASKED,
    CHAT_PAUSED,
    DIRECTORY_CHANGED,
    DIRECTORY_STREAM,
    NEWEST,
    Fact,
    NewFact,
    bridge_stream,
    chat_stream,
    delivery_stream,
    notice_stream,
)
from calls.visits import Visit
from projections.names import NAMES
from projections.ports import Checkpoint, Rows
from tests.storing import AT, arrival, connected, gate, projected, put

INSERT = (
    "INSERT INTO facts (incarnation, month, enterprise, stream, version, kind, source, occurred_at, body, meta)"
    " VALUES ($1, facts_month('leg/' || $2), '0367', 'leg/' || $2, 1, $3, 'live', now(), '{}', '')"
)


class Reader:
    """Follows the horizon and keeps what it read."""

    def __init__(self, connection: asyncpg.Connection, limit: int = 100) -> None:
        self.connection, self.limit = connection, limit
        self.checkpoint = Checkpoint()
        self.read: list[str] = []

    async def step(self) -> list[str]:
        found = await read_below_horizon(self.connection, self.checkpoint, self.limit)
        self.checkpoint = found.checkpoint
        names = [fact.stream.partition("/")[2] for fact in found.facts]
        self.read += names
        return names

    async def to_the_end(self) -> list[str]:
        before = len(self.read)
        while await self.step():
            pass
        return self.read[before:]


async def test_a_row_held_invisible_by_an_open_transaction_is_not_skipped(database):
    async with (
        connected(database.dsn) as slow,
        connected(database.dsn) as fast,
        connected(database.dsn) as reading,
        gate(database.dsn) as door,
    ):
        incarnation = await settle_incarnation(fast)
        await put(fast, [arrival("before", kind="dial")])
        inserting = asyncio.ensure_future(slow.execute(INSERT, incarnation, "slow", "start"))
        await door.held(1)  # it has its position, and nobody sees it
        await put(fast, [arrival("fast", kind="dial")])

        reader = Reader(reading, limit=1)
        assert await reader.to_the_end() == ["before"], "what may yet be overtaken is not read"
        seen_by_position = await read_after(reading, 0, NEWEST, 100)
        assert [fact.stream for fact in seen_by_position] == ["leg/before", "leg/fast"], "the row was skipped"
        await door.open()
        await inserting
        assert await reader.to_the_end() == ["slow", "fast"]
        positions = [fact.position for fact in await read_after(reading, 0, NEWEST, 100)]
        assert positions == sorted(positions)
        assert len(positions) == 3


async def test_a_transaction_that_began_early_and_wrote_late_is_read_once_and_in_its_place(database):
    async with connected(database.dsn) as early, connected(database.dsn) as late:
        incarnation = await settle_incarnation(late)
        reader = Reader(late, limit=1)
        async with early.transaction():
            await early.execute("SELECT pg_current_xact_id()")
            await put(late, [arrival("late")])
            await early.execute(INSERT, incarnation, "early", "start")
            assert await reader.to_the_end() == []
        assert await reader.to_the_end() == ["early", "late"], "by transaction, not by position"
        positions = await late.fetch("SELECT stream FROM facts ORDER BY position")
        assert [row["stream"] for row in positions] == ["leg/late", "leg/early"]


async def test_a_rolled_back_transaction_holds_nothing_back_and_leaves_nothing(database):
    async with connected(database.dsn) as doomed, connected(database.dsn) as connection:
        incarnation = await settle_incarnation(connection)
        doomed_transaction = doomed.transaction()
        await doomed_transaction.start()
        await doomed.execute(INSERT, incarnation, "doomed", "start")
        await put(connection, [arrival("kept")])
        reader = Reader(connection)
        assert await reader.to_the_end() == []
        await doomed_transaction.rollback()
        assert await reader.to_the_end() == ["kept"]


async def test_a_transaction_that_only_reads_holds_nothing_back(database):
    async with (
        connected(database.dsn) as analyst,
        connected(database.dsn) as connection,
        analyst.transaction(isolation="repeatable_read", readonly=True),
    ):
        await analyst.fetch("SELECT count(*) FROM facts")
        await put(connection, [arrival("fresh")])
        assert await Reader(connection).to_the_end() == ["fresh"]


async def test_facts_of_an_older_incarnation_come_first_whatever_their_transaction_ids(database):
    async with connected(database.dsn) as connection:
        number = await settle_incarnation(connection)
        await put(connection, [arrival("old")])
        # as a restored dump has them: ids far above this cluster's, and those above the horizon are decided
        await connection.execute("UPDATE facts SET xid = '900000000'::xid8")
        await connection.execute("UPDATE incarnations SET system_identifier = 'another cluster'")
        assert await settle_incarnation(connection) == number + 1
        assert await settle_incarnation(connection) == number + 1, "it grows once"
        reader = Reader(connection)
        assert await reader.to_the_end() == ["old"]
        await put(connection, [arrival("new")])
        assert await reader.to_the_end() == ["new"]
        assert await Reader(connection).to_the_end() == ["old", "new"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_of_any_size_give_every_fact_once(database, limit):
    async with connected(database.dsn) as connection:
        for size in (1, 5, 2, 9, 3):  # transactions of several facts may be cut by a page
            await put(connection, [arrival(f"{size}.{number}") for number in range(size)])
        whole = [
            row["stream"].removeprefix("leg/")
            for row in await connection.fetch("SELECT stream FROM facts ORDER BY position")
        ]
        reader = Reader(connection, limit)
        assert await reader.to_the_end() == whole
        assert await reader.step() == []


async def test_reading_up_to_a_checkpoint_ends_at_it(database):
    async with connected(database.dsn) as connection:
        await put(connection, [arrival(f"1.{number}") for number in range(5)])
        middle = (await read_below_horizon(connection, Checkpoint(), 3)).checkpoint
        await put(connection, [arrival("2.1")])
        upto = await read_below_horizon(connection, Checkpoint(), 100, middle)
        assert (len(upto.facts), upto.checkpoint) == (3, middle)
        assert (await read_below_horizon(connection, middle, 100, middle)).facts == []
        assert len((await read_below_horizon(connection, middle, 100)).facts) == 3


async def test_a_fact_is_read_as_it_was_written(database):
    async with connected(database.dsn) as connection:
        wanted = arrival("1.1", b'{"b":\xff\x00}', at=AT + timedelta(microseconds=1), key="k")
        written = await put(connection, [wanted], recorded_at=AT + timedelta(days=1))
        place = written.stored[0][1]
        read = await read_below_horizon(connection, Checkpoint(), 10)
        assert read.facts == [
            Fact(
                place.position,
                "0367",
                "leg/1.1",
                1,
                "start",
                "live",
                AT + timedelta(microseconds=1),
                AT + timedelta(days=1),
                b'{"b":\xff\x00}',
                b"",
            )
        ]


# by call


def bridge_event(unique_id: str, bridge: str, kind: str = "bridge") -> NewFact:
    body = {"UniqueId": unique_id, "BridgeUniqueid": bridge}
    return arrival(unique_id, json.dumps(body).encode(), kind=kind)


def of_bridge(bridge: str, enterprise: str = "0367") -> NewFact:
    return NewFact(
        enterprise=enterprise,
        stream=bridge_stream(bridge),
        kind="bridge_destroy",
        source="live",
        occurred_at=AT,
        body=b"{}",
    )


def delivered(call_id: str, delivery, chat_id: int = 1001) -> NewFact:
    kind, body = write_delivery(delivery)
    return NewFact(
        enterprise="0367",
        stream=delivery_stream(call_id, chat_id),
        kind=kind,
        source="service",
        occurred_at=AT,
        body=body,
    )


def sent(call_id: str, phase: str = "begun") -> NewFact:
    return delivered(call_id, DeliverySent(call_id, 1001, 7, "hash", phase))


def edited(call_id: str, phase: str, upto: int | None = None) -> NewFact:
    return delivered(call_id, DeliveryEdited(call_id, 1001, 7, "other hash", phase, upto))


async def test_whose_each_leg_of_a_call_is_and_what_it_visited_is_read_as_it_was_written(database):
    guest = Belonging("1.1", lost=False, visits=(Visit(7, 0, "1.1"), Visit(2**40, 1, "1.3")))
    alone = Belonging("5.5", lost=True)
    told = [("0367", "1.2", guest), ("0367", "1.1", Belonging("1.1", lost=False)), ("0367", "5.5", alone)]
    async with projected(database.dsn) as here:
        await Puts("", NAMES).write(here.connection, Rows(belongings=told), [], [])
        found = await whose(here.connection, [("0367", "1.1"), ("0367", "5.5"), ("0368", "1.1")])
        assert found == {(enterprise, leg): place for enterprise, leg, place in told}


async def test_a_call_is_read_with_its_legs_bridges_and_deliveries_and_nobody_elses(database):
    async with connected(database.dsn) as connection:
        await connection.executemany(
            "INSERT INTO call_legs (enterprise, unique_id, call_id, lost) VALUES ($1, $2, $3, false)",
            [("0367", "1.1", "1.1"), ("0367", "1.2", "1.1"), ("0367", "5.5", "5.5"), ("0368", "1.2", "1.2")],
        )
        await put(
            connection,
            [
                arrival("1.1"),
                arrival("1.2", enterprise="0368"),
                bridge_event("1.2", "B"),
                of_bridge("B"),
                of_bridge("B", "0368"),
                of_bridge("another"),
                sent("1.1"),
                arrival("5.5"),
                sent("5.5"),
                bridge_event("1.1", "B", "bridge_leave"),
            ],
        )
        facts = await read_calls(connection, [("0367", "1.2")], [("0367", 1001), ("0368", 1001)], NEWEST)
        assert [(fact.enterprise, fact.stream, fact.kind) for fact in facts] == [
            ("0367", "leg/1.1", "start"),
            ("0367", "leg/1.2", "bridge"),
            ("0367", "bridge/B", "bridge_destroy"),
            ("0367", "delivery/1001/1.1", "delivery_sent"),
            ("0367", "leg/1.1", "bridge_leave"),
        ]
        upto = facts[2].position
        assert await read_calls(connection, [("0367", "1.1")], [("0367", 1001)], upto) == facts[:3]
        unknown = await read_calls(connection, [("0367", "7.7")], [], NEWEST)
        assert unknown == []


async def test_directories_are_read_by_enterprise_and_by_position(database):
    def change(enterprise: str) -> NewFact:
        return NewFact(
            enterprise=enterprise,
            stream=DIRECTORY_STREAM,
            kind=DIRECTORY_CHANGED,
            source="service",
            occurred_at=AT,
            body=b"{}",
        )

    async with connected(database.dsn) as connection:
        await put(connection, [change("0367"), arrival("1.1"), change("0368"), change("0367")])
        everybody = await read_directories(connection, NEWEST)
        assert [fact.enterprise for fact in everybody] == ["0367", "0368", "0367"]
        assert await read_directories(connection, everybody[1].position) == everybody[:2]
        assert await read_directories(connection, NEWEST, "0368") == everybody[1:2]


# what a start has to look after

CALL = """
INSERT INTO calls (enterprise, call_id, direction, origin, outcome, rung, talked, consulted, started_at, source,
                   legs, last_position)
VALUES ('0367', $1, 'in', 'pbx', $2, '{}', '{}', '{}', now(), 'live', '{}', $3)
"""


async def unsettled(connection: asyncpg.Connection, chats: list[tuple[str, int]], hours: float = 6) -> list:
    """Nothing is kept for a late leg's sake."""
    return await unsettled_calls(
        connection, [(*chat, 0) for chat in chats], timedelta(hours=hours), timedelta()
    )


async def after_facts(connection: asyncpg.Connection, *deliveries: NewFact, outcome: str = "missed") -> list:
    """What is unsettled where a call's last event stands at position 3 and these facts came after it."""
    await put(connection, [arrival("1.1"), arrival("9.9"), arrival("1.1", kind="hangup")])
    await connection.execute(CALL, "1.1", outcome, 3)
    if deliveries:
        await put(connection, deliveries)
    return await unsettled(connection, [("0367", 1001)])


@pytest.mark.parametrize(
    "last_word",
    [sent("1.1", "ended"), delivered("1.1", DeliveryRefused("1.1", 1001, "blocked"))],
    ids=["shown", "refused-for-good"],
)
async def test_an_open_call_is_unsettled_and_a_settled_one_until_its_end_is_shown(database, last_word):
    async with connected(database.dsn) as connection:
        assert await after_facts(connection, outcome="open") == [("0367", "1.1")]
        await connection.execute("UPDATE calls SET outcome = 'missed'")
        chats = [("0367", 1001)]
        assert await unsettled(connection, chats) == [("0367", "1.1")]
        assert await unsettled(connection, []) == [], "nobody is to be shown it"
        intent = DeliveryIntended("1.1", 1001, "hash", "try")
        await put(connection, [delivered("1.1", intent)])
        assert await unsettled(connection, chats) == [("0367", "1.1")]
        await put(connection, [last_word])
        assert await unsettled(connection, chats) == []


async def test_what_a_chat_refused_before_it_came_back_is_no_last_word(database):
    async with connected(database.dsn) as connection:
        refused = delivered("1.1", DeliveryRefused("1.1", 1001, "blocked"))
        await put(connection, [arrival("1.1"), refused, arrival("9.9"), arrival("1.1", kind="hangup")])
        await connection.execute(CALL, "1.1", "missed", 4)
        found = {}
        for since in (1, 3):
            chats = [("0367", 1001, since)]
            found[since] = await unsettled_calls(connection, chats, timedelta(hours=6), timedelta())
        assert found == {1: [], 3: [("0367", "1.1")]}


async def test_a_card_of_an_earlier_state_recorded_after_the_hangup_does_not_count_as_its_end(database):
    async with connected(database.dsn) as connection:
        # the edit was under way while the hangup was stored, and then the service was killed
        assert await after_facts(connection, edited("1.1", "talking")) == [("0367", "1.1")]
        refused = DeliveryRefused("1.1", 1001, "too_many_requests", final=False)
        await put(connection, [delivered("1.1", refused)])
        assert await unsettled(connection, [("0367", 1001)]) == [("0367", "1.1")]
        await put(connection, [edited("1.1", "ended")])
        assert await unsettled(connection, [("0367", 1001)]) == []


async def test_an_end_that_was_shown_before_the_newest_facts_were_known_is_not_the_last(database):
    async with connected(database.dsn) as connection:
        # ended, told of again and ended anew: the edit of the first end was recorded after the facts of the second
        assert await after_facts(connection, edited("1.1", "ended", upto=2)) == [("0367", "1.1")]
        await put(connection, [edited("1.1", "ended", upto=3)])
        assert await unsettled(connection, [("0367", 1001)]) == []


async def test_a_call_that_was_over_before_a_chat_was_to_be_shown_it_is_not_looked_at_for_its_sake(database):
    async with connected(database.dsn) as connection:
        await after_facts(connection)
        window, none = timedelta(hours=6), timedelta()
        assert await unsettled_calls(connection, [("0367", 1001, 2)], window, none) == [("0367", "1.1")]
        assert await unsettled_calls(connection, [("0367", 1001, 4)], window, none) == []


async def test_a_leg_that_was_told_of_and_belongs_elsewhere_since_has_to_be_untold(database):
    async with connected(database.dsn) as connection:
        end = edited("1.1", "ended", upto=3)
        assert await after_facts(connection, end) == []
        await put(connection, [arrival("9.9"), edited("1.1", "ended", upto=5)])
        assert await unsettled(connection, [("0367", 1001)]) == [("0367", "1.1")]


async def test_a_call_whose_reply_is_to_ring_is_unsettled_until_something_became_of_the_reply(database):
    def of_reply(delivery) -> NewFact:
        fact = delivered("1.1", delivery)
        return msgspec.structs.replace(fact, stream=notice_stream("1.1", 1001))

    async with connected(database.dsn) as connection:
        shown = delivered("1.1", DeliveryEdited("1.1", 1001, 7, "hash", "ended", 3, notice=True))
        assert await after_facts(connection, shown) == [("0367", "1.1")]
        await put(connection, [of_reply(DeliveryIntended("1.1", 1001, "hash", "try"))])
        assert await unsettled(connection, [("0367", 1001)]) == [("0367", "1.1")]
        await put(connection, [of_reply(DeliverySent("1.1", 1001, 8, "hash", "ended"))])
        assert await unsettled(connection, [("0367", 1001)]) == []


async def test_what_was_asked_of_telegram_lately_is_known_by_chat(database):
    async with connected(database.dsn) as connection:
        at = datetime.now(UTC)
        await put(connection, [edited("1.1", "ended")], recorded_at=at - timedelta(seconds=90))
        await put(connection, [arrival("1.1"), sent("1.1", "begun")], recorded_at=at - timedelta(seconds=20))
        await put(
            connection, [delivered("1.2", DeliveryIntended("1.2", -5, "hash", "try"), -5)], recorded_at=at
        )
        found = (await recent_requests(connection, timedelta(seconds=60))).requests
        assert {chat: [round(age / 20) for age in ages] for chat, ages in found.items()} == {
            ("0367", -5): [0]
        }
        await put(connection, [edited("1.1", "ended")], recorded_at=at - timedelta(seconds=40))
        found = (await recent_requests(connection, timedelta(seconds=60))).requests
        assert {chat: [round(age / 20) for age in ages] for chat, ages in found.items()} == {
            ("0367", -5): [0],
            ("0367", 1001): [2],
        }


async def test_answers_count_as_requests_and_pauses_are_known_for_as_long_as_they_last(database):
    def of_chat(kind: str, body: bytes, chat_id: int) -> NewFact:
        fact = delivered("1.1", DeliveryIntended("1.1", chat_id, "", ""), chat_id)
        return msgspec.structs.replace(fact, stream=chat_stream(chat_id), kind=kind, body=body)

    async with connected(database.dsn) as connection:
        at = datetime.now(UTC)
        told = [
            of_chat(CHAT_ASKED, write_asked(ChatAsked(-5)), -5),
            of_chat(CHAT_PAUSED, write_paused(ChatPaused(-5, 40.0)), -5),
            of_chat(CHAT_PAUSED, write_paused(ChatPaused(1, 10.0)), 1),
            of_chat(CHAT_PAUSED, b'{"chat_id":2,"seconds":40.0,"v":99}', 2),
        ]
        await put(connection, told, recorded_at=at - timedelta(seconds=20))
        found = await recent_requests(connection, timedelta(seconds=60))
        assert {chat: [round(age / 20) for age in ages] for chat, ages in found.requests.items()} == {
            ("0367", -5): [1]
        }
        assert {chat: [round(one / 20) for one in told] for chat, told in found.pauses.items()} == {
            ("0367", -5): [1, 1]
        }


async def test_a_call_that_was_heard_of_lately_is_unsettled_whatever_was_shown_of_it(database):
    async with connected(database.dsn) as connection:
        await put(connection, [arrival("1.1"), sent("1.1", "ended")], recorded_at=AT)
        await put(connection, [arrival("2.2"), sent("2.2", "ended")], recorded_at=AT + timedelta(seconds=50))
        await connection.execute(CALL, "1.1", "missed", 1)
        await connection.execute(CALL, "2.2", "missed", 3)
        await put(connection, [arrival("9.9")], recorded_at=AT + timedelta(seconds=70))
        chats, window = [("0367", 1001, 0)], timedelta(hours=6)
        assert await unsettled_calls(connection, chats, window, timedelta(seconds=60)) == [("0367", "2.2")]
        projected = await unsettled_calls(connection, chats, window, timedelta(seconds=60), upto=4)
        assert sorted(projected) == [("0367", "1.1"), ("0367", "2.2")], (
            "what comes next may be of what was over then"
        )


async def test_a_lost_leg_is_unsettled_and_an_old_settled_call_is_not_looked_at(database):
    async with connected(database.dsn) as connection:
        await put(connection, [arrival("1.1")], recorded_at=AT)
        await connection.execute(CALL, "1.1", "missed", 1)
        await put(connection, [arrival("9.9")], recorded_at=AT + timedelta(hours=7))
        await connection.execute("INSERT INTO call_legs VALUES ('0367', '8.8', '8.8', true)")
        chats = [("0367", 1001)]
        assert await unsettled(connection, chats) == [("0367", "8.8")]
        assert sorted(await unsettled(connection, chats, hours=8)) == [
            ("0367", "1.1"),
            ("0367", "8.8"),
        ]
