"""Subscribers who are gone or have moved become facts of the directory, whatever others write and the store does."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from actors.ports import VersionConflict
from adapters.directory.apply import directory_fact, fold_directories
from adapters.directory.subscribers import TRIES, Subscribers, moved, switched_off
from calls.directory import Directory, changes
from calls.entries import DirectoryChange, Profile, Subscriber
from tests.memory_log import MemoryLog


class Clock:
    def now(self):
        return datetime(2026, 5, 4, 9, 0, tzinfo=UTC)

    def monotonic(self):
        return 0.0


JUNE = Directory(
    profile=Profile(number="0367", name="june"),
    subscribers={"1001": Subscriber(chat_id=1001, notify="all"), "-5": Subscriber(chat_id=-5, invited=True)},
)


def stored(log, told, number="0367"):
    log.put(directory_fact(number, change, Clock()) for change in told)


@pytest.fixture
def log():
    log = MemoryLog()
    stored(log, changes(None, JUNE))
    stored(log, changes(None, Directory.empty("0368")), "0368")
    return log


@pytest.fixture
def subscribers(log):
    return Subscribers(log, Clock(), pause=0.001)


def now(log):
    return fold_directories(log.facts)["0367"].subscribers


async def test_who_is_gone_is_off_with_the_reason_and_keeps_his_wishes(log, subscribers):
    await subscribers.gone("0367", 1001, "blocked")
    assert now(log)["1001"] == Subscriber(chat_id=1001, notify="all", off="blocked")
    assert now(log)["-5"].off == ""


async def test_what_is_so_already_is_not_written_again(log, subscribers):
    await subscribers.gone("0367", 1001, "blocked")
    head = log.head
    await subscribers.gone("0367", 1001, "kicked")
    await subscribers.gone("0367", 4004, "blocked")
    await subscribers.gone("0999", 1001, "blocked")
    await subscribers.moved("0367", 4004, 5)
    assert log.head == head


async def test_a_group_that_moved_goes_on_under_its_new_id(log, subscribers):
    await subscribers.moved("0367", -5, -1005)
    assert dict(now(log)) == {
        "1001": JUNE.subscribers["1001"],
        "-1005": Subscriber(chat_id=-1005, invited=True, moved_from=-5),
    }
    head = log.head
    await subscribers.moved("0367", -5, -1005)
    assert log.head == head


def test_a_group_comes_before_it_goes_and_one_that_was_known_as_gone_is_on_again():
    known = {"-5": Subscriber(chat_id=-5), "-6": Subscriber(chat_id=-6, notify="missed", off="kicked")}
    assert moved(known, -5, -7) == DirectoryChange("subscriber", "-7", {"chat_id": -7, "moved_from": -5})
    back = {"chat_id": -6, "notify": "missed", "moved_from": -5}
    assert moved(known, -5, -6) == DirectoryChange("subscriber", "-6", back)
    known["-6"] = Subscriber(chat_id=-6)
    assert moved(known, -5, -6) == DirectoryChange("subscriber", "-5")
    assert moved(known, -5, -5) is None
    assert switched_off({"-6": Subscriber(chat_id=-6, off="kicked")}, -6, "blocked") is None


async def test_decided_anew_where_somebody_else_writes_between(log, subscribers, monkeypatch):
    append, seen = log.append, []

    async def overtaken(fact, *, within=None):
        seen.append(fact.expected_version)
        if len(seen) == 1:
            stored(log, [DirectoryChange("subscriber", "1001", {"chat_id": 1001, "notify": "missed"})])
        return await append(fact, within=within)

    monkeypatch.setattr(log, "append", overtaken)
    await subscribers.gone("0367", 1001, "blocked")
    assert now(log)["1001"] == Subscriber(chat_id=1001, notify="missed", off="blocked")
    assert seen == [3, 4]


async def test_many_who_go_at_once_are_all_switched_off(log, subscribers):
    stored(log, [DirectoryChange("subscriber", str(chat), {"chat_id": chat}) for chat in range(1, 41)])
    await asyncio.gather(*[subscribers.gone("0367", chat, "blocked") for chat in range(1, 41)])
    assert {str(chat) for chat in range(1, 41)} == {key for key, entry in now(log).items() if entry.off}


async def test_a_store_that_is_away_for_a_while_is_waited_for(log, subscribers, monkeypatch):
    read, asked = log.read_directories, []

    async def away(upto, enterprise=None):
        asked.append(enterprise)
        log.down = len(asked) < TRIES - 1
        return await read(upto, enterprise)

    monkeypatch.setattr(log, "read_directories", away)
    await subscribers.gone("0367", 1001, "blocked")
    assert now(log)["1001"].off == "blocked"


async def test_it_gives_up_and_says_so(log, subscribers, monkeypatch, capsys):
    tries = []

    async def refuses(fact, *, within=None):
        tries.append(within)
        raise VersionConflict(fact.stream, fact.expected_version)

    monkeypatch.setattr(log, "append", refuses)
    await subscribers.gone("0367", 1001, "blocked")
    assert len(tries) == TRIES
    assert all(tries)
    assert "could not be stored" in capsys.readouterr().out
    log.down = True
    await subscribers.moved("0367", -5, -1005)
    log.down = False
    assert msgspec.to_builtins(now(log)["1001"]) == {"chat_id": 1001, "notify": "all"}


async def test_a_wish_is_stored_once_and_told_as_it_is_then(log, subscribers):
    def quiet(known):
        return msgspec.structs.replace(known, notify="missed") if known else None

    wanted = Subscriber(chat_id=1001, notify="missed")
    assert await subscribers.wish("0367", 1001, quiet) == wanted
    head = log.head
    assert await subscribers.wish("0367", 1001, quiet) == wanted
    assert await subscribers.wish("0367", 4004, quiet) is None
    assert log.head == head
    came = await subscribers.wish("0367", 4004, lambda known: known or Subscriber(chat_id=4004, invited=True))
    assert came == now(log)["4004"] == Subscriber(chat_id=4004, invited=True)


async def test_a_wish_that_cannot_be_stored_is_none(log, subscribers):
    log.down = True
    assert await subscribers.wish("0367", 1001, lambda _: Subscriber(chat_id=1001)) is None
