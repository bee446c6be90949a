"""Row 2: from a host's request to the request that reaches Telegram, for the first message of each call."""

import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

from tests.bench.material import directory_toml
from tests.bench.processes import BenchError, child, free_port, run_json, scratch, service, until_listening
from tests.bench.results import Row

RATE = 100.0
ENTERPRISES = 240
"""One chat each, so that no chat comes near Telegram's limits and nothing waits for them."""
WARM = 3.0
"""Seconds at the beginning that do not count: until calls that began are as many as calls that end."""


async def measure(seconds: float, rounds: int) -> list[Row]:
    """One run, as long as all turns together."""
    telegram = free_port()
    length = WARM + seconds * rounds
    async with (
        scratch() as place,
        child(sys.executable, "-m", "tests.bench.telegram", str(telegram)) as stand,
    ):
        await until_listening(stand, telegram)
        directory = directory_toml(ENTERPRISES, "{number}:bench", slots=1)
        async with service(place, directory=directory, telegram=telegram) as ours:
            before = ours.cpu()
            told = await _pace(ours.port, length)
            spent = {name: (value - before[name]) / length for name, value in ours.cpu().items()}
            async with asyncio.timeout(30):
                output, _ = await stand.communicate(b"")
    arrived = [json.loads(line) for line in output.splitlines()]
    waits = sorted(_waits(told["begun"], arrived))
    return _rows(waits, spent, told["refused"])


async def _pace(port: int, length: float) -> dict[str, Any]:
    options = ("--rate", str(RATE), "--seconds", str(length), "--enterprises", str(ENTERPRISES))
    return await run_json("tests.bench.pace", str(port), *options, within=length + 60)


def _waits(begun: list[tuple[int, float]], arrived: list[tuple[float, str, int]]) -> list[float]:
    """Milliseconds for each call: the n-th call of a chat is its n-th sendMessage."""
    sent: dict[int, list[float]] = defaultdict(list)
    for at, method, chat in arrived:
        if method == "sendMessage":
            sent[chat].append(at)
    calls: dict[int, list[float]] = defaultdict(list)
    for chat, at in begun:
        calls[chat].append(at)
    missing = sum(len(calls[chat]) != len(sent[chat]) for chat in calls)
    if missing:
        raise BenchError(f"{missing} chats did not get exactly one sendMessage a call")
    first = min(at for _, at in begun)
    return [
        (at - asked) * 1000
        for chat, asks in calls.items()
        for asked, at in zip(asks, sent[chat], strict=True)
        if asked - first >= WARM
    ]


def _rows(waits: list[float], spent: dict[str, float], refused: int) -> list[Row]:
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    cores = ", ".join(f"{name} {value:.2f}" for name, value in spent.items())
    what = f"request to Telegram request, {RATE:.0f} events/s, {len(waits)} calls"
    return [
        Row(
            name="delivery p50",
            what=what,
            unit="ms",
            ours=p50,
            goal="10",
            met=p50 <= 10 and not refused,
            limit=f"cores in use: {cores}",
            rounds=[{"waits_ms": [round(wait, 2) for wait in waits], "refused": refused, "cpu": spent}],
        ),
        Row(name="delivery p99", what=what, unit="ms", ours=p99, goal="50", met=p99 <= 50 and not refused),
    ]
