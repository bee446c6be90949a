"""The limits hold over every sliding window, whatever comes; time is virtual."""

import asyncio
import random
import selectors

import pytest

from adapters.telegram.limits import MOST_CHATS, TOGETHER, Backoff, Budget, Rate, Rates


class _VirtualSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, the clock is put forward to it; each step takes a microsecond."""

    now = 0.0

    def select(self, timeout=None):
        self.now += max(timeout or 0.0, 1e-6)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


async def requests(budget, chat_id, count, at, think=0.0, stored=None):
    for _ in range(count):
        await budget.turn(chat_id)
        if stored is not None:
            await stored()
        await budget.go()
        at.append((asyncio.get_running_loop().time(), chat_id))
        await asyncio.sleep(think)


def most_within(times, window):
    """The largest number of requests in any half-open window of so many seconds."""
    times = sorted(times)
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


async def flood(budget, chats, each, think=0.0):
    at = []
    async with asyncio.TaskGroup() as group:
        for chat_id in chats:
            group.create_task(requests(budget, chat_id, each, at, think))
    return at


def test_a_bot_never_makes_more_than_30_requests_within_any_second():
    at = run(flood(Budget(), range(1, 201), 5))
    times = [time for time, _ in at]
    assert most_within(times, 1.0) <= 30
    # and it does use what it may
    assert len(times) / (max(times) - min(times)) > 19


def test_a_group_never_gets_more_than_20_within_any_minute():
    at = run(flood(Budget(), [-100], 100))
    times = [time for time, _ in at]
    assert most_within(times, 60.0) <= 20
    assert len(times) / (max(times) - min(times)) * 60 > 15


def test_a_chat_gets_a_burst_of_three_then_one_a_second():
    at = [time for time, _ in run(flood(Budget(), [7], 20))]
    assert at[2] == pytest.approx(at[0], abs=0.001)
    assert all(most_within(at, seconds) <= 3 + seconds for seconds in (1, 2, 5, 10))
    assert at[-1] == pytest.approx(at[0] + 17, abs=0.2)


def test_waiting_for_the_bot_does_not_break_the_limit_of_a_group():
    """A token taken long before the request goes out drains meanwhile, and lets one more through."""
    budget = Budget(Rates(bot=Rate(1, 1.0)))

    async def behind_others():
        at = []
        async with asyncio.TaskGroup() as group:
            for chat_id in range(1, 31):
                group.create_task(requests(budget, chat_id, 1, []))
            group.create_task(requests(budget, -1, 60, at))
        return [time for time, _ in at]

    times = run(behind_others())
    assert times[0] == pytest.approx(30, abs=0.1)
    assert most_within(times, 60.0) <= 20


def test_a_process_that_begins_knows_of_the_requests_of_the_one_before_it():
    async def lives():
        at, loop = [], asyncio.get_running_loop()
        for _ in range(30):
            budget, began = Budget(), loop.time()
            await budget.taken_over(
                {
                    chat: [began - time for time, known in at if known == chat and began - time < 60]
                    for chat in (-1, 2)
                },
                ago=0.0,
            )
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(requests(budget, chat, 100, at)) for chat in (-1, 2)]
                await asyncio.sleep(random.Random(began).uniform(2, 9))
                for one in asked:
                    one.cancel()
        return at

    at = run(lives())
    group, chat = ([time for time, known in at if known == which] for which in (-1, 2))
    assert most_within(group, 60.0) <= 20
    assert len(group) / (group[-1] - group[0]) * 60 > 10
    assert all(most_within(chat, seconds) <= 3 + seconds for seconds in (1, 5, 20, 60))


def test_requests_whose_intents_are_stored_together_do_not_go_out_together():
    async def slow_store():
        """Commits once in 1.5 s."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(1.5 - now % 1.5)

    async def flood():
        budget, at = Budget(), []
        async with asyncio.TaskGroup() as group:
            for chat_id in range(1, 100):
                group.create_task(requests(budget, chat_id, 5, at, stored=slow_store))
        return [time for time, _ in at]

    times = run(flood())
    assert most_within(times, 1.0) <= 24
    assert most_within(times, 0.1) <= 6
    assert len(times) / (max(times) - min(times)) > 15


def test_what_was_asked_long_ago_delays_nothing():
    async def after(ages):
        budget, at = Budget(), []
        await asyncio.sleep(1000)
        await budget.taken_over({-1: ages}, ago=0.0)
        await asyncio.sleep(10)
        began = asyncio.get_running_loop().time()
        await requests(budget, -1, 4, at)
        return [round(time - began, 1) for time, _ in at]

    assert run(after([50.0, 40.0, 30.0])) == run(after([])) == [0.0, 0.0, 0.0, 1.0]
    assert run(after([0.0, 0.0, 0.0]))[0] == 0.0
    assert run(after([0.0, 0.0, 0.0]))[3] > 3


