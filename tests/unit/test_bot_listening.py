"""Listening: who is refused is left alone, who is contested asks ever more slowly, updates are confirmed."""

import asyncio

import pytest

from adapters.bot.listening import POLL, Listener, Listening, NotListeningError
from adapters.secret import Secret
from adapters.telegram.errors import Conflict, Unauthorized, Unreachable
from adapters.telegram.updates import Chat, Message, Update

OTHER = "Conflict: terminated by other getUpdates request"


class Bot:
    """Answers polls as it is told; ``asked`` holds their offsets. When nothing is left, it waits."""

    def __init__(self, *answers, key="bot"):
        self.key = key
        self.answers = list(answers)
        self.asked, self.did = [], []
        self.waits = asyncio.Event()

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
    def __init__(self, *bots, webhook=""):
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


async def test_a_refused_bot_is_left_alone_until_it_has_another_token(capsys):
    bot, other = Bot(Unauthorized("getUpdates", "Unauthorized")), Bot(key="other")
    async with House(bot) as house:
        async with asyncio.timeout(5):
            while house.listening.states != {"0367": "refused"}:
                await asyncio.sleep(0)
        house.listening.replace({"bot": Listener(bot, ("0367",))})
        assert bot.asked == [0]
        house.listening.replace({"other": Listener(other, ("0367",))})
        await waits(other)
        assert house.listening.states == {"0367": "listening"}
    assert house.pauses.after_failure == []


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
