"""A breaker per bot: where Telegram or the way to it fails for several chats, all wait, and one tries.

The times are the event loop's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from adapters.telegram.errors import Ambiguous, ServerError, TelegramError, Unreachable
from adapters.telegram.limits import Backoff

_logger: Final = logging.getLogger(__name__)

IN_A_ROW: Final = 5
"""Failures after which it opens, if they are of more than one chat; the trouble of one chat is its own."""
PAUSE: Final = Backoff(first=1.0, most=30.0)


class Passage:
    """The way of one request through the breaker. ``tries``: it finds out whether the others may go."""

    __slots__ = ("_breaker", "_chat_id", "tries")

    def __init__(self, breaker: "Breaker", chat_id: int, *, tries: bool) -> None:
        self._breaker, self._chat_id, self.tries = breaker, chat_id, tries

    @property
    def free(self) -> bool:
        """False where the breaker has opened since this passage began."""
        return self.tries or not self._breaker.open

    def told(self, error: TelegramError | None) -> None:
        """What became of the request: an answer of any kind means that Telegram is there."""
        tried = self.tries
        self.done()
        if isinstance(error, Unreachable | ServerError | Ambiguous):
            self._breaker.failed(self._chat_id, tried=tried)
        else:
            self._breaker.close()

    def done(self) -> None:
        """It tries no more: another may."""
        if self.tries:
            self.tries = False
            self._breaker.tried()


class Breaker:
    """Closed until IN_A_ROW requests in a row have failed, then open for a pause, then one request decides.

    Its failure doubles the pause, up to a limit and with jitter; any answer to any request closes.
    ``name``: whose bot it is, for the log; ``chance`` from [0, 1).
    """

    def __init__(self, name: str, chance: Callable[[], float], pause: Backoff = PAUSE) -> None:
        self._name = name
        self._chance = chance
        self._pause = pause
        self._failures = 0
        self._chats: set[int] = set()
        self._pauses = 0
        self._until = 0.0
        self._trying = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """True while requests wait."""
        return self._pauses > 0

    @asynccontextmanager
    async def passage(self, chat_id: int) -> AsyncIterator[Passage]:
        """Wait until a request may go out, and let others know when this one is done with, sent or not."""
        passage = Passage(self, chat_id, tries=await self._admitted())
        try:
            yield passage
        finally:
            passage.done()

    def tried(self) -> None:
        """The one that tried is done with."""
        self._trying = False
        self._wake()

    def failed(self, chat_id: int, *, tried: bool) -> None:
        """A request failed that says nothing of its chat; ``tried``: it was the one that tries."""
        self._failures += 1
        self._chats.add(chat_id)
        enough = self._failures >= IN_A_ROW and len(self._chats) > 1
        # what was under way when it opened says nothing new
        if tried if self.open else enough:
            self._pauses += 1
            pause = self._pause.after(self._pauses, self._chance())
            self._until = asyncio.get_running_loop().time() + pause
            _logger.warning(
                "%d requests of the bot of %s failed in a row: it pauses for %.1f s",
                self._failures,
                self._name,
                pause,
            )

    def close(self) -> None:
        """Let all go on."""
        if self.open:
            _logger.info("the bot of %s goes on after %d failed requests", self._name, self._failures)
        self._failures = self._pauses = 0
        self._chats.clear()
        self._wake()

    async def _admitted(self) -> bool:
        """True for the one that tries."""
        while self.open:
            now = asyncio.get_running_loop().time()
            if not self._trying and now >= self._until:
                self._trying = True
                return True
            try:
                async with asyncio.timeout_at(None if self._trying else self._until):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return False

    def _wake(self) -> None:
        """Wake whoever waits, to look again."""
        self._changed.set()
        self._changed = asyncio.Event()
