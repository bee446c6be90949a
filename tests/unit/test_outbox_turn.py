"""Answers of the bot take their turns from the budget of the cards, and only while somebody may speak."""

import asyncio

import pytest

from adapters.telegram.api import BotApi, http_client
from adapters.telegram.breaker import IN_A_ROW
from adapters.telegram.errors import ServerError, TooManyRequests, Unauthorized
from adapters.telegram.limits import Rate, Rates
from adapters.telegram.outbox import Outbox
from tests.botapi import TOKEN
from tests.memory_log import MemoryLog

SLOW = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(1, 5))


@pytest.fixture
async def outbox():
    loop = asyncio.get_running_loop()
    async with http_client() as client:
        outbox = Outbox(
            MemoryLog(),
            lambda _call, _directory: "",
            now=lambda: None,
            new_id=lambda: "",
            chance=lambda: 0.5,
            monotonic=loop.time,
            bots={"0367": BotApi(TOKEN, "http://127.0.0.1:9", client)},
            rates=SLOW,
        )
        async with outbox:
            yield outbox


async def test_nobody_speaks_before_this_instance_leads_or_without_a_bot(outbox):
    assert await outbox.turn("0367", 1) is None
    outbox.resume()
    assert (await outbox.turn("0367", 1)).key == outbox._bots["0367"].key
    assert await outbox.turn("0368", 1) is None


async def test_turns_of_a_chat_come_as_slowly_as_its_cards_may_and_other_chats_do_not_wait(outbox):
    outbox.resume()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(3):
        await outbox.turn("0367", 1)
    assert loop.time() - begun >= 0.39
    begun = loop.time()
    await outbox.turn("0367", 2)
    assert loop.time() - begun < 0.15


async def test_who_waited_for_a_turn_is_given_none_where_nobody_may_speak_any_more(outbox):
    outbox.resume()
    await outbox.turn("0367", 1)
    waiting = asyncio.create_task(outbox.turn("0367", 1))
    await asyncio.sleep(0)
    outbox.pause()
    assert await waiting is None


async def test_a_chat_that_answered_wait_is_asked_nothing_before_and_other_chats_are(outbox):
    outbox.resume()
    loop = asyncio.get_running_loop()
    await outbox.turn("0367", 1)
    outbox.told("0367", 1, TooManyRequests("sendMessage", "", 0.4))
    begun = loop.time()
    await outbox.turn("0367", 2)
    assert loop.time() - begun < 0.2
    await outbox.turn("0367", 1)
    assert loop.time() - begun >= 0.39


async def test_answers_that_fail_open_the_breaker_and_one_that_does_not_closes_it(outbox):
    outbox.resume()
    for number in range(IN_A_ROW):
        outbox.told("0367", number, ServerError("sendMessage", "Bad Gateway", 502))
    assert await outbox.turn("0367", 99) is None
    outbox.told("0367", 1, None)
    assert await outbox.turn("0367", 99) is not None


async def test_an_answer_of_a_refused_bot_silences_its_cards_while_this_instance_leads(outbox):
    outbox.resume()
    outbox.told("0367", 1, Unauthorized("sendMessage", "Unauthorized"))
    assert outbox.bot_off("0367")
    assert await outbox.turn("0367", 1) is None
    outbox.pause()
    assert not outbox.bot_off("0367")
    outbox.told("0367", 1, Unauthorized("sendMessage", "Unauthorized"))
    assert not outbox.bot_off("0367")
