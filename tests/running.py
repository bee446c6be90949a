"""The whole service inside a test: real PostgreSQL, real HTTP on an ephemeral loopback port, its parts at hand.

async with running(database.dsn, tmp_path, directory(enterprise("0367"))) as service:
    await service.play(catalogue()["2-1"], least=False)
    await service.quiet()
"""

import asyncio
import atexit
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from adapters.asterisk.sender import Pace, Sender, Sent, TimedEvent, host_json, send_all
from adapters.composition import Service, open_service
from adapters.directory.file import read_directory_text
from adapters.serving import Serving
from adapters.settings import load_settings
from adapters.telegram.limits import Rate, Rates
from calls.scenarios import Played, Scenario
from tests.botapi import BotApiServer
from tests.conftest import PostgresServer

ADMIN_TOKEN = "admin-token-of-the-tests"
TOKEN = "375290000000"
AT_ONCE = Pace.parse("max")
UNLIMITED = Rates(bot=Rate(1000, 1000), group=Rate(1000, 1000), chat=Rate(1000, 1000))
"""For tests that are not about Telegram's limits."""

PEOPLE = """
  [[enterprise.manager]]
  extension = "150"
  name = "Пётр Петров"
  mobile = "+375290000102"
  [[enterprise.manager]]
  extension = "151"
  name = "Анна Серова"
  [[enterprise.manager]]
  extension = "152"
  name = "Ольга Ким"
  [[enterprise.line]]
  id = "0007001"
  name = "Основная линия"
  [[enterprise.line]]
  id = "0007002"
  [[enterprise.department]]
  number = "901"
  name = "Продажи"
  members = ["150", "151", "153"]
  [[enterprise.follow_me]]
  number = "300"
  extension = "150"
  mobile = "+375290000102"
  [[enterprise.customer]]
  phone = "+375290000101"
  name = "Иван Иванов"
"""


def enterprise(
    number: str,
    token: str = TOKEN,
    *,
    bot_token: str = "preview",
    language: str = "ru",
    chats: Iterable[int] = (1001,),
    networks: Iterable[str] = (),
) -> str:
    """One [[enterprise]] of a directory file, with the cast of the scenarios."""
    subscribers = "".join(f"  [[enterprise.subscriber]]\n  chat_id = {chat}\n" for chat in chats)
    return (
        f'[[enterprise]]\nnumber = "{number}"\nname = "e{number}"\ntoken = "{token}"\n'
        f'bot_token = "{bot_token}"\nlanguage = "{language}"\ntimezone = "Europe/Minsk"\ncountry = "BY"\n'
        f"allowed_networks = {json.dumps(list(networks))}\n{PEOPLE}{subscribers}"
    )


class EveryBot(BotApiServer):
    """The stand-in of many bots: takes every token, so that no enterprise waits for another's bot."""

    async def _answer(self, target: str, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.token = target.split("/")[1].removeprefix("bot")
        return await super()._answer(target, kind, body)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def settings_env(dsn: str, **settings: str) -> dict[str, str]:
    """The environment of a service; ``settings`` by their names in lower case."""
    env = {
        "CALLFOLD_DATABASE_URL": dsn,
        "CALLFOLD_PORT": str(free_port()),
        "CALLFOLD_ADMIN_TOKEN": ADMIN_TOKEN,
    }
    for name, value in settings.items():
        env[name if name.startswith("OTEL_") else f"CALLFOLD_{name.upper()}"] = value
    return env


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    output: str
    errors: str


@cache
def _bytecode() -> str:
    """Where commands keep their compiled modules, which a fresh environment has not; gone with the tests."""
    folder = tempfile.mkdtemp(prefix="callfold-bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment() -> dict[str, str]:
    """What a command gets from outside: nothing that sets callfold up."""
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("CALLFOLD_", "OTEL_"))
    }
    outside.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**outside, "PYTHONPYCACHEPREFIX": _bytecode()}


