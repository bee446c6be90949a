"""Answers of the bot take their turns from the budget of the cards, and only while somebody may speak."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from adapters.telegram.api import BotApi, http_client
from adapters.telegram.breaker import IN_A_ROW
from adapters.telegram.errors import ServerError, TooManyRequests, Unauthorized
from adapters.telegram.limits import Rate, Rates
from adapters.telegram.outbox import Outbox
from calls.chats import ChatAsked, ChatPaused, read_asked, read_paused
from tests.botapi import TOKEN
from tests.memory_log import MemoryLog

THEN = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
SLOW = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(1, 5))


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
async def outbox(log):
    loop = asyncio.get_running_loop()
    async with http_client() as client:
        outbox = Outbox(
            log,
            lambda _call, _directory: "",
            now=lambda: THEN,
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


async def test_an_answer_that_counts_for_long_is_a_fact_before_it_is_asked(outbox, log):
    outbox.resume()
    for chat_id, line in ((1, ""), (-5, ""), (1, "stranger")):
        await outbox.turn("0367", chat_id, line)
    told = [(fact.stream, fact.kind, read_asked(fact.body)) for fact in log.facts]
    assert told == [
        ("chat/-5", "chat_asked", ChatAsked(-5)),
        ("chat/1", "chat_asked", ChatAsked(1, "stranger")),
    ]
    hour = timedelta(hours=1)
    assert await outbox.said("0367", 1, "stranger", hour) == [timedelta(0)]
    assert await outbox.said("0367", 1, "void", hour) == []
    assert await outbox.said("0367", 1, "stranger", timedelta(0)) == []


async def test_a_store_that_does_not_answer_keeps_no_answer_back(outbox, log, caplog):
    log.down = True
    outbox.resume()
    assert await outbox.turn("0367", -5) is not None
    assert "what chat -5 was asked is not stored" in caplog.text
    assert await outbox.said("0367", 1, "stranger", timedelta(hours=1)) == []


async def test_a_pause_that_telegram_asks_for_is_a_fact_where_it_lasts_longer_than_a_start(outbox, log):
    outbox.resume()
    outbox.told("0367", 1, TooManyRequests("sendMessage", "", retry_after=30))
    outbox.told("0367", 2, TooManyRequests("sendMessage", "", retry_after=1))
    async with asyncio.timeout(5):
        while not log.facts:
            await asyncio.sleep(0.002)  # polled, because nothing announces it
    assert [read_paused(fact.body) for fact in log.facts] == [ChatPaused(1, 30)]


@pytest.mark.parametrize(("apart", "waits"), [(20.0, [1, 3]), (2.0, [1, 2, 3])])
async def test_pauses_that_another_instance_was_told_of_hold_their_chats_or_where_told_together_the_bot(
    outbox, apart, waits
):
    await outbox.remember({}, 100.0, {("0367", 1): (30.0, 1.0), ("0367", 3): (30.0, 1.0 + apart)})
    outbox.resume()
    turns = {chat_id: asyncio.create_task(outbox.turn("0367", chat_id)) for chat_id in (1, 2, 3)}
    await asyncio.wait(turns.values(), timeout=0.5)
    assert [chat_id for chat_id, turn in turns.items() if not turn.done()] == waits
    for turn in turns.values():
        turn.cancel()


async def test_a_bot_whose_token_is_gone_for_a_moment_keeps_what_it_was_asked_and_told(outbox):
    outbox.resume()
    bot = outbox._bots["0367"]
    outbox.told("0367", 1, TooManyRequests("sendMessage", "", retry_after=30))
    outbox.set_bot("0367", None, awaited=True)
    assert await outbox.turn("0367", 1) is None
    outbox.set_bot("0367", bot)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.turn("0367", 1), 0.3)
