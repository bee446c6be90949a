"""A fake of the Bot API that was not written for callfold (npm telegram-test-api) is served without an error."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import ServiceProcess, free_port, service_process, write_directory

FAKE = Path(__file__).parents[1] / "telegram_test_api"
BOT = "123456789:somebody-elses"
CHAT = 1001
NPM, NODE = shutil.which("npm"), shutil.which("node")

pytestmark = pytest.mark.skipif(not (NPM and NODE), reason="npm and node are missing")


@pytest.fixture
async def fake(tmp_path) -> AsyncIterator[str]:
    place = tmp_path / "fake"
    shutil.copytree(FAKE, place, ignore=shutil.ignore_patterns("node_modules"))
    installed = await asyncio.to_thread(
        subprocess.run, [str(NPM), "ci"], cwd=place, capture_output=True, text=True, timeout=180, check=False
    )
    assert installed.returncode == 0, installed.stderr
    process = await asyncio.create_subprocess_exec(
        str(NODE), "server.cjs", str(free_port()), cwd=place, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def shown(fake: str) -> list[dict[str, Any]]:
    """What stands in its chats, as it was last sent or edited."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{fake}/getUpdatesHistory", json={"token": BOT})
    return [one["message"] for one in answer.json()["result"]]


async def command(fake: str, text: str) -> None:
    """Let the subscriber write to the bot."""
    message = {
        "botToken": BOT,
        "from": {"id": CHAT, "first_name": "Olga", "is_bot": False},
        "chat": {"id": CHAT, "first_name": "Olga", "type": "private"},
        "date": int(time.time()),
        "text": text,
        "entities": [{"offset": 0, "length": len(text), "type": "bot_command"}],
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{fake}/sendCommand", json=message)
    assert answer.json()["ok"], answer.text


async def outcomes(service: ServiceProcess) -> dict[tuple[str, str], float]:
    """How many requests of each method ended how."""
    text = (await service.get("/metrics")).text
    found = re.findall(
        r'^callfold_telegram_requests_total\{method="(\w+)",outcome="(\w+)"\} (\S+)$', text, re.MULTILINE
    )
    return {(method, outcome): float(count) for method, outcome, count in found}


@pytest.mark.timeout(300)
async def test_calls_are_told_and_commands_answered(fake, tmp_path, database):
    directory = write_directory(tmp_path, bot_token=BOT)
    async with service_process(
        tmp_path, telegram_api=fake, database_url=database.dsn, directory=directory
    ) as service:
        for scenario in ("2-1", "2-2"):
            played = await service.command("play", scenario, "--url", service.url, "--speed", "max")
            assert played.returncode == 0, played.stderr
        async with asyncio.timeout(30):
            while [message["text"][0] for message in await shown(fake)] != ["✅", "❌"]:
                await asyncio.sleep(0.1)  # polled: the fake tells nobody
        assert {message["chat_id"] for message in await shown(fake)} == {CHAT}
        await command(fake, "/calls")
        async with asyncio.timeout(30):
            while len(messages := await shown(fake)) < 4:  # the two calls, the command, its answer
                await asyncio.sleep(0.1)
        answer = messages[-1]["text"]
        assert ("✅" in answer, "❌" in answer, "375 (29)" in answer) == (True, True, True)
        asked = await outcomes(service)
    assert {outcome for _, outcome in asked} == {"ok"}, asked
