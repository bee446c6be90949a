"""Subscribers are shown the calls they asked for, with the sound they asked for: the outbox against a Bot API."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from adapters.telegram import plans
from adapters.telegram.api import BotApi, Button, http_client
from adapters.telegram.limits import Backoff, Rate, Rates
from adapters.telegram.outbox import Outbox
from calls.call import Call
from calls.deliveries import fold_delivery
from calls.directory import Directory
from calls.entries import Department, Manager, Profile, Subscriber
from calls.facts import delivery_stream
from tests.botapi import EDIT_NOT_FOUND, TOKEN, BotApiServer, Fault
from tests.memory_log import MemoryLog

NOW = datetime(2025, 9, 15, 6, 12, 3, tzinfo=UTC)
ALL, SOME = 1, 2
PLENTY = Rate(1e6, 1e6)


def june(*subscribers):
    return Directory(
        profile=Profile(number="0367", name="june", timezone="Europe/Minsk"),
        subscribers={str(one.chat_id): one for one in (Subscriber(chat_id=ALL), *subscribers)},
        managers={"150": Manager(extension="150"), "151": Manager(extension="151")},
        departments={"901": Department(number="901", members=("151", "152"))},
    )


def some(**filters):
    """A directory of one chat that is shown everything and one that has these filters."""
    return june(Subscriber(chat_id=SOME, **filters))


def a_call(phase="begun", call_id="1.1", direction="in", **more):
    outcome = more.pop("outcome", "answered" if phase == "ended" else "open")
    return Call(
        enterprise="0367",
        call_id=call_id,
        direction=direction,
        outcome=outcome,
        phase=phase,
        started_at=NOW,
        **more,
    )


def text(call):
    return f"{call.phase} {call.call_id}"


class House:
    """An outbox with its log, and the chats it writes to."""

    def __init__(self, server, outbox, log):
        self.server, self.outbox, self.log = server, outbox, log
        self.now = NOW

    def posts(self, call_id="1.1"):
        """What a leader knows that has read everything."""
        found = {}
        for chat_id in (ALL, SOME):
            post = None
            for fact in self.log.facts:
                if fact.stream == delivery_stream(call_id, chat_id):
                    post = fold_delivery(post, fact)
            found[chat_id] = (post,) if post else ()
        return found

    def show(self, call, directory, *, posts=None):
        """As a leader who knows of these messages, by default of all."""
        self.outbox.show(call, directory, self.posts(call.call_id) if posts is None else posts)

    async def shown(self, *states):
        """Show states of one directory one after the other."""
        *calls, directory = states
        for call in calls:
            self.show(call, directory)
            await self.settled(call.call_id)

    async def settled(self, call_id="1.1"):
        async with asyncio.timeout(8):
            while not self.outbox.idle("0367", call_id):
                await asyncio.sleep(0.002)  # polled, because nothing announces it

    def texts(self, chat_id=SOME):
        """Of every message of a chat, what it has shown."""
        return [message.texts for message in self.server.chats[chat_id].values()]

    def silent(self, chat_id=SOME):
        return [message.silent for message in self.server.chats[chat_id].values()]


@asynccontextmanager
async def a_house(server, log):
    ids = itertools.count()
    async with http_client() as client:
        outbox = Outbox(
            log,
            lambda call, _: text(call),
            now=lambda: house.now,
            new_id=lambda: f"try-{next(ids)}",
            chance=lambda: 0.5,
            monotonic=asyncio.get_running_loop().time,
            bots={"0367": BotApi(TOKEN, server.base_url, client)},
            backoff=Backoff(first=0.01, most=0.05),
            rates=Rates(bot=PLENTY, group=PLENTY, chat=PLENTY),
            markup=lambda call, _, chat_id: ((Button("Call", callback_data=f"{call.call_id}/{chat_id}"),),),
        )
        house = House(server, outbox, log)
        async with outbox:
            outbox.resume()
            yield house


@pytest.fixture
async def server():
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def house(server):
    async with a_house(server, MemoryLog()) as house:
        yield house


async def test_a_filter_by_line_shows_calls_from_when_their_line_is_known(house):
    directory = some(lines=("0007001",))
    for call_id, line in (("1.1", "0007001"), ("2.2", "0007002")):
        ringing = a_call("ringing", call_id, line=line)
        await house.shown(a_call("begun", call_id), ringing, a_call("ended", call_id, line=line), directory)
    assert house.texts() == [["ringing 1.1", "ended 1.1"]]
    assert [texts[0] for texts in house.texts(ALL)] == ["begun 1.1", "begun 2.2"]


async def test_a_call_that_moves_to_another_line_before_it_is_sent_is_not_sent(house):
    directory = some(lines=("0007001",))
    house.outbox.pause()
    house.show(a_call(line="0007001"), directory)
    house.show(a_call(line="0007002"), directory)
    house.outbox.resume()
    await house.settled()
    assert house.texts() == []
    assert house.texts(ALL) == [["begun 1.1"]]


async def test_a_filter_by_department_shows_a_call_from_when_it_reaches_one_of_its_members(house):
    directory = some(people=("901",))
    talking = a_call("talking", rung=("150",), talked=("150",))
    asked = a_call("talking", rung=("150",), talked=("150",), consulted=("152",))
    ended = a_call("ended", rung=("150",), talked=("150", "152"), consulted=("152",))
    await house.shown(a_call("ringing", rung=("150",)), talking, directory)
    assert house.texts() == []
    await house.shown(asked, ended, directory)
    assert house.texts() == [["talking 1.1", "ended 1.1"]]


async def test_a_filter_by_outcome_shows_one_final_message(house):
    directory = some(outcomes=("missed", "lost_in_transfer"))
    missed = a_call("ended", "1.1", outcome="missed")
    await house.shown(a_call(), a_call("ringing"), missed, directory)
    await house.shown(a_call("begun", "2.2"), a_call("talking", "2.2"), a_call("ended", "2.2"), directory)
    assert house.texts() == [["ended 1.1"]]
    assert [request.method for request in house.server.requests if request.chat_id == SOME] == ["sendMessage"]
    assert house.texts(ALL) == [
        ["begun 1.1", "ringing 1.1", "ended 1.1"],
        ["begun 2.2", "talking 2.2", "ended 2.2"],
    ]


async def test_a_call_that_goes_on_after_its_final_message_is_edited_to_the_new_truth(house):
    directory = some(outcomes=("missed",))
    await house.shown(a_call("ended", outcome="missed"), a_call("talking"), directory)
    assert house.texts() == [["ended 1.1", "talking 1.1"]]


async def test_who_wants_no_internal_calls_is_shown_none(house):
    directory = some(internal=False)
    await house.shown(a_call(direction="internal"), a_call("ended", direction="internal"), directory)
    await house.shown(a_call(call_id="2.2", direction="out"), directory)
    assert house.texts() == [["begun 2.2"]]
    assert len(house.texts(ALL)) == 2


async def test_calls_that_begin_outside_the_hours_are_not_shown(house):
    await house.shown(a_call(), a_call("ended"), some(hours="Mo-Fr 09:30-18:00"))
    await house.shown(a_call(call_id="2.2"), some(hours="Mo-Fr 09:00-18:00"))
    assert house.texts() == [["begun 2.2"]]


async def test_a_message_that_stands_is_brought_to_its_end_whatever_the_filters_say_since(house):
    await house.shown(a_call(), some())
    stricter = some(directions=("out",))
    await house.shown(a_call("talking"), a_call("ended"), stricter)
    await house.shown(a_call(call_id="2.2"), stricter)
    assert house.texts() == [["begun 1.1", "talking 1.1", "ended 1.1"]]


async def test_a_message_on_its_way_when_the_filter_changes_is_brought_to_its_end(house):
    house.server.script("sendMessage", Fault(delay=0.1), chat_id=SOME)
    house.show(a_call(), some())
    await house.server.seen("sendMessage", 2)
    stricter = some(directions=("out",))
    house.show(a_call("ended"), stricter, posts={})
    await house.settled()
    assert house.texts() == [["begun 1.1"]], "nobody has told the leader of it yet"
    house.show(a_call("ended"), stricter)
    await house.settled()
    assert house.texts() == [["begun 1.1", "ended 1.1"]]


async def test_what_waits_to_be_sent_when_the_filter_changes_is_not_sent(house):
    house.outbox.pause()
    house.show(a_call(), some())
    house.show(a_call("ringing"), some(directions=("out",)))
    house.outbox.resume()
    await house.settled()
    assert house.texts() == []


async def test_a_message_that_its_reader_deleted_is_not_sent_anew_where_the_filters_have_changed(house):
    await house.shown(a_call(), some())
    house.server.script("editMessageText", EDIT_NOT_FOUND, chat_id=SOME)
    await house.shown(a_call("talking"), a_call("ended"), some(directions=("out",)))
    assert [request.method for request in house.server.requests if request.chat_id == SOME] == [
        "sendMessage",
        "editMessageText",
    ]


async def test_a_filter_that_is_taken_away_shows_the_calls_that_go_on(house):
    await house.shown(a_call(), some(directions=("out",)))
    assert house.texts() == []
    await house.shown(a_call("talking"), some())
    assert house.texts() == [["talking 1.1"]]


async def test_messages_come_with_a_sound_in_the_hours_and_for_the_calls_that_the_subscriber_wishes(house):
    await house.shown(a_call(), a_call("ended"), some())
    await house.shown(a_call(call_id="2.2"), some(notify="missed"))
    await house.shown(a_call(call_id="3.3"), some(notify="all"))
    await house.shown(a_call(call_id="4.4", direction="out"), some(notify="all"))
    await house.shown(a_call(call_id="5.5"), some(silent="Mo 09:00-10:00"))
    assert house.silent() == [False, True, False, True, True]
    assert house.silent(ALL) == [False] * 5
    said = ["disable_notification" in request.fields for request in house.server.requests]
    assert sum(said) == 3, "a message that rings, and an edit, say nothing of it"


async def test_whether_a_message_rings_is_decided_when_it_is_sent(house):
    house.outbox.pause()
    house.show(a_call(), some(silent="Mo 09:00-10:00"))
    house.now = datetime(2025, 9, 15, 7, 0, tzinfo=UTC)
    house.outbox.resume()
    await house.settled()
    assert house.silent() == [False]


# the reply that rings


@pytest.fixture
def soon(monkeypatch):
    """Replies ring a moment after the end, not two seconds."""
    monkeypatch.setattr(plans, "NOTICE_AFTER", 0.05)


MISSED = a_call("ended", outcome="missed", customer="+375290000101", ended_at=NOW)
NOTICE = "🔔 Пропущенный звонок: +375 (29) 000-01-01"


def replies(server, chat_id=SOME):
    sent = [request.fields for request in server.requests if request.method == "sendMessage"]
    return [fields for fields in sent if fields["chat_id"] == chat_id and "reply_parameters" in fields]


@pytest.mark.usefixtures("soon")
async def test_a_missed_call_rings_by_a_reply_with_a_button_and_nothing_else_of_it_makes_a_sound(house):
    await house.shown(a_call(), MISSED, some(notify="missed"))
    assert house.texts() == [["begun 1.1", "ended 1.1"], [NOTICE]]
    assert house.silent() == [True, False]
    (reply,) = replies(house.server)
    card = min(house.server.chats[SOME])
    assert reply["reply_parameters"] == {"message_id": card, "allow_sending_without_reply": True}
    assert reply["reply_markup"] == {"inline_keyboard": [[{"text": "Call", "callback_data": "1.1/2"}]]}
    assert house.texts(ALL) == [["begun 1.1", "ended 1.1"]], "who did not ask for it gets none"
    await house.shown(msgspec.structs.replace(MISSED, last_position=9), some(notify="missed"))
    assert len(house.texts()) == 2, "and once"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("heard", "rings"), [(timedelta(0), True), (timedelta(hours=1), False)])
async def test_whether_it_was_a_moment_ago_is_told_by_our_clock_and_not_the_hosts(house, heard, rings):
    call = msgspec.structs.replace(MISSED, ended_at=NOW - timedelta(hours=1), heard_at=NOW - heard)
    await house.shown(call, some(notify="missed"))
    assert house.texts() == [["ended 1.1"], *([[NOTICE]] if rings else [])]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            a_call(
                "ended", outcome="lost_in_transfer", direction="out", customer="+375290000101", ended_at=NOW
            ),
            "🔔 Потерян при переводе: +375 (29) 000-01-01",
        ),
        (
            a_call("ended", outcome="missed", direction="internal", caller="151", ended_at=NOW),
            "🔔 Пропущенный звонок (внутр.): 151",
        ),
        (a_call("ended", outcome="missed", ended_at=NOW), "🔔 Пропущенный звонок: Номер не определен"),
        (a_call("ended", outcome="not_answered", direction="out", ended_at=NOW), None),
        (a_call("ended", ended_at=NOW), None),
    ],
)
async def test_what_the_reply_says_and_of_which_calls(house, call, line):
    await house.shown(call, some(notify="all"))
    assert house.texts()[1:] == ([[line]] if line else [])


@pytest.mark.usefixtures("soon")
async def test_in_silent_hours_the_reply_comes_without_a_sound(house):
    await house.shown(MISSED, some(notify="missed", silent="Mo 09:00-10:00"))
    assert house.silent() == [True, True]


async def test_a_call_that_was_missed_for_a_moment_rings_nobody(house, monkeypatch):
    monkeypatch.setattr(plans, "NOTICE_AFTER", 0.3)
    directory = some(notify="missed")
    house.show(MISSED, directory)
    await house.server.seen("sendMessage", 2)
    house.show(a_call("talking"), directory)
    await house.settled()
    assert house.texts() == [["ended 1.1", "talking 1.1"]]


@pytest.mark.usefixtures("soon")
async def test_a_reply_that_is_no_longer_true_is_taken_back(house):
    directory = some(notify="missed")
    await house.shown(MISSED, a_call("ended", talked=("150",), last_position=3), directory)
    assert house.texts()[1:] == [[NOTICE]]
    assert [message.deleted for message in house.server.chats[SOME].values()] == [False, True]


@pytest.mark.usefixtures("soon")
async def test_a_call_that_is_told_of_much_later_is_shown_and_does_not_ring(house):
    house.now = NOW + timedelta(hours=2)
    await house.shown(MISSED, some(notify="missed"))
    assert house.texts() == [["ended 1.1"]]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        (None, 1),
        (Fault(429, "Too Many Requests: retry after 0", {"retry_after": 0}), 1),
        (Fault(reset=True, effect=True), 2),
    ],
    ids=["sent", "refused", "nobody-knows"],
)
async def test_after_a_restart_a_reply_is_there_once_and_twice_only_where_nobody_knows(server, fault, sent):
    log, directory = MemoryLog(), some(notify="missed")
    async with a_house(server, log) as before:
        if fault:
            server.script("sendMessage", Fault(), Fault(), fault)
        before.show(MISSED, directory)
        await server.seen("sendMessage", 3)
        if fault is None:
            await before.settled()
        before.outbox.pause()
    async with a_house(server, log) as after:
        await after.shown(MISSED, directory)
        assert [texts for texts in after.texts() if texts == [NOTICE]] == [[NOTICE]] * sent
        assert len(after.texts(ALL)) == 1


@pytest.mark.usefixtures("soon")
async def test_the_end_of_a_call_says_that_a_reply_is_to_follow(house):
    await house.shown(a_call(), MISSED, some(notify="missed"))
    said = {}
    for fact in house.log.facts:
        if fact.kind in {"delivery_sent", "delivery_edited"}:
            said[fact.stream] = msgspec.json.decode(fact.body).get("notice", False)
    assert said == {"delivery/1/1.1": False, "delivery/2/1.1": True, "notice/2/1.1": False}


@pytest.mark.usefixtures("soon")
async def test_after_a_restart_an_end_that_was_told_without_a_reply_does_not_ring(server):
    log = MemoryLog()
    async with a_house(server, log) as before:
        await before.shown(MISSED, some(notify="edit"))
        told = before.posts()
    async with a_house(server, log) as after:
        after.show(MISSED, some(notify="missed"), posts=told)
        await after.settled()
        assert after.texts() == [["ended 1.1"]]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("faults", "texts"), [(1, [["ended 1.1"], [NOTICE]]), (2, [["ended 1.1"]])])
async def test_a_reply_that_telegram_refuses_is_tried_once_more_plainly_and_no_more(house, faults, texts):
    refused = Fault(400, "Bad Request: inline keyboard button URL is invalid")
    house.server.script("sendMessage", *[Fault()] * 2, *[refused] * faults)
    await house.shown(MISSED, some(notify="missed"))
    assert house.texts() == texts
    assert house.server.counts["sendMessage"] == 4
    assert "reply_markup" not in house.server.requests[-1].fields


@pytest.mark.usefixtures("soon")
async def test_a_reply_stays_for_as_long_as_nobody_took_the_call_whatever_is_wished_since(house):
    await house.shown(MISSED, some(notify="missed"))
    house.now = NOW + timedelta(hours=2)
    with_recording = msgspec.structs.replace(MISSED, last_position=9, recordings=("r",))
    await house.shown(with_recording, some(notify="missed"))
    await house.shown(msgspec.structs.replace(with_recording, last_position=11), some(notify="edit"))
    assert [message.deleted for message in house.server.chats[SOME].values()] == [False, False]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("outcome", "stand"),
    [
        ("missed", [["ended 1.1", "ended 1.1 as one"], [NOTICE]]),
        ("answered", [["ended 1.1", "ended 1.1 as one"]]),
    ],
)
async def test_two_missed_calls_that_rang_and_prove_to_be_one_keep_one_reply_or_none(
    house, monkeypatch, outcome, stand
):
    directory, follower = some(notify="missed"), msgspec.structs.replace(MISSED, call_id="1.2")
    await house.shown(MISSED, follower, directory)
    assert len(house.texts()) == 4
    monkeypatch.setitem(globals(), "text", lambda call: f"{call.phase} {call.call_id} as one")
    house.outbox.drop("0367", "1.2")
    joined = msgspec.structs.replace(MISSED, outcome=outcome, legs=("1.1", "1.2"), last_position=9)
    one, other = house.posts("1.1"), house.posts("1.2")
    house.show(joined, directory, posts={chat: one[chat] + other[chat] for chat in one})
    await house.settled()
    messages = house.server.chats[SOME].values()
    assert [message.texts for message in messages if not message.deleted] == stand


@pytest.mark.usefixtures("soon")
async def test_where_the_end_of_a_missed_call_is_taken_in_no_form_the_reply_rings_all_the_same(house):
    directory = some(notify="missed")
    await house.shown(a_call("ringing"), directory)
    house.server.script("editMessageText", *[Fault(400, "Bad Request: what nobody knows")] * 4)
    await house.shown(MISSED, directory)
    assert house.texts() == [["ringing 1.1"], [NOTICE]]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("outcome", "replies"), [("missed", 1), ("answered", 0)])
async def test_after_a_restart_a_reply_is_known_whatever_leg_led_when_it_rang(server, outcome, replies):
    log, directory = MemoryLog(), some(notify="missed")
    async with a_house(server, log) as before:
        await before.shown(msgspec.structs.replace(MISSED, legs=("1.1",)), directory)
        told = before.posts("1.1")
        before.outbox.pause()
    async with a_house(server, log) as after:
        joined = msgspec.structs.replace(
            MISSED, call_id="2.2", legs=("1.1", "2.2"), last_position=9, outcome=outcome
        )
        after.show(joined, directory, posts=told)
        await after.settled("2.2")
        standing = [message.texts for message in server.chats[SOME].values() if not message.deleted]
        assert standing.count([NOTICE]) == replies
        assert len(standing) == 1 + replies


@pytest.mark.usefixtures("soon")
async def test_a_reply_of_which_the_store_says_nothing_waits_until_it_does(server, monkeypatch):
    monkeypatch.setattr(plans, "ASK_AGAIN", 0.05)
    log, directory = MemoryLog(), some(notify="missed")
    async with a_house(server, log) as before:
        await before.shown(MISSED, directory)
        told = before.posts()
    async with a_house(server, log) as after:
        log.down = True
        after.show(
            msgspec.structs.replace(MISSED, outcome="answered", last_position=9), directory, posts=told
        )
        await asyncio.sleep(0.2)
        log.down = False
        await after.settled()
        assert [message.deleted for message in server.chats[SOME].values()] == [False, True]
