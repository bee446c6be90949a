"""Calls that could be taken for one another stay apart, and what is told twice or out of turn makes no second one."""

import asyncio
import random
import time

import pytest
import pytest_asyncio

from adapters.asterisk.sender import host_json
from calls.scenarios import catalogue
from tests.running import EveryBot, Running, enterprise, running_fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Enterprise, its Token, its chat: one for each test, so that none waits for another's chat.
CAST = {number: (f"37529000{number}", int(number)) for number in map(str, range(3000, 3012))}
free = iter(CAST)


@pytest.fixture
def mine():
    """An enterprise that no other test has used: number, Token, chat."""
    number = next(free)
    return number, *CAST[number]


class Chats:
    def __init__(self, service: Running, bots: EveryBot) -> None:
        self.service, self.bots = service, bots

    async def rows(self, number):
        return (await self.service.get("/api/calls", enterprise=number))["items"]

    def sent(self, chat_id):
        return [request.method for request in self.bots.requests if request.chat_id == chat_id].count(
            "sendMessage"
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chats(postgres_server, tmp_path_factory):
    directory = "".join(
        enterprise(number, token, bot_token=f"{number}:bot", chats=[chat])
        for number, (token, chat) in CAST.items()
    )
    async with EveryBot() as bots:
        folder = tmp_path_factory.mktemp("service")
        async with running_fresh(postgres_server, folder, directory, telegram_api=bots.base_url) as service:
            yield Chats(service, bots)


def bodies(scenario, token, *, seed, least=False):
    length = scenario.events(0.0, seed)[-1].offset
    events = scenario.events(float(int(time.time() - length)), seed, token=token, least=least)
    return [(event.kind, host_json(event.body)) for event in events]


def interleaved(*calls):
    """One host's stream of several calls: each in its order, their events mixed."""
    chance, waiting = random.Random(7), [list(call) for call in calls]
    while waiting:
        call = chance.choice(waiting)
        yield call.pop(0)
        waiting = [call for call in waiting if call]


async def test_two_calls_of_one_customer_at_the_same_time_stay_apart(chats: Chats, mine):
    number, token, chat_id = mine
    answered, missed = (
        bodies(catalogue()[name], token, seed=seed) for name, seed in (("2-1", 1), ("2-2", 2))
    )
    await chats.service.send(interleaved(answered, missed))
    await chats.service.quiet()
    rows = await chats.rows(number)
    assert sorted(row["outcome"] for row in rows) == ["answered", "missed"]
    assert {row["customer"] for row in rows} == {"+375290000101"}
    assert sorted(text[0] for text in chats.bots.standing(chat_id)) == ["✅", "❌"]
    assert chats.sent(chat_id) == 2
    customer = await chats.service.get(f"/api/customers/{number}/+375290000101")
    assert (customer["in_total"], customer["in_answered"], customer["in_missed"]) == (2, 1, 1)


async def test_an_incoming_an_outgoing_and_an_internal_call_of_one_manager_stay_apart(chats: Chats, mine):
    number, token, chat_id = mine
    calls = [
        bodies(catalogue()[name], token, seed=seed * 1000)
        for seed, name in enumerate(("2-4", "1-8", "3-2"), 1)
    ]
    await chats.service.send(interleaved(*calls))
    await chats.service.quiet()
    assert sorted(row["direction"] for row in await chats.rows(number)) == ["in", "internal", "out"]
    assert chats.sent(chat_id) == 3


async def test_equal_ids_in_two_enterprises_stay_apart(chats: Chats, mine):
    second = next(free)
    seen = [mine, (second, *CAST[second])]
    scenarios = (catalogue()["2-1"], catalogue()["2-2"])
    begun = float(int(time.time() - 60))
    await asyncio.gather(
        *(
            chats.service.play(scenario, token=token, seed=5, begun=begun)
            for scenario, (_, token, _) in zip(scenarios, seen, strict=True)
        )
    )
    await chats.service.quiet()
    rows = [await chats.rows(number) for number, _, _ in seen]
    assert [len(found) for found in rows] == [1, 1]
    assert rows[0][0]["call_id"] == rows[1][0]["call_id"]
    assert [found[0]["outcome"] for found in rows] == ["answered", "missed"]
    assert [chats.sent(chat_id) for _, _, chat_id in seen] == [1, 1]
    assert [chats.bots.standing(chat_id)[0][0] for _, _, chat_id in seen] == ["✅", "❌"]


@pytest.mark.parametrize("name", ["2-1", "1-1", "3-1"])
async def test_every_event_told_twice_is_one_call_and_one_message(chats: Chats, mine, name):
    number, token, chat_id = mine
    events = bodies(catalogue()[name], token, seed=11)
    await chats.service.send([told for event in events for told in (event, event)])
    await chats.service.send(events)
    await chats.service.quiet()
    (row,) = await chats.rows(number)
    assert (row["outcome"], row["talked"]) == ("answered", list(catalogue()[name].expected.talked))
    assert chats.sent(chat_id) == 1
    assert [text[0] for text in chats.bots.standing(chat_id)] == ["✅"]


async def test_a_hangup_that_comes_first_is_still_one_call_and_one_message(chats: Chats, mine):
    number, token, chat_id = mine
    events = bodies(catalogue()["2-1"], token, seed=12)
    await chats.service.send([events[-1]])
    await chats.service.quiet()
    await chats.service.send(events[:-1])
    await chats.service.quiet()
    (row,) = await chats.rows(number)
    assert (row["outcome"], row["answered_by"], row["rung"]) == ("answered", "151", ["150", "151", "152"])
    assert chats.sent(chat_id) == 1
    assert len(chats.bots.standing(chat_id)) == 1


async def test_a_busy_chat_is_asked_twice_a_call_and_shows_every_end(chats: Chats, mine):
    number, token, chat_id = mine
    calls = [bodies(catalogue()["2-3"], token, seed=seed * 1000) for seed in range(1, 5)]
    await chats.service.send(interleaved(*calls))
    await chats.service.quiet(30)
    assert len(await chats.rows(number)) == 4
    assert chats.sent(chat_id) == 4
    assert [text[0] for text in chats.bots.standing(chat_id)] == ["✅"] * 4
    # three requests at once are allowed before the chat is busy
    assert sum(1 for request in chats.bots.requests if request.chat_id == chat_id) <= 2 * 4 + 3


async def test_a_rebuild_after_all_this_finds_no_difference(chats: Chats):
    done = await chats.service.command("rebuild", "all", "--check")
    assert done.code == 0, done.output + done.errors
    assert await chats.service.pool.fetchval("SELECT count(*) FROM parked") == 0
