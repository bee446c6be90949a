"""What the actors need of the world: the log of facts, the cards, the clock."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from calls.exchange import Belonging
from calls.facts import Fact, NewFact
from otel.tracing import SpanRef


class Appended(msgspec.Struct, frozen=True):
    """Where a fact came to stand. ``known``: its idempotency key was stored before, nothing was added."""

    position: int
    version: int
    known: bool = False


class LogError(Exception):
    """The log of facts could not do what it was asked for."""


class VersionConflict(LogError):
    """The stream has moved on since the fact was decided."""

    def __init__(self, stream: str, expected: int) -> None:
        super().__init__(f"{stream} is no longer at version {expected}")
        self.stream = stream
        self.expected = expected


class StoreUnavailable(LogError):
    """The fact was not stored: no connection, no time left, or this instance stands by."""


class FactLog(Protocol):
    """The event store, as far as actors need it."""

    async def append(self, fact: NewFact, *, within: float | None = None) -> Appended:
        """Store one fact and return once it is committed.

        ``within``: seconds after which StoreUnavailable is raised and nothing is stored; None waits
        until the store is back. Raises VersionConflict where ``expected_version`` no longer holds, or was to be that of
        a fact which failed.
        """
        ...

    async def read_after(self, position: int, upto: int, limit: int) -> list[Fact]:
        """Facts in the writer's order, after one position and up to another."""
        ...

    async def read_calls(
        self,
        legs: Sequence[tuple[str, str]],
        chats: Sequence[tuple[str, int]],
        upto: int,
        whose: Mapping[tuple[str, str], Belonging] | None = None,
    ) -> list[Fact]:
        """All facts of the calls that these (enterprise, UniqueId) belong to, by position.

        With their bridges', and those of deliveries to ``chats`` (enterprise, chat_id). ``whose``: of the same legs,
        where it was asked before.
        """
        ...

    async def whose(self, legs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Belonging]:
        """The place of each (enterprise, UniqueId) of the calls that these belong to."""
        ...

    async def read_directories(self, upto: int) -> list[Fact]:
        """The directory facts of all enterprises up to a position."""
        ...

    async def unsettled_calls(
        self, chats: Sequence[tuple[str, int, int]], lately: float, upto: int
    ) -> list[tuple[str, str]]:
        """(enterprise, call_id) of calls that may still need something done.

        And of all that were heard of within ``lately`` seconds before position ``upto``: a later leg may belong to one.
        ``chats``: (enterprise, chat_id, position since which it is shown calls).
        """
        ...

    async def projected(self) -> int:
        """Position up to which the calls of ``unsettled_calls`` and ``read_calls`` are known."""
        ...

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        """Keep a fact that could not be folded, for ``callfold parked``."""
        ...


class Cards(Protocol):
    """The chats that are shown the calls. No method waits."""

    def show(
        self,
        call: Call,
        directory: Directory,
        posts: Mapping[int, tuple[Post, ...]],
        context: SpanRef | None = None,
    ) -> None:
        """Let every subscriber's chat show this call; ``posts`` are its known messages, oldest first."""
        ...

    def drop(self, enterprise: str, call_id: str) -> None:
        """Forget what is pending for a call that leads no longer; what is in flight is still recorded."""
        ...

    def idle(self, enterprise: str, call_id: str) -> bool:
        """True when every chat shows the newest state, or was given up."""
        ...


GiveWay = Callable[[float], Awaitable[None]]
"""Lets other tasks of the loop have their turn, after so many seconds of work without a pause."""


class Clock(Protocol):
    """Time as the house sees it; tests bring their own."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...
