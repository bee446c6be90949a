"""What the projections need of the world: facts below the horizon, and tables to write rows into."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from calls.call import Call
from calls.details import LegPlace, Share
from calls.exchange import Belonging
from calls.facts import Fact
from projections.hosts import HostRow


class Checkpoint(msgspec.Struct, frozen=True, order=True):
    """A place in the readers' order: behind the fact with these numbers. The default is before all facts."""

    incarnation: int = 0
    xid: int = 0
    position: int = 0


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of facts changed: rows as they are now, keys that are no more, legs and their calls."""

    calls: Sequence[Call] = ()
    gone: Sequence[tuple[str, str]] = ()
    belongings: Sequence[tuple[str, str, Belonging]] = ()
    """(enterprise, unique_id, whose leg it is)"""
    legs: Sequence[tuple[str, str, LegPlace]] = ()
    """(enterprise, call_id, leg): all legs of each of ``calls``, where details are folded"""
    shares: Sequence[tuple[str, str, Share]] = ()
    """(enterprise, call_id, share): likewise"""
    hosts: Sequence[HostRow] = ()
    fresh: frozenset[tuple[str, str]] = frozenset()
    """Keys of ``calls`` that had no row before."""
    names: dict[tuple[str, str], str | None] = {}
    """(enterprise, phone) of customers that the directory names anew"""


NameOf = Callable[[str, str], str | None]
"""(enterprise, phone) to the name that the directory gives a customer."""


GiveWay = Callable[[float], Awaitable[None]]
"""Lets other tasks of the loop have their turn, after so many seconds of work without a pause."""


class Stretch(msgspec.Struct, frozen=True):
    """Facts of an enterprise that can be folded by themselves: none of their calls was touched before.

    ``after``: position behind which they begin, ``since``: of recovered ones, the time at which; ``calls``: ids of the
    rows that they make. ``still``: streams of legs whose calls are not folded, because something of them is archived.
    """

    after: int
    since: datetime
    calls: frozenset[str]
    still: frozenset[str] = frozenset()


class Due(msgspec.Struct, frozen=True):
    """An enterprise is to be folded anew: what occurred since then, told by facts from this position on."""

    since: datetime
    position: int

    def joined(self, other: "Due | None") -> "Due":
        """Both at once."""
        if other is None:
            return self
        return Due(min(self.since, other.since), min(self.position, other.position))


class FactReader(Protocol):
    """The event store, as far as projections need it. Its trouble shows as ReaderTrouble."""

    async def next(
        self, after: Checkpoint, limit: int, upto: Checkpoint | None = None
    ) -> tuple[list[Fact], Checkpoint]:
        """The next facts below the horizon (and not behind ``upto``), and the checkpoint behind them."""
        ...

    async def calls_of(
        self,
        legs: Collection[tuple[str, str]],
        upto: int,
        whose: Mapping[tuple[str, str], Belonging] | None = None,
    ) -> list[Fact]:
        """All facts up to a position of the calls that these (enterprise, UniqueId) belong to, in order.

        Which legs make a call is read off the tables that this reader's projection writes, unless ``whose`` was asked
        of the same legs before.
        """
        ...

    async def whose(self, legs: Collection[tuple[str, str]]) -> dict[tuple[str, str], Belonging]:
        """The place of each (enterprise, UniqueId) of the calls that these belong to, as those tables have it."""
        ...

    async def directories(self, upto: int, enterprise: str | None = None) -> list[Fact]:
        """All directory facts up to a position."""
        ...

    async def unforgotten(self, upto: int) -> list[tuple[str, str]]:
        """(enterprise, UniqueId) of open and of newly settled calls, and of legs that make no call yet.

        ``upto``: position that the tables have come to.
        """
        ...

    async def hosts(self) -> list[HostRow]:
        """What is known of each enterprise's host."""
        ...

    async def lost_legs(self, enterprise: str) -> list[tuple[str, str]]:
        """(enterprise, UniqueId) of its legs that make no call yet."""
        ...

    async def stretch(self, enterprise: str, since: datetime, upto: int) -> Stretch:
        """The shortest stretch up to a position in which everything is that occurred since."""
        ...

    def facts_of(self, enterprise: str, stretch: Stretch, upto: int) -> AsyncIterator[list[Fact]]:
        """The facts of a stretch up to a position, in the order of folding, in pages."""
        ...

    async def park(self, place: str, fact: Fact, reason: str) -> None:
        """Keep a fact that could not be folded, for ``callfold parked``."""
        ...


class Tables(Protocol):
    """The tables that one projection writes."""

    async def checkpoint(self) -> Checkpoint:
        """How far the rows have come."""
        ...

    async def due(self) -> dict[str, Due]:
        """What was noted to be folded anew, by enterprise."""
        ...

    async def write(
        self,
        rows: Rows,
        old: Checkpoint,
        new: Checkpoint,
        name_of: NameOf,
        due: Mapping[str, Due] | None = None,
    ) -> None:
        """Write rows and checkpoint in one transaction; raises Fenced where ``old`` is not the checkpoint.

        ``due``: what is to be folded anew from now on, of all enterprises; None where that stays as it was.
        """
        ...


class ProjectionError(Exception):
    """A projection cannot go on."""


class ReaderTrouble(ProjectionError):
    """The store does not answer; it may later."""


class Busy(ProjectionError):
    """Somebody reads the tables that were to be swapped."""


class Fenced(ProjectionError):
    """Somebody else has moved the checkpoint: there is a second runner."""

    def __init__(self, expected: Checkpoint) -> None:
        super().__init__(f"the checkpoint is not at position {expected.position} any more")
        self.expected = expected
