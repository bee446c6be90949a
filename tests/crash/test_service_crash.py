"""What kill -9 and SIGTERM do to the running service: nothing answered 200 is lost, a call is finished as it began."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.asterisk.sender import Sender, host_json
from adapters.postgres import postmaster
from adapters.postgres.embedded import EmbeddedPostgres
from adapters.postgres.place import settle
from calls.scenarios import Played, catalogue
from tests.botapi import TOKEN, BotApiServer
from tests.serving import ServiceProcess, free_port, service_process, write_directory
from tests.storing import connected, projected

pytestmark = pytest.mark.crash

CHAT = 1001
PLAYED = ("2-1", "2-2", "1-1", "1-8", "3-1")


def kill_postmaster(data_dir: Path) -> None:
    """kill -9 of the embedded server's first process."""
    cluster = settle(data_dir).cluster
    known = postmaster.read(cluster)
    assert known is not None
    assert postmaster.runs_on(cluster, known.pid)
    os.kill(known.pid, signal.SIGKILL)


# every event answered 200 is in the store


class Load:
    """Hosts that send calls, each event once, and remember which bodies were answered 200."""

    def __init__(self, url: str, hosts: int = 4) -> None:
        self.url, self.hosts = url, hosts
        self.stored: list[bytes] = []
        self.answers: Counter[int | None] = Counter()
        self._runs = 0
        self._begun = asyncio.Event()
        self._stopping = False

    def begin(self) -> None:
        """Send from now on: the Token is known."""
        self._begun.set()

    def stop(self) -> None:
        self._stopping = True
        self._begun.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.hosts):
                group.create_task(self._host())

    async def _host(self) -> None:
        await self._begun.wait()
        async with Sender(self.url, timeout=4.0) as sender:
            while not self._stopping:
                for number, event in enumerate(self._call()):
                    body = host_json({**event.body, "Sent": f"{self._runs}/{number}/{len(self.stored)}"})
                    sent = await sender.send(event.kind, body)
                    self.answers[sent.status] += 1
                    if sent.stored:
                        self.stored.append(body)
                    if sent.status is None:
                        await asyncio.sleep(0.02)  # nobody listens: a host would have its next event later
                    if self._stopping:
                        return

    def _call(self) -> tuple[Played, ...]:
        self._runs += 1
        name = PLAYED[self._runs % len(PLAYED)]
        return catalogue()[name].events(time.time() - 1_000 + self._runs, seed=self._runs)

    async def more(self, count: int = 20, within: float = 30) -> None:
        """Wait until so many more were answered 200."""
        wanted = len(self.stored) + count
        async with asyncio.timeout(within):
            while len(self.stored) < wanted:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def under_load(url: str) -> AsyncIterator[Load]:
    load = Load(url)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await asyncio.wait_for(task, 20)


async def nothing_lost(dsn: str, load: Load) -> None:
    """Each body answered 200 is stored, once; versions have no gap."""
    async with connected(dsn) as connection:
        bodies = Counter(row["body"] for row in await connection.fetch("SELECT body FROM facts"))
        gaps = await connection.fetch(
            "SELECT enterprise, stream FROM facts GROUP BY 1, 2"
            " HAVING min(version) <> 1 OR max(version) <> count(*)"
        )
    assert len(load.stored) > 100
    assert [body for body in load.stored if bodies[body] != 1] == []
    assert gaps == []
    assert set(load.answers) <= {200, 503, None}


async def no_difference(dsn: str) -> None:
    """As ``callfold rebuild all --check`` finds it."""
    async with projected(dsn) as here:
        assert (await here.rebuild()).differences == []


async def caught_up(service: ServiceProcess) -> None:
    """Wait until rows tell every fact."""
    async with asyncio.timeout(20):
        while True:
            stats = (await service.get("/stats")).json()
            if stats["projected_position"] >= stats["routed_position"] > 0:
                return
            await asyncio.sleep(0.05)


async def test_kill_9_of_the_service_at_any_moment_loses_no_event_that_was_answered_200(data_dir):
    chance = random.Random(20)
    folder, port = data_dir.parent, free_port()
    directory = write_directory(folder, bot_token="preview")
    async with under_load(f"http://127.0.0.1:{port}") as load:
        for postmaster_too in (False, True):
            async with service_process(folder, port=port, directory=directory) as service:
                load.begin()
                await load.more(80)
                await asyncio.sleep(chance.uniform(0, 0.5))
                if postmaster_too:
                    kill_postmaster(data_dir)
                await service.kill()
        async with service_process(folder, port=port) as service:
            await load.more()
            load.stop()
            await caught_up(service)
            checked = await service.command("rebuild", "all", "--check")
            assert (checked.returncode, "no difference" in checked.stdout) == (0, True), checked.stdout
            async with EmbeddedPostgres(data_dir) as server:
                await nothing_lost(server.dsn, load)


