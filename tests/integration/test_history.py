"""The line "history with this customer": read from the calls before, told without delaying a first message."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from adapters.store.history import read_histories
from adapters.telegram.past import Past
from calls.cards import History, render
from calls.scenarios import catalogue
from tests.botapi import BotApiServer
from tests.folding import EPOCH, played_facts, settled
from tests.integration.test_outbox import a_call, a_house
from tests.storing import again, projected

CUSTOMER = "+375290000101"
ONCE = History(calls=1, last_at=EPOCH, last_outcome="missed")


def told(name, seed, after=timedelta()):
    at = EPOCH + after
    return played_facts(catalogue()[name].events(at.timestamp(), seed), at)


@pytest.fixture
async def server():
    async with BotApiServer() as server:
        yield server


class Reader:
    """Reads what it is told to, once it may."""

    def __init__(self, history=ONCE):
        self.history, self.may, self.asked = history, asyncio.Event(), []
        self.known = asyncio.Event()

    async def __call__(self, calls):
        self.asked.append([call.call_id for call in calls])
        await self.may.wait()
        if self.history is None:
            raise ConnectionError("the store is away")
        return [self.history for _ in calls]


@asynccontextmanager
async def a_house_with(server, reader, **more):
    houses = []

    def known(call):
        houses[0].outbox.refresh(call)
        reader.known.set()

    past = Past(reader, known, **more)

    async with a_house(server, render=render, histories=past) as house, past:
        houses.append(house)
        yield house


def shown(server):
    (text,) = server.standing(1)
    return "🕘" in text


async def test_the_calls_before_are_counted_and_the_last_of_them_is_told(database):
    async with projected(database.dsn) as here:
        first, second, third = (
            told("2-2", 7),
            told("2-1", 8, timedelta(hours=1)),
            told("2-1", 9, timedelta(hours=2)),
        )
        for one in (first, second, third):
            await here.tell(*again(one))
        calls = [call for one in (first, second, third) for call in settled(one)]
        unknown, missed, answered = await read_histories(here.pool, calls)
        assert unknown == History(calls=0)
        assert (missed.calls, missed.last_outcome, missed.last_talker) == (1, "missed", None)
        assert (answered.calls, answered.last_outcome, answered.last_talker) == (2, "answered", "151")
        assert answered.last_at == calls[1].started_at


async def test_a_first_message_does_not_wait_for_the_history_and_the_next_state_tells_it(server):
    reader = Reader()
    async with a_house_with(server, reader) as house:
        house.show(a_call(customer=CUSTOMER))
        await server.seen("sendMessage")
        await house.settled()
        assert not shown(server)
        reader.may.set()
        await reader.known.wait()
        house.show(a_call("ringing", customer=CUSTOMER))
        await house.settled()
        assert shown(server)
        assert server.counts == {"sendMessage": 1, "editMessageText": 1}


async def test_a_history_alone_is_no_reason_to_edit_a_call_that_goes_on(server):
    reader = Reader()
    async with a_house_with(server, reader) as house:
        house.show(a_call(customer=CUSTOMER))
        reader.may.set()
        await server.seen("sendMessage")
        await house.settled()
        house.show(a_call(customer=CUSTOMER))
        await house.settled()
        assert server.counts == {"sendMessage": 1}


async def test_a_call_that_is_over_is_told_its_history_late(server):
    reader = Reader()
    async with a_house_with(server, reader) as house:
        house.show(a_call("ended", outcome="missed", customer=CUSTOMER))
        await server.seen("sendMessage")
        await house.settled()
        reader.may.set()
        await server.seen("editMessageText")
        await house.settled()
        assert shown(server)


@pytest.mark.parametrize("history", [None, ONCE], ids=["fails", "too slow"])
async def test_a_history_that_cannot_be_had_keeps_no_call_waiting(server, history, caplog):
    reader = Reader(history)
    if history is None:
        reader.may.set()
    async with a_house_with(server, reader, within=0.05) as house:
        house.show(a_call(customer=CUSTOMER))
        await server.seen("sendMessage")
        house.show(a_call("ringing", customer=CUSTOMER))
        await house.settled()
        assert server.counts["editMessageText"] == 1
        assert not shown(server)
        async with asyncio.timeout(5):
            while "without their history" not in caplog.text:
                await asyncio.sleep(0.01)  # between two looks


async def test_calls_that_are_shown_together_are_read_together_and_once(server):
    reader = Reader()
    async with a_house_with(server, reader) as house:
        house.show(a_call(customer=CUSTOMER))
        house.show(a_call(call_id="2.2", customer=CUSTOMER))
        house.show(a_call(call_id="3.3"))
        house.show(a_call("ringing", customer=CUSTOMER))
        reader.may.set()
        for call_id in ("1.1", "2.2", "3.3"):
            await house.settled(call_id)
    assert reader.asked == [["1.1", "2.2"]]
