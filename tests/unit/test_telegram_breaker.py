"""The breaker of a bot: several chats' failures in a row open it, one request tries, its success closes it."""

import asyncio

import pytest

from adapters.telegram.breaker import IN_A_ROW, Breaker
from adapters.telegram.errors import Ambiguous, Blocked, ServerError, TooManyRequests, Unreachable
from adapters.telegram.limits import Backoff
from tests.unit.test_telegram_limits import run

FAILURES = (
    Unreachable("sendMessage"),
    Ambiguous("sendMessage"),
    ServerError("sendMessage", "Bad Gateway", 502),
)
ANSWERS = (None, Blocked("sendMessage"), TooManyRequests("sendMessage", "", 3))


def breaker():
    return Breaker("0367", lambda: 0.9999999, Backoff(first=1.0, most=8.0))


async def ask(breaker, chat_id, error, at=None, lasts=0.0):
    """One request that ends so."""
    async with breaker.passage(chat_id) as passage:
        if at is not None:
            at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(lasts)
        passage.told(error)


async def opened(chats=(1, 2)):
    found = breaker()
    for n in range(IN_A_ROW):
        assert not found.open
        await ask(found, chats[n % len(chats)], FAILURES[n % len(FAILURES)])
    return found


def test_failures_of_several_chats_in_a_row_open_it():
    assert run(opened()).open


def test_the_failures_of_one_chat_are_its_own_trouble():
    assert not run(opened(chats=(1,))).open


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_any_answer_begins_the_row_anew(answer):
    async def told():
        found = breaker()
        for n in range(3 * IN_A_ROW):
            await ask(found, n, answer if n % IN_A_ROW == IN_A_ROW - 1 else FAILURES[0])
        return found

    assert not run(told()).open


def test_fifty_chats_that_wait_make_one_request_a_pause_which_doubles_to_its_limit():
    async def storm():
        found, at = await opened(), []

        async def chat(chat_id):
            while True:
                await ask(found, chat_id, FAILURES[0], at)

        tasks = [asyncio.create_task(chat(n)) for n in range(50)]
        await asyncio.sleep(31.5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return at

    assert run(storm()) == pytest.approx([1, 3, 7, 15, 23, 31], abs=0.01)


def test_the_success_of_the_one_that_tries_lets_all_go_and_nobody_goes_before():
    async def told():
        found, at = await opened(), []
        async with asyncio.TaskGroup() as group:
            for n in range(10):
                group.create_task(ask(found, n, None, at, lasts=0.5))
        assert not found.open
        await ask(found, 1, FAILURES[0])
        assert not found.open
        return at

    assert run(told()) == pytest.approx([1.0] + [1.5] * 9, abs=0.01)


def test_one_that_tries_and_sends_nothing_leaves_the_try_to_the_next():
    async def told():
        found, at = await opened(), []
        async with found.passage(1) as passage:
            assert passage.tries
        await ask(found, 2, None, at)
        return at

    assert run(told()) == pytest.approx([1.0], abs=0.01)


def test_one_that_tried_and_is_long_in_recording_holds_up_nobody():
    async def told():
        found, at = await opened(), []
        async with found.passage(1) as passage:
            passage.told(FAILURES[0])
            await ask(found, 2, None, at)
        return at

    assert run(told()) == pytest.approx([1.0 + 2.0], abs=0.01)


def test_what_was_under_way_when_it_opened_makes_the_pause_no_longer_and_goes_no_further():
    async def told():
        found = breaker()
        async with found.passage(7) as late, found.passage(8) as unsent:
            assert late.free
            for n in range(IN_A_ROW):
                await ask(found, n, FAILURES[0])
            late.told(FAILURES[0])
            assert not unsent.free
        at = []
        await ask(found, 1, None, at)
        return at

    assert run(told()) == pytest.approx([1.0], abs=0.01)


def test_a_bot_that_is_replaced_leaves_nobody_waiting():
    async def told():
        found, at = await opened(), []
        waiting = asyncio.create_task(ask(found, 1, None, at))
        await asyncio.sleep(0.1)
        found.close()
        await waiting
        return at

    assert run(told()) == pytest.approx([0.1], abs=0.01)
