"""What the actors need of the world: the log of facts, the cards, the clock."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from calls.call import Call
from calls.deliveries import Post
from calls.directory import Directory
from calls.facts import Fact, NewFact


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
        until the store is back. Raises VersionConflict where ``expected_version`` no longer holds.
        """
        ...

    async def read_call(self, enterprise: str, unique_ids: Sequence[str], upto: int) -> list[Fact]:
        """All facts of the call these legs belong to, their bridges' and deliveries' too, by position."""
        ...

    async def read_directory(self, enterprise: str, upto: int) -> list[Fact]:
        """The directory facts of one enterprise up to a position."""
        ...


class Cards(Protocol):
    """The chats that are shown the calls. No method waits."""

    def show(self, call: Call, directory: Directory, posts: Mapping[int, tuple[Post, ...]]) -> None:
        """Let every subscriber's chat show this call; ``posts`` are its known messages, oldest first."""
        ...

    def drop(self, enterprise: str, call_id: str) -> None:
        """Forget what is pending for a call that leads no longer; what is in flight is still recorded."""
        ...

    def idle(self, enterprise: str, call_id: str) -> bool:
        """True when every chat shows the newest state, or was given up."""
        ...


class Clock(Protocol):
    """Time as the house sees it; tests bring their own."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...
