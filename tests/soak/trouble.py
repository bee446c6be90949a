"""A Bot API for many bots that goes wrong by chance, as often as a seed says."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.botapi import (
    BAD_GATEWAY,
    BLOCKED,
    CANT_PARSE,
    EDIT_NOT_FOUND,
    NOT_MODIFIED,
    UNAUTHORIZED,
    Fault,
    Request,
    too_many,
)
from tests.running import EveryBot

UPGRADED = "Bad Request: group chat was upgraded to a supergroup chat"
HANGS = 11.0
"""Seconds without an answer: more than the service waits."""
STORM = 1.5

Maker = Callable[[random.Random], Fault]


def _as(fault: Fault) -> Maker:
    return lambda _: fault


def _after(fault: Fault, **more: bool) -> Fault:
    return Fault(fault.status, fault.description, fault.parameters, **more)


ALWAYS: tuple[tuple[str, float, Maker], ...] = (
    ("429", 0.010, _as(too_many(1))),
    ("429 of 2 s", 0.005, _as(too_many(2))),
    ("502", 0.015, _as(BAD_GATEWAY)),
    ("slow", 0.030, lambda chance: Fault(delay=chance.uniform(0.2, 2.0))),
    ("reset before", 0.010, _as(Fault(reset=True))),
    ("reset after", 0.010, _as(Fault(reset=True, effect=True))),
)
EDITS: tuple[tuple[str, float, Maker], ...] = (
    ("not modified", 0.010, _as(_after(NOT_MODIFIED, effect=True))),
    ("vanished", 0.010, _as(_after(EDIT_NOT_FOUND, vanished=True))),
)
HTML: tuple[tuple[str, float, Maker], ...] = (("can't parse", 0.005, _as(CANT_PARSE)),)
HANGING: tuple[tuple[str, float, Maker], ...] = (
    ("hangs", 0.002, lambda chance: Fault(reset=True, delay=HANGS, effect=chance.random() < 0.5)),
)
STORMS = 0.003


class TroubledBotApi(EveryBot):
    """Calm until ``rough``. ``blocked`` chats, ``refused`` bots and ``moved`` groups stay so."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rough = self.hanging = False
        self.blocked: dict[int, float] = {}
        """When each chat blocked its bot."""
        self.refused: dict[str, float] = {}
        """When each bot lost its token."""
        self.moved: dict[int, tuple[int, float]] = {}
        """Where each group is now, and since when."""
        self.told: list[tuple[Request, Fault]] = []
        self.faults: Counter[str] = Counter()
        self.broken: list[str] = []
        """What the stand-in itself could not do."""
        self._chance = random.Random(seed)
        self._storms: dict[str, float] = {}

    @property
    def messages(self) -> list[Request]:
        """What was asked of chats; getMe is of none."""
        return [request for request in self.requests if "chat_id" in request.fields]

    def block(self, chat_id: int) -> None:
        self.blocked[chat_id] = asyncio.get_running_loop().time()

    def refuse(self, bot: str) -> None:
        self.refused[bot] = asyncio.get_running_loop().time()

    def move(self, group: int, chat_id: int) -> None:
        self.moved[group] = chat_id, asyncio.get_running_loop().time()

    async def _answer(self, target: str, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            return await super()._answer(target, kind, body)
        except Exception as error:
            self.broken.append(f"{target.rpartition('/')[2]}: {error!r}")
            raise

    def fault_of(self, request: Request) -> Fault | None:
        """For good, or by chance."""
        found = self._for_good(request) or (self._by_chance(request) if self.rough else None)
        if found is None:
            return None
        name, fault = found
        self.faults[name] += 1
        self.told.append((request, fault))
        return fault

    def _for_good(self, request: Request) -> tuple[str, Fault] | None:
        if request.bot in self.refused:
            return "401" if "chat_id" in request.fields else "401 of getMe", UNAUTHORIZED
        if "chat_id" not in request.fields:
            return None
        if request.chat_id in self.blocked:
            return "blocked", BLOCKED
        if request.chat_id in self.moved:
            new, _ = self.moved[request.chat_id]
            return "moved", Fault(400, UPGRADED, {"migrate_to_chat_id": new})
        return None

    def _by_chance(self, request: Request) -> tuple[str, Fault] | None:
        if self._storms.get(request.bot, 0.0) > request.at:
            return "429 of a storm", too_many(self._chance.choice((1, 2)))
        if self._chance.random() < STORMS:
            self._storms[request.bot] = request.at + STORM
        draw = self._chance.random()
        for name, share, make in self._possible(request):
            draw -= share
            if draw < 0:
                return name, make(self._chance)
        return None

    def _possible(self, request: Request) -> tuple[tuple[str, float, Maker], ...]:
        edits = EDITS if request.method == "editMessageText" else ()
        html = HTML if request.fields.get("parse_mode") == "HTML" else ()
        return (*ALWAYS, *edits, *html, *(HANGING if self.hanging else ()))
