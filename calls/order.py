"""The order in which facts are folded: as they came, but a recovered one where its host's log says.

An event that a host could not deliver is stored long after it happened. Folded where it happened, the calls come out
as if it had come live, in whatever order logs are imported. A recovered fact ``follows`` the last fact of its
enterprise that occurred before it and was not recovered: that is decided when it is stored (``Followed``), so whoever
reads it, alone or among others, finds it in the same place.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from calls.facts import Fact, Place

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


def place_between(follows: int, occurred_at: datetime, position: int) -> Decimal:
    """The place of a recovered fact: right behind the position that it follows, before the next, by time.

    Exact: 18 digits hold each microsecond of a datetime, 19 each position.
    """
    return Decimal(f"{follows}.{(occurred_at - _EPOCH) // _TICK:018d}{position:019d}")


def place_of(fact: Fact) -> Place:
    """Where a fact stands among those of its enterprise."""
    return fact.order or fact.position


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """Facts in the order of the fold."""
    return sorted(facts, key=place_of)


class Order:
    """Puts recovered facts, added beforehand, among the others of their enterprise as these are read."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Place, Fact]] = []

    def add(self, recovered: Iterable[Fact]) -> None:
        """Recovered facts of which none belongs before what was already given out."""
        for fact in recovered:
            heapq.heappush(self._waiting, (place_of(fact), fact))

    @property
    def waits(self) -> bool:
        """True while recovered facts were added that were not given out."""
        return bool(self._waiting)

    def before(self, position: Place) -> Iterator[Fact]:
        """The recovered facts that come before a place and were not given out."""
        while self._waiting and self._waiting[0][0] < position:
            yield heapq.heappop(self._waiting)[1]

    def upto(self, fact: Fact) -> Iterator[Fact]:
        """What comes before a fact that was not recovered, then the fact itself."""
        yield from self.before(fact.position)
        yield fact

    def rest(self) -> Iterator[Fact]:
        """What comes after all others."""
        while self._waiting:
            yield heapq.heappop(self._waiting)[1]


class Followed:
    """Which fact of its enterprise a recovered one follows.

    ``known``: (occurred_at, position) of facts that were not recovered and that calls are told by. ``first``: position
    of the last fact of the enterprise's first directory. What was known of nobody then would tell a call worse than
    what was known first, so nothing stands before it.
    """

    def __init__(self, known: Iterable[tuple[datetime, int]], first: int = 0) -> None:
        told = sorted(known)
        self._times = [at for at, _ in told]
        self._highest = list(accumulate([position for _, position in told], max))
        self._first = first

    def by(self, at: datetime) -> int | None:
        """The highest position of what occurred by then; None where nothing is known to have."""
        place = bisect_right(self._times, at)
        return max(self._highest[place - 1], self._first) if place else None
