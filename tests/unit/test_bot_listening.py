"""Listening: who is refused asks seldom, who is contested ever more slowly, updates are confirmed."""

import asyncio

import pytest

from adapters.bot.listening import POLL, REMEMBERED, Listener, Listening, NotListeningError
from adapters.secret import Secret
from adapters.telegram.errors import Conflict, TooManyRequests, Unauthorized, Unreachable
from adapters.telegram.limits import Backoff
from adapters.telegram.updates import Chat, Message, Update

OFTEN = Backoff(first=0.01, most=0.01)
OTHER = "Conflict: terminated by other getUpdates request"


class Bot:
    """Answers polls as it is told; ``asked`` holds their offsets. When nothing is left, it waits."""

    def __init__(self, *answers, key="bot"):
        self.key = key
        self.answers = list(answers)
        self.asked, self.did = [], []
        self.waits = asyncio.Event()
        self.refusals, self.knocks = 0, 0

    async def get_me(self):
        """Refused so many times, then taken."""
        self.knocks += 1
        if self.refusals:
            self.refusals -= 1
            raise Unauthorized("getMe", "Unauthorized")

    async def get_updates(self, offset, *, wait=POLL):
        self.asked.append(offset)
        if not self.answers:
            self.waits.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def delete_webhook(self):
        self.did.append("delete_webhook")

    async def set_webhook(self, url, secret):
        self.did.append(f"set_webhook {url} {secret.reveal()}")

    async def set_my_commands(self, commands, language_code=""):
        self.did.append(f"commands {language_code} {commands[0].description}")


class Pauses:
    """Instead of the real ones: after which failure in a row each was."""

    def __init__(self):
        self.after_failure = []

    def after(self, failures, _chance):
        self.after_failure.append(failures)
        return 0.0


class House:
    def __init__(self, *bots, webhook="", knock=OFTEN):
        self.handled = []
        self.pauses = Pauses()
        self.clock = 0.0
        self.listening = Listening(
            self.handle,
            webhook=webhook,
            secret=lambda key: Secret(f"secret of {key}"),
            language=lambda _: "en",
            chance=lambda: 0.5,
            monotonic=lambda: self.clock,
            again=self.pauses,
            knock=knock,
        )
        self.listening.replace({bot.key: Listener(bot, ("0367",)) for bot in bots})

    async def handle(self, heard):
        self.handled.append(heard.update.update_id)

    async def __aenter__(self):
        self.running = asyncio.create_task(self.listening.run())
        await asyncio.sleep(0)
        self.listening.resume()
        return self

    async def __aexit__(self, *_):
        self.listening.stop()
        async with asyncio.timeout(2):
            await self.running


def update(number, chat_id=1001):
    return Update(number, message=Message(number, Chat(chat_id), None, "/help"))


async def waits(bot):
    async with asyncio.timeout(5):
        await bot.waits.wait()


async def test_each_poll_confirms_what_the_one_before_it_brought():
    bot = Bot([update(5), update(7, 2)], [Update(9)])
    async with House(bot) as house:
        await waits(bot)
        assert bot.asked == [0, 8, 10]
        assert sorted(house.handled) == [5, 7]
        assert bot.did == [
            "delete_webhook",
            *(f"commands {one}" for one in (" the last calls", "ru последние звонки", "en the last calls")),
        ]
        assert house.listening.states == {"0367": "listening"}


async def test_a_second_poller_is_said_once_and_met_ever_more_slowly(capsys):
    bot = Bot(*[Conflict("getUpdates", OTHER)] * 3, [update(1)], Conflict("getUpdates", OTHER))
    async with House(bot) as house:
        await waits(bot)
        # what came between two conflicts is no peace
        assert house.pauses.after_failure == [1, 2, 3, 4]
        assert house.listening.states == {"0367": "second poller"}
        assert house.handled == [1]
    assert capsys.readouterr().out.count("second poller") == 1


async def test_a_while_without_a_conflict_is_peace():
    bot = Bot(Conflict("getUpdates", OTHER))
    async with House(bot) as house:
        await waits(bot)
        house.clock = 1e6
        house.listening.pause()
        bot.answers = [[update(1)]]
        bot.waits.clear()
        house.listening.resume()
        await waits(bot)
        assert house.listening.states == {"0367": "listening"}


async def refused(house):
    async with asyncio.timeout(5):
        while house.listening.states != {"0367": "refused"}:
            await asyncio.sleep(0)


async def test_a_refused_bot_asks_only_who_it_is_and_listens_when_it_is_taken_again(capsys):
    bot = Bot(Unauthorized("getUpdates", "Unauthorized"), [update(1)])
    bot.refusals = 3
    async with House(bot) as house:
        await refused(house)
        assert bot.asked == [0]
        await waits(bot)
        assert (bot.knocks, bot.asked, house.handled) == (4, [0, 0, 2], [1])
        assert house.listening.states == {"0367": "listening"}
    assert house.pauses.after_failure == []
    assert capsys.readouterr().out.count("refused") == 1