async def test_kill_9_of_the_postmaster_at_any_moment_loses_no_event_that_was_answered_200(data_dir):
    chance = random.Random(21)
    folder = data_dir.parent
    directory = write_directory(folder, bot_token="preview")
    async with service_process(folder, directory=directory) as service, under_load(service.url) as load:
        load.begin()
        for _ in range(4):
            await load.more()
            await asyncio.sleep(chance.uniform(0, 0.4))
            kill_postmaster(data_dir)
        await load.more()
        load.stop()
        await service.ready()
        await caught_up(service)
        assert service.process.poll() is None, "the service lived through it"
        async with EmbeddedPostgres(data_dir) as server:
            await no_difference(server.dsn)
            await nothing_lost(server.dsn, load)


# a call that the crash came into the middle of


class OneCall:
    """Scenario 2-1 in two parts, its bot, and what must have become of it."""

    def __init__(self, bot: BotApiServer) -> None:
        self.bot = bot
        events = catalogue()["2-1"].events(time.time() - 60, seed=5)
        cut = next(place for place, event in enumerate(events) if event.kind == "dial") + 1
        self._before, self._after = events[:cut], events[cut:]

    async def ring(self, service: ServiceProcess) -> None:
        """Everything up to ringing, and the chat shows it."""
        await self._send(service, self._before)
        await self.shown(lambda text: "Дозвон" in text)

    async def rest(self, service: ServiceProcess) -> None:
        """The rest, and the chat shows the end."""
        await self._send(service, self._after)
        await self.shown(lambda text: "Завершен" in text)

    async def _send(self, service: ServiceProcess, events: tuple[Played, ...]) -> None:
        async with Sender(service.url, timeout=4.0) as sender:
            for event in events:
                async with asyncio.timeout(30):
                    while not (await sender.send(event.kind, host_json(event.body))).stored:
                        await asyncio.sleep(
                            0.05
                        )  # an order of events is kept, an event that was not stored is not lost

    async def shown(self, wanted: Callable[[str], bool]) -> None:
        async with asyncio.timeout(20):
            while not any(map(wanted, self.bot.standing(CHAT))):
                self.bot.arrived.clear()
                await self.bot.arrived.wait()
                await asyncio.sleep(0.01)  # arrived is set before the request is carried out

    async def finished(self, service: ServiceProcess) -> None:
        """One message from begin to end, one row, one count."""
        (message,) = self.bot.chats[CHAT].values()
        assert not message.deleted
        assert self.bot.counts["sendMessage"] == 1
        assert "Завершен" in message.text
        await caught_up(service)
        (row,) = await self._items(service, "/api/calls")
        assert (row["outcome"], row["answered_by"]) == ("answered", "151")
        (customer,) = await self._items(service, "/api/customers")
        assert (customer["in_total"], customer["in_answered"]) == (1, 1)
        call = (await service.get(f"/api/calls/0367/{row['call_id']}")).json()
        assert [one["message_id"] for one in call["messages"]] == [message.message_id]
        if service.env["CALLFOLD_DATABASE_URL"]:
            await no_difference(service.env["CALLFOLD_DATABASE_URL"])
        else:
            async with EmbeddedPostgres(Path(service.env["CALLFOLD_DATA_DIR"])) as server:
                await no_difference(server.dsn)

    @staticmethod
    async def _items(service: ServiceProcess, path: str) -> list[dict[str, Any]]:
        answer = await service.get(path, enterprise="0367")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture
async def one_call() -> AsyncIterator[OneCall]:
    async with BotApiServer() as bot:
        yield OneCall(bot)


def bots_directory(folder: Path) -> Path:
    return write_directory(folder, bot_token=TOKEN)


async def test_a_call_is_finished_in_its_message_after_kill_9_of_the_service(data_dir, one_call):
    folder, telegram = data_dir.parent, one_call.bot.base_url
    async with service_process(folder, telegram_api=telegram, directory=bots_directory(folder)) as service:
        await one_call.ring(service)
        await service.kill()
    async with service_process(folder, telegram_api=telegram) as service:
        await one_call.rest(service)
        await one_call.finished(service)


async def test_a_call_is_finished_in_its_message_after_kill_9_of_the_postmaster(data_dir, one_call):
    folder, telegram = data_dir.parent, one_call.bot.base_url
    async with service_process(folder, telegram_api=telegram, directory=bots_directory(folder)) as service:
        await one_call.ring(service)
        kill_postmaster(data_dir)
        await one_call.rest(service)
        await one_call.finished(service)


