"""The outbox against a Bot API over real HTTP: what chats end up showing, whatever Telegram and store do."""

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from actors.ports import Appended, StoreUnavailable, VersionConflict
from adapters.preview.entities import from_html, utf16
from adapters.telegram import plans
from adapters.telegram.api import BotApi, Button, http_client
from adapters.telegram.limits import Backoff, Rate, Rates
from adapters.telegram.outbox import Outbox
from adapters.telegram.queues import MOST_FAILURES, Card, ChatQueue
from calls.call import Call
from calls.deliveries import fold_delivery
from calls.directory import Directory
from calls.entries import Profile, Subscriber
from calls.facts import Fact, delivery_stream
from otel.tracing import Span, SpanRef, Tracing
from tests.botapi import (
    BAD_GATEWAY,
    BLOCKED,
    CANT_BE_DELETED,
    CANT_PARSE,
    EDIT_NOT_FOUND,
    NOT_MODIFIED,
    TOKEN,
    UNAUTHORIZED,
    BotApiServer,
    Fault,
    too_many,
)

GENEROUS = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(1e6, 1e6))
TELEGRAM = Rates(bot=Rate(5, 25.0), group=Rate(1e6, 1e6), chat=Rate(1e6, 1e6))
MIGRATED = Fault(
    400,
    "Bad Request: group chat was upgraded to a supergroup chat",
    {"migrate_to_chat_id": -1005},
)
SHOWN = {"delivery_sent", "delivery_edited"}
NOW = datetime(2025, 9, 14, 9, 12, 3, tzinfo=UTC)


class MemoryLog:
    """The event store as a list; ``down``: how many of the next appends are told that it is not there."""

    def __init__(self):
        self.facts = []
        self.down = 0
        self.gate = None

    async def append(self, fact, *, within=None):
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down")
        version = sum(known.stream == fact.stream for known in self.facts)
        if fact.expected_version not in {None, version}:
            raise VersionConflict(fact.stream, fact.expected_version)
        stored = Fact(
            len(self.facts) + 1,
            fact.enterprise,
            fact.stream,
            version + 1,
            fact.kind,
            fact.source,
            NOW,
            NOW,
            fact.body,
        )
        self.facts.append(stored)
        return Appended(stored.position, stored.version)

    async def read_stream(self, enterprise, stream):
        return [fact for fact in self.facts if (fact.enterprise, fact.stream) == (enterprise, stream)]

    def kinds(self, call_id="1.1", chat_id=1):
        stream = delivery_stream(call_id, chat_id)
        return [fact.kind.removeprefix("delivery_") for fact in self.facts if fact.stream == stream]

    def posts(self, *call_ids, chats=(1,)):
        """What a leader knows that has read everything."""
        found = {}
        for chat_id in chats:
            posts = []
            for call_id in call_ids:
                post = None
                for fact in self.facts:
                    if fact.stream == delivery_stream(call_id, chat_id):
                        post = fold_delivery(post, fact)
                if post is not None:
                    posts.append(post)
            found[chat_id] = tuple(posts)
        return found


def render(call, directory):
    return f"<b>{call.phase}</b> {call.call_id}: {', '.join(call.talked)} & Co".replace("&", "&amp;")


def directory(*chats):
    return Directory(
        profile=Profile(number="0367", name="june"),
        subscribers={str(chat): Subscriber(chat_id=chat) for chat in chats},
    )


def a_call(phase="begun", call_id="1.1", **more):
    outcome = more.pop("outcome", "answered" if phase == "ended" else "open")
    return Call(
        enterprise="0367",
        call_id=call_id,
        direction="in",
        outcome=outcome,
        phase=phase,
        started_at=NOW,
        **more,
    )


class House:
    def __init__(self, server, log, outbox, bot):
        self.server, self.log, self.outbox, self.bot = server, log, outbox, bot
        self.directory = directory(1)
        self.observed = []

    def show(self, call, posts=None, to=None):
        self.outbox.show(call, to or self.directory, posts or {})

    async def settled(self, call_id="1.1", within=8.0):
        """Until nothing is pending or in flight; polled, because nothing announces it."""
        async with asyncio.timeout(within):
            while not self.outbox.idle("0367", call_id):
                await asyncio.sleep(0.002)


@asynccontextmanager
async def a_house(server, log=None, rates=GENEROUS, total=2.0, **more):
    log = log or MemoryLog()
    ids = itertools.count()
    async with http_client() as client:
        bot = BotApi(TOKEN, server.base_url, client, total=total)
        outbox = Outbox(
            log,
            more.pop("render", render),
            now=lambda: NOW,
            new_id=lambda: f"try-{next(ids)}",
            chance=lambda: 0.5,
            monotonic=time.monotonic,
            bots={"0367": bot},
            rates=rates,
            backoff=more.pop("backoff", Backoff(first=0.01, most=0.05)),
            **more,
        )
        async with outbox:
            outbox.resume()
            yield House(server, log, outbox, bot)


@pytest.fixture
async def server():
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def house(server):
    async with a_house(server) as house:
        yield house


async def test_a_call_is_one_message_edited_through_its_states(house):
    for phase in ("begun", "ringing", "talking", "ended"):
        house.show(a_call(phase))
        await house.settled()
    (message,) = house.server.chats[1].values()
    assert [text.split("</b>")[0] for text in message.texts] == [
        f"<b>{phase}" for phase in ("begun", "ringing", "talking", "ended")
    ]
    assert house.server.counts == {"sendMessage": 1, "editMessageText": 3}
    assert house.log.kinds() == ["intended", "sent", "edited", "edited", "edited"]


