"""50 chats under 20 calls a second while Telegram fails in every way it can, with and without kill -9.

``CALLFOLD_SOAK_SECONDS`` is the length of the load, ``CALLFOLD_SOAK_SEED`` the printed seed of a run whose faults are
wanted again.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import LoopThread
from tests.serving import ServiceProcess, free_port, service_process
from tests.soak.judge import Judge, Truth, facts_of, impatient, report, windows
from tests.soak.load import ENTERPRISES, Hosts, write_directory
from tests.soak.trouble import TroubledBotApi

SECONDS = float(os.environ.get("CALLFOLD_SOAK_SECONDS", "12"))
QUIET_WITHIN = 120.0
SLOWER = 3
"""How often as long the load may take: what a host could not deliver while nobody listened it tells afterwards."""
JUDGED_WITHIN = 240.0
KNOCKS = 2
"""Requests in the life of a process to whoever went away for good: one, and one before that was told to all."""
LIVES = (3.0, 5.0)
"""Seconds that a service lives before it is killed."""
ENV = {"CALLFOLD_CALL_SETTLE": "2", "CALLFOLD_CALL_SILENCE": "3", "CALLFOLD_LOG_LEVEL": "warning"}
BLOCKED, REFUSED = ENTERPRISES[36].chats[0], ENTERPRISES[37].bot
MOVED, SUPERGROUP = ENTERPRISES[-1].chats[0], -1_001_000_000_001

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(SLOWER * SECONDS + QUIET_WITHIN + JUDGED_WITHIN),
    pytest.mark.skipif(
        "CALLFOLD_SOAK_SECONDS" not in os.environ, reason="minutes of load and faults: make soak"
    ),
]


class Soak:
    """A load on a service that may be killed, against a Telegram that is rough for as long as the load lasts."""

    def __init__(self, folder: Path, dsn: str, telegram: TroubledBotApi, seed: int) -> None:
        self.folder, self.dsn, self.telegram, self.seed = folder, dsn, telegram, seed
        self.port = free_port()
        self.hosts = Hosts(f"http://127.0.0.1:{self.port}", seed)
        self.deaths: list[float] = []

    @asynccontextmanager
    async def serving(self, directory: Path | None = None) -> AsyncIterator[ServiceProcess]:
        async with service_process(
            self.folder,
            telegram_api=self.telegram.base_url,
            database_url=self.dsn,
            port=self.port,
            directory=directory,
            env=ENV,
        ) as service:
            yield service

    async def load(self) -> None:
        """Calls for SECONDS; then Telegram is calm again, but for what it refuses for good."""
        telegram = self.telegram
        telegram.rough = telegram.hanging = True
        running = asyncio.create_task(self.hosts.run(SECONDS))
        try:
            await asyncio.sleep(SECONDS / 3)
            telegram.hanging = False
            telegram.block(BLOCKED)
            telegram.refuse(REFUSED)
            telegram.move(MOVED, SUPERGROUP)
            await running
        finally:
            telegram.rough = telegram.hanging = False
            running.cancel()

    async def judged(self, service: ServiceProcess) -> Judge:
        """The judgement when all is quiet, or when it has not become so in time."""
        clock = time.time() - asyncio.get_running_loop().time()
        begun = time.monotonic()
        deadline = begun + QUIET_WITHIN
        while True:
            quiet, late = await self._quiet(service), time.monotonic() > deadline
            if not quiet and not late:
                continue
            judge = Judge(
                await Truth.of_facts(await facts_of(self.dsn)), self.telegram, deaths=len(self.deaths)
            )
            if not judge.wrong or late:
                print(f"\nseed {self.seed}, {self.hosts.begun} calls begun, {len(self.deaths)} times killed")
                print(report(judge, clock))
                print(f"{'quiet' if quiet else 'not quiet'} {time.monotonic() - begun:.1f} s after the load")
                return judge

    async def _quiet(self, service: ServiceProcess) -> bool:
        """Nothing is open, and for a second nothing was asked of Telegram."""
        before = len(self.telegram.messages)
        await asyncio.sleep(1.0)
        stats = (await service.get("/stats")).json()
        return before == len(self.telegram.messages) and stats["open_calls"] == 0

    def knocks(self) -> dict[str, int]:
        """How often the chat, the group and the bot that went away were asked all the same."""
        return {name: self.telegram.faults[name] for name in ("blocked", "moved", "401")}


@pytest.fixture
async def soak(tmp_path, database):
    seed = int(os.environ.get("CALLFOLD_SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
    # a loop of its own: when a request came must not depend on what the hosts are doing
    loop = LoopThread()
    telegram = TroubledBotApi(seed)
    loop.run(telegram.__aenter__())
    try:
        yield Soak(tmp_path, database.dsn, telegram, seed)
    finally:
        loop.run(telegram.__aexit__())
        loop.close()


def told(soak: Soak, wrong: list[str]) -> str:
    return f"seed {soak.seed}: {len(wrong)} wrong\n" + "\n".join(wrong[:20])


async def test_every_chat_ends_with_every_call_whatever_telegram_does(soak):
    async with soak.serving(write_directory(soak.folder)) as service:
        await soak.load()
        judge = await soak.judged(service)
    assert not judge.wrong, told(soak, judge.wrong)
    assert judge.cards > 15 * SECONDS
    over = list(windows(soak.telegram.messages))
    assert not over, told(soak, over)
    early = impatient(soak.telegram, [])
    assert not early, told(soak, early)
    assert all(count <= KNOCKS for count in soak.knocks().values()), soak.knocks()
    assert set(soak.hosts.answers) == {200}


async def test_every_chat_ends_with_every_call_though_the_service_is_killed_every_few_seconds(soak):
    chance = random.Random(soak.seed)
    directory: Path | None = write_directory(soak.folder)
    load: asyncio.Task[None] | None = None
    judge = None
    try:
        while judge is None:
            async with soak.serving(directory) as service:
                directory = None
                load = load or asyncio.create_task(soak.load())
                await asyncio.wait([load], timeout=chance.uniform(*LIVES))
                if load.done():
                    await load
                    judge = await soak.judged(service)
                else:
                    soak.deaths.append(asyncio.get_running_loop().time())
                    await service.kill()
    finally:
        if load is not None:
            load.cancel()
    assert not judge.wrong, told(soak, judge.wrong)
    over = list(windows(soak.telegram.messages))
    assert not over, told(soak, over)
    early = impatient(soak.telegram, soak.deaths)
    assert not early, told(soak, early)
    lives = len(soak.deaths) + 1
    assert all(count <= KNOCKS * lives for count in soak.knocks().values()), soak.knocks()
    assert lives > SECONDS // 12, "killed every few seconds, the start of a life among them"
