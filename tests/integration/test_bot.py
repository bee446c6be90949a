"""The bot with the whole service against a Bot API: joining, asking, wishing, leaving; strangers; buttons; restarts."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from actors.ports import VersionConflict
from adapters.bot.buttons import VALID
from adapters.bot.desk import TRIES
from adapters.bot.wishes import LONGEST_MUTE
from adapters.telegram.api import BotApi, http_client
from adapters.telegram.errors import Conflict
from calls.callbacks import read_callback
from calls.facts import CALLBACK_REQUESTED
from calls.scenarios import catalogue
from tests.botapi import BLOCKED, TOKEN, BotApiServer, too_many
from tests.running import ADMIN_TOKEN, UNLIMITED, command, enterprise, running

SUBSCRIBER, STRANGER, GROUP = 1001, 4004, -5005
PUBLIC = "https://calls.example.org"


def file(*chats, language="ru"):
    return enterprise("0367", bot_token=TOKEN, chats=chats, language=language)


class Talk:
    """One service and the chats that talk to its bot."""

    def __init__(self, service, bots):
        self.service, self.bots = service, bots

    def texts(self, chat_id):
        return self.bots.standing(chat_id)

    async def said(self, chat_id, text, within=8.0):
        """Write, and wait for the next message in the chat."""
        before = len(self.bots.chats[chat_id])
        self.bots.write(chat_id, text)
        return await self.next(chat_id, before, within)

    async def next(self, chat_id, before, within=8.0):
        async with asyncio.timeout(within):
            while len(self.bots.chats[chat_id]) <= before:
                self.bots.arrived.clear()
                await self.bots.arrived.wait()
        return list(self.bots.chats[chat_id].values())[-1]

    async def heard(self, within=8.0):
        """Until the bot has been told everything, and asks for more."""
        heard = self.bots.heard[TOKEN]
        async with asyncio.timeout(within):
            while not (heard.waiting and not heard.waiting.done() and not heard.updates):
                await asyncio.sleep(0.01)

    async def press(self, chat_id, message, label):
        """Press the button with this label; what the press was told."""
        button = self.button(message, label)
        query = self.bots.press(chat_id, message.message_id, button["callback_data"])
        told = await self.bots.answered(query)
        return told["text"]

    def button(self, message, label):
        (found,) = (one for row in message.markup for one in row if label in one["text"])
        return found

    async def shows(self, message, label, text):
        """Until the button of a message has this text."""
        async with asyncio.timeout(8):
            while self.button(message, label)["text"] != text:
                self.bots.arrived.clear()
                await self.bots.arrived.wait()

    def subscriber(self, chat_id):
        return self.service.service.directory("0367").subscribers.get(str(chat_id))

    async def known(self, chat_id, **wishes):
        """Until the directory says so of a subscriber."""
        async with asyncio.timeout(8):
            while True:
                one = self.subscriber(chat_id)
                if one and all(getattr(one, name) == value for name, value in wishes.items()):
                    return one
                await asyncio.sleep(0.01)

    async def invite(self):
        done = await self.service.command("invite", "--enterprise", "0367", "--json")
        assert done.code == 0, done.errors
        return json.loads(done.output)

    async def callbacks(self):
        return await self.service.pool.fetchval(
            "SELECT count(*) FROM facts WHERE kind = $1", CALLBACK_REQUESTED
        )


@asynccontextmanager
async def talking(database, folder, bots, directory="", **settings):
    settings = {"telegram_api": bots.base_url, **settings}
    async with running(database.dsn, folder, directory, rates=UNLIMITED, **settings) as service:
        talk = Talk(service, bots)
        yield talk


@pytest.fixture
async def bots():
    async with BotApiServer() as server:
        yield server


async def test_who_is_invited_joins_asks_wishes_and_leaves(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file()) as talk:
        invited = await talk.invite()
        assert invited["link"] == f"https://t.me/stand_in_bot?start={invited['key']}"
        assert invited["command"] == f"/start {invited['key']}"
        welcome = await talk.said(SUBSCRIBER, invited["command"])
        assert "Готово" in welcome.text
        assert (await talk.known(SUBSCRIBER)).invited
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        assert "Завершен" in talk.texts(SUBSCRIBER)[-1]
        listed = await talk.said(SUBSCRIBER, "/calls")
        assert "+375 (29) 000-01-01 ↔ Анна Серова (151)" in listed.text
        assert "Пропущенных звонков нет" in (await talk.said(SUBSCRIBER, "/missed")).text
        assert "никто не разговаривает" in (await talk.said(SUBSCRIBER, "/open")).text
        customer = await talk.said(SUBSCRIBER, "/customer 8029 000-01-01")
        assert "Иван Иванов" in customer.text
        assert "Входящих: 1, отвечено 1, пропущено 0" in customer.text
        assert "звонков не было" in (await talk.said(SUBSCRIBER, "/customer +375290009999")).text
        settings = await talk.said(SUBSCRIBER, "/settings")
        assert await talk.press(SUBSCRIBER, settings, "Исходящие") == ""
        await talk.known(SUBSCRIBER, directions=("out",))
        await talk.shows(settings, "Исходящие", "✅ Исходящие")
        assert "Звонков пока не было" in (await talk.said(SUBSCRIBER, "/calls")).text
        assert "Без звука до" in (await talk.said(SUBSCRIBER, "/mute 2h")).text
        assert (await talk.known(SUBSCRIBER)).muted_until
        assert "показываются все звонки" in (await talk.said(SUBSCRIBER, "/clear")).text
        await talk.known(SUBSCRIBER, directions=(), muted_until="")
        assert "Больше ничего" in (await talk.said(SUBSCRIBER, "/stop")).text
        await talk.known(SUBSCRIBER, off="stopped")
        shown = len(talk.texts(SUBSCRIBER))
        await talk.service.play(catalogue()["2-1"], seed=2)
        await talk.service.quiet()
        assert len(talk.texts(SUBSCRIBER)) == shown
        assert "Показ звонков выключен" in (await talk.said(SUBSCRIBER, "/calls")).text
        assert "С возвращением" in (await talk.said(SUBSCRIBER, "/start")).text
        await talk.known(SUBSCRIBER, off="")
    checked = await command(
        "rebuild", "all", "--check", env={"CALLFOLD_DATABASE_URL": database.dsn}, folder=tmp_path
    )
    assert checked.code == 0, checked.output + checked.errors


async def test_an_invitation_is_of_one_chat_and_survives_a_subscription_that_could_not_be_stored(
    database, tmp_path, bots
):
    async with talking(database, tmp_path, bots, file()) as talk:
        key = (await talk.invite())["key"]
        store = talk.service.service.subscribers._facts
        append, talk.service.service.subscribers._facts = store.append, _Refusing(store)
        assert "Сейчас не получилось" in (await talk.said(SUBSCRIBER, f"/start {key}")).text
        talk.service.service.subscribers._facts = store
        assert append == store.append
        assert "недействительно" in (await talk.said(STRANGER, f"/start {key}")).text
        assert "Готово" in (await talk.said(SUBSCRIBER, f"/start {key}")).text
        assert "недействительно" in (await talk.said(SUBSCRIBER, f"/start {key}")).text
        old = await talk.service.service.invitations.make("0367", 1, talk.service.service.clock.now())
        await talk.service.pool.execute("UPDATE invitations SET expires_at = now() - interval '1 s'")
        assert "недействительно" in (await talk.said(SUBSCRIBER, f"/start {old.key}")).text
        assert talk.subscriber(STRANGER) is None
        kept = await talk.service.pool.fetch("SELECT * FROM invitations")
        assert key not in str(kept)


class _Refusing:
    """A store in which no directory fact comes to stand."""

    def __init__(self, store):
        self._store = store

    async def read_directories(self, upto, enterprise=None):
        return await self._store.read_directories(upto, enterprise)

    async def append(self, fact, *, within=None):
        raise VersionConflict(fact.stream, 0)


async def test_two_chats_with_one_key_at_the_same_moment_are_one_subscriber(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file()) as talk:
        invitations, now = talk.service.service.invitations, talk.service.service.clock.now()
        made = await invitations.make("0367", 1, now)
        found = await asyncio.gather(
            *(invitations.reserve(made.key, chat_id, ["0367"], now) for chat_id in range(1, 9))
        )
        assert sorted(map(str, found)) == ["0367"] + ["None"] * 7
        other = await invitations.make("0367", 1, now)
        assert await invitations.reserve(other.key, 1, ["0368"], now) is None


async def test_a_stranger_gets_one_polite_line_an_hour_and_learns_nothing(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        line = await talk.said(STRANGER, "/calls")
        assert "только подписчикам" in line.text
        for text in ("/missed", "/customer +375290000101", "/settings", "hello", "/start", "/start x" * 4):
            bots.write(STRANGER, text)
        query = bots.press(STRANGER, line.message_id, "w:0367:main:0:notify:all")
        assert (await bots.answered(query))["text"] == "Эта кнопка только для подписчиков."
        again = bots.press(STRANGER, line.message_id, "w:0367:main:0:notify:all")
        assert (await bots.answered(again))["text"] == ""
        bots.write(GROUP, "somebody talks")
        assert "только подписчикам" in (await talk.said(GROUP, "/help")).text
        await talk.heard()
        assert ["только подписчикам" in text for text in talk.texts(STRANGER)] == [True, False]
        talk.service.service.desk._monotonic = lambda: 1e12
        assert "только подписчикам" in (await talk.said(STRANGER, "/missed")).text


async def test_a_stranger_is_told_no_second_line_within_the_hour_after_a_restart(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        assert "только подписчикам" in (await talk.said(STRANGER, "/calls")).text
        assert "недействительно" in (await talk.said(STRANGER, "/start abcdefghijklmnop")).text
    async with talking(database, tmp_path, bots) as talk:
        bots.write(STRANGER, "/calls")
        for _ in range(TRIES):
            bots.write(STRANGER, "/start abcdefghijklmnop")
        await talk.heard()
        assert len(talk.texts(STRANGER)) == 1 + TRIES


async def test_answers_in_a_group_count_after_a_restart(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(GROUP)) as talk:
        for _ in range(5):
            await talk.said(GROUP, "/help")
    async with talking(database, tmp_path, bots) as talk:
        asked = await talk.service.service.store.recent_requests(60.0)
        assert len(asked.requests["0367", GROUP]) == 5


async def test_a_void_invitation_is_told_so_a_few_times_an_hour_whatever_else_was_said(
    database, tmp_path, bots
):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        assert "только подписчикам" in (await talk.said(STRANGER, "/calls")).text
        for _ in range(TRIES):
            assert "недействительно" in (await talk.said(STRANGER, "/start abcdefghijklmnop")).text
        for _ in range(3):
            bots.write(STRANGER, "/start abcdefghijklmnop")
        await talk.heard()
        assert len(talk.texts(STRANGER)) == 1 + TRIES


async def test_who_reads_already_leaves_an_invitation_to_another_chat(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        key = (await talk.invite())["key"]
        assert "уже показываются здесь" in (await talk.said(SUBSCRIBER, f"/start {key}")).text
        assert "Готово" in (await talk.said(STRANGER, f"/start {key}")).text
        assert "недействительно" in (await talk.said(SUBSCRIBER, f"/start {key}")).text


async def test_a_press_is_answered_before_its_message_has_a_turn(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        settings = await talk.said(SUBSCRIBER, "/settings")
        talk.service.service.outbox._budget(talk.service.service.bots.bot("0367")).hold(SUBSCRIBER, 1.5)
        assert await talk.press(SUBSCRIBER, settings, "Исходящие") == ""
        assert talk.button(settings, "Исходящие")["text"] == "Исходящие"
        await talk.shows(settings, "Исходящие", "✅ Исходящие")


async def test_an_answer_that_has_to_wait_lets_the_cards_of_its_chat_wait(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER, 1002)) as talk:
        bots.script("sendMessage", too_many(2), chat_id=SUBSCRIBER)
        bots.write(SUBSCRIBER, "/help")
        await bots.seen("sendMessage")
        (refused,) = (one.at for one in bots.requests if one.method == "sendMessage")
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        later = [one.at - refused for one in bots.requests if one.fields.get("chat_id") == SUBSCRIBER][1:]
        assert min(later) >= 1.99
        assert min(one.at - refused for one in bots.requests if one.fields.get("chat_id") == 1002) < 1.9
        assert [text[:1] for text in sorted(talk.texts(SUBSCRIBER))] == ["Я", "✅"]


async def test_half_a_character_and_what_is_no_update_stop_no_poll(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        assert "не похоже на номер" in (await talk.said(SUBSCRIBER, "/customer \ud800")).text
        assert "показываю звонки" in (await talk.said(SUBSCRIBER, "/help")).text


async def test_a_subscriber_is_answered_for_its_own_enterprise_only(database, tmp_path, bots):
    other = enterprise("0368", "375290000009", bot_token=TOKEN, chats=(1002,), language="en")
    async with talking(database, tmp_path, bots, file(SUBSCRIBER, 1003) + other) as talk:
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        assert "There have been no calls yet" in (await talk.said(1002, "/calls")).text
        assert "29" in (await talk.said(SUBSCRIBER, "/calls")).text
        message = await talk.said(SUBSCRIBER, "/settings")
        query = bots.press(1002, message.message_id, "w:0367:main:0:notify:all")
        assert (await bots.answered(query))["text"] == "This button is out of date."
        assert talk.subscriber(SUBSCRIBER).notify == "edit"
        assert (
            await talk.said(1002, "/nonsense")
        ).text == "There is no such command. /help says what I can do."
        assert bots.heard[TOKEN].commands.keys() == {"", "ru", "en"}
        assert bots.heard[TOKEN].commands[""] == bots.heard[TOKEN].commands["ru"]
        (calls, *_) = bots.heard[TOKEN].commands["en"]
        assert calls == {"command": "calls", "description": "the last calls"}


async def test_a_group_is_answered_to_commands_that_mean_this_bot(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(GROUP)) as talk:
        for text in ("we spoke yesterday", "/calls@another_bot", "/nonsense", "/nonsense@another_bot"):
            bots.write(GROUP, text)
            bots.write(-6006, text)
        assert "Звонков пока не было" in (await talk.said(GROUP, "/calls@Stand_In_Bot")).text
        assert "Такой команды нет" in (await talk.said(GROUP, "/nonsense@stand_in_bot")).text
        await talk.heard()
        assert len(talk.texts(GROUP)) == 2
        assert talk.texts(-6006) == []


async def test_who_blocks_the_bot_is_off_until_he_presses_start_again(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER, GROUP, 1002)) as talk:
        bots.member(SUBSCRIBER, "kicked")
        bots.member(GROUP, "left")
        assert (await talk.known(SUBSCRIBER, off="blocked")).off == "blocked"
        await talk.known(GROUP, off="kicked")
        bots.member(GROUP, "member")
        assert "только подписчикам" in (await talk.next(GROUP, 0)).text
        assert "Показ звонков выключен" in (await talk.said(SUBSCRIBER, "/calls")).text
        assert "С возвращением" in (await talk.said(SUBSCRIBER, "/start")).text
        await talk.known(SUBSCRIBER, off="")
        bots.member(SUBSCRIBER, "kicked")
        await talk.known(SUBSCRIBER, off="blocked")
        bots.member(SUBSCRIBER, "member")
        await talk.known(SUBSCRIBER, off="")
        assert talk.subscriber(GROUP).off == "kicked"
        # an answer that a chat does not take says the same
        bots.script("sendMessage", BLOCKED, chat_id=1002)
        bots.write(1002, "/help")
        await talk.known(1002, off="blocked")


async def test_who_came_by_invitation_and_is_off_is_named_with_another_invitation(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file()) as talk:
        assert "Готово" in (await talk.said(SUBSCRIBER, (await talk.invite())["command"])).text
        await talk.known(SUBSCRIBER)
        bots.member(SUBSCRIBER, "kicked")
        await talk.known(SUBSCRIBER, off="blocked")
        doctor = json.loads((await talk.service.command("doctor", "--json")).output)
        (finding,) = (told for told in doctor if told["subject"] == "subscriber 1001 of 0367")
        assert "pressing Start" in finding["do"]
        assert "callfold invite --enterprise 0367" in finding["do"]


async def test_what_is_no_update_stops_nothing(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        bots.push({"message": {"message_id": "x", "chat": None}})
        bots.push({"message": {"message_id": 1, "chat": {"id": SUBSCRIBER}, "video": {}, "date": 0}})
        bots.push({"callback_query": {"id": "1", "from": {"id": 1}, "game_short_name": "x"}})
        bots.push(
            {"message": {"message_id": 2, "chat": {"id": -7, "type": "group"}, "migrate_to_chat_id": -8}}
        )
        assert "показываю звонки" in (await talk.said(SUBSCRIBER, "/help")).text


async def test_a_second_poller_is_said_aloud_and_asked_beside_ever_more_slowly(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        await talk.heard()
        assert talk.service.service.statistics()["bots"] == {"0367": "listening"}
        async with http_client() as client:
            other = BotApi(TOKEN, bots.base_url, client)
            asking = asyncio.create_task(_ask_for_ever(other))
            try:
                async with asyncio.timeout(8):
                    while talk.service.service.statistics()["bots"] != {"0367": "second poller"}:
                        await asyncio.sleep(0.01)
                doctor = json.loads((await talk.service.command("doctor", "--json")).output)
                (finding,) = (told for told in doctor if told["subject"] == "listening of 0367")
                assert finding["state"] == "wrong"
                assert "second poller" in finding["says"]
            finally:
                asking.cancel()
        assert "показываю звонки" in (await talk.said(SUBSCRIBER, "/help", within=20)).text


async def _ask_for_ever(bot):
    while True:
        try:
            await bot.get_updates(0, wait=5)
        except Conflict:
            await asyncio.sleep(0.05)  # an impatient rival


async def test_a_webhook_that_somebody_set_before_is_taken_back_and_one_set_later_is_told(
    database, tmp_path, bots
):
    bots.heard[TOKEN].webhook = {"url": "https://elsewhere.example.org/x"}
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        assert "показываю звонки" in (await talk.said(SUBSCRIBER, "/help")).text
        await talk.heard()
        bots.heard[TOKEN].webhook = {"url": "https://elsewhere.example.org/x"}
        bots.heard[TOKEN].waiting.set_result("")
        async with asyncio.timeout(8):
            while talk.service.service.statistics()["bots"] != {"0367": "webhook elsewhere"}:
                await asyncio.sleep(0.01)
        doctor = json.loads((await talk.service.command("doctor", "--json")).output)
        told = {one["subject"]: one["says"] for one in doctor if one["state"] == "wrong"}
        assert "webhook at https://elsewhere.example.org" in told["bot of 0367"]
        assert "/x" not in told["bot of 0367"]


async def test_updates_by_webhook_need_the_secret(database, tmp_path, bots):
    directory = file(SUBSCRIBER)
    async with talking(database, tmp_path, bots, directory, telegram_webhook=PUBLIC) as talk:
        async with asyncio.timeout(8):
            while talk.service.service.statistics()["bots"] != {"0367": "webhook"}:
                await asyncio.sleep(0.01)
        webhook = bots.heard[TOKEN].webhook
        assert webhook["url"].startswith(f"{PUBLIC}/telegram/")
        assert TOKEN not in webhook["url"]
        assert webhook["allowed_updates"] == ["message", "callback_query", "my_chat_member"]
        path = webhook["url"].removeprefix(PUBLIC)
        update = {"update_id": 1, "message": {"message_id": 5, "chat": {"id": SUBSCRIBER}, "text": "/help"}}
        header = "X-Telegram-Bot-Api-Secret-Token"
        async with httpx.AsyncClient(base_url=talk.service.url, trust_env=False) as telegram:
            for headers in ({}, {header: ""}, {header: "x" * 64}):
                refused = await telegram.post(path, json=update, headers=headers)
                assert refused.status_code == 403
            secret = {header: webhook["secret_token"]}
            assert (
                await telegram.post("/telegram/0000000000000000", json=update, headers=secret)
            ).status_code == 403
            assert talk.texts(SUBSCRIBER) == []
            assert (await telegram.post(path, json=update, headers=secret)).status_code == 200
            assert (await telegram.post(path, content=b"nonsense", headers=secret)).status_code == 200
            assert "показываю звонки" in talk.texts(SUBSCRIBER)[-1]
            talk.service.service.listening.pause()
            assert (await telegram.post(path, json=update, headers=secret)).status_code == 503
        assert bots.asked[-1].method != "getUpdates"


async def test_call_back_pressed_twice_is_one_fact_and_no_one_elses(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER, 1002), public_url=PUBLIC) as talk:
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        service = talk.service.service
        call = next(iter((await talk.service.get("/api/calls"))["items"]))
        data = "c:" + service.buttons.digest("0367", SUBSCRIBER, call["call_id"])
        card = next(iter(bots.chats[SUBSCRIBER].values()))
        # the page of the call wants a sign-in that a subscriber has not
        assert [button["text"] for row in card.markup for button in row] == ["📞 Перезвонить"]
        message = card.message_id
        foreign = bots.press(1002, message, data)
        assert (await bots.answered(foreign))["text"] == "Кнопка устарела."
        told = [await bots.answered(bots.press(SUBSCRIBER, message, data)) for _ in range(2)]
        assert [one["text"] for one in told] == [
            "Запрос на обратный звонок записан.",
            "Обратный звонок уже запрошен.",
        ]
        assert await talk.callbacks() == 1
        body = await talk.service.pool.fetchval("SELECT body FROM facts WHERE kind = $1", CALLBACK_REQUESTED)
        requested = read_callback(body)
        assert (requested.phone, requested.call_id) == ("+375290000101", call["call_id"])
        await talk.service.quiet()
        assert await talk.service.pool.fetchval("SELECT count(*) FROM parked") == 0
    async with talking(database, tmp_path, bots) as talk:
        again = await bots.answered(bots.press(SUBSCRIBER, message, data))
        assert again["text"] == "Обратный звонок уже запрошен."
        talk.service.service.desk._call_backs._now = lambda: datetime.now(UTC) + VALID
        late = await bots.answered(bots.press(SUBSCRIBER, message, data))
        assert late["text"] == "Кнопка устарела."
    env = {"CALLFOLD_DATABASE_URL": database.dsn}
    checked = await command("rebuild", "all", "--check", env=env, folder=tmp_path)
    assert checked.code == 0, checked.output + checked.errors
    events = await command("events", "--all", env=env, folder=tmp_path)
    assert sum("callback_requested" in line for line in events.output.splitlines()) == 1


async def test_a_call_that_was_two_has_two_buttons_in_a_chat_and_one_call_back(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER, 1002)) as talk:
        await talk.service.play(catalogue()["2-1"])
        await talk.service.quiet()
        (call,) = (await talk.service.get("/api/calls"))["items"]
        follower = next(leg for leg in call["legs"] if leg != call["call_id"])

        async def press(chat_id, leg):
            message = next(iter(bots.chats[chat_id].values())).message_id
            data = "c:" + talk.service.service.buttons.digest("0367", chat_id, leg)
            return (await bots.answered(bots.press(chat_id, message, data)))["text"]

        done, again = "Запрос на обратный звонок записан.", "Обратный звонок уже запрошен."
        told = [await press(SUBSCRIBER, leg) for leg in (follower, call["call_id"], follower)]
        assert told == [done, again, again]
        assert await press(1002, call["call_id"]) == done, "another reader may ask too"


async def test_wishes_and_what_was_heard_last_survive_a_restart(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        settings = await talk.said(SUBSCRIBER, "/settings")
        await talk.press(SUBSCRIBER, settings, "🔔 Пропущенные")
        await talk.heard()
    bots.write(SUBSCRIBER, "/mute 1d")
    async with talking(database, tmp_path, bots) as talk:
        await talk.next(SUBSCRIBER, 1)
        one = await talk.known(SUBSCRIBER, notify="missed")
        assert one.muted(datetime.now(UTC))
        assert not one.muted(datetime.now(UTC) + LONGEST_MUTE)
        assert len(talk.texts(SUBSCRIBER)) == 2


async def test_listening_ends_at_once_and_shows_no_token(database, tmp_path, bots, capsys):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        await talk.said(SUBSCRIBER, "/help")
        await talk.heard()
        begun = asyncio.get_running_loop().time()
        listening = talk.service.service.listening
        listening.stop()
        async with asyncio.timeout(5):
            while listening.states != {"0367": "waiting"}:
                await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - begun < 1
    assert TOKEN.partition(":")[2] not in capsys.readouterr().out


async def test_the_page_of_a_call_is_for_who_has_signed_in(database, tmp_path, bots):
    async with talking(database, tmp_path, bots, file(SUBSCRIBER)) as talk:
        await talk.service.play(catalogue()["2-18"])
        await talk.service.quiet()
        (call,) = (await talk.service.get("/api/calls"))["items"]
        path = f"/calls/0367/{call['call_id']}"
        async with httpx.AsyncClient(base_url=talk.service.url, trust_env=False) as browser:
            refused = await browser.get(path)
            assert refused.status_code == 303
            form = await browser.get(refused.headers["location"])
            assert f'name="next" type="hidden" value="{path}"' in form.text
            signed = await browser.post("/login", data={"key": ADMIN_TOKEN, "next": path})
            assert (signed.status_code, signed.headers["location"]) == (303, path)
            for elsewhere in (
                "//example.org/calls/1/2",
                "https://example.org",
                "/calls/1/2?x",
                '/calls/"/>/1',
            ):
                away = await browser.post("/login", data={"key": ADMIN_TOKEN, "next": elsewhere})
                assert away.headers["location"] == "/preview"
            page = await browser.get(path)
            assert page.status_code == 200
            assert "Анна Серова (151)" in page.text
            assert "375290000000" not in re.sub(r"\+375290000000", "", page.text), (
                "the Token is no part of it"
            )
            assert "unsafe-inline" not in page.headers["content-security-policy"]
            assert (await browser.get("/calls/0367/1.1")).status_code == 404


async def test_the_preview_takes_an_invitation_commands_and_presses(database, tmp_path):
    async with running(database.dsn, tmp_path, enterprise("0367", chats=()), rates=UNLIMITED) as service:
        done = await service.command("invite", "--enterprise", "0367", "--hours", "2")
        assert done.code == 0, done.errors
        assert "in the preview" in done.output
        key = re.search(r"/start (\S+)", done.output)[1]
        post = service.client.post

        async def newest():
            return (await service.get("/preview/messages/1001"))[-1]

        said = await post("/preview/say", json={"chat_id": 1001, "text": f"/start {key}"})
        assert said.status_code == 200, said.text
        assert "Готово" in (await newest())["text"]
        await service.play(catalogue()["2-1"])
        await service.quiet()
        card = await newest()
        (details,), (call_back,) = card["markup"]
        assert details["url"].startswith(f"{service.url}/calls/0367/")
        assert (await service.client.get(details["url"].removeprefix(service.url))).status_code == 200
        press = {"chat_id": 1001, "message_id": card["message_id"], "data": call_back["callback_data"]}
        assert (await post("/preview/press", json=press)).json() == {
            "text": "Запрос на обратный звонок записан."
        }
        assert (await post("/preview/press", json=press)).json() == {"text": "Обратный звонок уже запрошен."}
        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as anybody:
            assert (await anybody.post("/preview/press", json=press)).status_code == 303
        assert service.service.statistics()["bots"] == {"0367": "preview"}


async def test_an_invitation_is_made_where_no_service_runs_and_refused_where_nobody_is(
    database, tmp_path, bots
):
    async with running(database.dsn, tmp_path, file(), telegram_api=bots.base_url) as service:
        env = service.env
        for arguments, code in ((("--enterprise", "9999"), 1), (("--enterprise", "0367", "--hours", "0"), 2)):
            refused = await command("invite", *arguments, env=env, folder=tmp_path)
            assert (refused.code, refused.output) == (code, "")
        answer = await service.client.post("/api/invitations", json={"enterprise": "0367", "hours": 1e9})
        assert answer.status_code == 400
        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as anybody:
            asked = await anybody.post("/api/invitations", json={"enterprise": "0367"})
            assert asked.status_code == 401
    done = await command("invite", "--enterprise", "0367", env=env, folder=tmp_path)
    assert done.code == 0, done.errors
    assert "https://t.me/stand_in_bot?start=" in done.output
    missing = await command("invite", "--enterprise", "9999", env=env, folder=tmp_path)
    assert (missing.code, missing.errors.strip()) == (1, "callfold: there is no enterprise 9999")