async def test_states_that_come_faster_than_telegram_are_skipped(house):
    house.server.script("sendMessage", Fault(delay=0.1))
    for phase in ("begun", "ringing", "talking", "ended"):
        house.show(a_call(phase))
        await asyncio.sleep(0.005)
    await house.settled()
    assert house.server.counts == {"sendMessage": 1, "editMessageText": 1}
    assert house.server.standing(1) == [render(a_call("ended"), None)]


async def test_a_state_that_is_shown_already_asks_nothing_of_telegram(house):
    house.show(a_call("ringing"))
    await house.settled()
    house.show(a_call("ringing"), house.log.posts("1.1"))
    house.show(a_call("ringing", last_position=9), house.log.posts("1.1"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 1}


async def test_a_call_that_is_over_when_first_shown_is_sent_once_and_final(house):
    house.show(a_call("ended", outcome="missed"))
    await house.settled()
    assert house.server.standing(1) == [render(a_call("ended"), None)]
    assert house.server.counts == {"sendMessage": 1}


async def test_after_a_restart_the_same_message_is_edited(server):
    log = MemoryLog()
    async with a_house(server, log) as before:
        before.show(a_call("ringing"))
        await before.settled()
    async with a_house(server, log) as after:
        after.show(a_call("ended"), log.posts("1.1"))
        await after.settled()
    assert server.counts == {"sendMessage": 1, "editMessageText": 1}
    assert server.standing(1) == [render(a_call("ended"), None)]


async def test_after_a_restart_an_end_that_was_told_is_not_told_anew_in_other_words(server):
    log, over = MemoryLog(), a_call("ended", last_position=7)
    async with a_house(server, log) as before:
        before.show(over)
        await before.settled()
    async with a_house(server, log, render=lambda call, _: f"{call.phase} in other words") as after:
        after.show(over, log.posts("1.1"))
        await after.settled()
        assert server.counts == {"sendMessage": 1}
        after.show(msgspec.structs.replace(over, talked=("150",), last_position=8), log.posts("1.1"))
        await after.settled()
    assert server.standing(1) == ["ended in other words"]


async def test_after_a_restart_an_end_that_was_told_before_its_last_facts_is_told_anew(server):
    log, over = MemoryLog(), a_call("ended", last_position=7)
    async with a_house(server, log) as before:
        before.show(over)
        await before.settled()
    async with a_house(server, log) as after:
        after.show(msgspec.structs.replace(over, talked=("150",), last_position=8), log.posts("1.1"))
        await after.settled()
    assert server.counts == {"sendMessage": 1, "editMessageText": 1}


async def test_an_open_intent_of_a_crash_is_sent_anew_once(server):
    log = MemoryLog()
    server.script("sendMessage", Fault(reset=True, effect=True))
    async with a_house(server, log) as before:
        before.show(a_call("begun"))
        await server.seen("sendMessage")
        before.outbox.pause()
    assert log.kinds() == ["intended"]
    async with a_house(server, log) as after:
        after.show(a_call("ended"), log.posts("1.1"))
        await after.settled()
    # at most one doubled message, and the one that is known shows the end
    assert server.standing(1) == [render(a_call("begun"), None), render(a_call("ended"), None)]
    assert log.kinds() == ["intended", "intended", "sent"]


async def test_a_send_without_an_answer_is_repeated_once_while_the_call_goes_on_and_more_often_at_its_end(
    house,
):
    house.server.script("sendMessage", *[Fault(reset=True)] * 5)
    house.show(a_call("begun"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 2}
    house.show(a_call("ended"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 6}
    assert house.server.standing(1) == [render(a_call("ended"), None)]


async def test_a_send_that_is_never_answered_is_given_up(house):
    house.server.script("sendMessage", *[Fault(reset=True)] * 9)
    house.show(a_call("ended"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 6}
    assert house.log.posts("1.1")[1][0].refused == "ambiguous"


async def test_a_delivery_says_upto_which_fact_its_text_tells(house):
    def upto():
        bodies = [msgspec.json.decode(fact.body) for fact in house.log.facts if fact.kind in SHOWN]
        return [body["upto"] for body in bodies]

    house.show(msgspec.structs.replace(a_call("begun"), last_position=4))
    await house.settled()
    # while the edit is on its way a fact arrives that changes no word of it, and then one that does
    house.server.script("editMessageText", Fault(delay=0.2), Fault(delay=0.2))
    house.show(msgspec.structs.replace(a_call("talking"), last_position=5))
    await house.server.seen("editMessageText")
    house.show(msgspec.structs.replace(a_call("talking"), last_position=6))
    await house.settled()
    assert upto() == [4, 6]
    house.show(msgspec.structs.replace(a_call("ended"), last_position=7))
    await house.server.seen("editMessageText", 2)
    house.show(msgspec.structs.replace(a_call("ended", talked=("150",)), last_position=8))
    await house.settled()
    assert upto() == [4, 6, 7, 8]


async def test_an_edit_without_an_answer_is_repeated_until_it_is_known(house):
    house.server.script(
        "editMessageText", Fault(reset=True), Fault(reset=True), Fault(reset=True, effect=True)
    )
    house.show(a_call("begun"))
    await house.settled()
    house.show(a_call("ended"))
    await house.settled()
    assert house.server.standing(1) == [render(a_call("ended"), None)]
    assert house.log.kinds() == ["intended", "sent", "edited"]


async def test_an_edit_that_comes_after_its_time_does_not_stay_the_last(server, monkeypatch):
    monkeypatch.setattr(plans, "LATE", 0.6)
    answer, held = server._answer, []

    async def late(target, kind, body):
        if target.endswith("editMessageText") and not held:
            held.append(target)
            await asyncio.sleep(0.5)
        return await answer(target, kind, body)

    async with a_house(server, total=0.2) as house:
        house.show(a_call("begun"))
        await house.settled()
        monkeypatch.setattr(server, "_answer", late)
        house.show(a_call("talking"), posts=house.log.posts("1.1"))
        while not held:
            await asyncio.sleep(0.002)
        house.show(a_call("ended"), posts=house.log.posts("1.1"))
        await house.settled()
    assert server.standing(1) == [render(a_call("ended"), None)]
    (message,) = server.chats[1].values()
    assert [text.split("</b>")[0] for text in message.texts] == [
        "<b>begun",
        "<b>ended",
        "<b>talking",
        "<b>ended",
    ]


async def test_an_intent_that_cannot_be_stored_means_no_message(house):
    house.log.down = 3
    house.log.gate = asyncio.Event()
    house.show(a_call("begun"))
    await asyncio.sleep(0.02)
    assert not house.server.requests
    house.log.gate.set()
    await house.settled()
    assert house.server.counts == {"sendMessage": 1}
    assert house.log.kinds() == ["intended", "sent"]


async def test_a_result_is_stored_however_long_the_store_is_away(server, monkeypatch):
    monkeypatch.setattr("adapters.telegram.courier._RECORD_AGAIN", 0.01)
    server.script("sendMessage", Fault(delay=0.05))
    async with a_house(server) as house:
        house.show(a_call("begun"))
        await server.seen("sendMessage")
        house.log.down = 5
    # the outbox is closed: what was in flight has been recorded
    assert house.log.kinds() == ["intended", "sent"]


async def test_an_intent_decided_on_an_old_version_is_not_sent_and_what_the_stream_says_is_learnt(house):
    house.show(a_call("begun"))
    await house.settled()
    log, server = house.log, house.server
    async with a_house(server, log) as other:
        other.show(a_call("ringing"))  # knows of no message
        await other.settled()
    assert server.counts == {"sendMessage": 1, "editMessageText": 1}


async def test_when_two_calls_prove_to_be_one_the_message_sent_first_lives_on(house):
    house.show(a_call(call_id="1.2"))
    await house.settled("1.2")
    house.show(a_call(call_id="1.1"))
    await house.settled("1.1")
    house.outbox.drop("0367", "1.2")
    joined = a_call("talking", legs=("1.1", "1.2"), talked=("151",))
    house.show(joined, house.log.posts("1.2", "1.1"))
    await house.settled()
    assert house.server.standing(1) == [render(joined, None)]
    assert house.log.kinds("1.2") == ["intended", "sent", "edited"]
    assert house.log.kinds("1.1") == ["intended", "sent", "withdrawn"]


async def test_a_message_on_its_way_when_calls_join_is_not_doubled(house):
    """The new leader has not heard of it yet; the outbox knows better."""
    house.server.script("sendMessage", Fault(delay=0.1))
    house.show(a_call(call_id="1.2"))
    await house.server.seen("sendMessage")
    house.outbox.drop("0367", "1.2")
    assert not house.outbox.idle("0367", "1.2")
    joined = a_call("talking", legs=("1.1", "1.2"))
    house.show(joined)
    await house.settled()
    assert house.outbox.idle("0367", "1.2")
    assert house.server.standing(1) == [render(joined, None)]
    assert house.server.counts == {"sendMessage": 1, "editMessageText": 1}


async def test_a_message_that_is_heard_of_when_the_call_was_told_is_taken_back(house):
    """A process that died had sent it for a leg on its own; whoever wakes the leg hands it over."""
    for call_id in ("1.1", "1.2"):
        house.show(a_call("ended", call_id=call_id))
        await house.settled(call_id)
        house.outbox.drop("0367", call_id)
    joined = a_call("ended", call_id="1.1")
    house.show(joined, house.log.posts("1.1"))
    await house.settled()
    assert len(house.server.standing(1)) == 2
    house.show(joined, house.log.posts("1.1", "1.2"))
    await house.settled()
    assert house.server.standing(1) == [render(joined, None)]
    assert house.log.kinds("1.2") == ["intended", "sent", "withdrawn"]


async def test_a_message_that_may_not_be_deleted_becomes_a_pointer(house):
    for call_id in ("1.1", "1.2"):
        house.show(a_call(call_id=call_id))
        await house.settled(call_id)
    house.server.script("deleteMessage", CANT_BE_DELETED)
    house.outbox.drop("0367", "1.2")
    joined = a_call("talking", legs=("1.1", "1.2"))
    house.show(joined, house.log.posts("1.1", "1.2"))
    await house.settled()
    texts = house.server.standing(1)
    assert texts[0] == render(joined, None)
    assert texts[1].startswith("↪️")
    assert "\n" not in texts[1]
    assert house.log.kinds("1.2") == ["intended", "sent", "withdrawn"]


async def test_a_dropped_call_is_not_sent_any_more(house):
    house.outbox.pause()
    house.show(a_call())
    house.outbox.drop("0367", "1.1")
    house.outbox.resume()
    await asyncio.sleep(0.02)
    assert not house.server.requests
    assert house.outbox.pending == 0


async def test_while_paused_nothing_is_sent_and_the_newest_state_is_kept(house):
    house.outbox.pause()
    house.show(a_call("begun"))
    house.show(a_call("ended"))
    await asyncio.sleep(0.02)
    assert not house.server.requests
    assert not house.outbox.idle("0367", "1.1")
    house.outbox.resume()
    await house.settled()
    assert house.server.standing(1) == [render(a_call("ended"), None)]


async def test_retry_after_is_obeyed_by_its_chat_alone(house):
    house.server.script("sendMessage", too_many(1), chat_id=1)
    both = directory(1, 2)
    begun = time.monotonic()
    house.show(a_call("begun"), to=both)
    await house.server.seen("sendMessage", 2)
    house.show(a_call("ended"), to=both)
    await house.settled()
    assert time.monotonic() - begun >= 1.0
    first, second = (
        [request for request in house.server.requests if request.chat_id == chat] for chat in (1, 2)
    )
    assert [request.method for request in first] == ["sendMessage", "sendMessage"]
    assert first[1].at - first[0].at >= 1.0
    assert second[-1].at - second[0].at < 1.0
    # after the pause the newest state goes out, not the one that was refused
    assert house.server.standing(1) == [render(a_call("ended"), None)]
    assert house.log.kinds() == ["intended", "refused", "intended", "sent"]


async def test_not_modified_is_success(house):
    house.show(a_call("begun"))
    await house.settled()
    house.server.script("editMessageText", NOT_MODIFIED)
    house.show(a_call("ringing"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 1, "editMessageText": 1}
    assert house.log.kinds()[-1] == "edited"


async def test_a_message_that_somebody_deleted_is_sent_anew_and_edited_from_then_on(house):
    house.show(a_call("begun"))
    await house.settled()
    house.server.script("editMessageText", EDIT_NOT_FOUND)
    house.show(a_call("ringing"))
    await house.settled()
    house.show(a_call("ended"), house.log.posts("1.1"))
    await house.settled()
    assert house.server.counts == {"sendMessage": 2, "editMessageText": 2}
    assert house.log.kinds() == ["intended", "sent", "withdrawn", "intended", "sent", "edited"]
    assert house.server.standing(1)[-1] == render(a_call("ended"), None)


async def test_who_blocks_the_bot_gets_no_more_of_the_call_and_the_others_do(house):
    house.server.script("sendMessage", BLOCKED, chat_id=1)
    both = directory(1, 2)
    house.show(a_call("begun"), to=both)
    await house.settled()
    house.show(a_call("ended"), to=both)
    await house.settled()
    assert sum(request.chat_id == 1 for request in house.server.requests) == 1
    assert house.server.standing(2) == [render(a_call("ended"), None)]
    assert house.log.kinds() == ["intended", "refused"]
    assert house.log.posts("1.1")[1][0].refused == "blocked"


@pytest.mark.parametrize("method", ["sendMessage", "editMessageText"])
async def test_who_was_gone_for_a_while_is_shown_how_the_call_goes_on(house, method):
    first = a_call("begun" if method == "sendMessage" else "ringing")
    if method == "editMessageText":
        house.show(a_call("begun"))
        await house.settled()
    house.server.script(method, BLOCKED)
    house.show(first)
    await house.settled()
    told = house.log.posts("1.1")
    house.show(a_call("talking"), posts=told, to=directory())
    house.show(a_call("talking"), posts=told, to=directory(1))
    await house.settled()
    house.show(a_call("ended"), posts=house.log.posts("1.1"))
    await house.settled()
    assert house.server.standing(1) == [render(a_call("ended"), None)]
    assert house.log.posts("1.1")[1][0].refused is None


class Recipients:
    """Remembers what it is told; ``gate``: the directory is slow; ``error``: an accident."""

    def __init__(self):
        self.told = []
        self.gate = asyncio.Event()
        self.error = None

    async def gone(self, enterprise, chat_id, reason):
        await self._tell(("gone", enterprise, chat_id, reason))

    async def moved(self, enterprise, old, new):
        await self._tell(("moved", enterprise, old, new))

    async def _tell(self, what):
        self.told.append(what)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def recipients():
    return Recipients()


def asked(server, chat_id):
    return sum(request.chat_id == chat_id for request in server.requests)


async def quiet(house, *chats):
    """Until nothing waits but in these chats."""
    async with asyncio.timeout(8):
        while any(len(queue) and queue.chat_id not in chats for queue in house.outbox._queues.values()):
            await asyncio.sleep(0.002)


async def test_a_chat_that_is_gone_is_told_of_once_and_asked_nothing_more_for_all_its_open_calls(
    server, recipients
):
    server.script("sendMessage", *[BLOCKED] * 50, chat_id=1)
    async with a_house(server, recipients=recipients) as house:
        both = directory(1, 2)
        for n in range(20):
            house.show(a_call("begun", f"{n}.1"), to=both)
        await quiet(house, 1)
        assert recipients.told == [("gone", "0367", 1, "blocked")]
        assert len(server.standing(2)) == 20
        assert not house.outbox.idle("0367", "0.1")
        recipients.gate.set()
        await asyncio.sleep(0.02)
        # stored, but those who show calls do not know yet
        house.show(a_call("ringing", "0.1"), to=both)
        await quiet(house, 1)
        assert asked(server, 1) == 1
        for n in range(20):
            house.show(a_call("ended", f"{n}.1"), to=directory(2))
            await house.settled(f"{n}.1")
    assert asked(server, 1) == 1
    assert [text.split()[0] for text in server.standing(2)] == ["<b>ended</b>"] * 20
    assert recipients.told == [("gone", "0367", 1, "blocked")]


async def test_a_moved_group_gets_the_open_calls_under_its_new_id(server, recipients):
    async with a_house(server, recipients=recipients) as house:
        for call_id in ("1.1", "1.2"):
            house.show(a_call("begun", call_id), to=directory(-5, 2))
            await house.settled(call_id)
        server.script("editMessageText", *[MIGRATED] * 9, chat_id=-5)
        for call_id in ("1.1", "1.2"):
            house.show(a_call("talking", call_id), to=directory(-5, 2))
        await quiet(house, -5)
        assert recipients.told == [("moved", "0367", -5, -1005)]
        recipients.gate.set()
        for call_id in ("1.1", "1.2"):
            house.show(a_call("talking", call_id), to=directory(-1005, 2))
            await house.settled(call_id)
    assert asked(server, -5) == 3
    assert server.standing(-1005) == [render(a_call("talking", call_id), None) for call_id in ("1.1", "1.2")]
    assert asked(server, 2) == 4


async def test_a_directory_that_cannot_be_told_does_not_hold_the_chat_for_ever(
    server, recipients, monkeypatch, caplog
):
    monkeypatch.setattr("adapters.telegram.outbox.FOLLOWS_WITHIN", 0.05)
    recipients.gate.set()
    recipients.error = RuntimeError("no directory")
    server.script("sendMessage", BLOCKED, BLOCKED, chat_id=1)
    async with a_house(server, recipients=recipients) as house:
        for call_id in ("1.1", "1.2", "1.3"):
            house.show(a_call("begun", call_id))
            await house.settled(call_id)
            recipients.error = None
    assert "an accident with the directory, chat 1" in caplog.text
    assert "chat 1 of 0367 is blocked and still subscribed" in caplog.text
    assert server.standing(1) == [render(a_call("begun", "1.3"), None)]


async def test_stopping_waits_for_the_directory_but_not_for_those_who_read_it(server, recipients):
    server.script("sendMessage", BLOCKED)
    begun = time.monotonic()
    async with a_house(server, recipients=recipients) as house:
        house.show(a_call("begun"))
        async with asyncio.timeout(5):
            while not recipients.told:
                await asyncio.sleep(0.005)
        stored = asyncio.get_running_loop().call_later(0.2, recipients.gate.set)
    assert stored.when() <= asyncio.get_running_loop().time()
    assert time.monotonic() - begun < 5


async def test_a_storm_of_failing_chats_costs_few_requests_and_is_outlasted(server):
    server.script("sendMessage", *[BAD_GATEWAY] * 1000)
    everybody = directory(*range(1, 51))
    async with a_house(
        server, rates=TELEGRAM, pause=Backoff(first=0.4, most=0.8), backoff=Backoff(first=0.001, most=0.002)
    ) as house:
        house.show(a_call("begun"), to=everybody)
        await asyncio.sleep(2.0)  # the storm; its rates alone would let 55 through
        failed = server.counts["sendMessage"]
        server._faults.clear()
        house.show(a_call("ended"), to=everybody)
        await house.settled()
    # five that opened it, a few that were under way, one a pause
    assert 6 <= failed <= 5 + 4 + 5
    assert server.counts == {"sendMessage": failed + 50}
    assert {len(server.chats[chat]) for chat in range(1, 51)} == {1}


async def test_a_bot_that_fails_leaves_another_bot_alone_and_a_new_token_is_tried_at_once(server):
    async with a_house(server, pause=Backoff(first=60.0, most=60.0)) as house:
        nowhere = BotApi(TOKEN, "http://127.0.0.1:1", house.bot._client)
        house.outbox.set_bot("0367", nowhere)
        house.show(a_call("begun"), to=directory(*range(1, 11)))
        async with asyncio.timeout(5):
            while not house.outbox._breaker("0367", nowhere).open:
                await asyncio.sleep(0.005)
        other = Directory(
            profile=Profile(number="0368", name="july"), subscribers={"99": Subscriber(chat_id=99)}
        )
        house.outbox.set_bot("0368", house.bot)
        house.outbox.show(msgspec.structs.replace(a_call("begun", "9.9"), enterprise="0368"), other, {})
        await server.seen("sendMessage")
        assert asked(server, 99) == 1
        house.outbox.set_bot("0367", house.bot)
        await house.settled()
    assert {len(server.chats[chat]) for chat in range(1, 11)} == {1}


async def test_retry_after_of_several_chats_holds_the_bot(house):
    everybody = directory(*range(1, 21))
    house.server.script("sendMessage", *[too_many(1)] * 3)
    house.show(a_call("begun"), to=everybody)
    async with asyncio.timeout(5):
        while sum(fact.kind == "delivery_refused" for fact in house.log.facts) < 3:
            await asyncio.sleep(0.005)
    house.show(a_call("begun", "2.2"), to=directory(77))
    await house.settled()
    await house.settled("2.2")
    refused = house.server.requests[:3]
    (late,) = (request for request in house.server.requests if request.chat_id == 77)
    assert late.at - refused[0].at >= 1.0
    assert len(house.server.standing(77)) == 1


async def test_a_card_that_is_too_long_is_cut_and_keeps_its_form(server):
    def long(call, directory):
        return f"<b>{call.phase}</b>\n<i>" + "a &amp; 😀\n" * 1500 + "</i>"

    async with a_house(server, render=long) as house:
        house.show(a_call("begun"))
        await house.settled()
        house.show(a_call("ended"))
        await house.settled()
    (text,) = server.standing(1)
    assert utf16(from_html(text).text) <= 4096
    assert text.startswith("<b>ended</b>\n<i>a &amp;")
    assert text.endswith("😀\n…</i>")
    assert server.requests[-1].fields["parse_mode"] == "HTML"
    assert server.counts == {"sendMessage": 1, "editMessageText": 1}


async def test_html_that_telegram_does_not_take_is_sent_as_plain_text(house):
    house.server.script("sendMessage", CANT_PARSE)
    house.server.script("editMessageText", CANT_PARSE)
    house.show(a_call("begun"))
    await house.settled()
    assert house.server.standing(1) == ["begun 1.1:  & Co"]
    house.show(a_call("ended"))
    await house.settled()
    assert house.server.standing(1) == ["ended 1.1:  & Co"]
    assert "parse_mode" not in house.server.requests[-1].fields


WRONG_URL = Fault(400, "Bad Request: inline keyboard button URL 'https://pbx' is invalid: Wrong HTTP URL")


async def test_what_telegram_refuses_for_a_reason_of_its_own_is_told_plainly_and_without_buttons(server):
    markup = ((Button("Details", url="https://pbx/calls"),),)
    async with a_house(server, markup=lambda *_: markup) as house:
        server.script("sendMessage", WRONG_URL)
        house.show(a_call("begun"))
        await house.settled()
        server.script("editMessageText", WRONG_URL)
        house.show(a_call("ended"))
        await house.settled()
    assert server.standing(1) == ["ended 1.1:  & Co"]
    buttons = ["reply_markup" in request.fields for request in server.requests]
    assert buttons == [True, False, True, False]


async def test_a_refused_token_stops_the_bot_until_it_is_set_anew(house, caplog):
    house.server.script("sendMessage", UNAUTHORIZED)
    house.server.script("getMe", UNAUTHORIZED)
    house.show(a_call("begun"))
    house.show(a_call("begun", "2.2"))
    await house.server.seen("sendMessage")
    await asyncio.sleep(0.05)
    assert house.server.counts == {"sendMessage": 1, "getMe": 1}
    assert house.outbox.bot_off("0367")
    assert not house.outbox.idle("0367", "1.1")
    assert "refuses the bot token of enterprise 0367" in caplog.text
    assert TOKEN not in caplog.text
    house.outbox.set_bot("0367", house.bot)
    await house.settled()
    await house.settled("2.2")
    assert len(house.server.standing(1)) == 2


async def test_troubles_of_the_server_and_of_the_way_are_outlasted_with_the_newest_state(house):
    house.server.script("sendMessage", *[BAD_GATEWAY] * 4)
    house.server.script("editMessageText", BAD_GATEWAY)
    house.show(a_call("begun"))
    await house.server.seen("sendMessage", 2)
    house.show(a_call("ringing"))
    await house.settled()
    house.show(a_call("ended"))
    await house.settled()
    assert len(house.server.chats[1]) == 1
    assert house.server.standing(1) == [render(a_call("ended"), None)]


async def test_an_api_that_is_not_there_is_waited_for_without_spending_the_tries(server):
    async with a_house(server) as house:
        address = server.base_url
        house.outbox.set_bot("0367", BotApi(TOKEN, "http://127.0.0.1:1", house.bot._client))
        house.show(a_call("begun"))
        while house.log.kinds().count("refused") < 3:
            await asyncio.sleep(0.005)
        assert house.log.posts("1.1")[1][0].intents <= 1
        house.outbox.set_bot("0367", BotApi(TOKEN, address, house.bot._client))
        await house.settled()
    assert len(server.standing(1)) == 1


async def test_a_slow_chat_does_not_delay_another(house):
    house.server.script("sendMessage", Fault(delay=0.5), chat_id=1)
    house.show(a_call("begun"), to=directory(1, 2))
    async with asyncio.timeout(0.4):
        while not house.server.standing(2):
            await asyncio.sleep(0.005)
    await house.settled()


async def test_in_a_busy_chat_the_lost_call_comes_first_and_the_one_that_only_began_last(house):
    house.outbox.pause()
    phases = {"1.1": "begun", "1.2": "ringing", "1.3": "talking", "1.4": "ended", "1.5": "ended"}
    for call_id, phase in phases.items():
        house.show(a_call(phase, call_id, outcome="missed" if call_id == "1.5" else "answered"))
    house.outbox.resume()
    for call_id in phases:
        await house.settled(call_id)
    order = [request.fields["text"].split("</b> ")[1][:3] for request in house.server.requests]
    assert order == ["1.5", "1.4", "1.3", "1.2", "1.1"]


async def test_an_enterprise_without_a_bot_has_nothing_to_wait_for(house):
    house.outbox.set_bot("0367", None)
    house.show(a_call("begun"))
    assert house.outbox.idle("0367", "1.1")
    house.outbox.set_bot("0367", house.bot)
    await house.settled()
    assert len(house.server.standing(1)) == 1


@pytest.mark.parametrize("method", ["sendMessage", "editMessageText"])
async def test_one_call_that_is_never_taken_keeps_no_other_from_its_chat(house, method, monkeypatch):
    fault_of, lost = house.server.fault_of, a_call("ended", "9.9", outcome="missed")
    if method == "editMessageText":
        house.show(a_call("begun", "9.9"))
        await house.settled("9.9")

    def never(request):
        poison = request.method == method and "9.9" in request.fields.get("text", "")
        return Fault(500, "Internal Server Error") if poison else fault_of(request)

    monkeypatch.setattr(house.server, "fault_of", never)
    others = [a_call("ended", f"{number}.1") for number in range(4)]
    for call in (lost, *others):
        house.show(call)
    for call in others:
        await house.settled(call.call_id)
    monkeypatch.undo()
    await house.settled("9.9")
    assert sorted(house.server.standing(1)) == sorted(render(call, None) for call in (lost, *others))


def test_a_card_that_is_never_taken_gets_its_turn_again_once_when_another_was():
    queue, cards = ChatQueue("0367", 1), []
    for number, call in enumerate((a_call("ended", outcome="missed"), a_call("begun", "2.2"))):
        cards.append(Card(("0367", str(number)), call, directory(1), render, lambda *_: ""))
        queue.put(cards[-1])
    lost, begun = cards
    firsts = []
    for _ in range(3):
        queue.defer(lost)
        firsts.append(queue.first())
    queue.recall()
    firsts.append(queue.first())
    queue.defer(lost)
    queue.recall()
    firsts.append(queue.first())
    assert firsts == [lost, lost, begun, lost, begun]


async def test_a_bot_with_a_new_token_has_the_limits_it_had(server):
    slow = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(1, 0.01))
    async with a_house(server, rates=slow) as house:
        house.show(a_call("begun"))
        await house.settled()
        number, _, secret = TOKEN.partition(":")
        renewed = BotApi(f"{number}:{secret[::-1]}", server.base_url, house.bot._client)
        another = BotApi(f"{number}7:{secret}", server.base_url, house.bot._client)
        house.outbox.set_bot("0367", renewed)
        assert house.outbox._budget(renewed) is house.outbox._budget(house.bot)
        assert house.outbox._budget(another) is not house.outbox._budget(house.bot)


@pytest.mark.parametrize(("asked", "shown"), [([50.0, 40.0], 1), ([500.0, 400.0], 2)])
async def test_what_another_instance_asked_counts_when_this_one_leads_again(server, asked, shown):
    two = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(2, 0.01))
    async with a_house(server, rates=two) as house:
        house.show(a_call("begun"))
        await house.settled()
        house.outbox.pause()
        await house.outbox.remember({("0367", 1): asked}, 400.0)
        house.outbox.resume()
        house.show(a_call("begun", "2.2"))
        if shown == 2:
            await house.settled("2.2")
        else:
            await asyncio.sleep(0.3)  # nothing is to happen
        assert len(server.standing(1)) == shown


async def test_a_pause_holds_though_requests_are_counted_anew(server):
    async with a_house(server) as house:
        server.script("sendMessage", too_many(30))
        house.show(a_call("begun"))
        await server.seen("sendMessage")
        async with asyncio.timeout(5):
            while not house.outbox._budget(house.bot).pauses()[1]:
                await asyncio.sleep(0.002)
        pauses = house.outbox._budget(house.bot).pauses()
        house.outbox.pause()
        await house.outbox.remember({}, 0.0)
        assert house.outbox._budget(house.bot).pauses() == pauses


async def test_a_card_that_cannot_be_rendered_does_not_silence_its_chat(server):
    def broken(call, directory):
        if call.call_id == "1.1":
            raise ValueError("no card")
        return render(call, directory)

    async with a_house(server, render=broken) as house:
        house.show(a_call("begun"))
        house.show(a_call("begun", "1.2"))
        await house.settled()
        await house.settled("1.2")
    assert len(server.standing(1)) == 1


async def test_rendering_waits_until_a_request_may_go_out(server):
    rendered = []

    def counting(call, directory):
        rendered.append(call.phase)
        return render(call, directory)

    async with a_house(server, render=counting) as house:
        house.outbox.pause()
        for phase in ("begun", "ringing", "talking", "ended"):
            house.show(a_call(phase))
        assert not rendered
        house.outbox.resume()
        await house.settled()
    assert rendered == ["ended"]


async def test_requests_are_observed_and_never_with_the_token(server):
    seen = []
    async with a_house(server, observe=lambda *what: seen.append(what)) as house:
        server.script("editMessageText", too_many(0))
        house.show(a_call("begun"))
        await house.settled()
        house.show(a_call("ended"))
        await house.settled()
    assert [what[:2] for what in seen] == [
        ("sendMessage", "ok"),
        ("editMessageText", "too_many_requests"),
        ("editMessageText", "ok"),
    ]
    assert all(what[2] >= 0 for what in seen)


async def test_requests_are_spans_in_the_trace_of_the_call(server):
    spans = []

    class Recorded(Span):
        def set(self, key, value):
            spans[-1][1][key] = value

        def error(self, error):
            spans[-1][1]["error"] = str(error)

    class Recording(Tracing):
        def span(self, name, *, enterprise, call_id, parent=None, links=(), attributes):
            spans.append(((name, enterprise, call_id, parent), dict(attributes)))
            return Recorded()

    async with a_house(server, tracing=Recording()) as house:
        server.script("sendMessage", BAD_GATEWAY)
        house.outbox.show(a_call("begun"), house.directory, {}, SpanRef(1, 2))
        await house.settled()
    (failed, said), (sent, _) = spans
    assert failed == sent == ("callfold.telegram", "0367", "1.1", SpanRef(1, 2))
    assert said == {
        "callfold.telegram_method": "sendMessage",
        "callfold.chat_id": 1,
        "callfold.outcome": "server_error",
        "error": "sendMessage: 502 Bad Gateway",
    }


async def test_an_accident_silences_neither_the_chat_nor_the_others(house, monkeypatch, caplog):
    append, accidents = house.log.append, [ValueError("an accident")]

    async def clumsy(fact, *, within=None):
        if accidents:
            raise accidents.pop()
        return await append(fact, within=within)

    monkeypatch.setattr(house.log, "append", clumsy)
    house.show(a_call("begun"), to=directory(1, 2))
    await house.settled()
    assert len(house.server.standing(1)) == len(house.server.standing(2)) == 1
    assert "an accident in chat" in caplog.text


async def test_who_unsubscribes_is_sent_nothing_more(house):
    house.outbox.pause()
    house.show(a_call("begun"), to=directory(1, 2))
    house.show(a_call("begun"), to=directory(2))
    house.outbox.resume()
    await house.settled()
    assert {request.chat_id for request in house.server.requests} == {2}


async def test_thousands_of_open_calls_end_as_they_should(server):
    async with a_house(server) as house:
        calls = [f"{n}.1" for n in range(1000)]
        house.outbox.pause()
        for call_id in calls:
            house.show(a_call("begun", call_id))
        for call_id in calls:
            house.show(a_call("ended", call_id))
        house.outbox.resume()
        for call_id in calls:
            await house.settled(call_id, within=30)
        assert house.outbox.pending == 0
    assert len(server.standing(1)) == 1000
    assert server.counts == {"sendMessage": 1000}


@pytest.mark.parametrize(("chat_id", "known"), [(-5, 2), (1, 0)])
async def test_edits_of_a_group_that_were_not_taken_are_facts(server, chat_id, known):
    async with a_house(server) as house:
        house.directory = directory(chat_id)
        house.show(a_call("begun"))
        await house.settled()
        server.script("editMessageText", Fault(502, "Bad Gateway"), too_many(0))
        house.show(a_call("ended"), house.log.posts("1.1"))
        await house.settled()
        async with asyncio.timeout(5):
            while [fact.kind for fact in house.log.facts].count("chat_asked") < known:
                await asyncio.sleep(0.002)  # polled, because nothing announces it
    assert [fact.kind for fact in house.log.facts].count("chat_asked") == known


@pytest.mark.parametrize("joined", ["before", "meanwhile", ""])
async def test_an_edit_that_comes_late_does_not_stay_the_last_behind_a_join(server, monkeypatch, joined):
    monkeypatch.setattr(plans, "LATE", 1.0)
    async with a_house(server, total=0.4) as house:
        house.show(a_call("begun", legs=("1.1",)))
        await house.settled()
        server.script("editMessageText", Fault(delay=0.9))
        house.show(a_call("ringing", legs=("1.1",)))
        await server.seen("editMessageText")
        await asyncio.sleep(0.5 if joined == "before" else 0.0)  # until the edit is given up, or not
        leader = "2.2" if joined else "1.1"
        if joined:
            house.outbox.drop("0367", "1.1")
        house.show(a_call("ended", leader, legs=("1.1", leader)), house.log.posts("1.1"))
        await asyncio.sleep(2.5)  # until the late edit has come and its time is over
        assert server.standing(1) == [render(a_call("ended", leader), None)]


async def test_a_card_that_was_put_last_stays_there_whatever_is_told_of_its_other_chats(server):
    slow = Rates(bot=Rate(1e6, 1e6), group=Rate(1e6, 1e6), chat=Rate(1, 20))
    async with a_house(server, rates=slow) as house:
        everybody = directory(1, 2)
        fault_of = server.fault_of
        server.fault_of = lambda request: (
            Fault(502, "Bad Gateway")
            if request.chat_id == 1 and "9.9" in request.fields.get("text", "")
            else fault_of(request)
        )
        house.show(a_call("ended", "9.9", outcome="missed"), to=everybody)
        for number in range(12):
            house.show(a_call("begun", f"{number}.1"), to=everybody)
        while len(server.standing(1)) < 12:
            house.show(
                a_call("ended", "9.9", outcome="missed"), house.log.posts("9.9", chats=(1, 2)), to=everybody
            )
            await asyncio.sleep(0.02)
        order = ["9.9" in request.fields["text"] for request in server.requests if request.chat_id == 1]
        assert sum(order) <= MOST_FAILURES + 2, order
        server.fault_of = fault_of
