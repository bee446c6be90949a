"""Chats that are no more, or are others, with the whole service: facts of the directory, live, restarted, and back."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from calls.scenarios import catalogue
from tests.botapi import BLOCKED, Fault
from tests.running import TOKEN, UNLIMITED, EveryBot, command, enterprise, running

MIGRATED = Fault(
    400, "Bad Request: group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": -1005}
)
BOT = "1:bot"


def file(*chats):
    return enterprise("0367", bot_token=BOT, chats=chats)


async def apply(service, text):
    upload = {"name": "x.toml", "text": text, "folder": str(service.folder)}
    answer = await service.client.post("/api/directory", json=upload)
    assert answer.status_code == 200, answer.text
    return answer.json()["changes"]


def readers(service):
    return sorted(reader.chat_id for reader in service.service.directory("0367").readers)


async def known(service, *chats):
    """Until the actors know that these are shown calls, and no others."""
    async with asyncio.timeout(10):
        while readers(service) != sorted(chats):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two_readers(database, folder):
    async with EveryBot() as bots:
        settings = {"rates": UNLIMITED, "telegram_api": bots.base_url}
        async with running(database.dsn, folder, file(1001, 1002), **settings) as service:
            yield bots, service


def asked(bots, chat_id):
    return sum(request.fields.get("chat_id") == chat_id for request in bots.requests)


def begun(name="2-1", at=1_777_885_200.0, seed=1):
    """All events of a call but the last."""
    *events, last = catalogue()[name].events(at, seed)
    return events, last


async def store(service, events):
    for event in events:
        await service.store(event.kind, event.body)


async def test_who_blocks_the_bot_is_off_until_a_file_lists_him_again(database, tmp_path):
    async with EveryBot() as bots:
        settings = {"rates": UNLIMITED, "telegram_api": bots.base_url}
        async with running(database.dsn, tmp_path, file(1001, 1002), **settings) as service:
            bots.script("sendMessage", *[BLOCKED] * 20, chat_id=1001)
            events, last = begun()
            await store(service, events)
            await known(service, 1002)
            await service.quiet()
            before = asked(bots, 1001)
            await store(service, [last])
            other, its_last = begun(at=1_777_885_300.0, seed=2)
            await store(service, [*other, its_last])
            await service.quiet()
            assert (before, asked(bots, 1001)) == (1, 1)
            assert len(bots.standing(1002)) == 2
            doctor = await service.command("doctor", "--json")
            (finding,) = (
                told for told in json.loads(doctor.output) if told["subject"] == "subscriber 1001 of 0367"
            )
            assert (finding["state"], doctor.code) == ("note", 0)
            assert "blocked" in finding["says"]
            assert "callfold apply" in finding["do"]
        async with running(database.dsn, tmp_path, **settings) as service:
            await known(service, 1002)
            assert service.service.statistics()["open_calls"] == 0
            await service.quiet()
            assert asked(bots, 1001) == 1
            bots._faults.clear()
            assert await apply(service, file(1001, 1002)) == ["0367: subscriber 1001 changed"]
            await known(service, 1001, 1002)
            third, its_last = begun(at=1_777_885_400.0, seed=3)
            await store(service, [*third, its_last])
            await service.quiet()
            assert await apply(service, file(1001, 1002)) == []
            assert any("Завершен" in text for text in bots.standing(1001))
            assert len(bots.standing(1002)) == 3
    await checked(database, tmp_path)


async def test_who_comes_back_while_no_service_runs_is_shown_how_a_call_goes_on_that_he_refused(
    database, tmp_path
):
    async with EveryBot() as bots:
        settings = {"rates": UNLIMITED, "telegram_api": bots.base_url}
        events, last = begun()
        async with running(database.dsn, tmp_path, file(1001, 1002), **settings) as service:
            await store(service, events[:1])
            await service.quiet()
            bots.script("editMessageText", *[BLOCKED] * 20, chat_id=1001)
            await store(service, events[1:])
            await known(service, 1002)
            await service.quiet()
        bots._faults.clear()
        (tmp_path / "again.toml").write_text(file(1001, 1002))
        env = {"CALLFOLD_DATABASE_URL": database.dsn}
        applied = await command("apply", "again.toml", env=env, folder=tmp_path)
        assert applied.code == 0, applied.errors
        async with running(database.dsn, tmp_path, **settings) as service:
            assert readers(service) == [1001, 1002]
            await store(service, [last])
            await service.quiet()
            assert ["Завершен" in text for text in bots.standing(1001)] == [True]
    await checked(database, tmp_path)


async def test_a_group_that_became_a_supergroup_goes_on_under_its_new_id_with_its_open_calls(
    database, tmp_path
):
    async with (
        EveryBot() as bots,
        running(
            database.dsn, tmp_path, file(-5, 1002), rates=UNLIMITED, telegram_api=bots.base_url
        ) as service,
    ):
        (first, its_last), (second, last) = begun(), begun(at=1_777_885_300.0, seed=2)
        ended, after = begun(at=1_777_885_100.0, seed=3)
        await store(service, [*ended, after])
        await store(service, first[:-1])
        await store(service, second[:-1])
        await service.quiet()
        assert len(bots.standing(-5)) == 3
        bots.script("editMessageText", *[MIGRATED] * 20, chat_id=-5)
        before = asked(bots, -5)
        await store(service, [first[-1], its_last])
        await known(service, -1005, 1002)
        await service.quiet()
        # what ended while nobody knew is shown there too; what the old group had seen the end of is not
        assert len(bots.standing(-1005)) == 2
        await store(service, [second[-1], last])
        await service.quiet()
        assert asked(bots, -5) == before + 1
        assert [text.startswith("✅") for text in bots.standing(-1005)] == [True, True]
        assert len(bots.standing(1002)) == 3
    await checked(database, tmp_path)


async def checked(database, folder):
    """The rows are what a fold of all facts says."""
    env = {"CALLFOLD_DATABASE_URL": database.dsn}
    done = await command("rebuild", "all", "--check", env=env, folder=folder)
    assert done.code == 0, done.output + done.errors


async def test_who_is_listed_again_behind_a_restart_is_shown_the_end_in_his_message(database, tmp_path):
    async with EveryBot() as bots:
        settings = {"rates": UNLIMITED, "telegram_api": bots.base_url}
        events, last = begun()
        async with running(database.dsn, tmp_path, file(1001, 1002), **settings) as service:
            await store(service, events)
            await service.quiet()
            await apply(service, file(1002))
            await known(service, 1002)
        async with running(database.dsn, tmp_path, **settings) as service:
            await apply(service, file(1001, 1002))
            await known(service, 1001, 1002)
            await store(service, [last])
            await service.quiet()
            assert ["Завершен" in text for text in bots.standing(1001)] == [True]
    await checked(database, tmp_path)


@pytest.mark.parametrize("refused", [False, True])
async def test_who_was_gone_when_a_call_ended_is_shown_its_end_when_he_comes_back(
    database, tmp_path, refused
):
    async with two_readers(database, tmp_path) as (bots, service):
        events, last = begun()
        await store(service, events)
        await service.quiet()
        if refused:
            bots.script("editMessageText", BLOCKED, chat_id=1001)
        else:
            await apply(service, file(1002))
            await known(service, 1002)
        await store(service, [last])
        await known(service, 1002)
        await service.quiet()
        await apply(service, file(1001, 1002, 1003))
        await known(service, 1001, 1002, 1003)
        await service.quiet()
        assert ["Завершен" in text for text in bots.standing(1001)] == [True]
        assert bots.standing(1003) == [], "it was over before"


async def test_a_refusal_of_what_was_asked_before_he_came_back_switches_nobody_off(database, tmp_path):
    async with two_readers(database, tmp_path) as (bots, service):
        events, last = begun()
        await store(service, events[:1])
        await service.quiet()
        bots.script("editMessageText", Fault(403, BLOCKED.description, delay=2.0), chat_id=1001)
        await store(service, events[1:])
        await bots.seen("editMessageText")
        for chats in ((1002,), (1001, 1002)):
            await apply(service, file(*chats))
            await known(service, *chats)
        await store(service, [last])
        await service.quiet()
        assert readers(service) == [1001, 1002]
        assert ["Завершен" in text for text in bots.standing(1001)] == [True]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_recording_sends_nobody_a_call_that_was_over_before_he_was_to_see_it(
    database, tmp_path, restart
):
    async with EveryBot() as bots:
        settings = {
            "rates": UNLIMITED,
            "telegram_api": bots.base_url,
            "public_url": "https://calls.example.org",
        }
        filtered = file(1001, 1003).replace("chat_id = 1003", 'chat_id = 1003\n  directions = ["out"]')
        async with running(database.dsn, tmp_path, filtered, **settings) as service:
            await service.play(catalogue()["2-1"])
            await service.quiet()
            await apply(service, file(1001, 1002, 1003))
            await known(service, 1001, 1002, 1003)
            (call,) = (await service.get("/api/calls"))["items"]
            recording = {"Token": TOKEN, "UniqueId": call["call_id"], "url": "https://pbx.example/a.mp3"}
            if restart:
                service.service.outbox.pause()
            assert (await service.client.post("/recordings", json=recording)).status_code == 200
            if not restart:
                await service.quiet()
        if restart:
            async with running(database.dsn, tmp_path, **settings) as service:
                await service.quiet()
        assert ["🔉" in text for text in bots.standing(1001)] == [True]
        assert (bots.standing(1002), bots.standing(1003)) == ([], [])
