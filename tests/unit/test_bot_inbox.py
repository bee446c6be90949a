"""Updates on their way: in order within a chat, beside each other otherwise, bounded, and no accident stops another."""

import asyncio

import pytest

from adapters.bot.inbox import OF_A_CHAT, Heard, Inbox
from adapters.telegram.updates import Chat, Message, Update, read_update


class Bot:
    key = "bot"


def heard(chat_id, text):
    return Heard(Bot(), ("0367",), Update(1, message=Message(1, Chat(chat_id), None, text)))


class Desk:
    """Handles an update when the test lets it."""

    def __init__(self):
        self.begun, self.done = [], []
        self.gates = {}

    async def handle(self, told):
        text = told.update.message.text
        self.begun.append(text)
        if gate := self.gates.get(text):
            await gate.wait()
        if text == "bad":
            raise RuntimeError("an accident")
        self.done.append(text)


@pytest.fixture
def desk():
    return Desk()


async def test_those_of_a_chat_are_handled_in_order_and_other_chats_do_not_wait(desk):
    inbox, gate = Inbox(desk.handle), asyncio.Event()
    desk.gates["a1"] = gate
    first = [inbox.put(heard(1, text)) for text in ("a1", "a2", "a3")]
    await inbox.put(heard(2, "b1"))
    assert desk.done == ["b1"]
    assert desk.begun == ["a1", "b1"]
    gate.set()
    await asyncio.gather(*first)
    assert desk.done == ["b1", "a1", "a2", "a3"]


async def test_an_accident_and_one_that_takes_too_long_stop_nothing(desk, capsys):
    inbox = Inbox(desk.handle, within=0.05)
    desk.gates["slow"] = asyncio.Event()
    async with asyncio.timeout(5):
        await asyncio.gather(*(inbox.put(heard(1, text)) for text in ("bad", "slow", "good")))
    assert desk.done == ["good"]
    said = capsys.readouterr().out
    assert "an accident with an update" in said
    assert "not handled in time" in said


async def test_a_chat_that_writes_too_much_is_not_all_heard(desk):
    inbox, gate = Inbox(desk.handle), asyncio.Event()
    desk.gates["0"] = gate
    waiting = [inbox.put(heard(1, str(number))) for number in range(OF_A_CHAT + 5)]
    assert [one.done() for one in waiting].count(True) == 5
    gate.set()
    await asyncio.gather(*waiting)
    assert len(desk.done) == OF_A_CHAT
    await inbox.put(heard(1, "later"))
    assert desk.done[-1] == "later"


async def test_an_update_of_no_chat_is_done_at_once(desk):
    assert Inbox(desk.handle).put(Heard(Bot(), ("0367",), Update(1))).done()


async def test_closing_lets_end_what_ends_and_cuts_off_the_rest(desk):
    inbox = Inbox(desk.handle)
    desk.gates["stuck"] = asyncio.Event()
    stuck = [inbox.put(heard(1, text)) for text in ("stuck", "behind")]
    fine = inbox.put(heard(2, "fine"))
    await inbox.close(0.05)
    await asyncio.gather(*stuck, fine)
    assert desk.done == ["fine"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"update_id": 5, "poll": {}}',
        b'{"update_id": 5, "message": {"message_id": "x"}}',
        b'{"update_id": 5, "callback_query": {"id": 3}}',
    ],
)
def test_an_update_of_another_kind_or_shape_is_its_number(raw):
    assert read_update(raw) == Update(5)


def test_what_callfold_does_not_read_of_an_update_is_left_out():
    raw = (
        b'{"update_id":5,"callback_query":{"id":"9","from":{"id":8,"is_bot":false,"first_name":"x"},"chat_instance":"1",'
        b'"message":{"message_id":3,"date":0,"chat":{"id":-7,"type":"group","title":"x"}},"data":"d"}}'
    )
    update = read_update(raw)
    assert (update.chat_id, update.callback_query.sender.id, update.callback_query.data) == (-7, 8, "d")


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (rb"a \ud800 b", "a \ufffd b"),
        (rb"\udc00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ude00 \uD83D\uDE00", "\U0001f600 \U0001f600"),
        (rb"\\ud800", "\\ud800"),
        (rb"\\\ud800", "\\\ufffd"),
        (b"\xed\xa0\x80 x", "\ufffd\ufffd\ufffd x"),
    ],
)
def test_half_a_character_is_replaced_and_the_rest_is_read(told, read):
    raw = rb'{"update_id":5,"message":{"message_id":1,"chat":{"id":7},"text":"%s"}}' % told
    assert read_update(raw).message.text == read
