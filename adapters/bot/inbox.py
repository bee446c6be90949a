"""Updates on their way to the desk: those of one chat in their order, different chats beside each other."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from adapters.telegram.api import BotApi
from adapters.telegram.updates import Update

log = structlog.get_logger(__name__)

AT_ONCE: Final = 16
"""Updates that are being handled, over all chats."""
OF_A_CHAT: Final = 32
OF_ALL: Final = 1_000
"""Updates that wait; what comes beyond that is not handled."""
WITHIN: Final = 20.0
"""Seconds in which one is handled, or left."""


class Heard(msgspec.Struct, frozen=True):
    """An update, the bot that heard it, and the enterprises for which that bot speaks."""

    bot: BotApi
    enterprises: tuple[str, ...]
    update: Update


class Inbox:
    """Hands updates to ``handle``; no accident with one of them stops another."""

    def __init__(self, handle: Callable[[Heard], Awaitable[None]], *, within: float = WITHIN) -> None:
        self._handle, self._within = handle, within
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting: dict[tuple[str, int], deque[tuple[Heard, asyncio.Future[None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    def put(self, heard: Heard) -> "asyncio.Future[None]":
        """Take one; what comes back is done when it was handled, or will not be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        chat_id = heard.update.chat_id
        key = (heard.bot.key, chat_id or 0)
        waiting = self._waiting.get(key)
        if chat_id is None or self._count >= OF_ALL or (waiting and len(waiting) >= OF_A_CHAT):
            if chat_id is not None:
                log.warning("too many updates at once: one is not handled", chat=chat_id)
            done.set_result(None)
            return done
        self._count += 1
        if waiting is not None:
            waiting.append((heard, done))
        else:
            self._waiting[key] = deque([(heard, done)])
            task = asyncio.get_running_loop().create_task(self._serve(key), name=f"updates of chat {chat_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return done

    async def close(self, within: float) -> None:
        """Let what is being handled end, for so many seconds."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within)
            for task in late:
                task.cancel()

    async def _serve(self, key: tuple[str, int]) -> None:
        waiting = self._waiting[key]
        try:
            while waiting:
                heard, done = waiting[0]
                async with self._slots:
                    await self._handle_one(heard)
                self._leave(waiting, done)
        finally:
            del self._waiting[key]
            while waiting:
                self._leave(waiting, waiting[0][1])

    def _leave(
        self, waiting: "deque[tuple[Heard, asyncio.Future[None]]]", done: "asyncio.Future[None]"
    ) -> None:
        waiting.popleft()
        self._count -= 1
        if not done.done():
            done.set_result(None)

    async def _handle_one(self, heard: Heard) -> None:
        try:
            async with asyncio.timeout(self._within):
                await self._handle(heard)
        except TimeoutError:
            log.warning("an update was not handled in time", chat=heard.update.chat_id)
        except Exception:
            log.exception("an accident with an update", chat=heard.update.chat_id)