def test_what_was_under_way_when_the_process_before_ended_breaks_no_limit():
    """Each life asks of all chats what it may and dies; of no request anything was recorded but of the lives before."""
    chats = (*range(1, 60), *range(-9, 0))

    async def lives():
        at, loop = [], asyncio.get_running_loop()
        dice = random.Random(3)
        for _ in range(40):
            budget, began = Budget(), loop.time()
            last = {chat: max((time for time, known in at if known == chat), default=-1.0) for chat in chats}
            known = {}
            for time, chat in at:
                if began - time < 60 and time < last[chat]:  # the last one of each chat was under way
                    known.setdefault(chat, []).append(began - time)
            await budget.taken_over(known, ago=0.0)
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(requests(budget, chat, 100, at)) for chat in chats]
                await asyncio.sleep(dice.choice([0.1, 0.3, 1, 20]))
                for one in asked:
                    one.cancel()
            await asyncio.sleep(dice.choice([0, 0.15, 0.6, 30]))
        return at

    at = run(lives())
    assert most_within([time for time, _ in at], 1.0) <= 30
    for chat in chats:
        times = [time for time, known in at if known == chat]
        assert all(most_within(times, seconds) <= 3 + seconds for seconds in (1, 5, 20, 60))
        if chat < 0:
            assert most_within(times, 60.0) <= 20


def test_irregular_traffic_stays_within_all_limits():
    async def traffic():
        budget, at = Budget(), []
        dice = random.Random(7)

        async def chat(chat_id):
            for _ in range(40):
                await asyncio.sleep(dice.expovariate(0.5))
                if dice.random() < 0.05:
                    budget.hold(chat_id, dice.uniform(1, 20))
                await requests(budget, chat_id, dice.randint(1, 4), at)

        async with asyncio.TaskGroup() as group:
            for chat_id in (*range(1, 120), *range(-10, 0)):
                group.create_task(chat(chat_id))
        return at

    at = run(traffic())
    assert most_within([time for time, _ in at], 1.0) <= 30
    for chat in {chat_id for _, chat_id in at}:
        times = [time for time, chat_id in at if chat_id == chat]
        assert most_within(times, 1.0) <= 4
        if chat < 0:
            assert most_within(times, 60.0) <= 20


def test_retry_after_holds_its_chat_and_nobody_else():
    async def held():
        budget, at = Budget(), []
        budget.hold(1, 30)
        budget.hold(1, 5)  # a shorter one does not shorten it
        async with asyncio.TaskGroup() as group:
            group.create_task(requests(budget, 1, 1, at))
            group.create_task(requests(budget, 2, 1, at))
        return at

    assert run(held()) == [(pytest.approx(0.0, abs=0.001), 2), (pytest.approx(30.0, abs=0.001), 1)]


def test_retry_after_of_two_chats_at_once_holds_the_bot_until_the_first_may_go_on():
    async def held():
        budget, at = Budget(), []
        budget.limited(1, 30)
        await asyncio.sleep(TOGETHER - 0.1)
        budget.limited(2, 7)
        async with asyncio.TaskGroup() as group:
            for chat_id in (1, 2, 3):
                group.create_task(requests(budget, chat_id, 1, at))
        return {chat_id: time for time, chat_id in at}

    at = run(held())
    assert at[2] == at[3] == pytest.approx(TOGETHER - 0.1 + 7, abs=0.001)
    assert at[1] == pytest.approx(30.0, abs=0.001)


def test_retry_after_of_two_chats_far_apart_or_twice_of_one_holds_nobody_else():
    async def held():
        budget, at = Budget(), []
        budget.limited(1, 30)
        budget.limited(1, 30)
        await asyncio.sleep(TOGETHER + 0.1)
        budget.limited(2, 7)
        await requests(budget, 3, 1, at)
        return at

    assert run(held()) == [(pytest.approx(TOGETHER + 0.1, abs=0.001), 3)]


def test_a_pause_that_begins_while_the_turn_is_awaited_is_obeyed():
    async def held():
        budget, at = Budget(Rates(bot=Rate(1, 1.0))), []
        await budget.turn(2)
        async with asyncio.TaskGroup() as group:
            group.create_task(requests(budget, 1, 1, at))
            await asyncio.sleep(0.5)
            budget.hold(1, 10)
        return at

    assert run(held())[0][0] >= 10.5


def test_backoff_doubles_up_to_its_most_and_is_jittered():
    backoff = Backoff(first=0.5, most=30.0)
    assert [backoff.after(n, 0.9999999) for n in (1, 2, 3, 50)] == pytest.approx([0.5, 1.0, 2.0, 30.0])
    assert backoff.after(50, 0.0) == 15.0


def test_chats_of_which_nothing_counts_any_more_are_forgotten_and_no_others():
    async def strangers():
        budget = Budget()
        for chat_id in range(1, 4 * MOST_CHATS):
            await budget.turn(chat_id)
            if chat_id == 5:
                budget.hold(5, 1e9)
        assert len(budget._chats) < 2 * MOST_CHATS
        return budget.pauses()[1]

    assert list(run(strangers())) == [5]