async def command(*arguments: str, env: dict[str, str], folder: Path, within: float = 60) -> Done:
    """Run ``callfold`` as a process of its own, with these settings and no others."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("callfold"),
        *arguments,
        cwd=folder,
        env={**_environment(), **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        output, errors = await process.communicate()
        raise AssertionError(f"callfold {arguments} did not end: {errors.decode()}") from None
    assert process.returncode is not None
    return Done(process.returncode, output.decode(), errors.decode())


class Running:
    """A service that runs, and what a test asks of it. ``env``: with which a command reaches it."""

    def __init__(
        self, service: Service, client: httpx.AsyncClient, env: dict[str, str], folder: Path
    ) -> None:
        self.service, self.client, self.env, self.folder = service, client, env, folder
        self.pool: asyncpg.Pool = service.pool
        self.port = service.settings.port
        self.url = service.settings.base_url

    async def command(self, *arguments: str) -> Done:
        """Run ``callfold`` beside the service, with its settings."""
        return await command(*arguments, env=self.env, folder=self.folder)

    async def post(self, kind: str, body: Any, **headers: str) -> httpx.Response:
        """Send one body, as it is where it is bytes; ``header_name`` is the header ``header-name``."""
        content = body if isinstance(body, bytes) else host_json(body)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"/{kind}", content=content, headers=told)

    async def store(self, kind: str, body: Any, **headers: str) -> int:
        """Send one that must be stored; its position."""
        answer = await self.post(kind, body, **headers)
        assert answer.status_code == 200, answer.text
        position: int = answer.json()["position"]
        return position

    async def play(
        self, scenario: Scenario, *, token: str = TOKEN, least: bool = False, seed: int = 1, begun: float = 0
    ) -> tuple[Played, ...]:
        """Play a scenario at full speed as a host does; every event must be answered 200."""
        length = scenario.events(0.0, seed)[-1].offset
        played = scenario.events(begun or float(int(time.time() - length)), seed, token=token, least=least)
        await self.send([(event.kind, host_json(event.body)) for event in played])
        return played

    async def send(self, events: Iterable[tuple[str, bytes]], *, token: str | None = None) -> list[Sent]:
        """Send bodies one after the other as a host does; every event must be answered 200."""
        timed = [TimedEvent(0.0, kind, body) for kind, body in events]
        async with Sender(self.url, token=token) as sender:
            sent = [one async for one in send_all(sender, timed, AT_ONCE)]
        assert [one for one in sent if not one.stored] == []
        return sent

    async def quiet(self, within: float = 20.0) -> None:
        """Wait until everything stored is folded, projected and shown."""
        await self._reached(within, projected=True)

    async def shown(self, within: float = 20.0) -> None:
        """Wait until everything stored is folded and shown; rows may follow a moment later."""
        await self._reached(within, projected=False)

    async def _reached(self, within: float, *, projected: bool) -> None:
        service = self.service
        async with asyncio.timeout(within):
            while True:
                head = await self.pool.fetchval("SELECT coalesce(max(position), 0) FROM facts")
                reached = service.house.position
                if projected:
                    reached = min(reached, service.house.projected)
                put_off = projected and service.house.put_off
                if (
                    reached >= head
                    and not put_off
                    and not service.outbox.pending
                    and not service.writer.waiting
                ):
                    await service.house.drained()
                    # what was just drained may have put a card up
                    if not service.outbox.pending and not service.writer.waiting:
                        return
                await asyncio.sleep(0.01)  # between two looks

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a reading route that must answer 200."""
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def bodies(self, enterprise_number: str, unique_id: str) -> list[bytes]:
        """What the store holds of one leg, byte for byte, in its order."""
        rows = await self.pool.fetch(
            "SELECT body FROM facts WHERE enterprise = $1 AND stream = $2 ORDER BY version",
            enterprise_number,
            f"leg/{unique_id}",
        )
        return [row[0] for row in rows]


@asynccontextmanager
async def running(
    dsn: str,
    folder: Path,
    directory: str = "",
    *,
    lead: bool = True,
    rates: Rates | None = None,
    **settings: str,
) -> AsyncIterator[Running]:
    """A service with this directory; stopped, drained and closed at the end.

    Entered once it takes events; without ``lead`` once it is known that another instance writes. ``rates``: other
    limits than Telegram's.
    """
    env = settings_env(dsn, **settings)
    async with open_service(load_settings(env, folder)) as service:
        if rates is not None:
            service.outbox._rates = rates
        serving = Serving(service, lambda: None)
        async with asyncio.TaskGroup() as group:
            group.create_task(serving.run())
            try:
                async with asyncio.timeout(30):
                    await (service.house.recovered if lead else service.writer.decided).wait()
                if directory:
                    await service.apply(read_directory_text(directory, "tests.toml", folder))
                client = httpx.AsyncClient(
                    base_url=service.settings.base_url,
                    headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
                    timeout=10,
                    trust_env=False,
                )
                async with client:
                    yield Running(service, client, env, folder)
            finally:
                serving.stop()


@asynccontextmanager
async def running_fresh(
    server: PostgresServer, folder: Path, directory: str = "", *, rates: Rates | None = None, **settings: str
) -> AsyncIterator[Running]:
    """The same on a database of its own, for fixtures that outlive one test."""
    database = server.create()
    try:
        async with running(database.dsn, folder, directory, rates=rates, **settings) as service:
            yield service
    finally:
        server.drop(database)
