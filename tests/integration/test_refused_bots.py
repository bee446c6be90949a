"""A bot whose token Telegram refuses, with the whole service: named, asked seldom, and back when it is taken again."""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager

import pytest

from adapters.telegram.limits import Backoff
from calls.scenarios import catalogue
from tests.botapi import TOKEN, BotApiServer, Fault
from tests.running import UNLIMITED, enterprise, running

DIRECTORY = enterprise("0367", bot_token=TOKEN, chats=(1001,))
OFTEN = Backoff(first=0.05, most=0.05)


@pytest.fixture
async def bots():
    async with BotApiServer() as server:
        yield server


@asynccontextmanager
async def serving(database, folder, bots, **settings):
    settings = {"telegram_api": bots.base_url, **settings}
    async with running(database.dsn, folder, DIRECTORY, rates=UNLIMITED, **settings) as service:
        yield service


def told(service):
    """Whose cards are off, and how each bot listens."""
    statistics = service.service.statistics()
    return statistics["bots_off"], statistics["bots"]


async def until(service, *wanted):
    async with asyncio.timeout(8):
        while told(service) != wanted:
            await asyncio.sleep(0.01)  # polled, because nothing announces it


async def refused(service, bots):
    """Until the bot has shown nothing of a call, and has heard nothing, because its token is refused."""
    await bots.waited()
    bots.token = "revoked"
    bots.heard[TOKEN].waiting.set_result("")
    await service.play(catalogue()["2-1"])
    await until(service, ["0367"], {"0367": "refused"})


async def back(service, bots):
    """Until it shows and hears again, without another event."""
    bots.token = TOKEN
    await until(service, [], {"0367": "listening"})
    await service.quiet()
    (text,) = bots.standing(1001)
    assert text.startswith("✅")
    bots.write(1001, "/help")
    await bots.seen("sendMessage", bots.counts["sendMessage"] + 1)


async def test_a_refused_bot_is_named_and_goes_on_when_telegram_takes_it_again(database, tmp_path, bots):
    async with serving(database, tmp_path, bots) as service:
        service.service.outbox._knock = service.service.listening._knock = OFTEN
        await refused(service, bots)
        sent = bots.counts["sendMessage"]
        await bots.seen("getMe", bots.counts["getMe"] + 6)
        assert bots.counts["sendMessage"] == sent
        doctor = await service.command("doctor", "--json")
        wrong = {one["subject"]: one["says"] for one in json.loads(doctor.output) if one["state"] == "wrong"}
        assert "nothing is sent" in wrong["cards of 0367"]
        assert "refused" in wrong["listening of 0367"]
        await back(service, bots)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/directory", {"name": "x.toml", "text": DIRECTORY, "folder": "/"}),
        ("/cache/refresh", None),
    ],
)
async def test_an_apply_of_the_same_file_and_a_refresh_try_a_refused_bot_at_once(
    database, tmp_path, bots, path, body
):
    async with serving(database, tmp_path, bots) as service:
        await refused(service, bots)
        bots.token = TOKEN
        answer = await service.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        await back(service, bots)


async def test_a_stop_does_not_wait_for_a_refused_bot(database, tmp_path, bots):
    loop = asyncio.get_running_loop()
    async with serving(database, tmp_path, bots) as service:
        await refused(service, bots)
        begun = loop.time()
    assert loop.time() - begun < 5


async def test_an_instance_that_does_not_lead_asks_nothing_and_tries_anew_when_it_does(
    database, tmp_path, bots
):
    async with serving(database, tmp_path, bots) as service:
        await refused(service, bots)
        service.service._role_changed(leading=False)
        assert told(service) == ([], {"0367": "waiting"})
        bots.token = TOKEN
        service.service._role_changed(leading=True)
        await back(service, bots)


@pytest.mark.parametrize("fault", [Fault(404, "Not Found"), Fault(401, "Unauthorized")])
async def test_a_request_that_alone_is_refused_silences_nobody(database, tmp_path, bots, fault):
    async with serving(database, tmp_path, bots) as service:
        await bots.waited()
        bots.script("sendMessage", fault)
        await service.play(catalogue()["2-1"])
        await service.quiet()
        (text,) = bots.standing(1001)
        assert text.startswith("✅")
        assert bots.counts["getMe"] == 1


async def test_a_request_that_is_refused_again_and_again_is_made_ever_more_slowly(database, tmp_path, bots):
    async with serving(database, tmp_path, bots) as service:
        bots.script("sendMessage", *[Fault(404, "Not Found")] * 3)
        await service.play(catalogue()["2-1"])
        await service.quiet()
        times = [one.at for one in bots.requests if one.method == "sendMessage"]
        pauses = [later - before for before, later in itertools.pairwise(times)]
        assert len(pauses) == 3
        assert all(pause >= least for pause, least in zip(pauses, (0.24, 0.49, 0.99), strict=True))


async def test_calls_that_end_while_a_token_cannot_be_read_are_shown_when_it_can(
    database, tmp_path, bots, monkeypatch
):
    directory = DIRECTORY.replace(f'bot_token = "{TOKEN}"', 'bot_token_env = "JUNE_BOT"')
    monkeypatch.setenv("JUNE_BOT", TOKEN)
    settings = {"telegram_api": bots.base_url}
    async with running(database.dsn, tmp_path, directory, rates=UNLIMITED, **settings):
        monkeypatch.delenv("JUNE_BOT")
    async with running(database.dsn, tmp_path, rates=UNLIMITED, **settings) as service:
        await service.play(catalogue()["2-1"])
        (leader,) = (
            actor for actor in service.service.house.enterprises["0367"].actors.values() if actor.call
        )
        assert not service.service.outbox.idle("0367", leader.unique_id)
        monkeypatch.setenv("JUNE_BOT", TOKEN)
        await service.service.reload()
        await service.quiet()
        (text,) = bots.standing(1001)
        assert text.startswith("✅")
