"""The line "history with this customer": asked for when a call is first shown, read for many calls at once.

It delays nothing and is no reason for an edit: it comes along with the next state. Only a call that was over when it
was first shown is edited once more.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from calls.call import Call
from calls.cards import History, history_line
from calls.directory import Directory

_logger: Final = logging.getLogger(__name__)

Read = Callable[[Sequence[Call]], Awaitable[list[History]]]
_Key = tuple[str, str, str]


class Histories(Protocol):
    """What the outbox asks: have it read, and the line that tells it."""

    def want(self, call: Call) -> None:
        """Have the history of a call's customer read, unless it is known or being read."""
        ...

    def line(self, call: Call, directory: Directory) -> str:
        """The line of a card, as Telegram's HTML; "" where nothing is known (yet)."""
        ...


class NoHistories:
    """Cards without that line."""

    def want(self, call: Call) -> None:
        """Nobody reads it."""

    def line(self, call: Call, directory: Directory) -> str:  # noqa: ARG002
        """None."""
        return ""


WITHIN: Final = 2.0
"""Seconds after which a read is given up."""
AT_ONCE: Final = 500
KEPT: Final = 20_000


class Past(AbstractAsyncContextManager["Past", None]):
    """Histories of the calls that are shown. ``arrived`` is told the calls whose history is known from now on.

    A reader that fails or is slow is not asked again for the same calls: they are shown without the line.
    """

    def __init__(self, read: Read, arrived: Callable[[Call], None], *, within: float = WITHIN) -> None:
        self._read = read
        self._arrived = arrived
        self._within = within
        self._known: OrderedDict[_Key, History | None] = OrderedDict()
        self._wanted: dict[_Key, Call] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def want(self, call: Call) -> None:
        """Have the history of a call's customer read, unless it is known or being read."""
        if (key := _key(call)) and key not in self._known and key not in self._wanted:
            self._wanted[key] = call
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._work(), name="histories")

    def line(self, call: Call, directory: Directory) -> str:
        """The line of a card, as Telegram's HTML; "" where nothing is known (yet)."""
        history = self._known.get(key) if (key := _key(call)) else None
        return history_line(call, directory, history) if history else ""

    def forget(self, enterprise: str) -> None:
        """Have the histories of an enterprise's customers read again when they are wanted."""
        for key in [key for key in self._known if key[0] == enterprise]:
            del self._known[key]

    async def _work(self) -> None:
        try:
            while self._wanted:
                calls = list(self._wanted.values())[:AT_ONCE]
                for call, history in zip(calls, await self._histories(calls), strict=True):
                    self._learn(call, history)
        finally:
            self._task = None

    async def _histories(self, calls: Sequence[Call]) -> Sequence[History | None]:
        try:
            async with asyncio.timeout(self._within):
                return await self._read(calls)
        except Exception as error:  # noqa: BLE001 - whatever the store says, the calls are shown
            _logger.warning(
                "%d calls are shown without their history: %s", len(calls), str(error) or "too slow"
            )
            return [None] * len(calls)

    def _learn(self, call: Call, history: History | None) -> None:
        if (key := _key(call)) is None:
            return
        self._wanted.pop(key, None)
        self._known[key] = history
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        self._arrived(call)


def _key(call: Call) -> _Key | None:
    return (call.enterprise, call.call_id, call.customer) if call.customer else None
