"""The projection of calls: all enterprises' exchanges folded, rows given out in batches (CONTRACT 6)."""

from collections.abc import Iterable, Mapping

import msgspec

from calls.call import Call
from calls.details import LegPlace, Share
from calls.directory import Directory, DirectoryError
from calls.entries import Customer, DirectoryChange
from calls.exchange import UNKNOWN, Belonging, Exchange, read_change
from calls.facts import DIRECTORY_CHANGED, Fact
from calls.shapes import UnknownShape
from projections.hosts import HostsFold
from projections.ports import Rows

FOLD_VERSION = 7
"""Counts up when the same facts make other rows, so that live tables of an older fold are rebuilt."""


class CallsFold:
    """State of the fold over all enterprises; pure but for what ``wake`` is given.

    ``detailed``: with the rows of ``legs`` and ``call_agents``.
    """

    def __init__(self, *, detailed: bool = True) -> None:
        self._detailed = detailed
        self.hosts = HostsFold()
        self._exchanges: dict[str, Exchange] = {}
        self._touched: set[str] = set()
        self._names: dict[tuple[str, str], str | None] = {}

    def exchange(self, enterprise: str) -> Exchange:
        """The fold of one enterprise."""
        found = self._exchanges.get(enterprise)
        if found is None:
            found = self._exchanges[enterprise] = Exchange(
                Directory.empty(enterprise), detailed=self._detailed
            )
        return found

    def renew(self, enterprise: str) -> None:
        """Forget everything of an enterprise."""
        self._exchanges.pop(enterprise, None)
        self._touched.add(enterprise)

    def touch(self, enterprises: Iterable[str]) -> None:
        """Facts were folded by these enterprises' exchanges."""
        self._touched.update(enterprises)

    def misses(self, fact: Fact) -> bool:
        """True where the fact's call was forgotten and must be woken before ``apply``."""
        return self.exchange(fact.enterprise).misses(fact)

    def knows(self, fact: Fact) -> bool:
        """True where the fact is of a leg that is in memory."""
        return self.exchange(fact.enterprise).board.knows(fact.stream.partition("/")[2])

    def placed(self, fact: Fact) -> bool:
        """True where it was noted since the last ``take`` whose leg the fact's is."""
        return self.exchange(fact.enterprise).placed(fact.stream.partition("/")[2])

    def companions(self, fact: Fact) -> list[tuple[str, str]]:
        """(enterprise, UniqueId) of the fact's leg, and of those of its call that no table knows yet."""
        unique_id = fact.stream.partition("/")[2]
        return [(fact.enterprise, leg) for leg in self.exchange(fact.enterprise).companions(unique_id)]

    def wake(
        self, enterprise: str, facts: Iterable[Fact], placed: Mapping[str, Belonging] = UNKNOWN
    ) -> list[tuple[Fact, Exception]]:
        """Fold forgotten calls' facts again; nothing of them counts as changed. Gives back what could not be.

        ``placed``: whose leg each is, as the tables know it.
        """
        return self.exchange(enterprise).wake(facts, placed)

    def remember(self, facts: Iterable[Fact]) -> list[tuple[Fact, Exception]]:
        """Take directory facts that were projected before. Gives back those that could not be read."""
        failed: list[tuple[Fact, Exception]] = []
        for fact in facts:
            exchange = self.exchange(fact.enterprise)
            try:
                exchange.board.directory = exchange.directory.apply(read_change(fact))
            except (msgspec.DecodeError, UnknownShape, DirectoryError) as error:
                failed.append((fact, error))
        return failed

    def apply(self, fact: Fact) -> None:
        """Fold one fact in the readers' order."""
        self.exchange(fact.enterprise).apply(fact)
        self._touched.add(fact.enterprise)
        if fact.kind == DIRECTORY_CHANGED:
            self._rename(fact.enterprise, read_change(fact))

    def _rename(self, enterprise: str, change: DirectoryChange) -> None:
        if change.section == "customer":
            self._names[enterprise, change.key] = customer_name(
                self.exchange(enterprise).directory.customer(change.key)
            )

    def take(self) -> Rows:
        """What changed since the last time."""
        calls: list[Call] = []
        gone: list[tuple[str, str]] = []
        belongings: list[tuple[str, str, Belonging]] = []
        legs: list[tuple[str, str, LegPlace]] = []
        shares: list[tuple[str, str, Share]] = []
        fresh: set[tuple[str, str]] = set()
        for enterprise in sorted(self._touched):
            changes = self.exchange(enterprise).take()
            calls += changes.calls.values()
            gone += [(enterprise, call_id) for call_id in sorted(changes.gone)]
            belongings += [(enterprise, leg, place) for leg, place in changes.legs.items()]
            fresh |= {(enterprise, call_id) for call_id in changes.fresh}
            for call_id, told in changes.details.items():
                legs += [(enterprise, call_id, place) for place in told.legs]
                shares += [(enterprise, call_id, share) for share in told.shares]
        names, self._names = self._names, {}
        self._touched.clear()
        return Rows(
            calls=calls,
            gone=gone,
            belongings=belongings,
            legs=legs,
            shares=shares,
            hosts=self.hosts.take(),
            fresh=frozenset(fresh),
            names=names,
        )

    def customer_names(self) -> dict[tuple[str, str], str | None]:
        """(enterprise, phone) to the name of every customer in the directories."""
        return {
            (enterprise, phone): customer_name(customer)
            for enterprise, exchange in self._exchanges.items()
            for phone, customer in exchange.directory.customers.items()
        }

    def name(self, enterprise: str, phone: str) -> str | None:
        """What the directory calls a customer, as of the last fact."""
        return customer_name(self.exchange(enterprise).directory.customer(phone))


def customer_name(customer: Customer | None) -> str | None:
    """The name a customer is shown by: company before person (telegram.md 3)."""
    if customer is None:
        return None
    return customer.company or customer.name or None
