"""Row 7: requests to the outside for each simple call and chat, in quiet chats and in one that is busy."""

import asyncio
import json
import sys
from collections import Counter

import uvloop

from tests.bench.load import Answers, request
from tests.bench.material import Slot, chat_of, directory_toml, templates, token_of
from tests.bench.processes import BenchError, child, free_port, run_json, scratch, service, until_listening
from tests.bench.results import Row

QUIET = 20
"""Chats with one call each."""
BUSY = 20
"""Calls that begin at once in the one chat of the enterprise behind them."""
APART = 1.5
"""Seconds between two events of a call: each state of it is shown."""
SETTLED = 60.0
"""Seconds in which the busy chat has to be shown everything."""


async def measure(seconds: float, rounds: int) -> list[Row]:
    """One run; its length is that of a call and of the busy chat's limit."""
    del seconds, rounds
    telegram = free_port()
    async with (
        scratch() as place,
        child(sys.executable, "-m", "tests.bench.telegram", str(telegram)) as stand,
    ):
        await until_listening(stand, telegram)
        directory = directory_toml(QUIET + 1, "{number}:bench", slots=BUSY)
        async with service(place, directory=directory, telegram=telegram) as ours:
            await run_json("tests.bench.outside", str(ours.port), within=120)
            async with asyncio.timeout(SETTLED):
                while (await ours.stats())["cards_pending"]:
                    await asyncio.sleep(0.5)
        async with asyncio.timeout(30):
            output, _ = await stand.communicate(b"")
    asked = Counter(chat for _, _, chat in map(json.loads, output.splitlines()))
    busy = asked.pop(chat_of(QUIET)) / BUSY
    if len(asked) != QUIET:
        raise BenchError(f"{len(asked)} chats were asked for, {QUIET} were called")
    most = max(asked.values())
    what = "requests to Telegram for a simple call and chat; the system before needed 43 of its own"
    return [
        Row(name="outside, quiet chat", what=what, unit="", ours=most, goal="4", met=most <= 4),
        Row(
            name="outside, busy chat",
            what=f"the same, {BUSY} calls at once in one chat",
            unit="",
            ours=busy,
            goal="2",
            met=busy <= 2,
        ),
    ]


async def _play(port: int) -> None:
    template = next(template for template in templates("2-1"))
    loop = asyncio.get_running_loop()

    async def host(serial: int, place: Slot) -> None:
        _, connection = await loop.create_connection(Answers, "127.0.0.1", port)
        for event in template.call(serial, place):
            answer = await connection.ask(request(event, token_of(place.enterprise)))
            if answer[9:12] != b"200":
                raise BenchError(f"the service answered {answer[9:12].decode()}")
            await asyncio.sleep(APART)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for enterprise in range(QUIET):
            group.create_task(host(0, Slot(enterprise)))
        for slot in range(BUSY):
            group.create_task(host(slot, Slot(QUIET, slot)))


if __name__ == "__main__":
    uvloop.run(_play(int(sys.argv[1])))
    print(json.dumps({"played": QUIET + BUSY}))