async def test_a_refused_bot_is_tried_at_once_when_it_is_named_again_or_has_another_token():
    bot, other = Bot(*[Unauthorized("getUpdates", "Unauthorized")] * 2), Bot(key="other")
    bot.refusals = 2
    async with House(bot, knock=Backoff(1e6, 1e6)) as house:
        await refused(house)
        house.listening.replace({"bot": Listener(bot, ("0367",))})
        assert house.listening.states == {"0367": "waiting"}
        await refused(house)
        assert bot.knocks == 2
        house.listening.replace({"other": Listener(other, ("0367",))})
        await waits(other)
        assert house.listening.states == {"0367": "listening"}


async def test_who_does_not_lead_does_not_ask_whether_a_refused_bot_is_taken():
    bot = Bot(Unauthorized("getUpdates", "Unauthorized"))
    bot.refusals = 1_000_000
    async with House(bot) as house:
        await refused(house)
        house.listening.pause()
        knocks = bot.knocks
        await asyncio.sleep(0.05)
        assert (bot.knocks, house.listening.states) == (knocks, {"0367": "waiting"})


async def test_a_request_that_alone_was_refused_is_a_trouble_like_another():
    bot = Bot(Unauthorized("getUpdates", "Not Found"), [update(1)])
    async with House(bot) as house:
        await waits(bot)
        assert (house.pauses.after_failure, bot.knocks, house.handled) == ([1], 1, [1])


async def test_the_pause_that_telegram_asks_for_is_kept():
    bot, loop = Bot(TooManyRequests("getUpdates", "", 0.3)), asyncio.get_running_loop()
    begun = loop.time()
    async with House(bot):
        await waits(bot)
    assert loop.time() - begun >= 0.3


async def test_what_a_webhook_tells_twice_is_handled_once():
    async with House(Bot(), webhook="https://example.org") as house:
        for number in (3, 4, 3, 4):
            await house.listening.take("bot", update(number))
        for number in range(10, 10 + REMEMBERED):
            await house.listening.take("bot", update(number))
        await house.listening.take("bot", update(3))
    assert house.handled == [3, 4, *range(10, 10 + REMEMBERED), 3]


async def test_what_the_preview_tells_has_no_number_of_its_own():
    async with House(Bot()) as house:
        house.listening.replace({"preview": Listener(Bot(key="preview"), ("0368",), polled=False)})
        for _ in range(2):
            await house.listening.take("preview", update(0))
    assert house.handled == [0, 0]


async def test_the_network_and_accidents_are_waited_out():
    bot = Bot(Unreachable("getUpdates"), RuntimeError("an accident"), Unreachable("getUpdates"), [update(1)])
    async with House(bot) as house:
        await waits(bot)
        assert house.pauses.after_failure == [1, 2, 3]
        assert (house.handled, house.listening.states) == ([1], {"0367": "listening"})


async def test_a_bot_whose_commands_cannot_be_listed_is_heard_all_the_same():
    bot = Bot([update(1)])

    async def refuse(commands, language_code=""):
        raise Unauthorized("setMyCommands", "Not Found")

    bot.set_my_commands = refuse
    async with House(bot) as house:
        await waits(bot)
        assert (house.handled, house.listening.states) == ([1], {"0367": "listening"})


async def test_an_accident_in_listing_commands_ends_nothing():
    bot = Bot([update(1)])

    async def fail(commands, language_code=""):
        raise RuntimeError("an accident")

    bot.set_my_commands = fail
    async with House(bot) as house:
        await waits(bot)
        await asyncio.sleep(0)
        assert (house.handled, house.running.done()) == ([1], False)


async def test_a_stop_does_not_wait_for_a_telegram_that_does_not_answer_to_commands():
    bot, asked = Bot([update(1)]), asyncio.Event()

    async def hang(commands, language_code=""):
        asked.set()
        await asyncio.Event().wait()

    bot.set_my_commands = hang
    async with House(bot):
        await waits(bot)
        async with asyncio.timeout(5):
            await asked.wait()


async def test_with_a_webhook_nothing_is_asked():
    bot = Bot()
    async with House(bot, webhook="https://example.org") as house:
        async with asyncio.timeout(5):
            while house.listening.states != {"0367": "webhook"}:
                await asyncio.sleep(0)
        assert bot.did[0] == "set_webhook https://example.org/telegram/bot secret of bot"
        assert bot.asked == []
        await house.listening.take("bot", update(3))
        assert house.handled == [3]
        for key in ("bot", "other"):
            house.listening.pause()
            with pytest.raises(NotListeningError):
                await house.listening.take(key, update(4))


async def test_only_who_leads_listens():
    bot = Bot()
    house = House(bot)
    running = asyncio.create_task(house.listening.run())
    await asyncio.sleep(0)
    assert bot.asked == []
    house.listening.stop()
    await running
    assert house.listening.states == {"0367": "waiting"}


async def test_an_enterprise_more_for_a_bot_does_not_ask_anew():
    bot = Bot()
    async with House(bot) as house:
        await waits(bot)
        house.listening.replace({"bot": Listener(bot, ("0367", "0368"))})
        assert house.listening.states == {"0367": "listening", "0368": "listening"}
        assert bot.asked == [0]
