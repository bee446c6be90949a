"""Hosts of many enterprises that have calls all the time, at a rate that Telegram's limits just allow."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from adapters.asterisk.sender import Sender
from tests.bench import material
from tests.bench.material import SLOTS, HostEvent, Slot, Template

CALLS_PER_SECOND = 20.0
CALL_LASTS = 3.0
"""Seconds from a call's first event to its last: what really lasts longer is told faster."""
GROUP_RATE = 0.2
"""Calls a second: with 20 requests a minute a group can show each call once, and some of them before their end."""
MOVED_RATE = 0.1
"""Of the last group, which has to show again what was open when it moved."""


@dataclass(frozen=True)
class Enterprise:
    """Who sends, and who is shown. ``place``: in the material of the benchmark, from which the number follows."""

    place: int
    bot: str
    chats: tuple[int, ...]
    rate: float

    @property
    def number(self) -> str:
        return material.number_of(self.place)

    def toml(self) -> str:
        text = material._enterprise(self.place, self.bot, SLOTS)
        one = f"[[enterprise.subscriber]]\nchat_id = {material.chat_of(self.place)}"
        assert one in text
        return text.replace(
            one, "\n".join(f"[[enterprise.subscriber]]\nchat_id = {chat}" for chat in self.chats)
        )


def _enterprises() -> tuple[Enterprise, ...]:
    """50 chats: 30 of one bot that has more to say than 30 a second, 14 of bots of their own, 6 groups of one bot."""
    own = [(f"{2000 + place}:own", (500_000 + place,)) for place in range(30, 38)]
    pairs = [(f"{2000 + place}:pair", (500_000 + place, 600_000 + place)) for place in range(38, 41)]
    crowd = [("1000:crowd", (500_000 + place,)) for place in range(30)]
    groups = [("3000:groups", (-1_000_000 - place,)) for place in range(41, 47)]
    people = crowd + own + pairs
    rate = (CALLS_PER_SECOND - GROUP_RATE * (len(groups) - 1) - MOVED_RATE) / len(people)
    rates = [rate] * len(people) + [GROUP_RATE] * (len(groups) - 1) + [MOVED_RATE]
    return tuple(
        Enterprise(place, bot, chats, rates[place]) for place, (bot, chats) in enumerate(people + groups)
    )


ENTERPRISES = _enterprises()
WHERE = {chat: one for one in ENTERPRISES for chat in one.chats}
"""Whose each chat is; no chat has two enterprises."""


def write_directory(folder: Path) -> Path:
    path = folder / "soak.toml"
    path.write_text("\n".join(one.toml() for one in ENTERPRISES), "utf-8")
    return path


class Hosts:
    """One host an enterprise, one event at a time; an event that was not stored is told again a moment later."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.seed = url, seed
        self.begun = 0
        self.answers: Counter[int | None] = Counter()
        self._templates = material.templates()

    async def run(self, seconds: float) -> None:
        """Let calls begin for so long, and each of them end."""
        async with asyncio.TaskGroup() as group:
            for one in ENTERPRISES:
                group.create_task(self._host(one, seconds))

    async def _host(self, one: Enterprise, seconds: float) -> None:
        chance = random.Random(f"{self.seed}/{one.place}")
        loop = asyncio.get_running_loop()
        begin, at, serial = loop.time(), chance.expovariate(one.rate), 0
        # a kept connection: a new one for each of 200 events a second would be a load of its own
        async with Sender(self.url, keep_alive=True, timeout=4.0) as sender, asyncio.TaskGroup() as group:
            while at < seconds:
                await asyncio.sleep(begin + at - loop.time())
                group.create_task(self._call(sender, chance.choice(self._templates), serial, one.place))
                self.begun += 1
                serial += 1
                at += chance.expovariate(one.rate)

    async def _call(self, sender: Sender, template: Template, serial: int, place: int) -> None:
        loop = asyncio.get_running_loop()
        events = template.call(serial, Slot(place, serial % SLOTS))
        faster = min(1.0, CALL_LASTS / max(template.offsets[-1], 0.1))
        begin = loop.time()
        for event, offset in zip(events, template.offsets, strict=True):
            await asyncio.sleep(begin + offset * faster - loop.time())
            await self._tell(sender, event)

    async def _tell(self, sender: Sender, event: HostEvent) -> None:
        while True:
            sent = await sender.send(event.kind, event.body)
            self.answers[sent.status] += 1
            if sent.stored:
                return
            assert sent.status in {None, 503}, sent
            await asyncio.sleep(0.1)  # nobody listens, or not yet