async def test_a_call_is_finished_in_its_message_by_the_instance_that_stood_by(data_dir, one_call):
    folder, telegram = data_dir.parent, one_call.bot.base_url
    async with (
        service_process(folder, telegram_api=telegram, directory=bots_directory(folder)) as first,
        service_process(folder, telegram_api=telegram, wait=False) as second,
    ):
        await one_call.ring(first)
        await stands_by(second, one_call)
        await first.kill()
        await second.ready()
        await one_call.rest(second)
        await one_call.finished(second)


async def test_the_instance_that_stood_by_takes_over_the_port_of_the_first(tmp_path, database, one_call):
    telegram, port = one_call.bot.base_url, free_port()
    directory = bots_directory(tmp_path)
    async with (
        service_process(
            tmp_path, telegram_api=telegram, database_url=database.dsn, port=port, directory=directory
        ) as first,
        service_process(
            tmp_path, telegram_api=telegram, database_url=database.dsn, port=port, wait=False
        ) as second,
    ):
        await one_call.ring(first)
        await said(second, "standing by")
        await first.kill()
        await second.ready()
        await one_call.rest(second)
        await one_call.finished(second)


async def said(service: ServiceProcess, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in service.logs():
            assert service.process.poll() is None, service.logs()
            await asyncio.sleep(0.05)


async def stands_by(service: ServiceProcess, one_call: OneCall) -> None:
    """It listens, says that it is not ready, and takes nothing."""
    async with asyncio.timeout(20):
        while not await listens(service):
            await asyncio.sleep(0.05)
    ready = await service.get("/readyz")
    assert (ready.status_code, "standby" in ready.text) == (503, True)
    (event, *_) = one_call._after
    async with Sender(service.url) as sender:
        assert (await sender.send(event.kind, host_json(event.body))).status == 503


async def listens(service: ServiceProcess) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    except OSError:
        return False
    writer.close()
    return True


# SIGTERM


async def test_sigterm_finishes_what_was_answered_and_the_next_start_shows_it(tmp_path, database):
    async with BotApiServer() as bot:
        telegram = bot.base_url
        async with service_process(
            tmp_path, telegram_api=telegram, database_url=database.dsn, directory=bots_directory(tmp_path)
        ) as service:
            calls = [catalogue()["2-1"].events(time.time() - 90 + 9 * seed, seed) for seed in (1, 2, 3)]
            *sent, _ = await asyncio.gather(
                *(sent_until_refused(service, call) for call in calls), stop_soon(service)
            )
            assert await asyncio.to_thread(service.process.wait, 20) == 0
        assert "Traceback" not in service.logs()
        answered = {body for bodies in sent for body in bodies}
        async with connected(database.dsn) as connection:
            stored = {row["body"] for row in await connection.fetch("SELECT body FROM facts")}
            behind = await connection.fetchval(
                "SELECT (SELECT max(position) FROM facts) - position FROM checkpoints"
                " WHERE projection = 'calls'"
            )
        assert answered
        assert answered <= stored
        assert behind == 0, "rows tell every fact"
        async with service_process(tmp_path, telegram_api=telegram, database_url=database.dsn) as service:
            await send_rest(service, calls, answered)
            async with asyncio.timeout(30):
                while [("Завершен" in text) for text in bot.standing(CHAT)] != [True] * 3:
                    bot.arrived.clear()
                    await bot.arrived.wait()
                    await asyncio.sleep(0.01)
            assert bot.counts["sendMessage"] == 3
            assert bot.counts["deleteMessage"] == 0
            await caught_up(service)
            await no_difference(database.dsn)


async def send_rest(service: ServiceProcess, calls: list[tuple[Played, ...]], answered: set[bytes]) -> None:
    async with Sender(service.url) as sender:
        for call in calls:
            for event in call:
                body = host_json(event.body)
                if body not in answered:
                    assert (await sender.send(event.kind, body)).stored


async def stop_soon(service: ServiceProcess) -> list[bytes]:
    await asyncio.sleep(0.15)
    service.process.send_signal(signal.SIGTERM)
    return []


async def sent_until_refused(service: ServiceProcess, call: tuple[Played, ...]) -> list[bytes]:
    """The bodies that were answered 200 before the service said no."""
    answered = []
    async with Sender(service.url) as sender:
        for event in call:
            body = host_json(event.body)
            if not (await sender.send(event.kind, body)).stored:
                break
            answered.append(body)
            await asyncio.sleep(0.02)
    return answered
