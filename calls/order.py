"""The order in which facts are folded: as they came, but a recovered one where its host's log says.

An event that a host could not deliver is stored long after it happened. Folded where it happened, the calls come out
as if it had come live, in whatever order logs are imported. Among the facts of an enterprise a recovered one stands
before the first other one that occurred later, but never before the enterprise's first directory: what was known of
nobody then would tell the call worse than what was known first.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from calls.facts import DIRECTORY_CHANGED, Fact

STEP: Final = 2.0**-22
"""Between two recovered facts that stand between the same others: exact as long as those are below 2^31."""

Waiting = list[tuple[datetime, int, Fact]]


class Order:
    """Puts the facts of one enterprise in order as they are read, the recovered ones added beforehand.

    ``begun``: position of its first fact that is none of the directory.
    """

    def __init__(self, begun: int) -> None:
        self._begun = begun
        self._waiting: Waiting = []
        self._after = 0.0

    def add(self, recovered: Iterable[Fact]) -> None:
        """Recovered facts of which none belongs before what was already given out."""
        for fact in recovered:
            heapq.heappush(self._waiting, (fact.occurred_at, fact.position, fact))

    @property
    def waits(self) -> bool:
        """True while recovered facts were added that were not given out."""
        return bool(self._waiting)

    def before(self, fact: Fact) -> Iterator[Fact]:
        """The recovered facts that come before one that was not recovered."""
        if not (fact.kind == DIRECTORY_CHANGED and fact.position < self._begun):
            while self._waiting and self._waiting[0][0] < fact.occurred_at:
                yield self._next()

    def pass_by(self, position: int) -> None:
        """What is given out from now on comes after this position."""
        self._after = float(position)

    def upto(self, fact: Fact) -> Iterator[Fact]:
        """What comes before a fact that was not recovered, then the fact itself."""
        yield from self.before(fact)
        self.pass_by(fact.position)
        yield fact

    def rest(self) -> Iterator[Fact]:
        """What comes after all others."""
        while self._waiting:
            yield self._next()

    def _next(self) -> Fact:
        self._after += STEP
        fact = heapq.heappop(self._waiting)[2]
        return msgspec.structs.replace(fact, order=self._after)


def in_order(facts: Sequence[Fact]) -> list[Fact]:
    """Facts given by position, of one enterprise or of several, in the order of the fold."""
    recovered = [fact for fact in facts if fact.source == "recovery"]
    if not recovered:
        return list(facts)
    orders: dict[str, Order] = {}
    for fact in facts:
        if fact.enterprise not in orders and fact.kind != DIRECTORY_CHANGED:
            orders[fact.enterprise] = Order(fact.position)
    for fact in recovered:
        orders[fact.enterprise].add((fact,))
    told: list[Fact] = []
    for fact in facts:
        if fact.source == "recovery":
            continue
        order = orders.get(fact.enterprise)
        told += order.upto(fact) if order else (fact,)
    for order in orders.values():
        told += order.rest()
    return told
